"""The histogram: its layout, its precision, its arithmetic, and the encoding that other tools read."""

from __future__ import annotations

import base64
import math
import pickle
import random
import struct
import tracemalloc
import zlib
from array import array
from bisect import bisect_right
from collections import Counter
from statistics import pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_stormdb.measurement.histogram import (
    HIGHEST_NS,
    Histogram,
    bounds_of,
    index_of,
)

durations = st.one_of(
    st.integers(0, HIGHEST_NS),
    st.integers(0, 5_000),
    st.integers(0, 41).map(lambda power: 2**power),
    st.integers(1, 41).map(lambda power: 2**power - 1),
    st.floats(0, math.log(HIGHEST_NS)).map(lambda log: min(int(math.exp(log)), HIGHEST_NS)),
)
many = st.lists(durations, max_size=200)
MICROSECOND = 1_000


def histogram_of(*values: int) -> Histogram:
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def oracle() -> Any:
    """The reference implementation in C and Python; it has no wheels for every machine."""
    module = pytest.importorskip("hdrh.histogram")
    return module.HdrHistogram(1, HIGHEST_NS, 3)


@pytest.mark.parametrize(
    ("value_ns", "index"),
    [
        (0, 0),
        (2_047, 2_047),
        (2_048, 2_048),
        (4_096, 3_072),
        (1_000_000, 11_169),
        (2_000_000, 12_193),
        (HIGHEST_NS, 33_420),
    ],
)
def test_indices_are_those_of_the_reference(value_ns: int, index: int) -> None:
    """A duration goes where every other HdrHistogram of this configuration puts it."""
    assert index_of(value_ns) == index
    lowest, highest = bounds_of(index)
    assert histogram_of(value_ns).buckets() == [(lowest, highest, 1)]


def test_buckets_follow_each_other_without_gap_or_overlap() -> None:
    """Each of the 33,792 buckets begins where the one before ends, and knows its own index."""
    end = -1
    for index in range(33_792):
        lowest, highest = bounds_of(index)
        assert (lowest, index_of(lowest), index_of(highest)) == (end + 1, index, index)
        end = highest
    assert end == 2**42 - 1


@given(st.integers(MICROSECOND, HIGHEST_NS))
def test_a_bucket_is_at_most_a_thousandth_wide(value_ns: int) -> None:
    """Any duration in a bucket stands for any other in it with an error of 0.1 % or less."""
    lowest, highest = bounds_of(index_of(value_ns))
    assert lowest <= value_ns <= highest
    assert (highest - lowest) * 1_000 <= value_ns


@given(st.lists(st.integers(MICROSECOND, HIGHEST_NS), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_a_thousandth_of_the_exact_one(values: list[int], q: float) -> None:
    """The quantile is the value of that rank or up to 0.1 % more."""
    exact = sorted(values)[max(1, math.ceil(math.nextafter(q * len(values), 0))) - 1]
    assert exact <= histogram_of(*values).quantile_ns(q) <= exact * 1.001


@given(many)
def test_exact_figures_stay_exact(values: list[int]) -> None:
    """Count, sum and extremes are those of the values, not of their buckets."""
    histogram = histogram_of(*values)
    assert (histogram.count, histogram.total_ns) == (len(values), sum(values))
    assert (histogram.min_ns, histogram.max_ns) == (min(values, default=None), max(values, default=None))


@given(st.lists(durations | st.integers(HIGHEST_NS + 1, 2**64 - 1), max_size=200))
def test_recording_many_equals_recording_one_by_one(values: list[int]) -> None:
    """The fast way over doubles files each value where the plain formula does, from list, array and counts alike."""
    single, listed, drained, counted = Histogram(), histogram_of(*values), Histogram(), Histogram()
    for value in values:
        single.record(value)
    drained.record_many(array("Q", values))
    counted.record_counts(Counter(values))
    assert single == listed == drained == counted
    assert Counter(index_of(value) for value in values if value <= HIGHEST_NS) == {
        index_of(lowest): count for lowest, _, count in listed.buckets()
    }


def test_every_edge_of_every_bucket_is_filed_right() -> None:
    """The fast way places the lowest and the highest value of each bucket up to one hour in it."""
    edges = [edge for index in range(33_420) for edge in bounds_of(index)]
    expected = [(*bounds_of(index), 2) for index in range(33_420)]
    assert histogram_of(*edges).buckets() == expected


def test_a_second_batch_adds_to_the_first() -> None:
    """A worker drains its buffer again and again into one histogram."""
    histogram = Histogram()
    histogram.record_many(array("Q", [5_000, 7_000]))
    histogram.record_many(array("Q"))
    histogram.record_many(array("Q", [3_000, 5_000]))
    assert histogram.buckets() == [(3_000, 3_001, 1), (5_000, 5_003, 2), (7_000, 7_003, 1)]
    assert (histogram.min_ns, histogram.max_ns, histogram.total_ns) == (3_000, 7_000, 20_000)


def test_what_exceeds_an_hour_is_counted_apart() -> None:
    """Too long a duration raises ``overflow`` and touches nothing else."""
    histogram = histogram_of(HIGHEST_NS + 1, 5_000, HIGHEST_NS, 2**70)
    histogram.record(HIGHEST_NS + 1)
    assert (histogram.count, histogram.overflow, histogram.max_ns) == (2, 3, HIGHEST_NS)
    assert histogram.total_ns == 5_000 + HIGHEST_NS


def test_nothing_but_overflow_leaves_the_histogram_empty() -> None:
    """A batch wholly above one hour has no extremes and no quantiles."""
    histogram = histogram_of(HIGHEST_NS + 1)
    assert (histogram.count, histogram.min_ns, histogram.overflow) == (0, None, 1)
    with pytest.raises(ValueError, match="empty"):
        histogram.quantile_ns(0.5)


def test_a_negative_duration_is_refused() -> None:
    """A negative duration is an error of the caller, and none of its batch is counted."""
    histogram = Histogram()
    with pytest.raises(ValueError, match="cannot be negative: -1 ns"):
        histogram.record(-1)
    with pytest.raises(ValueError, match="cannot be negative: -7 ns"):
        histogram.record_many([5, -7, HIGHEST_NS + 1])
    assert histogram == Histogram()


@given(st.lists(st.tuples(durations | st.just(HIGHEST_NS + 1), st.integers(0, 3)), max_size=200))
def test_merging_any_split_gives_the_whole(shares: list[tuple[int, int]]) -> None:
    """However the values were spread over workers, their merged histograms equal one histogram of all."""
    merged = Histogram()
    for worker in range(4):
        merged.merge(histogram_of(*(value for value, owner in shares if owner == worker)))
    assert merged == histogram_of(*(value for value, _ in shares))


def test_a_copy_is_independent() -> None:
    """Recording into a copy leaves the original as it was, and a merge leaves its argument."""
    original = histogram_of(1_000, 2_000)
    twin = original.copy()
    assert twin == original
    twin.record(3_000)
    twin.merge(original)
    assert original == histogram_of(1_000, 2_000)
    assert twin == histogram_of(1_000, 1_000, 2_000, 2_000, 3_000)


def test_equality_is_by_content() -> None:
    """Histograms differ as soon as a bucket, the exact sum or the overflow does."""
    assert histogram_of(5_000) != histogram_of(5_001)
    assert histogram_of(5_000) != histogram_of(9_000)
    assert histogram_of(5_000) != histogram_of(5_000, HIGHEST_NS + 1)
    assert histogram_of(5_000) != object()


@given(many)
def test_pickling_keeps_everything(values: list[int]) -> None:
    """A histogram that crossed a pipe equals the one that was sent."""
    histogram = histogram_of(*values, HIGHEST_NS + 1)
    assert pickle.loads(pickle.dumps(histogram)) == histogram


def test_a_pickle_is_compact() -> None:
    """The hundred buckets of an interval take less than a kilobyte on the pipe."""
    assert len(pickle.dumps(histogram_of(*range(500_000, 551_200, 512)))) < 1_000


def test_quantiles_at_the_edges() -> None:
    """0 is the minimum, 1 the maximum, and what lies between is the top of its bucket."""
    histogram = histogram_of(1_000_003, 2_000_003, 3_000_003)
    assert histogram.quantiles_ns([1, 0.5, 0, 1 / 3, 0.34]) == [
        3_000_003,
        bounds_of(index_of(2_000_003))[1],
        1_000_003,
        1_000_003,
        bounds_of(index_of(2_000_003))[1],
    ]
    assert histogram.quantiles_ns([]) == []
    assert histogram_of(0).quantiles_ns([0, 0.5, 1]) == [0, 0, 0]


@pytest.mark.parametrize("percent", range(1, 101))
def test_ranks_do_not_suffer_from_binary_fractions(percent: int) -> None:
    """Of 100 values the seventh is at 0.07, although 0.07 * 100 is a little more than 7."""
    assert histogram_of(*range(1, 101)).quantile_ns(percent / 100) == percent


@pytest.mark.parametrize("q", [-0.01, 1.01, math.nan, math.inf])
def test_a_quantile_outside_its_range_is_refused(q: float) -> None:
    """Percents in place of shares, among others, are an error, not the maximum."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        histogram_of(1).quantile_ns(q)


def test_an_empty_histogram_has_no_figures() -> None:
    """Quantiles, mean and deviation of nothing are errors; counts of nothing are zero."""
    empty = Histogram()
    with pytest.raises(ValueError, match="empty"):
        empty.quantiles_ns([0.5])
    with pytest.raises(ValueError, match="empty"):
        _ = empty.mean_ns
    with pytest.raises(ValueError, match="empty"):
        _ = empty.stddev_ns
    assert (empty.count_at_most(HIGHEST_NS), empty.buckets(), empty.min_ns) == (0, [], None)


@given(st.lists(durations, min_size=1, max_size=200))
def test_mean_is_exact_and_deviation_nearly(values: list[int]) -> None:
    """The mean loses nothing; the deviation errs by no more than half the widest bucket."""
    histogram = histogram_of(*values)
    assert histogram.mean_ns == sum(values) / len(values)
    assert histogram.stddev_ns == pytest.approx(pstdev(values), rel=1e-6, abs=max(values) / 1_000 + 1e-6)


def test_equal_durations_do_not_deviate() -> None:
    """The midpoint's distance from the true value is not mistaken for a deviation."""
    assert histogram_of(*[1_000_003] * 1_000).stddev_ns == 0


@given(many, st.integers(-5, 2 * HIGHEST_NS) | durations)
def test_count_at_most_is_right_to_the_bucket(values: list[int], limit: int) -> None:
    """What is counted below a limit lies between the exact count and that at its bucket's top."""
    ordered = sorted(values)
    top = bounds_of(index_of(limit))[1] if limit >= 0 else limit
    assert bisect_right(ordered, limit) <= histogram_of(*values).count_at_most(limit)
    assert histogram_of(*values).count_at_most(limit) <= bisect_right(ordered, top)


def test_count_at_most_with_known_values() -> None:
    """A limit between two buckets splits them; one below the minimum's bucket finds nothing."""
    histogram = histogram_of(1_000, 5_000, 9_000)
    assert [histogram.count_at_most(limit) for limit in (-1, 999, 1_000, 6_000, 9_000)] == [0, 0, 1, 2, 3]


# The encoding


@given(many)
def test_the_encoding_keeps_every_count(values: list[int]) -> None:
    """Buckets survive the wire; the sum and the extremes come back within 0.05 %."""
    histogram = histogram_of(*values)
    decoded = Histogram.decode(histogram.encode())
    assert decoded.buckets() == histogram.buckets()
    assert (decoded.count, decoded.overflow) == (len(values), 0)
    assert decoded.total_ns == pytest.approx(histogram.total_ns, rel=0.0005)
    assert (decoded.min_ns is None) is (not values)
    if values:
        assert decoded.min_ns == pytest.approx(min(values), rel=0.0005)
        assert decoded.max_ns == pytest.approx(max(values), rel=0.0005)
    assert Histogram.decode(decoded.encode()) == decoded


def test_a_decoded_duration_is_the_midpoint_of_its_bucket() -> None:
    """One second lies in a bucket 524,288 ns wide, and returns as the middle of it."""
    decoded = Histogram.decode(histogram_of(10**9).encode())
    lowest, highest = bounds_of(index_of(10**9))
    assert decoded.total_ns == decoded.min_ns == decoded.max_ns == (lowest + highest + 1) // 2
    assert Histogram.decode(histogram_of(HIGHEST_NS).encode()).max_ns == HIGHEST_NS


def envelope(
    payload: bytes, outer: int = 0x1C849314, inner: int = 0x1C849313, digits: int = 3, missing: int = 0
) -> str:
    """An encoded histogram made by hand, well-formed unless told otherwise."""
    header = struct.pack(">iiiiqqd", inner, len(payload) + missing, 0, digits, 1, HIGHEST_NS, 1.0)
    packed = zlib.compress(header + payload)
    return base64.b64encode(struct.pack(">ii", outer, len(packed)) + packed).decode()


@pytest.mark.parametrize(
    ("payload", "buckets"),
    [
        (b"", []),
        (b"\x00", []),
        (b"\x02", [(0, 0, 1)]),
        (b"\x00\x02", [(1, 1, 1)]),
        (b"\x01\x04", [(1, 1, 2)]),
        (b"\xa5\x01\x02", [(83, 83, 1)]),
        (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", [(0, 0, 2**63 - 1)]),
    ],
)
def test_payloads_made_by_hand(payload: bytes, buckets: list[tuple[int, int, int]]) -> None:
    """Zeros may be written one by one or as a negative run, and a count may take all of 64 bits."""
    assert Histogram.decode(envelope(payload)).buckets() == buckets


def test_the_bytes_of_a_known_histogram() -> None:
    """83 empty buckets are written as -83, then come the counts 1 and 2^63 - 1, the largest there is."""
    histogram = Histogram.decode(envelope(b"\xa5\x01\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff"))
    assert histogram.encode() == envelope(b"\xa5\x01\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "8 bytes"),
        ("HIST", "8 bytes"),
        ("caf\u00e9", "ASCII"),
        ("H" * 400, "another kind"),
        (envelope(b"\x02", outer=0x1C849303), "another kind"),
        (envelope(b"\x02", inner=0x1C849301), "kind, range or precision"),
        (envelope(b"\x02", digits=2), "kind, range or precision"),
        (envelope(b"\x02", missing=1), "cut short"),
        (envelope(b"\x02", missing=-2), "cut short"),
        (envelope(b"\x02\x80"), "cut short"),
        (envelope(b"\x00" * 33_793), "more than 33792"),
        (envelope(b"\xff" * 9), "more than 33792"),
        (envelope(b"\x02" * 30)[:-8], "cut short"),
    ],
)
def test_a_bad_text_says_what_is_wrong(text: str, reason: str) -> None:
    """Each way to be wrong has its reason in the one error there is."""
    with pytest.raises(ValueError, match=f"^not an HdrHistogram V2 text .*{reason}"):
        Histogram.decode(text)


def test_a_bomb_does_not_unfold() -> None:
    """Fifty megabytes of zeros behind a short text are not unpacked beyond the size of a real histogram."""
    packed = zlib.compress(bytes(50_000_000))
    text = base64.b64encode(struct.pack(">ii", 0x1C849314, len(packed)) + packed).decode()
    tracemalloc.start()
    with pytest.raises(ValueError, match="kind, range or precision"):
        Histogram.decode(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A good text of which two bytes gave way to up to three others."""
    data = base64.b64decode(histogram_of(*draw(many)).encode())
    at = draw(st.integers(0, len(data)))
    return base64.b64encode(data[:at] + draw(st.binary(max_size=3)) + data[at + 2 :]).decode()


def decoded_or_refused(text: str) -> Histogram | None:
    """The histogram, or None for the one error in its one form; any other error passes through."""
    try:
        return Histogram.decode(text)
    except ValueError as error:
        if type(error) is not ValueError or not str(error).startswith("not an HdrHistogram V2 text"):
            raise
        return None


@given(st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()) | damaged())
def test_decoding_any_text_raises_nothing_else(text: str) -> None:
    """Noise, damage and truncation give ValueError or, where nothing that matters was hit, a histogram."""
    decoded = decoded_or_refused(text)
    if decoded:
        assert decoded.count == sum(count for _, _, count in decoded.buckets())


@given(st.binary(max_size=100))
def test_decoding_any_payload_raises_nothing_else(payload: bytes) -> None:
    """Counts that are noise, in an intact envelope, give ValueError or the histogram they describe."""
    decoded = decoded_or_refused(envelope(payload))
    if decoded:
        assert Histogram.decode(decoded.encode()).buckets() == decoded.buckets()


# The reference implementation


@settings(deadline=None)
@given(many)
def test_the_reference_reads_ours(values: list[int]) -> None:
    """It finds in our text the counts that it would have recorded itself."""
    theirs = oracle()
    for value in values:
        theirs.record_value(value)
    read = type(theirs).decode(histogram_of(*values).encode())
    assert read.get_total_count() == len(values)
    assert counts_of(read) == counts_of(theirs)


@settings(deadline=None)
@given(many)
def test_we_read_what_the_reference_writes(values: list[int]) -> None:
    """Its text gives us the same buckets as the values themselves."""
    theirs = oracle()
    for value in values:
        theirs.record_value(value)
    assert Histogram.decode(theirs.encode().decode()).buckets() == histogram_of(*values).buckets()


def counts_of(theirs: Any) -> list[int]:
    """Every counter of the reference implementation."""
    return [theirs.get_count_at_index(index) for index in range(theirs.counts_len)]


@pytest.mark.parametrize("seed", range(10))
def test_percentiles_agree_with_the_reference(seed: int) -> None:
    """Of a thousand values, both give the same bucket at p50, p95, p99 and p99.9."""
    rng = random.Random(seed)
    values = [int(rng.lognormvariate(math.log(500 * MICROSECOND), seed / 4)) for _ in range(1_000)]
    theirs = type(oracle()).decode(histogram_of(*values).encode())
    shares = [0.5, 0.95, 0.99, 0.999]
    expected = [index_of(theirs.get_value_at_percentile(share * 100)) for share in shares]
    assert [index_of(ours) for ours in histogram_of(*values).quantiles_ns(shares)] == expected


def test_counts_above_an_hour_from_elsewhere_are_overflow() -> None:
    """Others file up to 73 minutes; a bucket wholly above one hour is overflow here."""
    theirs = oracle()
    theirs.record_value(4_000_000_000_000)
    theirs.record_value(5_000)
    decoded = Histogram.decode(theirs.encode().decode())
    assert (decoded.count, decoded.overflow, decoded.buckets()) == (1, 1, [(5_000, 5_003, 1)])

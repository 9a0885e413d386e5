"""pgbench's log counted: every line once, in its interval and under its script, whatever pieces it comes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_stormdb.engine.log import FAILURES, Blocks, Layout, LogCounter
from pytest_stormdb.measurement.recorder import Snapshot

FROM_US = 1_764_000_000_000_000
NAMES = ("transfer", "balance")
BLOCKS = Blocks(1_000_000)


class Line(NamedTuple):
    """One transaction as pgbench logs it; ``latency`` is a number or what became of it."""

    end_us: int
    latency: int | str
    script: int = 0
    lag: int = 0
    retries: int = 0

    def text(self, layout: Layout) -> str:
        end = FROM_US + self.end_us
        words = [7, 1, self.latency, self.script, end // 10**6, end % 10**6]
        words += [self.lag] if layout.has_lag else []
        words += [self.retries] if layout.has_retries else []
        return " ".join(map(str, words)) + "\n"

    @property
    def start_us(self) -> int:
        return self.end_us - self.latency if isinstance(self.latency, int) else self.end_us


LATENCIES = st.integers(0, 3_000_000) | st.integers(0, 500) | st.sampled_from(["skipped", *FAILURES])
LINES = st.lists(
    st.builds(Line, st.integers(0, 4_000_000), LATENCIES, st.integers(0, 1), st.integers(0, 900), st.integers(0, 3)),
    min_size=1,
)


def counted(lines: Sequence[Line], layout: Layout, piece: int = 10**6, *, has_warmup: bool = False) -> LogCounter:
    counter = LogCounter(layout, BLOCKS, has_warmup=has_warmup)
    data = "".join(line.text(layout) for line in lines).encode()
    for start in range(0, len(data), piece):
        counter.feed(data[start : start + piece], FROM_US)
    return counter


def merged(taken: dict[int, Snapshot]) -> Snapshot:
    whole = Snapshot()
    for snapshot in taken.values():
        whole.merge(snapshot)
    return whole


@settings(deadline=None)
@given(LINES, st.booleans(), st.booleans(), st.integers(1, 300), st.booleans())
def test_every_line_counts_once(
    lines: list[Line], has_lag: bool, has_retries: bool, piece: int, has_warmup: bool
) -> None:
    """Counts by interval and script equal those made line by line; what began before the first interval is warm-up."""
    lines.sort(key=lambda line: line.end_us)
    layout = Layout(NAMES, has_lag=has_lag, has_retries=has_retries)
    counter = counted(lines, layout, piece, has_warmup=has_warmup)
    measured = [line for line in lines if line.start_us >= 0 or not has_warmup]
    expected = Counter((max(0, line.start_us // 10**6), NAMES[line.script]) for line in measured)
    taken = counter.take()
    unsuccessful = sum(isinstance(line.latency, str) for line in measured)
    skipped = sum(line.latency == "skipped" for line in measured)
    found = {
        (interval, name): tally.count + tally.failures
        for interval, snapshot in taken.items()
        for name, tally in snapshot.tallies.items()
    }
    assert counter.lines == len(lines)
    assert counter.skipped == skipped
    assert sum(found.values()) == sum(expected.values()) - skipped
    assert sum(tally.failures for s in taken.values() for tally in s.tallies.values()) == unsuccessful - skipped
    if not skipped:
        assert found == expected
    for name, tally in merged(taken).tallies.items():
        own = [line for line in measured if NAMES[line.script] == name]
        done = [line for line in own if isinstance(line.latency, int)]
        response = sum(int(line.latency) for line in done) * 1_000
        assert tally.retries == sum(line.retries for line in own) * has_retries
        assert (tally.response if has_lag else tally.service).total_ns == response
        assert tally.lag.total_ns == sum(line.lag for line in done) * 1_000 * has_lag
        assert tally.count == len(done)
    assert counter.take() == {}


def test_failures_by_kind() -> None:
    """pgbench's words become SQLSTATEs; what it only counts as failed keeps that name."""
    lines = [Line(10, word) for word in ("serialization", "deadlock", "deadlock", "failed", "other")]
    tally = merged(counted(lines, Layout(NAMES)).take()).tallies["transfer"]
    assert {code: count for code, (count, _) in tally.errors.items()} == {
        "40001": 1, "40P01": 2, "failed": 1, "other": 1,
    }  # fmt: skip
    assert (tally.count, tally.service.count) == (0, 0)


def test_percentiles_to_bucket_precision() -> None:
    """A quantile of the histogram is that of the raw latencies, 0.1 % too long at most."""
    latencies = [50 + (k * k) % 7_919 for k in range(1, 20_000)]
    lines = [Line(k, latency) for k, latency in enumerate(latencies)]
    service = merged(counted(lines, Layout(NAMES)).take()).tallies["transfer"].service
    ordered = sorted(latencies)
    for q in (0.5, 0.9, 0.99, 0.999, 1.0):
        exact_ns = ordered[max(0, -(-round(q * len(ordered) * 1000) // 1000) - 1)] * 1_000
        assert exact_ns <= service.quantile_ns(q) <= exact_ns * 1.001


def test_open_loop_times() -> None:
    """Response counts from the schedule; service is what is left of it without the lag."""
    layout = Layout(NAMES, has_lag=True)
    tally = merged(counted([Line(5_000, 900, lag=300), Line(6_000, "skipped")], layout).take()).tallies["transfer"]
    assert (tally.response.total_ns, tally.service.total_ns, tally.lag.total_ns) == (900_000, 600_000, 300_000)
    assert tally.lag.count == 1


def test_late_transactions_are_a_metric() -> None:
    """What took longer than the limit is late, as pgbench counts it: the limit itself is not."""
    layout = Layout(NAMES, latency_limit_us=100.0)
    taken = counted([Line(k, latency) for k, latency in enumerate((99, 100, 101, 5_000))], layout).take()
    assert merged(taken).metrics["late"].value == 2


def test_the_earliest_start_is_found() -> None:
    """The first to end need not be the first that started; half a line tells nothing."""
    layout = Layout(NAMES)
    data = "".join(line.text(layout) for line in (Line(500, 100), Line(600, 590), Line(700, 20))).encode()
    assert LogCounter(layout, BLOCKS).first_start_us(data + b"7 1 99999 0 17") == FROM_US + 10
    assert LogCounter(layout, BLOCKS).first_start_us(b"7 1 5") is None


def test_threads_share_counts_but_no_line() -> None:
    """What a thread has written half is completed by that thread; both count into the same block."""
    counter = LogCounter(Layout(NAMES), BLOCKS, threads=2)
    first, second = (Line(end_us, 40).text(Layout(NAMES)).encode() for end_us in (500, 800))
    for thread, piece in ((0, first[:9]), (1, second[:15]), (0, first[9:]), (1, second[15:])):
        counter.feed(piece, FROM_US, thread)
    assert (counter.lines, counter.ends_us) == (2, [FROM_US + 500, FROM_US + 800])
    assert counter.take()[0].tallies["transfer"].service.count == 2


def test_another_form_is_not_guessed_at() -> None:
    """Lines with too many columns are told, not counted wrongly."""
    with pytest.raises(ValueError, match="pgbench's log has lines of another form: b'1 2 3 4 5 6 7'"):
        LogCounter(Layout(NAMES), BLOCKS).feed(b"1 2 3 4 5 6 7\n", FROM_US)


@settings(deadline=None)
@given(LINES)
def test_blocks_that_settle(lines: list[Line]) -> None:
    """Where arms take turns, the first blocks and the beginning of each belong to nobody."""
    lines.sort(key=lambda line: line.end_us)
    counter = LogCounter(Layout(NAMES), Blocks(500_000, 100_000, 2), has_warmup=True)
    counter.feed("".join(line.text(Layout(NAMES)) for line in lines).encode(), FROM_US)
    done = [line for line in lines if isinstance(line.latency, int)]
    expected = Counter(
        line.start_us // 500_000 for line in done if line.start_us >= 1_000_000 and line.start_us % 500_000 >= 100_000
    )
    found = {block: snapshot.total().count for block, snapshot in counter.take().items()}
    assert {block: count for block, count in found.items() if count} == expected


def test_only_what_all_have_told_is_taken() -> None:
    """Blocks that are not over stay until they are."""
    counter = counted([Line(k * 400_000, 1) for k in range(1, 8)], Layout(NAMES))
    assert {block: snapshot.total().count for block, snapshot in counter.take(2_100_000).items()} == {0: 2, 1: 3}
    assert {block: snapshot.total().count for block, snapshot in counter.take(2_100_000).items()} == {}
    assert {block: snapshot.total().count for block, snapshot in counter.take().items()} == {2: 2}

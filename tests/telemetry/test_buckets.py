"""Our histogram in the buckets of others."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.histogram import Histogram
from pytest_stormdb.telemetry.buckets import BOUNDS_S, bucketed, exponential

DURATIONS = st.lists(st.integers(0, 3 * 10**12), max_size=300)


def of(durations: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record_many(durations)
    return histogram


def test_bounds_suit_postgresql() -> None:
    """About 25 of them, rising, from 50 us on."""
    assert len(BOUNDS_S) == 26
    assert BOUNDS_S[0] == 50e-6
    assert list(BOUNDS_S) == sorted(BOUNDS_S)


@given(DURATIONS)
def test_buckets_hold_every_duration_at_its_place(durations: list[int]) -> None:
    """A duration counts under the first bound that is not below it, to the 0.1 % of the histogram."""
    counts = bucketed(of(durations))
    assert sum(counts) == len(durations)
    seen = 0
    for bound, count in zip(BOUNDS_S, counts, strict=False):
        seen += count
        assert sum(ns <= bound * 1e9 * 0.999 for ns in durations) <= seen
        assert seen <= sum(ns <= bound * 1e9 * 1.001 for ns in durations)


@given(DURATIONS)
def test_exponential_buckets_hold_every_duration_between_their_ends(durations: list[int]) -> None:
    """No duration is lost, there are at most 160 buckets, and each duration is near one that is not empty."""
    found = exponential(of(durations))
    assert sum(found.counts) + found.zeros == len(durations)
    assert found.zeros == durations.count(0)
    assert len(found.counts) <= 160
    base = 2.0 ** (2.0**-found.scale)
    filled = {found.offset + i for i, count in enumerate(found.counts) if count}
    for ns in durations:
        if ns:
            near = math.log(ns / 1e9, base)
            assert any(index - 0.5 <= near <= index + 1.5 for index in filled)


def test_exponential_buckets_are_fine_where_durations_are_close() -> None:
    """A narrow distribution has buckets of 0.3 %; a wide one has coarser ones."""
    assert exponential(of([1_000_000, 1_010_000])).scale == 8
    assert exponential(of([1_000, 10**12])).scale == 2

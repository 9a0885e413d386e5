"""The counts of intervals take little room, and come back as they went in."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.intervals import Intervals
from pytest_stormdb.measurement.recorder import Snapshot
from pytest_stormdb.measurement.tally import Tally

ADDED = st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 10**9), max_size=5)), max_size=20)


def snapshot_of(durations_ns: list[int]) -> Snapshot:
    tally = Tally(count=len(durations_ns))
    tally.service.record_many(durations_ns)
    return Snapshot({"it": tally})


@given(ADDED)
def test_packed_or_not_the_sums_are_the_same(added: list[tuple[int, list[int]]]) -> None:
    """In whichever order intervals are added to, each holds the sum of what was added to it."""
    intervals, expected = Intervals(), dict[int, Snapshot]()
    for interval, durations in added:
        intervals.add(interval, snapshot_of(durations))
        expected.setdefault(interval, Snapshot()).merge(snapshot_of(durations))
    assert dict(intervals) == expected
    assert len(intervals) == len(expected)
    assert [number for number in range(-1, 9) if number in intervals] == sorted(expected)
    assert intervals.get(99) is None


def test_an_hour_takes_little_room() -> None:
    """Of intervals with thousands of buckets in use, each but the latest takes a few bytes for a bucket."""
    durations = [1_000 + 997 * step for step in range(2_000)]
    buckets = len(set(map(int.bit_length, durations))) and 2_000
    intervals = Intervals()
    intervals.add(0, snapshot_of(durations))
    tracemalloc.start()
    for interval in range(1, 51):
        intervals.add(interval, snapshot_of(durations))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / 50 < 10 * buckets

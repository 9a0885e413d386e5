"""What workers send is added up late, and comes to the same."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.recorder import Snapshot
from pytest_stormdb.measurement.tally import Tally
from pytest_stormdb.workers.collected import Collected
from pytest_stormdb.workers.messages import IntervalCounts

durations = st.lists(st.integers(0, 10**10), max_size=20)
sent = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2), durations), max_size=20)


def snapshot_of(durations_ns: list[int]) -> Snapshot:
    tally = Tally(count=len(durations_ns))
    tally.service.record_many(durations_ns)
    return Snapshot({"it": tally})


@given(sent, st.sampled_from([0, 1000, 1 << 20]), st.sets(st.integers(0, 20)))
def test_when_it_is_added_up_makes_no_difference(
    messages: list[tuple[int, int, list[int]]], limit: int, asked: set[int]
) -> None:
    """However little is kept, and whenever somebody asks: nothing is lost, nothing of the warm-up counts."""
    collected, expected = Collected(by_stage=True, most_kept_bytes=limit), Collected()
    for number, (interval, stage, values) in enumerate(messages):
        collected.add(IntervalCounts(0, interval, stage, pickle.dumps(snapshot_of(values))))
        assert collected.kept_bytes <= limit
        if interval >= 0:
            expected.whole.merge(snapshot_of(values))
            expected.intervals.add(interval, snapshot_of(values))
            expected.stages.setdefault(stage, Snapshot()).merge(snapshot_of(values))
        if number in asked:
            assert collected.so_far() == expected.whole
    assert collected.so_far() == expected.whole
    assert (collected.intervals, collected.stages) == (expected.intervals, expected.stages)

"""What workers send is added up late, and comes to the same."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_stormdb.measurement.recorder import Snapshot, Tally
from pytest_stormdb.workers import collected as outcome_module
from pytest_stormdb.workers.collected import Collected
from pytest_stormdb.workers.messages import IntervalCounts

durations = st.lists(st.integers(0, 10**10), max_size=20)
sent = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2), durations), max_size=20)


def snapshot_of(durations_ns: list[int]) -> Snapshot:
    tally = Tally(count=len(durations_ns))
    tally.service.record_many(durations_ns)
    return Snapshot({"it": tally})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent, st.sampled_from([0, 1000, 1 << 20]), st.sets(st.integers(0, 20)))
def test_when_it_is_added_up_makes_no_difference(
    monkeypatch: pytest.MonkeyPatch, messages: list[tuple[int, int, list[int]]], limit: int, asked: set[int]
) -> None:
    """However little is kept, and whenever somebody asks: nothing is lost, nothing of the warm-up counts."""
    monkeypatch.setattr(outcome_module, "_MOST_KEPT_BYTES", limit)
    outcome, expected = Collected(by_stage=True), Collected()
    for number, (interval, stage, values) in enumerate(messages):
        outcome.add(IntervalCounts(0, interval, stage, pickle.dumps(snapshot_of(values))))
        assert outcome._kept_bytes == sum(len(message.packed) for message in outcome._kept) <= limit
        if interval >= 0:
            expected.whole.merge(snapshot_of(values))
            expected.intervals.setdefault(interval, Snapshot()).merge(snapshot_of(values))
            expected.stages.setdefault(stage, Snapshot()).merge(snapshot_of(values))
        if number in asked:
            assert outcome.so_far() == expected.whole
    assert outcome.so_far() == expected.whole
    assert (outcome.intervals, outcome.stages) == (expected.intervals, expected.stages)

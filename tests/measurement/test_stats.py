"""From samples to statistics: merging loses nothing, batches and parts count as promised, few samples show nothing."""

from __future__ import annotations

import math
import pickle
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.measurement.histogram import Histogram
from pytest_stormdb.measurement.recorder import Recorder, Snapshot
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.measurement.stats import Latency, statistics_of
from pytest_stormdb.measurement.tally import Tally

MS = 1_000_000


class Event(NamedTuple):
    """Something a worker sees; ``worker`` and ``interval`` say who, and when its recorder is emptied."""

    worker: int
    interval: int
    kind: str
    operation: str
    lag_ns: int
    service_ns: int
    number: int


events = st.lists(
    st.builds(
        Event,
        worker=st.integers(0, 3),
        interval=st.integers(0, 3),
        kind=st.sampled_from(["success", "failure", "part", "failed part", "metric"]),
        operation=st.sampled_from("ab"),
        lag_ns=st.integers(0, 10 * MS),
        service_ns=st.integers(0, 10_000 * MS),
        number=st.integers(0, 5),
    ),
    max_size=60,
)


def sample(operation: str, service_ns: int, lag_ns: int = 0) -> Sample:
    return Sample(operation, 5, 5 + lag_ns, 5 + lag_ns + service_ns)


def play(recorder: Recorder, event: Event, *, is_open: bool) -> None:
    one = sample(event.operation, event.service_ns, event.lag_ns)
    part = one._replace(operation=f"part {event.operation}")
    failure = Failure("23505", "duplicate key")
    match event.kind:
        case "success":
            recorder.record(one, is_open=is_open, count=event.number)
        case "failure":
            recorder.record_failure(one, failure, event.number)
        case "part":
            recorder.record_part(part, None)
        case "failed part":
            recorder.record_part(part, failure)
        case "metric":
            recorder.metric("rows", "counter").add(event.number)


def recorded(played: list[Event], *, is_open: bool) -> Snapshot:
    recorder = Recorder()
    for event in played:
        play(recorder, event, is_open=is_open)
    return recorder.take()


@given(events, st.booleans(), st.randoms())
def test_any_split_merges_to_the_same(played: list[Event], is_open: bool, order: object) -> None:
    """However samples are spread over workers and intervals, and in whatever order they come in, the sum is one."""
    whole = recorded(played, is_open=is_open)
    pieces = [
        recorded([e for e in played if (e.worker, e.interval) == (worker, interval)], is_open=is_open)
        for worker in range(4)
        for interval in range(4)
    ]
    order.shuffle(pieces)  # type: ignore[attr-defined]
    merged = Snapshot()
    for piece in pieces:
        merged.merge(pickle.loads(pickle.dumps(piece)))
    assert merged.tallies == whole.tallies
    assert merged.total() == whole.total()
    assert {n: (m.count, m.total, m.low, m.high) for n, m in merged.metrics.items()} == {
        n: (m.count, m.total, m.low, m.high) for n, m in whole.metrics.items()
    }


@given(events)
def test_the_total_is_what_was_recorded(played: list[Event]) -> None:
    """Successes and failures of the whole are the sums over all events; parts are in none of them."""
    total = recorded(played, is_open=True).total()
    assert total.count == sum(e.number for e in played if e.kind == "success")
    assert total.failures == sum(e.number for e in played if e.kind == "failure")
    assert total.service.count == sum(e.kind == "success" for e in played)
    assert total.failed.count == sum(e.kind == "failure" for e in played)
    assert total.service.total_ns == sum(e.service_ns for e in played if e.kind == "success")


def test_a_recorder_is_empty_after_it_was_taken() -> None:
    """What was taken once is not taken again, and the buffers stay in use."""
    recorder = Recorder()
    buffers = recorder.buffers("read")
    buffers.service.append(3 * MS)
    recorder.reconnects = 2
    first, second = recorder.take(), recorder.take()
    assert (first.tallies["read"].count, first.reconnects) == (1, 2)
    assert (second.tallies, second.metrics, second.reconnects) == ({}, {}, 0)
    buffers.service.append(4 * MS)
    assert recorder.take().tallies["read"].service.max_ns == 4 * MS


def test_a_batch_counts_its_operations_and_times_its_call() -> None:
    """A call that stands for twenty operations is one duration and twenty operations."""
    recorder = Recorder()
    recorder.record(sample("batch", 40 * MS), is_open=False, count=20)
    recorder.record(sample("batch", 60 * MS), is_open=False, count=0)
    tally = recorder.take().tallies["batch"]
    assert (tally.count, tally.service.count, tally.service.total_ns) == (20, 2, 100 * MS)


def test_a_part_has_figures_of_its_own_and_none_in_the_total() -> None:
    """A part lies within an iteration, so it is not counted twice."""
    recorder = Recorder()
    recorder.record(sample("whole", 10 * MS), is_open=False)
    recorder.record_part(sample("part", 4 * MS), None)
    recorder.record_part(sample("part", 5 * MS), Failure("X", "x"))
    snapshot = recorder.take()
    assert snapshot.total() == snapshot.tallies["whole"]
    assert (snapshot.tallies["part"].count, snapshot.tallies["part"].failures) == (1, 1)
    assert snapshot.tallies["part"].is_part


def test_a_part_cannot_bear_the_name_of_an_operation() -> None:
    """Else the operation would vanish from the total; either way round it is refused, with the name."""
    recorder = Recorder()
    recorder.buffers("order")
    with pytest.raises(WorkloadError, match="'order' is the name of an operation already"):
        recorder.record_part(sample("order", MS), None)
    with pytest.raises(WorkloadError, match="'order' is the name of an operation already"):
        recorder.record_part(sample("order", MS), Failure("X", "x"))
    recorder.record_part(sample("pay", MS), None)
    with pytest.raises(WorkloadError, match="'pay' is the name of a part already"):
        recorder.buffers("pay")


def test_failures_keep_their_own_latency_and_first_example() -> None:
    """Errors are counted by code; the first example of each stays; successes are untouched."""
    tally = Tally()
    for code, example in (("40P01", "first"), ("40P01", "second"), ("57014", "third")):
        tally.fail(Failure(code, example))
    assert tally.errors == {"40P01": (2, "first"), "57014": (1, "third")}
    recorder = Recorder()
    recorder.record_failure(sample("op", 900 * MS), Failure("X", "x"))
    recorder.record(sample("op", MS), is_open=False)
    figures = statistics_of(recorder.take(), {}, elapsed_s=2, interval_s=1, is_open=False).operations["op"]
    assert (figures.response.max, figures.tally.failed.max_ns) == (0.001, 900 * MS)
    assert (figures.error_ratio, figures.throughput_per_s) == (0.5, 0.5)


def test_metrics_count_gauge_and_observe() -> None:
    """A counter's value is its sum, a gauge's its last, an observation's its mean; a kind does not change."""
    recorder = Recorder()
    for name, kind in (("a", "counter"), ("b", "gauge"), ("c", "observation")):
        for value in (2.0, 4.0):
            recorder.metric(name, kind).add(value)
    with pytest.raises(WorkloadError, match="metric 'a' is a counter, not a gauge"):
        recorder.metric("a", "gauge")
    metrics = recorder.take().metrics
    assert {name: metric.value for name, metric in metrics.items()} == {"a": 6, "b": 4, "c": 3}


def latency(count: int) -> Latency:
    histogram = Histogram()
    histogram.record_many([k * MS for k in range(1, count + 1)])
    return Latency(histogram)


@pytest.mark.parametrize(
    ("percent", "count", "shown"),
    [
        *[(50, 1, True), (95, 1, True), (98.9, 1, True), (50, 0, False)],
        *[(99, 99, False), (99, 100, True), (99.5, 999, True)],
        *[(99.9, 999, False), (99.9, 1000, True), (99.99, 999, False)],
        *[(100, 1, True), (100, 0, False)],
    ],
)
def test_a_percentile_needs_its_samples(percent: float, count: int, shown: bool) -> None:
    """The p99 is shown from 100 samples, the p99.9 from 1,000; minimum, median and maximum from one."""
    assert (latency(count).shown(percent) is not None) is shown


def test_latency_in_seconds() -> None:
    """A hundred durations of 1 to 100 ms have these figures, and an empty one has none."""
    hundred = latency(100)
    assert (hundred.min, hundred.max, hundred.mean, hundred.count) == (0.001, 0.1, 0.0505, 100)
    assert hundred.p50 == pytest.approx(0.05, rel=0.001)
    assert hundred.p99 == pytest.approx(0.099, rel=0.001)
    assert hundred.stddev == pytest.approx(0.028866, rel=0.001)
    empty = latency(0)
    assert all(math.isnan(v) for v in (empty.min, empty.mean, empty.p50, empty.max, empty.stddev))
    with pytest.raises(ValueError, match="a percentile lies between 0 and 100, not at 101"):
        hundred.percentile(101)


def test_response_and_lag_of_both_loops() -> None:
    """In an open loop the wait before the start counts; in a closed one response is service and lag is zero."""
    recorder = Recorder()
    recorder.record(sample("op", 10 * MS, lag_ns=5 * MS), is_open=True)
    recorder.record_part(sample("part", 3 * MS), None)
    snapshot = recorder.take()
    opened = statistics_of(snapshot, {}, elapsed_s=1, interval_s=1, is_open=True).operations
    assert (opened["op"].response.max, opened["op"].service.max, opened["op"].lag.max) == (0.015, 0.01, 0.005)
    assert (opened["part"].response.max, opened["part"].lag.max) == (0.003, 0)
    closed = statistics_of(snapshot, {}, elapsed_s=1, interval_s=1, is_open=False).operations
    assert (closed["op"].response.max, closed["op"].lag.max, closed["op"].lag.count) == (0.01, 0, 1)


def test_rates_divide_by_elapsed_time() -> None:
    """A run that had no time had no throughput, and one without operations no error ratio."""
    recorder = Recorder()
    recorder.record(sample("op", MS), is_open=False)
    snapshot = recorder.take()
    assert statistics_of(snapshot, {}, elapsed_s=4, interval_s=1, is_open=False).total.throughput_per_s == 0.25
    assert statistics_of(snapshot, {}, elapsed_s=0, interval_s=1, is_open=False).total.throughput_per_s == 0
    nothing = statistics_of(Snapshot(), {}, elapsed_s=1, interval_s=1, is_open=False)
    assert math.isnan(nothing.total.error_ratio)
    assert (nothing.total.count, nothing.operations, nothing.timeline) == (0, {}, ())


def test_a_stalled_second_shows_in_the_timeline() -> None:
    """A second in which nothing happened is an interval with nothing in it, not a gap."""
    intervals = {index: recorded([Event(0, 0, "success", "a", 0, MS, 3)], is_open=False) for index in (0, 3)}
    timeline = statistics_of(Snapshot(), intervals, elapsed_s=4, interval_s=1, is_open=False).timeline
    assert [(each.at_s, each.operations, each.p50_s) for each in timeline] == [
        (0, 3, MS / 1e9),
        (1, 0, None),
        (2, 0, None),
        (3, 3, MS / 1e9),
    ]


@pytest.mark.parametrize(
    ("elapsed_s", "seconds"),
    [(2.03, [(0.0, 10), (1.0, 11)]), (2.06, [(0.0, 10), (1.0, 10), (2.0, 1)]), (0.03, [(0.0, 1)])],
    ids=["some milliseconds", "half an interval", "a short run"],
)
def test_what_ends_late_is_no_second_of_its_own(elapsed_s: float, seconds: list[tuple[float, int]]) -> None:
    """What pgbench begins some milliseconds after the end belongs to the last second: it would show as a slump."""
    intervals = {
        index: recorded([Event(0, 0, "success", "a", 0, MS, 1)], is_open=False)
        for index in range(int(elapsed_s * 10) + 1)
    }
    timeline = statistics_of(Snapshot(), intervals, elapsed_s=elapsed_s, interval_s=0.1, is_open=False).timeline
    assert [(each.at_s, each.operations) for each in timeline] == seconds

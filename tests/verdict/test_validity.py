"""Whether the generator was fit to measure: what it says of loads whose truth is known."""

from __future__ import annotations

import gc
import re
from typing import Any

import pytest

from pytest_stormdb.load.plan import LoadPlan, make_plan
from pytest_stormdb.measurement.machine import MachineTime, cpus
from pytest_stormdb.measurement.recorder import Recorder
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.measurement.stats import RunStatistics, statistics_of
from pytest_stormdb.measurement.usage import GroupUsage
from pytest_stormdb.record import RunRecord
from pytest_stormdb.verdict.threshold import Threshold
from pytest_stormdb.verdict.validity import assess_generator

from ..workers.harness import load

LAYOUTS: dict[str, dict[str, Any]] = {
    "processes": {"workers": 2 * cpus()},
    "threads": {"workers": 2 * cpus(), "processes": cpus()},
}
MS = 1_000_000


def empty(worker: Any) -> None:
    """Nothing."""


def sleep(worker: Any) -> None:
    """Ten milliseconds on the server."""
    worker.conn.execute("SELECT pg_sleep(0.01)")


def burn(worker: Any) -> None:
    """Some hundred microseconds of a CPU."""
    for _ in range(20_000):
        pass


async def sleep_async(worker: Any) -> None:
    """Ten milliseconds on the server."""
    await worker.conn.execute("SELECT pg_sleep(0.01)")


async def burn_async(worker: Any) -> None:
    """Some hundred microseconds of a CPU."""
    burn(worker)


def own_reasons(record: RunRecord) -> list[str]:
    """What spoils a run, but for other machines on the same hardware."""
    return [reason for reason in record.validity.reasons if not reason.startswith("other machines")]


@pytest.mark.parametrize("function", [empty, sleep, sleep_async], ids=lambda function: str(function.__name__))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_load_that_waits_for_the_server_is_valid(dsn: str, function: Any, layout: str) -> None:
    """An empty function, and one that sleeps on the server, spoil nothing, in any layout."""
    record = load(function, dsn, duration="1s", **LAYOUTS[layout])
    assert own_reasons(record) == []


@pytest.mark.parametrize("function", [burn, burn_async], ids=lambda function: str(function.__name__))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_load_that_burns_every_cpu_is_invalid(dsn: str, function: Any, layout: str) -> None:
    """A function that computes in all workers makes a missed threshold invalid, not failed, and a kept one pass."""
    thresholds = [Threshold.parse("p50 < 1us"), Threshold.parse("p50 < 1h")]
    record = load(function, dsn, thresholds=thresholds, duration="1s", **LAYOUTS[layout])
    assert own_reasons(record) != []
    assert [verdict.ruling for verdict in record.verdicts] == ["invalid", "pass"]
    assert record.outcome == "invalid"


def test_the_clients_own_time_is_judged_where_it_is_meant(dsn: str) -> None:
    """With ``judge="client"`` a missed threshold of a function that computes fails; the finding stands, other machines'
    share still spoils."""
    thresholds = [Threshold.parse("p50 < 1us"), Threshold.parse("p50 < 1h")]
    record = load(burn, dsn, thresholds=thresholds, duration="1s", judge="client", workers=2 * cpus())
    assert own_reasons(record) == []
    assert [finding for finding in record.validity.findings if "took the measured time" in finding] != []
    missed = "fail" if record.validity.valid else "invalid"  # where other machines took time from this one
    assert [verdict.ruling for verdict in record.verdicts] == [missed, "pass"]
    plan = make_plan(("test", {"judge": "client"}))
    usage = GroupUsage(wall_ns=1000 * MS, stalled_ns=500 * MS, stall_max_ns=100 * MS)
    validity = assess_generator(plan, statistics(calls=10, service_ns=MS), [usage], stolen=0.5, dropped=0)
    assert [reason.split()[0] for reason in validity.findings] == ["a", "other"]
    assert validity.reasons == ("other machines took 50.0% of this machine's time",)


def test_a_long_collection_is_visible(dsn: str) -> None:
    """A garbage collection of more than a millisecond inside a worker is a finding, and spoils nothing."""

    def litter(worker: Any, heap: list[object]) -> None:
        if not heap:
            heap.extend([[] for _ in range(300_000)])
        gc.collect()

    record = load(litter, dsn, arguments={"heap": []}, workers=1, iterations=5)
    assert any("a garbage collection in a worker took" in finding for finding in record.validity.findings)
    assert not any("collection" in reason for reason in record.validity.reasons)


def test_the_heap_is_frozen_before_the_fork_and_thawed_after(dsn: str) -> None:
    """Workers do not collect what existed before them; afterwards everything can be collected again."""

    def frozen(worker: Any) -> None:
        assert gc.get_freeze_count() > 1000

    before = gc.get_freeze_count()
    assert load(frozen, dsn, workers=2, iterations=2).statistics.total.failures == 0
    assert gc.get_freeze_count() == before


def statistics(*, calls: int, service_ns: int, elapsed_s: float = 1.0) -> RunStatistics:
    """The figures of so many calls of that length."""
    recorder = Recorder()
    for _ in range(calls):
        recorder.record(Sample("it", 0, 0, service_ns), is_open=False)
    return statistics_of(recorder.take(), {}, elapsed_s=elapsed_s, interval_s=1, is_open=False)


def reasons_of(
    plan: LoadPlan, figures: RunStatistics, vitals: GroupUsage, stolen: float = 0.0, taken: float = 0.0
) -> tuple[str, ...]:
    return assess_generator(plan, figures, [vitals], stolen=stolen, dropped=0, taken=taken).reasons


CLOSED = make_plan(("", {}))


def test_the_warm_up_does_not_count_as_own_work() -> None:
    """A worker that used its CPU for half of each call did so in a warm-up of the same length, too."""
    figures = statistics(calls=1000, service_ns=1 * MS)
    same = GroupUsage(cpu_ns=500 * MS, wall_ns=1000 * MS, yields=400)
    assert reasons_of(CLOSED, figures, same) == ()
    warmed = GroupUsage(cpu_ns=1000 * MS, wall_ns=2000 * MS, yields=800)
    assert reasons_of(CLOSED, figures, warmed) == ()


def test_a_process_that_is_always_busy_holds_up_its_workers() -> None:
    """Four workers in one process that never rests wait for each other; one worker alone does not."""
    figures = statistics(calls=4000, service_ns=1 * MS)
    shared = GroupUsage(workers=4, cpu_ns=600 * MS, wait_ns=350 * MS, wall_ns=1000 * MS, yields=4000)
    assert "4 workers waited for each other" in reasons_of(CLOSED, figures, shared)[0]
    rested = GroupUsage(workers=4, cpu_ns=400 * MS, wait_ns=100 * MS, wall_ns=1000 * MS, yields=4000)
    assert reasons_of(CLOSED, figures, rested) == ()


def test_waiting_for_a_processor_that_others_have_is_no_being_busy() -> None:
    """Four workers that hardly compute wait for a CPU most of the time, beside others; alone, it would be their own."""
    figures = statistics(calls=4000, service_ns=1 * MS)
    waiting = GroupUsage(workers=4, cpu_ns=200 * MS, wait_ns=900 * MS, wall_ns=1000 * MS, yields=4000)
    assert reasons_of(CLOSED, figures, waiting) != ()
    assert reasons_of(CLOSED, figures, waiting, taken=0.3) == ()


def test_stolen_time_spoils_a_run() -> None:
    """A tenth of the machine gone to others is a reason; a twentieth is not."""
    figures, vitals = statistics(calls=10, service_ns=MS), GroupUsage(wall_ns=1000 * MS)
    assert reasons_of(CLOSED, figures, vitals, stolen=0.05) == ()
    assert reasons_of(CLOSED, figures, vitals, stolen=0.2) == ("other machines took 20.0% of this machine's time",)
    assert MachineTime(1000, 150).stolen_since(MachineTime(500, 50)) == 0.2
    assert MachineTime().stolen_since(MachineTime()) == 0


def test_late_wakes_of_idle_workers_spoil_an_open_loop() -> None:
    """Idle workers that wake 20 ms after their arrivals are a reason, those that wake after 1 ms are none."""
    plan, figures = make_plan(("", {"rate": "10/s"})), statistics(calls=10, service_ns=MS)
    for late_ns, is_late in ((1 * MS, False), (20 * MS, True)):
        vitals = GroupUsage(wall_ns=1000 * MS)
        vitals.wake_lag.record(late_ns, 100)
        assert bool(reasons_of(plan, figures, vitals)) is is_late


@pytest.mark.parametrize(("pause_ns", "is_shown"), [(10_000, False), (500_000, True)])
def test_a_closed_loop_that_starts_late_says_so(pause_ns: int, is_shown: bool) -> None:
    """A mean pause of half a millisecond between calls of one is a finding; ten microseconds are not."""
    figures = statistics(calls=100, service_ns=1 * MS)
    vitals = GroupUsage(wall_ns=1000 * MS, calls=100, pause_ns=100 * pause_ns)
    findings = assess_generator(CLOSED, figures, [vitals], stolen=0, dropped=0).findings
    assert [finding.startswith("workers started 500 us (mean)") for finding in findings] == [True] * is_shown


def test_pauses_leave_out_thinking_and_calling(dsn: str) -> None:
    """Think time, failures and service are not held against the generator: only what a busy machine took of it."""

    def fails_half(worker: Any) -> None:
        worker.conn.execute("SELECT pg_sleep(0.005)")
        assert worker.iteration % 2

    record = load(fails_half, dsn, workers=2, iterations=6, think_time="200ms")
    told = [re.match(r"workers started ([\d.]+) (us|ms|s) \(mean\)", finding) for finding in record.validity.findings]
    pauses_ms = [float(each[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[each[2]] for each in told if each]
    assert all(pause_ms < 100 for pause_ms in pauses_ms)
    assert record.statistics.total.failures == 6


def test_failures_have_their_own_time() -> None:
    """A recorder keeps the time of failures apart, where the check of own work finds it."""
    recorder = Recorder()
    recorder.record_failure(Sample("it", 0, 0, 5 * MS), Failure("X", "x"))
    tally = recorder.take().tallies["it"]
    assert (tally.failed.total_ns, tally.service.total_ns) == (5 * MS, 0)


def test_a_pgbench_that_waited_for_us_is_invalid() -> None:
    """Where its log was not read in time, slow numbers are our doing."""
    recorder = Recorder()
    recorder.record(Sample("it", 0, 0, MS), is_open=False)
    statistics = statistics_of(recorder.take(), {}, elapsed_s=1.0, interval_s=1.0, is_open=False)
    plan = make_plan(("test", {}))
    groups = [GroupUsage(), GroupUsage(held_up=True)]
    reasons = assess_generator(plan, statistics, groups, stolen=0.0, dropped=0).reasons
    assert reasons == ("pgbench waited for its log to be read",)
    assert assess_generator(plan, statistics, groups[:1], stolen=0.0, dropped=0).valid


@pytest.mark.parametrize(("cursor_ns", "named"), [(20_000.0, False), (40_000.0, True)])
def test_cursors_that_are_a_good_part_of_an_iteration(cursor_ns: float, named: bool) -> None:
    """From a third of the mean iteration on, what cursors cost is told, with the remedy; it spoils nothing."""
    recorder = Recorder()
    for _ in range(100):
        recorder.record(Sample("it", 0, 0, 100_000), is_open=False)
    statistics = statistics_of(recorder.take(), {}, elapsed_s=1.0, interval_s=1.0, is_open=False)
    found = assess_generator(
        make_plan(("test", {})), statistics, [GroupUsage(cursor_ns=cursor_ns), GroupUsage()], stolen=0.0, dropped=0
    )
    told = "psycopg's cursors took 40.0 us of CPU time per iteration, 40.0% of the median: worker.prepare spares that"
    assert list(found.findings) == ([told] if named else [])
    assert not found.reasons


@pytest.mark.parametrize(("untimed", "is_told"), [(0, False), (10, False), (11, True), (100, True)])
def test_transactions_that_pgbench_gave_no_time(untimed: int, is_told: bool) -> None:
    """More than a tenth of them are told; they spoil nothing, since the throughput is right."""
    recorder = Recorder()
    for number in range(100):
        recorder.record(Sample("it", 0, 0, 0 if number < untimed else 30_000), is_open=False)
    statistics = statistics_of(recorder.take(), {}, elapsed_s=1.0, interval_s=1.0, is_open=False)
    found = assess_generator(make_plan(), statistics, [GroupUsage()], stolen=0.0, dropped=0)
    assert found.valid
    assert [finding.startswith(f"pgbench gave {untimed}") for finding in found.findings] == [True] * is_told

"""Run records made by hand, for the tests of what reads them."""

from __future__ import annotations

from typing import Any

from pytest_stormdb.database.activity import Event, Observation, ServerActivity, WorkersAccount, account_for
from pytest_stormdb.database.health import HealthResult
from pytest_stormdb.database.server import ServerFacts
from pytest_stormdb.database.statements import Statement, Statements
from pytest_stormdb.database.tables import Table
from pytest_stormdb.database.tuning import ChangedSetting
from pytest_stormdb.database.waits import Blocker
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.attribution import Span, WaitSample
from pytest_stormdb.measurement.counters import Counters
from pytest_stormdb.measurement.recorder import Recorder, Snapshot
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.measurement.stats import RunStatistics, statistics_of
from pytest_stormdb.record import RunRecord, StageResult
from pytest_stormdb.verdict.judgement import Evidence, judge
from pytest_stormdb.verdict.threshold import Threshold
from pytest_stormdb.verdict.validity import Validity

MS = 1_000_000
SERVER = ServerFacts("18.4", True, {"fsync": "on", "shared_buffers": "128MB"})
ELSEWHERE = ServerFacts("16.2", False, {"fsync": "off"})


def snapshot(*, read: int = 0, write: int = 0, failures: int = 0, part: int = 0) -> Snapshot:
    """Reads of 1, 2, 3 ... ms, writes of 10 ms, failed writes, and parts of 500 us."""
    recorder = Recorder()
    for k in range(1, read + 1):
        recorder.record(Sample("read", 0, 0, k * MS), is_open=False)
    for _ in range(write):
        recorder.record(Sample("write", 0, 0, 10 * MS), is_open=False)
    for _ in range(failures):
        recorder.record_failure(Sample("write", 0, 0, MS), Failure("40001", "could not serialize\nDETAIL: more"))
    for _ in range(part):
        recorder.record_part(Sample("commit", 0, 0, MS // 2), None)
    return recorder.take()


def statistics(whole: Snapshot, elapsed_s: float = 2.0) -> RunStatistics:
    return statistics_of(whole, {0: whole}, elapsed_s=elapsed_s, interval_s=1.0, is_open=False)


def plain_record(**changes: Any) -> RunRecord:
    """Two hundred reads by four workers, which passed."""
    given: dict[str, Any] = {
        "nodeid": "test_shop.py::test_read",
        "workload": "shop",
        "plan": make_plan(("test", {"workers": 4, "duration": "2s"})),
        "layout": (1, 1, 1, 1),
        "forked": True,
        "outcome": "passed",
        "statistics": statistics(snapshot(read=200)),
        "server": SERVER,
    }
    return RunRecord(**given | changes)


def server_activity() -> ServerActivity:
    """Of 250 operations that took 20 s: 40 looks, 30 of them at a lock, which was held by another client."""
    before = {"commits": 0, "rollbacks": 0, "deadlocks": 0, "temp_files": 0, "temp_bytes": 0, "blocks_read": 0}
    after = before | {"commits": 260, "deadlocks": 1, "blocks_hit": 870, "blocks_read": 5}
    rows = {"rows_returned": 500, "rows_inserted": 0, "rows_updated": 50, "rows_deleted": 0}
    groups = {"database": after | rows, "wal": {"bytes": 5000}, "checkpoints": {"timed": 1, "requested": 0}}
    spans = {0: [Span(10 * n, 10 * n, 10 * n + 9) for n in range(40)]}
    query = Statement("UPDATE stock SET n = n - $1", 50, 800.0, 0.0, 50, 200, 0, 0, 4000)
    seen = Observation(
        growth=Counters(groups),
        samples=[WaitSample(10 * n + 5, 0, "CPU*" if n % 4 == 3 else "Lock:tuple") for n in range(40)],
        blockers=[(Blocker("VACUUM stock", "active", False, "UPDATE stock"), 3)],
        statements=Statements({(1, True, 10): query}),
        tables=(Table("public.stock", 8192, 16384, 100, 50, 1, 0, 0, 250, 0, 50, 40, 0, None, None),),
        settings=(ChangedSetting("work_mem", "64MB", "4096 x kB", "configuration file"),),
        events=(Event(0.7, "autovacuum", "of public.stock"),),
        connections=(6, 100),
        notes=("tables: permission denied",),
    )
    return account_for(seen, WorkersAccount(spans=spans), operations=250, response_s=20.0, slow_from_s=1.0)


def rich_record() -> RunRecord:
    """A record with something of everything: two operations, a part, failures, stages, verdicts, health."""
    whole = snapshot(read=200, write=50, failures=3, part=50)
    recorder = Recorder()
    recorder.metric("hits", "counter").add(42)
    whole.merge(recorder.take())
    whole.reconnects = 1
    whole.tallies["write"].retries = 4
    figures = statistics(whole)
    plan = make_plan(("test", {"stages": "2:1s,2->4:1s", "warmup": "500ms", "seed": 7}))
    validity = Validity(("a garbage collection in a worker took 2.00 ms",))
    thresholds = [Threshold.parse("p95 < 1s"), Threshold.parse("p50 < 1ms", operation="read")]
    return plain_record(
        nodeid="test_shop.py::test_mix",
        plan=plan,
        layout=(2, 2),
        outcome="failed",
        statistics=figures,
        version="1.2.0",
        integrity="verified",
        stages=(
            StageResult(plan.stages[0], statistics(snapshot(read=100), 1.0)),
            StageResult(plan.stages[1], statistics(snapshot(read=100, write=50, failures=3), 1.0)),
        ),
        verdicts=tuple(judge(thresholds, Evidence(figures, 2, validity))),
        validity=validity,
        health=(
            HealthResult("connect", "before", True, "fine"),
            HealthResult("stock", "during", False, "3 products below zero", 0.25, 1.5),
        ),
        dropped=2,
        lost=("worker 3 was killed by SIGKILL",),
        reasons=("p50 < 1ms [read]: measured 100 ms", "3 of 253 iterations failed: 3 x 40001"),
    )

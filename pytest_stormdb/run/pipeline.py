"""The whole pipeline on one page: workload, plan and target in; run record out."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence

from ..database.connect import with_parameters
from ..database.health import HealthCheck, HealthResult, Monitor, run_checks
from ..database.server import (
    admin_connection,
    describe,
    end_sessions,
)
from ..errors import ServerError
from ..load.plan import LoadPlan
from ..measurement.machine import MachineTime
from ..measurement.recorder import Snapshot, SoFar, Tick
from ..measurement.stats import RunStatistics, statistics_of
from ..record import (
    RunRecord,
    ServerFacts,
    StageResult,
)
from ..telemetry.exporters import Exporters
from ..telemetry.logs import context
from ..verdict.abort import Abort
from ..verdict.threshold import (
    Evidence,
    Threshold,
    judge,
)
from ..verdict.validity import assess_generator
from ..workers.arrivals import make_arrivals
from ..workers.collected import Collected
from ..workers.deadline import Deadline
from ..workers.group import (
    Job,
)
from ..workers.layout import CAN_FORK, layout
from ..workers.supervisor import Alongside, Supervisor
from ..workers.turns import INTERVAL_NS
from ..workload.contract import Workload
from .conclusion import conclude, explanation, interruption, log_conclusion
from .preconditions import preflight

_log = logging.getLogger("stormdb")

NO_EXPORTERS = Exporters([], 3600.0)

Health = tuple[Sequence[HealthCheck], Sequence[HealthResult]]
"""The checks of a run, and what they said before it."""


def run(
    workload: Workload,
    plan: LoadPlan,
    dsn: str,
    *,
    embedded: bool,
    thresholds: Sequence[Threshold] = (),
    health: Health = ((), ()),
    exporters: Exporters = NO_EXPORTERS,
) -> RunRecord:
    """Run a workload against the server at ``dsn`` and say what happened. Raises ServerError before it starts."""
    name = f"stormdb {secrets.token_hex(4)}"
    with admin_connection(dsn) as admin:
        preflight(admin, plan)
        server = describe(admin, embedded=embedded)
    before = MachineTime.now()
    checks, checked = health
    monitor, abort = Monitor(checks, dsn), Abort(plan, thresholds)
    _log.info("run started", extra=context(workload.name))
    alongside = _alongside(monitor, abort, lambda: exporters.during(workload, plan))
    collected = _work(workload, plan, with_parameters(dsn, application_name=name), name, alongside)
    stolen = MachineTime.now().stolen_since(before)
    _clear_away(dsn, name, collected)
    after = run_checks([check for check in checks if not check.advisory], dsn, "after")
    facts = ServerFacts(server.version, embedded, server.settings)
    return _record(
        workload, plan, facts, collected, thresholds, (*checked, *monitor.results, *after), stolen, abort.reason
    )


def _alongside(
    monitor: Monitor, abort: Abort, export: Callable[[], contextlib.AbstractContextManager[Tick]]
) -> Alongside:
    """Health checks, thresholds that may end the run, and exporters, from its start to its end."""

    @contextlib.contextmanager
    def alongside(stop: Callable[[], None]) -> Iterator[Tick]:
        with monitor.during(stop), export() as tell, abort.during(stop) as judge_so_far:

            def tick(so_far: SoFar) -> None:
                tell(so_far)
                judge_so_far(so_far)

            yield tick

    return alongside


def _record(
    workload: Workload,
    plan: LoadPlan,
    server: ServerFacts,
    collected: Collected,
    thresholds: Sequence[Threshold],
    health: Sequence[HealthResult],
    stolen: float,
    aborted: str | None,
) -> RunRecord:
    """Everything the run was and showed, derived and judged."""
    statistics = _statistics(collected.whole, collected.intervals, collected.elapsed_ns, plan)
    validity = assess_generator(plan, statistics, collected.vitals, stolen=stolen, dropped=collected.dropped)
    verdicts = judge(thresholds, Evidence(statistics, collected.dropped, validity))
    result, reasons = conclude(collected, statistics, verdicts, thresholds, health, aborted)
    log_conclusion(workload, result, verdicts, health)
    return RunRecord(
        nodeid=workload.nodeid,
        workload=workload.name,
        version=workload.version,
        integrity=workload.integrity,
        plan=plan,
        layout=tuple(len(ids) for ids in layout(plan, is_async=workload.is_async)),
        forked=CAN_FORK,
        outcome=result,
        statistics=statistics,
        server=server,
        stages=tuple(_stages(collected, plan)),
        verdicts=tuple(verdicts),
        validity=validity,
        health=tuple(health),
        dropped=collected.dropped,
        lost=tuple(str(lost) for lost in collected.lost),
        reasons=tuple(reasons),
        explanation=explanation(collected),
        stopped_by=collected.signal,
        skipped=interruption(collected, "skip"),
        exit_reason=interruption(collected, "exit"),
    )


def _work(workload: Workload, plan: LoadPlan, dsn: str, name: str, alongside: Alongside) -> Collected:
    board = Deadline()
    arrivals = make_arrivals(plan) if plan.is_open else None
    try:
        return Supervisor(Job(workload, plan, dsn, name, board, arrivals), alongside).run()
    finally:
        if arrivals is not None:
            arrivals.close()
        board.close()


def _clear_away(dsn: str, name: str, collected: Collected) -> None:
    """A worker that died in the middle of a statement leaves its session running on the server."""
    if not collected.lost:
        return
    with contextlib.suppress(ServerError), admin_connection(dsn) as admin:
        end_sessions(admin, name)


def _statistics(whole: Snapshot, intervals: dict[int, Snapshot], elapsed_ns: int, plan: LoadPlan) -> RunStatistics:
    return statistics_of(
        whole, intervals, elapsed_s=elapsed_ns / 1e9, interval_s=INTERVAL_NS / 1e9, is_open=plan.is_open
    )


def _stages(collected: Collected, plan: LoadPlan) -> list[StageResult]:
    left_ns = collected.elapsed_ns
    results = []
    for index, stage in enumerate(plan.stages):
        is_last = index == len(plan.stages) - 1
        elapsed_ns = left_ns if is_last else min(stage.duration_ns, left_ns)
        left_ns -= elapsed_ns
        results.append(StageResult(stage, _statistics(collected.stages.get(index, Snapshot()), {}, elapsed_ns, plan)))
    return results

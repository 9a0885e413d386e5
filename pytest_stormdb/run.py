"""The whole pipeline on one page: workload, plan and target in; run record out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence

from .abort import Abort
from .database.connect import with_parameters
from .database.health import HealthCheck, HealthResult, Monitor
from .database.health import examine as examine_health
from .database.server import Admin, admin_connection, check_free_slots, describe, end_sessions
from .errors import ServerError
from .exporters import Exporters
from .logs import context
from .plan import LoadPlan
from .record import RunOutcome, RunRecord, ServerFacts, StageResult
from .recorder import Snapshot, SoFar, Tick
from .stats import RunStatistics, statistics_of
from .validity import MachineTime, examine
from .verdict import Evidence, Threshold, Verdict, judge
from .workers.agenda import INTERVAL_NS
from .workers.arrivals import make_arrivals
from .workers.board import Board
from .workers.crew import Alongside, Crew
from .workers.host import Job, Seat, at_once, make_seat
from .workers.layout import CAN_FORK, layout
from .workers.outcome import Outcome
from .workload import Workload

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
    outcome = _work(workload, plan, with_parameters(dsn, application_name=name), name, alongside)
    stolen = MachineTime.now().stolen_since(before)
    _clear_away(dsn, name, outcome)
    after = examine_health([check for check in checks if not check.advisory], dsn, "after")
    facts = ServerFacts(server.version, embedded, server.settings)
    return _record(
        workload, plan, facts, outcome, thresholds, (*checked, *monitor.results, *after), stolen, abort.reason
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
    outcome: Outcome,
    thresholds: Sequence[Threshold],
    health: Sequence[HealthResult],
    stolen: float,
    aborted: str | None,
) -> RunRecord:
    """Everything the run was and showed, derived and judged."""
    statistics = _statistics(outcome.whole, outcome.intervals, outcome.elapsed_ns, plan)
    validity = examine(plan, statistics, outcome.vitals, stolen=stolen, dropped=outcome.dropped)
    verdicts = judge(thresholds, Evidence(statistics, outcome.dropped, validity))
    result, reasons = conclude(outcome, statistics, verdicts, thresholds, health, aborted)
    _log_conclusion(workload, result, verdicts, health)
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
        stages=tuple(_stages(outcome, plan)),
        verdicts=tuple(verdicts),
        validity=validity,
        health=tuple(health),
        dropped=outcome.dropped,
        lost=tuple(str(lost) for lost in outcome.lost),
        reasons=tuple(reasons),
        explanation=_explanation(outcome),
        stopped_by=outcome.signal,
        skipped=_interruption(outcome, "skip"),
        exit_reason=_interruption(outcome, "exit"),
    )


def preflight(admin: Admin, plan: LoadPlan) -> None:
    """What must hold on the server before any worker starts. Raises ServerError."""
    if plan.connect:
        check_free_slots(admin, plan.workers)


def run_once(workload: Workload, plan: LoadPlan, dsn: str) -> None:
    """Run each operation of a workload once, in this process, as a plain test; what it raises comes through."""
    seat = make_seat(Job(workload, plan, dsn, "stormdb smoke", Board(), None), 0, lambda message: None)
    if workload.is_async:
        asyncio.run(_once_async(workload, seat))
        return
    try:
        seat.line.open()
        values = at_once(seat.resources.fill(workload.arguments))
        for call in workload.bind(values):
            seat.worker.iteration += 1
            call()
    finally:
        at_once(seat.resources.close())
        seat.line.close()


async def _once_async(workload: Workload, seat: Seat) -> None:
    try:
        await seat.line.open_async()
        values = await seat.resources.fill(workload.arguments)
        for call in workload.bind(values):
            seat.worker.iteration += 1
            await call()
    finally:
        await seat.resources.close()
        await seat.line.close_async()


def checked_before(checks: Sequence[HealthCheck], dsn: str) -> list[HealthResult]:
    """The health checks before a run. Raises ServerError naming those that fail."""
    results = examine_health(checks, dsn, "before")
    failed = [f"health check {result.check}: {result.detail}" for result in results if _is_failure(result)]
    if failed:
        raise ServerError("\n".join(failed))
    return results


def _is_failure(result: HealthResult) -> bool:
    return not result.ok and not result.advisory


def _work(workload: Workload, plan: LoadPlan, dsn: str, name: str, alongside: Alongside) -> Outcome:
    board = Board()
    arrivals = make_arrivals(plan) if plan.is_open else None
    try:
        return Crew(Job(workload, plan, dsn, name, board, arrivals), alongside).run()
    finally:
        if arrivals is not None:
            arrivals.close()
        board.close()


def _clear_away(dsn: str, name: str, outcome: Outcome) -> None:
    """A worker that died in the middle of a statement leaves its session running on the server."""
    if not outcome.lost:
        return
    with contextlib.suppress(ServerError), admin_connection(dsn) as admin:
        end_sessions(admin, name)


def _statistics(whole: Snapshot, intervals: dict[int, Snapshot], elapsed_ns: int, plan: LoadPlan) -> RunStatistics:
    return statistics_of(
        whole, intervals, elapsed_s=elapsed_ns / 1e9, interval_s=INTERVAL_NS / 1e9, is_open=plan.is_open
    )


def _stages(outcome: Outcome, plan: LoadPlan) -> list[StageResult]:
    left_ns = outcome.elapsed_ns
    results = []
    for index, stage in enumerate(plan.stages):
        is_last = index == len(plan.stages) - 1
        elapsed_ns = left_ns if is_last else min(stage.duration_ns, left_ns)
        left_ns -= elapsed_ns
        results.append(StageResult(stage, _statistics(outcome.stages.get(index, Snapshot()), {}, elapsed_ns, plan)))
    return results


def conclude(
    outcome: Outcome,
    statistics: RunStatistics,
    verdicts: Sequence[Verdict],
    thresholds: Sequence[Threshold],
    health: Sequence[HealthResult] = (),
    aborted: str | None = None,
) -> tuple[RunOutcome, list[str]]:
    """What a run came to, and the reasons in one line each, the weightiest first."""
    total = statistics.total
    reasons = [str(broken.error) for broken in outcome.broken] + [str(lost) for lost in outcome.lost]
    if outcome.signal is not None:
        reasons.append(f"stopped by {outcome.signal} after {statistics.elapsed_s:.1f} s")
    if reasons:
        return "error", list(dict.fromkeys(reasons))
    reasons = [
        f"health check {result.check} failed after the run: {result.detail}"
        for result in health
        if _is_failure(result) and result.when == "after"
    ]
    reasons += [
        f"health check {result.check} failed after {result.at_s:.1f} s and ended the run: {result.detail}"
        for result in health
        if _is_failure(result) and result.aborted
    ]
    missed = [verdict.line for verdict in verdicts if verdict.ruling == "fail"]
    early = [aborted] if aborted is not None else []
    doubtful = any(verdict.ruling in ("invalid", "inconclusive") for verdict in verdicts)
    reasons += [*early, *missed] if missed or not doubtful else []
    if not total.count:
        dropped = f", {outcome.dropped:,} were scheduled and not started" if outcome.dropped else ""
        reasons.append(f"no iteration succeeded ({total.failures:,} failed{dropped})")
    if total.failures and not any(threshold.metric == "errors" for threshold in thresholds):
        reasons.append(
            f"{total.failures:,} of {total.count + total.failures:,} iterations failed: {_errors(statistics)}"
        )
    if reasons:
        return "failed", reasons
    for ruling, result in (("invalid", "invalid"), ("inconclusive", "inconclusive")):
        lines = [verdict.line for verdict in verdicts if verdict.ruling == ruling]
        if lines:
            return result, early + lines  # type: ignore[return-value]
    return "passed", []


def _log_conclusion(
    workload: Workload, result: RunOutcome, verdicts: Sequence[Verdict], health: Sequence[HealthResult]
) -> None:
    origin = context(workload.name)
    for check in health:
        if _is_failure(check):
            _log.warning("health check %s failed %s the run: %s", check.check, check.when, check.detail, extra=origin)
    for verdict in verdicts:
        _log.info("threshold %s: %s", verdict.ruling, verdict.line, extra=origin)
    _log.info("run %s", result, extra=origin)


def _errors(statistics: RunStatistics) -> str:
    errors = sorted(statistics.total.tally.errors.items(), key=lambda item: -item[1][0])
    return ", ".join(f"{count:,} x {code}" for code, (count, _) in errors[:3])


def _explanation(outcome: Outcome) -> str:
    broken = next((broken.text for broken in outcome.broken if broken.text), "")
    if broken or outcome.first_failure is None:
        return broken
    first = outcome.first_failure
    return f"first failure: worker {first.worker}, iteration {first.iteration}, {first.operation}\n{first.text}"


def _interruption(outcome: Outcome, kind: str) -> str | None:
    found = outcome.interruption
    return found.reason if found is not None and found.kind == kind else None

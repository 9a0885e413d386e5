"""The whole pipeline on one page: workload, plan and target in; run record out."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..database.connect import with_parameters
from ..database.health import HealthCheck, HealthResult, Monitor, run_checks
from ..database.isolation import Home
from ..database.server import (
    ServerFacts,
    admin_connection,
    describe,
    end_sessions,
)
from ..engine.program import find_pgbench
from ..errors import ServerError
from ..load.plan import LoadPlan
from ..measurement.machine import MachineTime
from ..record import (
    RunRecord,
)
from ..telemetry.exporters import Exporters
from ..telemetry.logs import context
from ..verdict.interim import Interim
from ..verdict.judgement import Evidence, judge
from ..verdict.threshold import Threshold
from ..verdict.validity import assess_generator
from ..workers.collected import Collected
from ..workers.launcher import Launcher
from ..workers.layout import CAN_FORK
from ..workers.runtime import Job
from ..workers.scripts import launcher_of, thread_layout
from ..workers.supervisor import Supervisor
from ..workload.contract import Workload
from .conclusion import conclude, explanation, interruption, log_conclusion, subject_of
from .figures import activity_of_run, results_of_stages, statistics_of_run
from .preconditions import preflight
from .progress import Screen, watched
from .slowest import explain_slowest
from .watches import Watches, watches_of

_log = logging.getLogger("stormdb")

NO_EXPORTERS = Exporters([], 3600.0)

Health = tuple[Sequence[HealthCheck], Sequence[HealthResult]]
"""The checks of a run, and what they said before it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load left to be judged: what was collected, and what was seen beside it. ``stolen`` is a share of time."""

    job: Job
    home: Home
    server: ServerFacts
    collected: Collected
    health: tuple[HealthResult, ...]
    watches: Watches
    stolen: float


def run(
    workload: Workload,
    plan: LoadPlan,
    home: Home,
    *,
    embedded: bool,
    thresholds: Sequence[Threshold] = (),
    health: Health = ((), ()),
    exporters: Exporters = NO_EXPORTERS,
    launcher: Callable[[Job], Launcher] = launcher_of,
    screen: Screen | None = None,
    longest_ns: int = 0,
    explains: bool = False,
) -> RunRecord:
    """Run a workload where it lives and say what happened. Raises ServerError before it starts.

    While a threshold is undecided, the run may go on beyond its plan until it has measured for ``longest_ns``.
    """
    server = _server(home, plan, embedded=embedded)
    checks, checked = health
    name = f"stormdb {secrets.token_hex(4)}"
    interim = Interim(plan, thresholds, longest_ns)
    job = Job(
        workload,
        plan,
        with_parameters(home.dsn, application_name=name),
        name,
        exporters.trace_every,
        longest_ns=longest_ns,
        care=home.care,
        is_watched=interim.looks or exporters.are_told or screen is not None,
    )
    watches = watches_of(job, home, Monitor(checks, home.admin_dsn), interim, exporters)
    _log.info("run started", extra=context(workload.name))
    before = MachineTime.now()
    supervisor = Supervisor(
        launcher(job), plan, watches.beside, watch=watched(workload.title, plan, screen), backends=job.looks.backends
    )
    collected = _load(supervisor, home, name)
    stolen = MachineTime.now().stolen_since(before)
    after = run_checks([check for check in checks if not check.advisory], home.admin_dsn, "after")
    results = (*checked, *watches.monitor.results, *after)
    return _record(Loaded(job, home, server, collected, results, watches, stolen), thresholds, explains=explains)


def _record(loaded: Loaded, thresholds: Sequence[Threshold], *, explains: bool) -> RunRecord:
    """Statistics, verdicts and the conclusion, put down."""
    job, collected, noise = loaded.job, loaded.collected, loaded.watches.noise.noise
    workload, plan = job.workload, job.plan
    statistics = statistics_of_run(collected, plan)
    validity = assess_generator(
        plan, statistics, collected.usage, stolen=loaded.stolen, dropped=collected.dropped, taken=noise.taken
    )
    activity = activity_of_run(loaded.watches.observer.result(), collected, statistics)
    evidence = Evidence(statistics, collected.dropped, validity, noise, collected.measured_from_ns, activity)
    verdicts = judge(thresholds, evidence)
    ended_early, subject = loaded.home.lost or loaded.watches.interim.reason, subject_of(workload.title, plan)
    outcome, reasons = conclude(collected, statistics, verdicts, thresholds, loaded.health, ended_early, subject)
    log_conclusion(workload, outcome, verdicts, loaded.health)
    return RunRecord(
        nodeid=workload.nodeid,
        name=workload.run_name,
        workload=workload.name,
        version=workload.version,
        integrity=workload.integrity,
        plan=plan,
        layout=collected.layout if workload.pgbench is None else thread_layout(plan),
        forked=CAN_FORK,
        outcome=outcome,
        statistics=statistics,
        server=loaded.server,
        stages=results_of_stages(collected, plan),
        verdicts=tuple(verdicts),
        validity=validity,
        noise=noise,
        began_ns=collected.measured_from_ns,
        health=loaded.health,
        dropped=collected.dropped,
        lost=tuple(str(lost) for lost in collected.lost),
        reasons=tuple(reasons),
        explanation=explanation(collected),
        stopped_by=collected.signal,
        skipped=interruption(collected, "skip"),
        xfailed=interruption(collected, "xfail"),
        exit_reason=interruption(collected, "exit"),
        server_activity=activity,
        explained=explain_slowest(job, statistics) if explains else None,
        engine=None if workload.pgbench is None else str(find_pgbench()),
    )


def _server(home: Home, plan: LoadPlan, *, embedded: bool) -> ServerFacts:
    """The identity of the server, which has room for the workers. Raises ServerError."""
    with admin_connection(home.admin_dsn) as admin:
        preflight(admin, plan, pooled=home.is_pooled)
        return describe(admin, embedded=embedded)


def _load(supervisor: Supervisor, home: Home, name: str) -> Collected:
    """Put the load on the server; no session of a worker is left there."""
    collected = supervisor.run()
    if collected.lost or collected.broken:
        _end_sessions(home.admin_dsn, name)
    return collected


def _end_sessions(dsn: str, name: str) -> None:
    """A worker that died, or was given up, in the middle of a statement leaves its session running on the server."""
    with contextlib.suppress(ServerError), admin_connection(dsn) as admin:
        end_sessions(admin, name)

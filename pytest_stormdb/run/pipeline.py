"""The whole pipeline on one page: workload, plan and target in; run record out."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence

from ..database.connect import address, with_parameters
from ..database.health import HealthCheck, HealthResult, Monitor, run_checks
from ..database.isolation import Home
from ..database.observer import Observer
from ..database.processes import ServerProcesses
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
from ..measurement.noise import NoiseWatch
from ..measurement.recorder import Look, Progress, Tick
from ..record import (
    RunRecord,
)
from ..telemetry.exporters import Exporters, Run
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
from ..workers.supervisor import Alongside, Steering, Supervisor
from ..workload.contract import Workload
from .conclusion import conclude, explanation, interruption, log_conclusion, subject_of
from .figures import activity_of_run, results_of_stages, statistics_of_run
from .preconditions import preflight
from .progress import Screen, watched
from .slowest import explain_slowest

_log = logging.getLogger("stormdb")

NO_EXPORTERS = Exporters([], 3600.0)

Health = tuple[Sequence[HealthCheck], Sequence[HealthResult]]
"""The checks of a run, and what they said before it."""


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
    monitor, watch = Monitor(checks, home.admin_dsn), NoiseWatch(ServerProcesses([(home.outside_dsn, name)]))
    interim = Interim(plan, thresholds, lambda: watch.noise, longest_ns)
    _log.info("run started", extra=context(workload.name))
    before = MachineTime.now()
    dsn = with_parameters(home.dsn, application_name=name)
    job = Job(
        workload,
        plan,
        dsn,
        name,
        exporters.trace_every,
        longest_ns=longest_ns,
        care=home.care,
        is_watched=interim.looks or exporters.are_told or screen is not None,
    )
    exported, looks = Run(workload, plan, *address(dsn)), job.looks
    places, has_warmup = (home.outside_dsn, home.admin_dsn), plan.warmup_ns > 0
    observer = Observer(*places, name, pids=looks.backends, marks=looks, has_warmup=has_warmup)
    beside = _beside(home, monitor, interim, watch, observer, lambda: exporters.during(exported))
    shown = watched(workload.nodeid, plan, screen)
    collected = _load(Supervisor(launcher(job), plan, beside, watch=shown, backends=looks.backends), home, name)
    stolen = MachineTime.now().stolen_since(before)
    lasting = [check for check in checks if not check.advisory]
    results = (*checked, *monitor.results, *run_checks(lasting, home.admin_dsn, "after"))
    statistics = statistics_of_run(collected, plan)
    taken, dropped = watch.noise.taken, collected.dropped
    validity = assess_generator(plan, statistics, collected.usage, stolen=stolen, dropped=dropped, taken=taken)
    activity = activity_of_run(observer.result(), collected, statistics)
    evidence = Evidence(statistics, collected.dropped, validity, watch.noise, collected.measured_from_ns, activity)
    verdicts = judge(thresholds, evidence)
    subject = subject_of(workload.nodeid, plan)
    outcome, reasons = conclude(
        collected, statistics, verdicts, thresholds, results, home.lost or interim.reason, subject
    )
    log_conclusion(workload, outcome, verdicts, results)
    return RunRecord(
        nodeid=workload.nodeid,
        workload=workload.name,
        version=workload.version,
        integrity=workload.integrity,
        plan=plan,
        layout=collected.layout if workload.pgbench is None else thread_layout(plan),
        forked=CAN_FORK,
        outcome=outcome,
        statistics=statistics,
        server=server,
        stages=results_of_stages(collected, plan),
        verdicts=tuple(verdicts),
        validity=validity,
        noise=watch.noise,
        began_ns=collected.measured_from_ns,
        health=results,
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


def _beside(
    home: Home,
    monitor: Monitor,
    interim: Interim,
    watch: NoiseWatch,
    observer: Observer,
    export: Callable[[], contextlib.AbstractContextManager[Tick]],
) -> Alongside:
    """The lock, health checks, the watches over noise and server, thresholds that steer the run, and exporters."""

    @contextlib.contextmanager
    def beside(run: Steering) -> Iterator[Look]:
        with (
            home.kept(run.stop),
            monitor.during(run.stop),
            watch.during() as look_around,
            observer.during(),
            export() as tell,
            interim.during(run.stop, run.extend) as judge_so_far,
        ):

            def tick(progress: Progress) -> None:
                look_around()
                tell(progress.so_far)
                judge_so_far(progress)

            yield tick

    return beside


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

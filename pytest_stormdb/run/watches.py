"""What goes on beside a load: the lock on its home, health checks, noise, the server, thresholds, and exporters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..database.connect import address
from ..database.health import Monitor
from ..database.isolation import Home
from ..database.observer import Observer
from ..database.processes import ServerProcesses
from ..measurement.noise import NoiseWatch
from ..measurement.recorder import Look, Progress
from ..measurement.speed import comparable_cpus
from ..telemetry.exporters import Exporters, Run
from ..verdict.interim import Interim
from ..workers.runtime import Job
from ..workers.supervisor import Steering


@dataclass(frozen=True, slots=True)
class Watches:
    """Those of one run; each keeps what it saw."""

    home: Home
    monitor: Monitor
    noise: NoiseWatch
    observer: Observer
    interim: Interim
    exporters: Exporters
    exported: Run

    @contextlib.contextmanager
    def beside(self, run: Steering) -> Iterator[Look]:
        """From the start of the load to its end. Yields what to call with the progress, several times a second."""
        with (
            self.home.kept(run.stop),
            self.monitor.during(run.stop),
            self.noise.during() as look_around,
            self.observer.during(),
            self.exporters.during(self.exported) as tell,
            self.interim.during(run.stop, run.extend, lambda: self.noise.noise) as judge_so_far,
        ):

            def tick(progress: Progress) -> None:
                look_around()
                tell(progress.so_far)
                judge_so_far(progress)

            yield tick


def watches_of(job: Job, home: Home, monitor: Monitor, interim: Interim, exporters: Exporters) -> Watches:
    """What watches a job where it lives."""
    places, looks = (home.outside_dsn, home.admin_dsn), job.looks
    has_warmup, are_clients = job.plan.warmup_ns > 0, job.workload.pgbench is not None
    cpus = comparable_cpus() if interim.judges else ()  # nobody else asks, and it takes 4 ms of CPU time a second
    return Watches(
        home=home,
        monitor=monitor,
        noise=NoiseWatch(ServerProcesses([(home.outside_dsn, job.name)]), cpus),
        observer=Observer(
            *places,
            job.name,
            pids=looks.backends,
            marks=looks,
            has_warmup=has_warmup,
            are_clients=are_clients,
            is_pooled=home.is_pooled,
        ),
        interim=interim,
        exporters=exporters,
        exported=Run(job.workload, job.plan, *address(job.dsn)),
    )

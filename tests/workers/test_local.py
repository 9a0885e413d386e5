"""The three launchers of this machine run the same load to the same counts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.recorder import Look
from pytest_stormdb.workers.launcher import Launcher
from pytest_stormdb.workers.local import ForkLauncher, InlineLauncher, ThreadLauncher
from pytest_stormdb.workers.runtime import Job
from pytest_stormdb.workers.supervisor import Steering, Supervisor
from pytest_stormdb.workload.contract import Operation, Workload

from ..clock import ManualClock
from .harness import load, sessions, within
from .unit import MS, SECOND

LAYOUTS = {ForkLauncher: (1, 1, 1), ThreadLauncher: (3,), InlineLauncher: (3,)}


def selects(worker: Any) -> None:
    """A round trip."""
    worker.conn.execute("SELECT 1")


async def selects_async(worker: Any) -> None:
    """The same as a task."""
    await worker.conn.execute("SELECT 1")


@pytest.mark.parametrize("launcher", LAYOUTS)
@pytest.mark.parametrize("options", [{"iterations": 20}, {"iterations": 20, "rate": "2000/s"}], ids=["closed", "open"])
def test_every_launcher_counts_the_same(dsn: str, launcher: Callable[[Job], Launcher], options: dict[str, Any]) -> None:
    """Three workers of twenty iterations are sixty, in one group or in three, and no session is left."""
    record = load(selects, dsn, launcher=launcher, workers=3, **options)
    assert (record.statistics.total.count, record.statistics.total.failures, record.dropped) == (60, 0, 0)
    assert record.layout == LAYOUTS[launcher]  # type: ignore[index]
    assert record.outcome == "passed"
    assert within(3, lambda: not sessions(dsn))


@pytest.mark.parametrize("launcher", LAYOUTS)
def test_every_launcher_runs_tasks(dsn: str, launcher: Callable[[Job], Launcher]) -> None:
    """An async workload runs on an event loop wherever it is."""
    record = load(selects_async, dsn, launcher=launcher, workers=3, iterations=10)
    assert (record.statistics.total.count, record.statistics.total.failures) == (30, 0)


@pytest.mark.parametrize("launcher", LAYOUTS)
def test_every_launcher_says_what_cannot_be_set_up(dsn: str, launcher: Callable[[Job], Launcher]) -> None:
    """A connection that is refused ends the run before it starts, with the server's words."""
    record = load(selects, dsn, launcher=lambda job: launcher(nowhere(job)), workers=2, iterations=1)
    assert record.outcome == "error"
    assert "no_such_database" in record.reasons[0]


def nowhere(job: Job) -> Job:
    return Job(job.workload, job.plan, f"{job.dsn} dbname=no_such_database", job.name)


def test_a_minute_passes_in_no_time() -> None:
    """Inline, by a clock moved by hand, a run of a minute is 600 iterations of 100 ms to the nanosecond, in blocks."""
    clock = ManualClock()

    def works(worker: Any) -> None:
        clock.advance(100 * MS)

    @contextlib.contextmanager
    def alone(run: Steering) -> Iterator[Look]:
        yield lambda progress: None

    workload = Workload(name="minute", nodeid="minute", operations=(Operation("works", works),))
    plan = make_plan(("test", {"workers": 1, "duration": "60s", "warmup": "1s", "connect": False}))
    began_s = time.monotonic()
    job = Job(workload, plan, "", "minute")
    collected = Supervisor(InlineLauncher(job, clock), plan, alone, clock).run()
    assert time.monotonic() - began_s < 30
    assert (collected.whole.total().count, collected.elapsed_ns) == (600, 60 * SECOND)
    assert [collected.intervals[block].total().count for block in range(120)] == [5] * 120

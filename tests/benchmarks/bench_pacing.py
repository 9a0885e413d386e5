"""How punctual an open loop is: the lag of workers that were idle when an arrival was due.

Run by hand on an idle machine: ``python -m tests.benchmarks.bench_pacing``. Target: 1 ms at the 99th percentile,
for processes, threads and tasks. The floor is what the system's own sleep is late by, printed beside it.
"""

from __future__ import annotations

import time
from typing import Any

from pytest_stormdb.database.isolation import Home
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.histogram import Histogram
from pytest_stormdb.run.pipeline import run
from pytest_stormdb.workload.contract import Operation, Workload


def nothing(worker: Any) -> None:
    """The shortest iteration."""


async def nothing_async(worker: Any) -> None:
    """The shortest iteration of a task."""


def floor() -> Histogram:
    """How late the system wakes a process from a sleep of a few milliseconds."""
    late = Histogram()
    for _ in range(500):
        due_ns = time.perf_counter_ns() + 4_000_000
        time.sleep(0.004)
        late.record(max(0, time.perf_counter_ns() - due_ns))
    return late


def shown(name: str, lag: Histogram) -> None:
    p50, p99, most = (lag.quantile_ns(q) / 1e6 for q in (0.5, 0.99, 1))
    print(f"{name:24} p50 {p50:.3f} ms  p99 {p99:.3f} ms  max {most:.3f} ms", flush=True)


def main() -> None:
    shown("time.sleep alone", floor())
    with EmbeddedServer.start() as server:
        for name, function, options in (
            ("4 processes", nothing, {}),
            ("4 threads", nothing, {"processes": 1}),
            ("4 tasks", nothing_async, {"processes": 1}),
        ):
            for arrivals in ("uniform", "poisson"):
                operation = Operation("it", function)
                workload = Workload(
                    name="pacing", nodeid="", operations=(operation,), is_async=function is nothing_async
                )
                layer = {"workers": 4, "rate": "500/s", "arrivals": arrivals, "duration": "4s", "connect": False}
                record = run(workload, make_plan(("", {**layer, **options})), Home.at(server.dsn), embedded=True)
                shown(f"{name}, {arrivals}", record.statistics.total.tally.lag)


if __name__ == "__main__":
    main()

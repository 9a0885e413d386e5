"""One iteration of each operation, in this process and without load: workloads as plain tests."""

from __future__ import annotations

from ..database.isolation import Home
from ..engine.errands import run_each_once
from ..load.plan import LoadPlan
from ..workers.deadline import Deadline
from ..workers.group import runner
from ..workers.runtime import Control, Job, WorkerRuntime
from ..workload.contract import Workload


def run_once(workload: Workload, plan: LoadPlan, home: Home) -> None:
    """Run each operation of a workload once, in this process, as a plain test; what it raises comes through."""
    if workload.pgbench is not None:
        run_each_once(workload.pgbench, home.dsn, plan.timeout_ns)
        return
    job = Job(workload, plan, home.dsn, "stormdb smoke", care=home.care)
    worker = WorkerRuntime(job, Control(Deadline()), 0, lambda message: None)
    with runner(job, 1) as run:
        run(_once(workload, worker))


async def _once(workload: Workload, runtime: WorkerRuntime) -> None:
    try:
        await runtime.connect()
        for call in runtime.loop.calls:
            runtime.worker.iteration += 1
            value = call()
            if workload.is_async:
                await value
    finally:
        await runtime.release()

"""One iteration of each operation, in this process and without load: workloads as plain tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..database.isolation import Home
from ..engine.errands import run_each_once
from ..errors import WorkloadError
from ..load.plan import LoadPlan
from ..measurement.clock import SYSTEM_CLOCK
from ..workers.calls import CALLERS
from ..workers.deadline import Deadline
from ..workers.group import runner
from ..workers.lifecycle import State
from ..workers.loop import forget_cancel
from ..workers.runtime import Control, Job, WorkerRuntime
from ..workers.timeouts import TaskTimeouts, ThreadTimeouts, enforced, enforced_async, interruptible
from ..workers.unawaited import refused
from ..workload.contract import CURRENT_WORKER, Workload
from ..workload.outcome import abort_in, failure_in, results_of


def run_once(workload: Workload, plan: LoadPlan, home: Home, *, is_timed: bool = True) -> None:
    """Run each operation of a workload once, in this process, as a plain test; what it raises comes through.

    What it returns is looked at as under load: raises WorkloadError for a result without success, for a coroutine
    that nobody awaits, and, where ``is_timed``, for what outlives the plan's timeout.
    """
    if workload.pgbench is not None:
        run_each_once(workload.pgbench, home.dsn, plan.timeout_ns)
        return
    job = Job(workload, plan, home.dsn, "stormdb smoke", care=home.care)
    runtime = WorkerRuntime(job, Control(Deadline()), 0, lambda message: None)
    with runner(job, 1) as run:
        run(_once(job, runtime, is_timed))


async def _once(job: Job, runtime: WorkerRuntime, is_timed: bool) -> None:
    before = CURRENT_WORKER.set(runtime.worker)
    try:
        await runtime.connect()
        with refused([runtime.loop]):
            async with _timed(runtime, job) if is_timed else contextlib.nullcontext():
                for operation, call in zip(job.workload.operations, runtime.loop.calls, strict=True):
                    value = await _call(runtime, operation.name, call, is_async=job.workload.is_async)
                    await _settle(runtime, operation.name, value)
    finally:
        CURRENT_WORKER.reset(before)
        await runtime.release()


@contextlib.asynccontextmanager
async def _timed(runtime: WorkerRuntime, job: Job) -> AsyncIterator[None]:
    """Enforce the timeout of the plan as under load."""
    timeout_ns, watched = job.plan.timeout_ns, runtime.watched()
    for state in (State.READY, State.RUNNING):
        runtime.lifecycle.enter(state)
    if job.workload.is_async:
        watched.task = asyncio.current_task()
        async with enforced_async(TaskTimeouts([watched], timeout_ns), timeout_ns, SYSTEM_CLOCK):
            yield
    else:
        timeouts = ThreadTimeouts([watched], timeout_ns, lambda given_up: None)
        with interruptible(runtime.loop), enforced(timeouts, timeout_ns, SYSTEM_CLOCK):
            yield


async def _call(runtime: WorkerRuntime, operation: str, call: Callable[[], Any], *, is_async: bool) -> object:
    """What one call returns. Raises what it raises; of an expected abort, nothing; WorkloadError after its timeout."""
    loop, worker = runtime.loop, runtime.worker
    worker.iteration += 1
    worker.current_operation = operation
    loop.turns.is_waiting = False
    try:
        value = await call() if is_async else call()
    except BaseException as error:
        if loop.is_overdue:
            if is_async:
                forget_cancel()
            raise WorkloadError(f"{operation}: {loop.counting.timeout_failure(str(error)).example}") from None
        if abort_in(error) is None:
            raise
        await runtime.connection.repair()
        return None
    finally:
        loop.turns.is_waiting = True
    loop.raise_objection()
    if loop.is_overdue:
        raise WorkloadError(f"{operation}: {loop.counting.timeout_failure('it ended by itself after that').example}")
    return value


CALLERS.add(_call.__code__)


async def _settle(runtime: WorkerRuntime, operation: str, value: object) -> None:
    """Look at what a call came to. Raises WorkloadError where it would count as a failure, or end a run."""
    if not runtime.connection.is_clean():
        raise WorkloadError(f"{operation}: {runtime.connection.problem().example}")
    for result in results_of(value, operation):
        failure = failure_in(result)
        if failure is not None:
            raise WorkloadError(f"{result.operation or operation} returned success=False: {failure.example}")

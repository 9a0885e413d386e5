"""The plan of the slowest operation's main statement: run again a few times after the load, and explained."""

from __future__ import annotations

from typing import Any

from ..database.connect import connect
from ..database.explain import Explained, explain
from ..database.recording import Executed, Recording
from ..errors import ServerError
from ..measurement.query_text import shortened
from ..measurement.stats import RunStatistics
from ..workers.deadline import Deadline
from ..workers.group import runner
from ..workers.runtime import Control, Job, WorkerRuntime

_TRIES = 20


def explain_slowest(job: Job, statistics: RunStatistics) -> Explained | None:
    """Explain what takes most time in the slowest operation; None when none succeeded. Never raises for what fails.

    The operation is called again, by a worker of its own and in transactions that are rolled back. Its main statement
    is the one that takes most time in all; it is explained with the parameters of its slowest execution.
    """
    means = {name: figures.response.mean for name, figures in statistics.operations.items() if figures.count}
    known = [operation.name for operation in job.workload.operations if operation.name in means]
    if not known:
        return None
    operation = max(known, key=lambda name: means[name])
    try:
        found = _executed(job, operation)
        if found is None:
            return Explained(operation, note="it executes nothing over worker.conn")
        with connect(job.dsn, name=job.name) as conn:
            return Explained(
                operation, shortened(found.query, 200), explain(conn, found.query, found.params, raw=found.raw)
            )
    except ServerError as error:
        return Explained(operation, note=str(error))


def _executed(job: Job, operation: str) -> Executed | None:
    """The main statement of some calls. Raises ServerError where one fails."""
    index = [each.name for each in job.workload.operations].index(operation)
    runtime = WorkerRuntime(job, Control(Deadline()), 0, lambda message: None)
    with runner(job, 1) as run:
        main: Executed | None = run(_call(runtime, index, job))
    return main


async def _call(runtime: WorkerRuntime, index: int, job: Job) -> Executed | None:
    recording = Recording()
    recording.attach(runtime.worker, is_async=job.workload.is_async)
    try:
        await runtime.connect()
        recording.attach_connection(runtime.worker.conn)
        for _ in range(_TRIES):
            runtime.worker.iteration += 1
            await _rolled_back(runtime, index, is_async=job.workload.is_async)
    except ServerError:
        raise
    except Exception as error:
        raise ServerError(f"it failed when it was called again: {type(error).__name__}: {error}") from None
    finally:
        await runtime.release()
    return recording.main()


async def _rolled_back(runtime: WorkerRuntime, index: int, *, is_async: bool) -> Any:
    call, conn = runtime.loop.calls[index], runtime.worker.conn
    if is_async:
        async with conn.transaction(force_rollback=True):
            return await call()
    with conn.transaction(force_rollback=True):
        return call()

"""Workers that share a process: set up together, run as threads or as tasks, torn down together."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

from ..errors import WorkloadError
from ..measurement.tracing import tracers
from ..measurement.usage import GroupUsage, UsageMeter, scheduler_usage
from ..realtime import monotonic
from ..workload.contract import CURRENT_WORKER
from .calls import Interrupted
from .forwarding import forwarded_records
from .heartbeat import Heartbeat
from .lifecycle import State
from .loop import run_sync
from .messages import Broken, GroupDone, Message
from .runtime import Control, Job, WorkerRuntime
from .timeouts import TaskTimeouts, ThreadTimeouts, WatchedLoop, enforced, enforced_async, interruptible
from .unawaited import refused

Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end and gives its result."""

_SELECT_LIMIT = 200
_WAITING_THREADS = 2
"""The worker's own and the one that enforces timeouts: neither holds up the other."""
_JOIN_S = 0.05


class Channel(Protocol):
    """The workers' end of their connection with the supervisor."""

    def send(self, message: Message) -> None:
        """Tell the supervisor; from any thread."""

    def wait_for_start(self) -> int | None:
        """The instant of this process's clock at which to start; None when there will be no start."""


def serve(
    job: Job, control: Control, ids: Sequence[int], channel: Channel, check: Callable[[], None] = lambda: None
) -> None:
    """Set up the workers, wait for the start, run them to their end, tear them down, and tell the supervisor of it.

    ``check`` is called at the end, and raises WorkloadError for what the workers must not have done.
    """
    group = Group(job, control, ids, channel.send)
    with runner(job, len(ids)) as run:
        try:
            if run(group.set_up()):
                start_ns = channel.wait_for_start()
                if start_ns is not None:
                    run(group.run(start_ns))
        finally:
            run(group.tear_down(check))


@contextlib.contextmanager
def runner(job: Job, workers: int) -> Iterator[Run]:
    """What runs a group's coroutines: an event loop, or, where they wait for nothing, this thread."""
    if not job.workload.is_async:
        yield run_sync
        return
    factory = job.workload.loop_factory or (_precise_loop if workers < _SELECT_LIMIT else _Loop)
    with asyncio.Runner(loop_factory=factory) as events:
        yield events.run


def _precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are exact to the microsecond: epoll and poll round up to a millisecond."""
    return _Loop(selectors.SelectSelector())


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock nobody stops: its timers go by it."""

    def time(self) -> float:
        return monotonic()


class Group:
    """The workers of one process. Its coroutines wait for nothing where the workload is not asynchronous."""

    def __init__(self, job: Job, control: Control, ids: Sequence[int], send: Callable[[Message], None]) -> None:
        self._job = job
        self._clock = control.clock
        self._send = send
        self._usage = GroupUsage()
        self._heartbeat = Heartbeat()
        self._workers = [WorkerRuntime(job, control, each, send, is_alone=len(ids) == 1) for each in ids]

    async def set_up(self) -> bool:
        """Get the workers ready, one after the other, until one fails; whether all are."""
        for worker in self._workers:
            if not await worker.set_up():
                return False
        return True

    async def run(self, start_ns: int) -> None:
        """Run all workers from that instant to their end."""
        for worker in self._workers:
            worker.lifecycle.enter(State.RUNNING)
        meter = UsageMeter()
        meter.start()
        with refused([worker.loop for worker in self._workers]):
            if self._job.workload.is_async:
                await self._run_tasks(start_ns)
            else:
                self._run_threads(start_ns)
        self._usage = meter.read()
        self._add_up()

    async def tear_down(self, check: Callable[[], None] = lambda: None) -> None:
        """Tear down all workers but those that are stuck, and say what ``check`` finds, and that this group is done."""
        for worker in self._workers:
            if worker.lifecycle.state is not State.STUCK:
                cursor_ns = await worker.cursor_cost_ns()
                if cursor_ns is not None:
                    self._usage.cursor_ns += cursor_ns
                    self._usage.own_transactions += 1
                await worker.tear_down()
        try:
            check()
        except WorkloadError as error:
            self._send(Broken(self._workers[0].worker.id, error))
        self._send(GroupDone(self._usage))

    def _add_up(self) -> None:
        """Add what each worker saw to what the process used."""
        usage = self._usage
        counted = [worker for worker in self._workers if worker.lifecycle.state is not State.STUCK]
        usage.workers = len(counted)
        usage.stalled_ns, usage.stall_max_ns = self._heartbeat.stalled_ns, self._heartbeat.longest_ns
        usage.records = forwarded_records()
        usage.tracers = tuple(tracers())
        for worker in counted:
            usage.wake_lag.merge(worker.flush.wake_lag)
            usage.calls += worker.flush.calls
            usage.pause_ns += worker.turns.pause_ns
            usage.wait_ns += worker.scheduling.wait_ns
            usage.preemptions += worker.scheduling.preemptions
            usage.yields += worker.scheduling.yields

    # -- threads -----------------------------------------------------------------------------------------------

    def _run_threads(self, start_ns: int) -> None:
        """Run a lone worker in this thread, and several in one each."""
        timeout_ns = self._job.plan.timeout_ns
        timeouts = ThreadTimeouts([each.watched() for each in self._workers], timeout_ns, self._give_up)
        alone = interruptible(self._workers[0].loop) if len(self._workers) == 1 else contextlib.nullcontext()
        with alone, enforced(timeouts, timeout_ns, self._clock, self._watch_the_lock):
            self._watch_the_lock()
            if len(self._workers) == 1:
                self._run_thread(self._workers[0], start_ns)
            else:
                self._run_in_threads(start_ns)
        self._heartbeat.end()

    def _watch_the_lock(self) -> None:
        self._heartbeat.start(_WAITING_THREADS if len(self._workers) == 1 else 0)

    def _run_in_threads(self, start_ns: int) -> None:
        threads = [
            threading.Thread(target=self._run_thread, args=(worker, start_ns), daemon=True) for worker in self._workers
        ]
        for thread in threads:
            thread.start()
        for thread, worker in zip(threads, self._workers, strict=True):
            while thread.is_alive() and worker.lifecycle.state is not State.STUCK:
                thread.join(_JOIN_S)

    def _run_thread(self, worker: WorkerRuntime, start_ns: int) -> None:
        CURRENT_WORKER.set(worker.worker)
        before = scheduler_usage()
        with _reporting(worker):
            worker.loop.run(start_ns)
        worker.scheduling = scheduler_usage().since(before)
        worker.finish(start_ns)

    def _give_up(self, watched: WatchedLoop) -> None:
        worker = watched.loop.worker.id
        what = f"worker {worker}: an iteration did not end within {self._job.plan.timeout_ns / 1e9:g} s"
        why = "it waits for no server, and a worker that shares its process with others cannot be interrupted"
        self._send(Broken(worker, WorkloadError(f"{what}: {why}")))

    # -- tasks -------------------------------------------------------------------------------------------------

    async def _run_tasks(self, start_ns: int) -> None:
        before = scheduler_usage()
        watched = [each.watched() for each in self._workers]
        tasks = [asyncio.create_task(self._run_task(worker, start_ns)) for worker in self._workers]
        for each, task in zip(watched, tasks, strict=True):
            each.task = task
        timeout_ns = self._job.plan.timeout_ns
        async with enforced_async(TaskTimeouts(watched, timeout_ns), timeout_ns, self._clock):
            await asyncio.gather(*tasks)
        self._workers[0].scheduling = scheduler_usage().since(before)

    async def _run_task(self, worker: WorkerRuntime, start_ns: int) -> None:
        CURRENT_WORKER.set(worker.worker)
        with _reporting(worker):
            await worker.loop.run_async(start_ns)
        worker.finish(start_ns)


@contextlib.contextmanager
def _reporting(worker: WorkerRuntime) -> Iterator[None]:
    """Say what ended a worker's loop before its time."""
    try:
        yield
    except Interrupted:
        pass
    except BaseException as error:
        worker.fail(error)

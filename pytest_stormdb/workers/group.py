"""A host: the place where some workers live, a process of their own or a thread of ours. This is its whole life."""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Protocol, TypeVar

from ..database.connection import NoConnection, WorkerConnection
from ..errors import StormDBError, WorkloadError
from ..load.plan import LoadPlan
from ..measurement.recorder import Recorder
from ..measurement.usage import GroupUsage, SchedulerUsage, UsageMeter, scheduler_usage
from ..workload.contract import (
    CURRENT,
    Resources,
    Worker,
    Workload,
)
from .arrivals import ArrivalQueue
from .deadline import Deadline
from .loop import Interrupted, Loop
from .messages import (
    Broken,
    GroupDone,
    Message,
    Ready,
    WorkerDone,
)
from .timeouts import (
    Member,
    accept_interrupts,
    watch,
    watch_async,
)

T = TypeVar("T")
_SELECT_LIMIT = 200
_JOIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """What all hosts of a run work on."""

    workload: Workload
    plan: LoadPlan
    dsn: str
    name: str
    board: Deadline
    arrivals: ArrivalQueue | None


class Outlet(Protocol):
    """The host's end of its connection with the parent."""

    def send(self, message: Message) -> None:
        """Tell the parent; from any thread."""

    def wait_for_start(self) -> int | None:
        """The instant the parent gives for the start; None when there will be none."""


@dataclass(slots=True)
class Seat:
    """One worker with all that belongs to it."""

    worker: Worker
    line: WorkerConnection | NoConnection
    loop: Loop
    resources: Resources
    strain: SchedulerUsage = field(default_factory=SchedulerUsage)

    def member(self) -> Member:
        return Member(self.loop, self.line)


def serve(job: Job, ids: Sequence[int], outlet: Outlet) -> None:
    """Set up the workers, wait for the start, run them to their end, tear them down, and tell the parent of it."""
    if job.workload.is_async:
        factory = job.workload.loop_factory or (_precise_loop if len(ids) < _SELECT_LIMIT else None)
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve_async(job, ids, outlet))
        return
    seats = [make_seat(job, worker_id, outlet.send) for worker_id in ids]
    vitals = GroupUsage()
    try:
        if all(_set_up(job, seat, outlet) for seat in seats):
            start_ns = outlet.wait_for_start()
            if start_ns is not None:
                vitals = _run_all(job, seats, start_ns, outlet)
    finally:
        for seat in seats:
            _tear_down(job, seat, outlet)
        outlet.send(GroupDone(vitals))


def _precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are exact to the microsecond: epoll and poll round up to a millisecond."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def make_seat(job: Job, worker_id: int, send: Callable[[Message], None]) -> Seat:
    plan, recorder = job.plan, Recorder()
    worker = Worker(
        id=worker_id,
        count=plan.workers,
        dsn=job.dsn,
        seed=plan.seed,
        batch_size=plan.batch_size,
        recorder=recorder,
        is_async=job.workload.is_async,
    )
    line = WorkerConnection(worker, job.name) if plan.connect else NoConnection()
    loop = Loop(
        workload=job.workload,
        plan=plan,
        worker=worker,
        recorder=recorder,
        line=line,
        board=job.board,
        arrivals=job.arrivals,
        send=send,
    )
    if isinstance(line, WorkerConnection):
        line.may_go_on = loop.agenda.may_go_on
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=loop.agenda.disown)
    return Seat(worker, line, loop, Resources(worker))


def _broken(job: Job, seat: Seat, error: BaseException) -> Broken:
    """An error of the set-up or the tear-down, in a form that travels."""
    if isinstance(error, StormDBError):
        return Broken(seat.worker.id, error)
    what = f"worker {seat.worker.id}: {type(error).__name__}: {error}"
    return Broken(seat.worker.id, WorkloadError(what), job.workload.explain(error))


# -- workers as threads ------------------------------------------------------------------------------------------


def _set_up(job: Job, seat: Seat, outlet: Outlet) -> bool:
    try:
        seat.line.open()
        values = at_once(seat.resources.fill(job.workload.arguments))
        seat.loop.calls = job.workload.bind(values)
    except BaseException as error:
        outlet.send(_broken(job, seat, error))
        return False
    outlet.send(Ready(seat.worker.id))
    return True


def _run_all(job: Job, seats: list[Seat], start_ns: int, outlet: Outlet) -> GroupUsage:
    """Run a lone worker in this thread, and several in one each; ``seats`` keeps those that came to an end."""
    signs = UsageMeter()
    signs.start()
    ended = threading.Event()
    members = [seat.member() for seat in seats]

    def give_up(member: Member) -> None:
        member.given_up = True
        outlet.send(_stuck(job, member))

    guard = threading.Thread(target=watch, args=(members, job.plan.timeout_ns, ended, give_up), daemon=True)
    guard.start()
    if len(seats) == 1:
        accept_interrupts(seats[0].loop)
        _run(job, seats[0], start_ns, outlet)
    else:
        threads = [threading.Thread(target=_run, args=(job, seat, start_ns, outlet), daemon=True) for seat in seats]
        for thread in threads:
            thread.start()
        for thread, member in zip(threads, members, strict=True):
            while thread.is_alive() and not member.given_up:
                thread.join(_JOIN_S)
        seats[:] = [seat for seat, member in zip(seats, members, strict=True) if not member.given_up]
    ended.set()
    guard.join()
    return _vitals(signs, seats)


def _vitals(signs: UsageMeter, seats: Sequence[Seat]) -> GroupUsage:
    vitals = signs.read()
    vitals.workers = len(seats)
    for seat in seats:
        agenda = seat.loop.agenda
        vitals.wake_lag.merge(agenda.wake_lag)
        vitals.calls += agenda.calls
        vitals.pause_ns += max(0, agenda.pause_ns)
        vitals.wait_ns += seat.strain.wait_ns
        vitals.preemptions += seat.strain.preemptions
        vitals.yields += seat.strain.yields
    return vitals


def _stuck(job: Job, member: Member) -> Broken:
    worker = member.loop.worker.id
    what = f"worker {worker}: an iteration did not end within {job.plan.timeout_ns / 1e9:g} s"
    why = "it waits for no server, and a worker that shares its process with others cannot be interrupted"
    return Broken(worker, WorkloadError(f"{what}: {why}"))


def _run(job: Job, seat: Seat, start_ns: int, outlet: Outlet) -> None:
    CURRENT.set(seat.worker)
    before = scheduler_usage()
    try:
        seat.loop.run(start_ns)
    except Interrupted:
        pass
    except BaseException as error:
        outlet.send(_broken(job, seat, error))
    seat.strain = scheduler_usage().since(before)
    seat.loop.agenda.finish()
    outlet.send(WorkerDone(seat.worker.id, perf_counter_ns()))


def _tear_down(job: Job, seat: Seat, outlet: Outlet) -> None:
    try:
        at_once(seat.resources.close())
    except BaseException as error:
        outlet.send(_broken(job, seat, error))
    seat.line.close()


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits: how code shared with async workers runs in a thread."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("waited where nothing waits")


# -- workers as tasks --------------------------------------------------------------------------------------------


async def _serve_async(job: Job, ids: Sequence[int], outlet: Outlet) -> None:
    seats = [make_seat(job, worker_id, outlet.send) for worker_id in ids]
    vitals = GroupUsage()
    try:
        if all([await _set_up_async(job, seat, outlet) for seat in seats]):
            start_ns = outlet.wait_for_start()
            if start_ns is not None:
                vitals = await _run_all_async(job, seats, start_ns, outlet)
    finally:
        for seat in seats:
            await _tear_down_async(job, seat, outlet)
        outlet.send(GroupDone(vitals))


async def _set_up_async(job: Job, seat: Seat, outlet: Outlet) -> bool:
    try:
        await seat.line.open_async()
        values = await seat.resources.fill(job.workload.arguments)
        seat.loop.calls = job.workload.bind(values)
    except BaseException as error:
        outlet.send(_broken(job, seat, error))
        return False
    outlet.send(Ready(seat.worker.id))
    return True


async def _run_all_async(job: Job, seats: Sequence[Seat], start_ns: int, outlet: Outlet) -> GroupUsage:
    signs, before = UsageMeter(), scheduler_usage()
    signs.start()
    members = [seat.member() for seat in seats]
    for seat, member in zip(seats, members, strict=True):
        member.task = asyncio.create_task(_run_async(job, seat, start_ns, outlet))
    guard = asyncio.create_task(watch_async(members, job.plan.timeout_ns))
    await asyncio.gather(*(member.task for member in members if member.task is not None))
    guard.cancel()
    seats[0].strain = scheduler_usage().since(before)
    return _vitals(signs, seats)


async def _run_async(job: Job, seat: Seat, start_ns: int, outlet: Outlet) -> None:
    CURRENT.set(seat.worker)
    try:
        await seat.loop.run_async(start_ns, _sleep_until)
    except Interrupted:
        pass
    except BaseException as error:
        outlet.send(_broken(job, seat, error))
    seat.loop.agenda.finish()
    outlet.send(WorkerDone(seat.worker.id, perf_counter_ns()))


async def _sleep_until(instant_ns: int) -> None:
    await asyncio.sleep(max(0, instant_ns - perf_counter_ns()) / 1e9)


async def _tear_down_async(job: Job, seat: Seat, outlet: Outlet) -> None:
    try:
        await seat.resources.close()
    except BaseException as error:
        outlet.send(_broken(job, seat, error))
    await seat.line.close_async()

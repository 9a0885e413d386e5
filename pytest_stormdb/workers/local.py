"""The launchers for workers on this machine: in forked processes, in threads, or inline in the calling thread."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import pickle
import select
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, cast

from ..database.connect import ports_of
from ..measurement.clock import SYSTEM_CLOCK, Clock
from .arrivals import ArrivalQueue, make_arrivals
from .deadline import Deadline
from .group import Group, runner, serve
from .inherited import Inherited, look_for_inherited
from .launcher import Launcher
from .layout import CAN_FORK, layout
from .messages import Message, Printed, Start
from .process import PipeChannel, Serve, end_processes, fork_group, has_exited, how_it_ended, told
from .runtime import Control, Job


def pick_launcher(job: Job) -> Launcher:
    """Forked processes where there are any; else threads."""
    return ForkLauncher(job) if CAN_FORK else ThreadLauncher(job)


@dataclass(slots=True, eq=False)
class PipedGroup:
    """Workers at the other end of a pipe: in a process, or, without a ``pid``, in threads."""

    ids: Sequence[int]
    connection: Connection[Any, Any]
    pid: int | None = None

    def has_exited(self) -> bool:
        return self.pid is not None and has_exited(self.pid)

    def has_messages(self) -> bool:
        return not self.connection.closed and self.connection.poll()

    def end(self, patience_s: float) -> str:
        self.connection.close()
        return how_it_ended(end_processes([self.pid], patience_s)[0]) if self.pid is not None else "ended"

    def read(self) -> Message | None:
        """The next message; None at their end."""
        try:
            data = self.connection.recv_bytes()
        except (EOFError, OSError):
            self.connection.close()
            return None
        try:
            message: Message = pickle.loads(data)  # noqa: S301 - from a child of ours
        except Exception as error:  # a warning or log record of a class that does not survive pickling
            return Printed("stderr", f"stormdb: a message of worker {self.ids[0]} was lost: {error}\n")
        return message


class PipedLauncher(ABC):
    """What processes and threads have in common: a pipe for each group, one deadline and one queue of arrivals.

    They share the machine, so the start is said to them as an instant of its monotonic clock.
    """

    _between_processes: bool

    def __init__(self, job: Job, arrivals: ArrivalQueue | None = None) -> None:
        self._job = job
        if arrivals is None and job.plan.is_open and job.workload.pgbench is None:  # pgbench has a schedule of its own
            arrivals = _make_arrivals(job, between_processes=self._between_processes)
        self._control = Control(Deadline(), arrivals)
        self._groups: list[PipedGroup] = []

    def launch(self) -> Sequence[PipedGroup]:
        for ids in self._layout():
            self._groups.append(self._begin(ids))
        return self._groups

    def receive(self, timeout_s: float) -> Sequence[tuple[PipedGroup, Message | None]]:
        self._feed()
        return [(group, group.read()) for group in self._heard(timeout_s)]

    def start(self, delay_ns: int) -> None:
        self._feed()
        self._start_ns = _timed(self._control, self._job, delay_ns)
        self._tell(Start(self._start_ns))

    def extend(self, duration_ns: int) -> None:
        self._control.deadline.set(self._start_ns + self._job.plan.warmup_ns + duration_ns)

    def dismiss(self) -> None:
        self._tell(None)

    def stop(self) -> None:
        self._control.deadline.stop()

    def unstarted_before(self, offset_ns: int) -> int:
        return _unstarted_before(self._control, offset_ns)

    def close(self) -> None:
        self.stop()
        left = [group for group in self._groups if not group.connection.closed]
        for group in left:
            group.connection.close()
        end_processes([group.pid for group in left if group.pid is not None], 0.0)
        _close(self._control)

    def _serve(self) -> Serve:
        return serve

    def _heard(self, timeout_s: float) -> Sequence[PipedGroup]:
        """The groups that have something to say, or nothing more, within that time."""
        by_connection = {group.connection: group for group in self._groups if not group.connection.closed}
        ready = wait(list(by_connection), timeout_s)
        return [by_connection[cast("Connection[Any, Any]", connection)] for connection in ready]

    @abstractmethod
    def _layout(self) -> Sequence[Sequence[int]]:
        """The ids of the workers of each group."""

    @abstractmethod
    def _begin(self, ids: Sequence[int]) -> PipedGroup:
        """Start one group."""

    def _feed(self) -> None:
        if self._control.arrivals is not None:
            self._control.arrivals.feed()

    def _tell(self, message: Start | None) -> None:
        for group in self._groups:
            with contextlib.suppress(OSError):
                group.connection.send(message)


class ForkLauncher(PipedLauncher):
    """Workers in forked processes."""

    _between_processes = True
    _inherited = Inherited()

    def __init__(self, job: Job, arrivals: ArrivalQueue | None = None) -> None:
        super().__init__(job, arrivals)
        self._poll = select.poll()
        self._by_descriptor: dict[int, PipedGroup] = {}

    def launch(self) -> Sequence[PipedGroup]:
        self._inherited = look_for_inherited(ports_of(self._job.dsn))
        with _frozen_heap():
            return super().launch()

    def _layout(self) -> Sequence[Sequence[int]]:
        return layout(self._job.plan, is_async=self._job.workload.is_async)

    def _begin(self, ids: Sequence[int]) -> PipedGroup:
        siblings = [group.connection for group in self._groups]
        pid, connection = fork_group(self._job, self._control, ids, self._serve(), siblings, self._inherited)
        group = self._by_descriptor[connection.fileno()] = PipedGroup(ids, connection, pid)
        self._poll.register(connection.fileno(), select.POLLIN)
        return group

    def _heard(self, timeout_s: float) -> Sequence[PipedGroup]:
        """As of any launcher; ``wait`` tells the system of all pipes each time, which takes 4 us for each of them."""
        for descriptor, group in [*self._by_descriptor.items()]:
            if group.connection.closed:
                self._poll.unregister(descriptor)
                del self._by_descriptor[descriptor]
        return [self._by_descriptor[descriptor] for descriptor, _ in self._poll.poll(timeout_s * 1e3)]


class ThreadLauncher(PipedLauncher):
    """All workers in one group of threads (or tasks in one thread) of this process."""

    _between_processes = False

    def _layout(self) -> Sequence[Sequence[int]]:
        return [range(self._job.plan.workers)]

    def _begin(self, ids: Sequence[int]) -> PipedGroup:
        ours, theirs = Pipe()
        channel = PipeChannel(theirs, lambda: None)

        def live() -> None:
            with theirs, told(self._job, ids, channel):
                self._serve()(self._job, self._control, ids, channel, lambda: None)

        threading.Thread(target=live, daemon=True).start()
        return PipedGroup(ids, ours)


class InlineLauncher:
    """All workers in the calling thread (beyond one, in threads or tasks beside it), which runs them within ``start``.

    Nothing happens beside the run: no fork, no pipe, and whatever clock it is given. It is its own only group.
    """

    def __init__(self, job: Job, clock: Clock = SYSTEM_CLOCK) -> None:
        self.ids = range(job.plan.workers)
        self._job = job
        arrivals = _make_arrivals(job, between_processes=False) if job.plan.is_open else None
        self._control = Control(Deadline(), arrivals, clock)
        self._messages: deque[Message | None] = deque()
        self._runner = contextlib.ExitStack()

    def launch(self) -> Sequence[InlineLauncher]:
        self._run = self._runner.enter_context(runner(self._job, len(self.ids)))
        self._group = Group(self._job, self._control, self.ids, self._messages.append)
        self._run(self._group.set_up())
        return [self]

    def receive(self, timeout_s: float) -> Sequence[tuple[InlineLauncher, Message | None]]:
        received = [(self, message) for message in self._messages]
        self._messages.clear()
        return received

    def start(self, delay_ns: int) -> None:
        try:
            self._run(self._group.run(_timed(self._control, self._job, delay_ns)))
        finally:
            self.dismiss()

    def extend(self, duration_ns: int) -> None:
        """Too late: the run is over when ``start`` returns."""

    def dismiss(self) -> None:
        self._run(self._group.tear_down())
        self._messages.append(None)

    def stop(self) -> None:
        self._control.deadline.stop()

    def unstarted_before(self, offset_ns: int) -> int:
        return _unstarted_before(self._control, offset_ns)

    def close(self) -> None:
        self._runner.close()
        _close(self._control)

    def has_exited(self) -> bool:
        return False

    def has_messages(self) -> bool:
        return bool(self._messages)

    def end(self, patience_s: float) -> str:
        return "ended"


def _make_arrivals(job: Job, *, between_processes: bool) -> ArrivalQueue:
    """The queue of an open plan, with arrivals for as long as the run may last."""
    plan = job.plan
    if plan.duration_ns is not None and not plan.stages:
        plan = dataclasses.replace(plan, duration_ns=max(plan.duration_ns, job.longest_ns))
    return make_arrivals(plan, between_processes=between_processes, alternation=job.alternation, arm=job.arm)


def _timed(control: Control, job: Job, delay_ns: int) -> int:
    """The instant of a start so long from now; the deadline that follows is set, and those who look are told."""
    plan = job.plan
    start_ns = control.clock.now_ns() + delay_ns
    if plan.duration_ns is not None:
        control.deadline.set(start_ns + plan.warmup_ns + plan.duration_ns)
    job.looks.begin(start_ns + plan.warmup_ns)
    return start_ns


def _unstarted_before(control: Control, offset_ns: int) -> int:
    return control.arrivals.unclaimed_before(offset_ns) if control.arrivals is not None else 0


def _close(control: Control) -> None:
    control.deadline.close()
    if control.arrivals is not None:
        control.arrivals.close()


@contextlib.contextmanager
def _frozen_heap() -> Iterator[None]:
    """Keep what exists at the fork out of the children's collections: touching it would copy it.

    Garbage among it stays as well, until the parent's next collection: to look for it takes longer than a small run.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

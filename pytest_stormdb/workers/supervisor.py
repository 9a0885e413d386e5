"""The crew of a run, seen from the parent: launch, start together, collect, stop, and find out who died and why."""

from __future__ import annotations

import contextlib
import gc
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from time import perf_counter_ns
from typing import Any, cast

from ..errors import WorkerLost
from ..measurement.recorder import Tick
from .collected import Collected
from .forwarding import carry
from .group import Job, serve
from .layout import CAN_FORK, layout
from .messages import (
    Broken,
    FirstFailure,
    Go,
    GroupDone,
    Interruption,
    IntervalCounts,
    Message,
    Printed,
    Ready,
    WorkerDone,
)
from .process import (
    PipeOutlet,
    end_processes,
    fork_host,
    has_exited,
    how_it_ended,
)

_LOOK_S = 0.1
_READY_S = 30.0
"""How long a host may take to connect one worker and to set up its resources."""
_SILENCE_S = 6.0
"""Beyond the timeout of an iteration, how long a host may say nothing before it counts as hung."""
_LAST_BREATH_S = 0.5
"""How long a host whose pipe has closed gets to show its exit status."""
_LEAVE_S = 2.0
"""How long a host that has nothing more to do gets to end."""
_HEAD_START_NS = 20_000_000
_HEAD_START_PER_WORKER_NS = 2_000_000


Alongside = Callable[[Callable[[], None]], contextlib.AbstractContextManager[Tick]]
"""What goes on beside a run, from its start to its end: it is given the way to stop the run, and gives its tick."""


@dataclass(slots=True)
class _Host:
    ids: list[int]
    connection: Connection[Any, Any]
    pid: int | None
    heard_s: float
    ready: int = 0
    is_broken: bool = False
    said_farewell: bool = False

    @property
    def name(self) -> str:
        return f"worker {self.ids[0]}" if len(self.ids) == 1 else f"workers {self.ids[0]}..{self.ids[-1]}"


class Supervisor:
    """The hosts of one run. ``run`` may be called once."""

    def __init__(self, job: Job, alongside: Alongside) -> None:
        self._job = job
        self._alongside = alongside
        self._tick: Tick = lambda so_far: None
        self._hosts: list[_Host] = []
        self._measured_from_ns: int | None = None
        self._ended_ns = 0
        self._dismissed = False
        self._outcome = Collected(by_stage=bool(job.plan.stages))

    def run(self) -> Collected:
        """Launch, start, collect. Whatever happens, no host outlives this call."""
        try:
            with _signals(self._on_signal):
                self._launch()
                self._collect(self._is_decided, _READY_S)
                if self._all_ready():
                    with self._alongside(self.stop) as self._tick:
                        self._start()
                        self._collect_rest(self._job.plan.timeout_ns / 1e9 + _SILENCE_S)
                else:
                    self._dismiss()
                    self._collect_rest(_LEAVE_S)
                self._conclude()
        finally:
            self._end()
        return self._outcome

    def stop(self) -> None:
        """Let no iteration start any more; those in flight are awaited."""
        if self._outcome.stopped_ns is None:
            self._outcome.stopped_ns = perf_counter_ns()
        self._job.board.stop()

    # -- launch ------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        with _frozen_heap():
            for ids in layout(self._job.plan, is_async=self._job.workload.is_async):
                self._hosts.append(self._fork(ids) if CAN_FORK else self._start_thread(ids))

    def _fork(self, ids: list[int]) -> _Host:
        pid, connection = fork_host(self._job, ids, [host.connection for host in self._hosts])
        return _Host(ids, connection, pid, time.monotonic())

    def _start_thread(self, ids: list[int]) -> _Host:
        ours, theirs = Pipe()
        outlet = PipeOutlet(theirs, lambda: None)

        def live() -> None:
            serve(self._job, ids, outlet)
            theirs.close()

        threading.Thread(target=live, daemon=True).start()
        return _Host(ids, ours, None, time.monotonic())

    def _is_decided(self) -> bool:
        """Whether the run can start, or never will."""
        outcome = self._outcome
        return self._all_ready() or bool(outcome.broken or outcome.lost) or self._job.board.stopped

    def _all_ready(self) -> bool:
        outcome = self._outcome
        ready = sum(host.ready for host in self._hosts) == self._job.plan.workers
        return ready and not (outcome.broken or outcome.lost or self._job.board.stopped)

    def _start(self) -> None:
        plan, board = self._job.plan, self._job.board
        self._feed()
        start_ns = perf_counter_ns() + max(_HEAD_START_NS, plan.workers * _HEAD_START_PER_WORKER_NS)
        self._measured_from_ns = start_ns + plan.warmup_ns
        if plan.duration_ns is not None:
            board.set_deadline(self._measured_from_ns + plan.duration_ns)
        if self._outcome.signal is not None:  # it came since we looked
            board.stop()
        self._tell(Go(start_ns))

    def _dismiss(self) -> None:
        """There will be no start: what is set up is torn down."""
        self._dismissed = True
        self._tell(None)

    def _tell(self, message: Go | None) -> None:
        for host in self._hosts:
            host.heard_s = time.monotonic()
            with contextlib.suppress(OSError):
                host.connection.send(message)

    # -- collect -----------------------------------------------------------------------------------------------

    def _collect_rest(self, limit_s: float) -> None:
        self._collect(lambda: False, limit_s)

    def _collect(self, until: Callable[[], bool], limit_s: float) -> None:
        """Take what the hosts send until they are gone, or something else is the case."""
        looked_s = 0.0
        while (live := [host for host in self._hosts if not host.connection.closed]) and not until():
            self._feed()
            by_connection = {host.connection: host for host in live}
            for connection in wait(list(by_connection), timeout=_LOOK_S):
                self._receive(by_connection[cast("Connection[Any, Any]", connection)])
            if time.monotonic() - looked_s >= _LOOK_S:
                looked_s = time.monotonic()
                for host in live:
                    self._look_after(host, limit_s)
                self._tick(self._outcome.so_far)

    def _receive(self, host: _Host) -> None:
        try:
            data = host.connection.recv_bytes()
        except (EOFError, OSError):
            self._part_with(host)
            return
        host.heard_s = time.monotonic()
        try:
            message = pickle.loads(data)  # noqa: S301 - from a child of ours
        except Exception as error:  # a warning or log record of a class that does not survive pickling
            message = Printed("stderr", f"stormdb: a message of {host.name} was lost: {error}\n")
        self._take(host, message)

    def _look_after(self, host: _Host, limit_s: float) -> None:
        """A host whose process has gone, or that hangs, sends no more; a grandchild may keep its pipe open.

        Whether it has gone is asked before whether it has sent: what it said last is then in the pipe to be heard.
        """
        if host.connection.closed:
            return
        has_gone = host.pid is not None and has_exited(host.pid)
        if host.connection.poll():
            return
        silent_s = time.monotonic() - host.heard_s
        is_waiting = self._measured_from_ns is None and host.ready == len(host.ids) and not self._dismissed
        if has_gone or (host.said_farewell and silent_s > _LEAVE_S):
            self._part_with(host)
        elif silent_s > limit_s and not is_waiting:
            self._part_with(host, f"{host.name} hung: it said nothing for {limit_s:.0f} s and was ended")

    def _part_with(self, host: _Host, cause: str | None = None) -> None:
        """Reap a host. One that is gone before it said farewell ends the run: the load is not the planned one."""
        host.connection.close()
        patience_s = 0.0 if cause or host.said_farewell else _LAST_BREATH_S
        status = end_processes([host.pid], patience_s)[0] if host.pid is not None else 0
        if not (host.said_farewell or host.is_broken or self._dismissed):
            self._outcome.lost.append(WorkerLost(cause or f"{host.name} {how_it_ended(status)}"))
            self.stop()

    def _take(self, host: _Host, message: Message) -> None:
        outcome = self._outcome
        match message:
            case IntervalCounts():
                outcome.add(message)
            case Ready():
                host.ready += 1
            case WorkerDone():
                self._ended_ns = max(self._ended_ns, message.ended_ns)
            case GroupDone():
                host.said_farewell = True
                outcome.vitals.append(message.vitals)
            case FirstFailure():
                outcome.first_failure = outcome.first_failure or message
            case Interruption():
                outcome.interruption = outcome.interruption or message
                self.stop()
            case Broken():
                host.is_broken = True
                outcome.broken.append(message)
                self.stop()
            case _:
                carry(message)

    def _feed(self) -> None:
        if self._job.arrivals is not None:
            self._job.arrivals.feed()

    # -- end ---------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Settle how long it took, and what the schedule still held."""
        outcome, plan, from_ns = self._outcome, self._job.plan, self._measured_from_ns
        if from_ns is None:
            return
        until_ns = from_ns + (plan.duration_ns or 0)
        if outcome.stopped_ns is not None and (plan.duration_ns is None or outcome.stopped_ns < until_ns):
            until_ns = outcome.stopped_ns
        outcome.close((self._ended_ns or perf_counter_ns()) - from_ns, until_ns - from_ns)
        if self._job.arrivals is not None and plan.iterations is None:
            outcome.dropped = self._job.arrivals.unclaimed_before(until_ns - from_ns + plan.warmup_ns)

    def _on_signal(self, number: int) -> None:
        if self._outcome.signal is not None:
            raise KeyboardInterrupt
        self._outcome.signal = signal.Signals(number).name
        self.stop()

    def _end(self) -> None:
        """End at once what an exception left: the second signal, or a mistake of ours."""
        self._job.board.stop()
        left = [host for host in self._hosts if not host.connection.closed]
        for host in left:
            host.connection.close()
        end_processes([host.pid for host in left if host.pid is not None], 0.0)


@contextlib.contextmanager
def _frozen_heap() -> Iterator[None]:
    """Keep what exists at the fork out of the children's collections: it is not garbage, and touching copies it."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _signals(handle: Callable[[int], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM for a while, where that is possible."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda received, frame: handle(received)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

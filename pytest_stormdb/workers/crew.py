"""The crew of a run, seen from the parent: launch, start together, collect, stop, and find out who died and why."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from time import perf_counter_ns
from typing import Any, cast

from ..errors import WorkerLost
from ..plan import LoadPlan
from ..stats import Snapshot
from .host import Job, serve
from .messages import (
    Broken,
    Done,
    Farewell,
    FirstFailure,
    Go,
    Interruption,
    Interval,
    Logged,
    Message,
    Printed,
    Ready,
    Vitals,
    Warned,
)
from .process import PipeOutlet, fork_host

CAN_FORK = hasattr(os, "fork")
MAX_PROCESSES = 64
_LOOK_S = 0.1
_READY_S = 30.0
_SILENCE_S = 6.0
"""Beyond the timeout of an iteration, how long a host may say nothing before it counts as hung."""
_HEAD_START_NS = 20_000_000


def layout(plan: LoadPlan, *, is_async: bool) -> list[list[int]]:
    """Which workers share a host: one each up to 64 processes, then evenly; asynchronous ones, a host per CPU."""
    most = MAX_PROCESSES if not is_async else len(os.sched_getaffinity(0)) if CAN_FORK_AFFINITY else os.cpu_count() or 1
    hosts = min(plan.workers, plan.processes or most) if CAN_FORK else 1
    return [list(range(plan.workers))[index::hosts] for index in range(hosts)]


CAN_FORK_AFFINITY = hasattr(os, "sched_getaffinity")


Tick = Callable[[Snapshot], None]
Alongside = Callable[[Callable[[], None]], contextlib.AbstractContextManager[Tick]]
"""What goes on beside a run, from its start to its end: it is given the way to stop the run, and gives what to call,
several times a second, with all that was counted so far."""


@dataclass(slots=True)
class Outcome:
    """Everything a crew brought home. ``elapsed_ns`` runs from the end of the warm-up to the last worker's end."""

    whole: Snapshot = field(default_factory=Snapshot)
    intervals: dict[int, Snapshot] = field(default_factory=dict)
    stages: dict[int, Snapshot] = field(default_factory=dict)
    first_failure: FirstFailure | None = None
    interruption: Interruption | None = None
    broken: list[Broken] = field(default_factory=list)
    lost: list[WorkerLost] = field(default_factory=list)
    vitals: list[Vitals] = field(default_factory=list)
    elapsed_ns: int = 0
    stopped_ns: int | None = None
    signal: str | None = None
    dropped: int = 0


@dataclass(slots=True)
class _Host:
    ids: list[int]
    connection: Connection[Any, Any]
    pid: int | None
    heard_s: float
    said_farewell: bool = False

    @property
    def name(self) -> str:
        return f"worker {self.ids[0]}" if len(self.ids) == 1 else f"workers {self.ids[0]}..{self.ids[-1]}"


class Crew:
    """The hosts of one run. ``run`` may be called once."""

    def __init__(self, job: Job, alongside: Alongside) -> None:
        self._job = job
        self._alongside = alongside
        self._tick: Tick = lambda snapshot: None
        self._hosts: list[_Host] = []
        self._ready = 0
        self._ended_ns = 0
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Launch, start, collect. Whatever happens, no host outlives this call."""
        try:
            with _signals(self._on_signal):
                self._launch()
                self._collect(until_ready=True)
                if self._all_ready():
                    with self._alongside(self.stop) as self._tick:
                        self._collect_run(self._start())
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

    def _all_ready(self) -> bool:
        outcome = self._outcome
        return self._ready == self._job.plan.workers and not outcome.broken and not outcome.lost

    def _start(self) -> int:
        start_ns = perf_counter_ns() + _HEAD_START_NS
        plan, board = self._job.plan, self._job.board
        if not board.stopped and plan.duration_ns is not None:
            board.set_deadline(start_ns + plan.warmup_ns + plan.duration_ns)
        for host in self._hosts:
            host.heard_s = time.monotonic()
            with contextlib.suppress(OSError):
                host.connection.send(Go(start_ns))
        return start_ns

    # -- collect -----------------------------------------------------------------------------------------------

    def _collect_run(self, start_ns: int) -> None:
        self._collect(until_ready=False)
        outcome, plan = self._outcome, self._job.plan
        measured_from_ns = start_ns + plan.warmup_ns
        outcome.elapsed_ns = max(0, (self._ended_ns or perf_counter_ns()) - measured_from_ns)
        if self._job.arrivals is not None and plan.iterations is None:
            until_ns = outcome.stopped_ns or measured_from_ns + (plan.duration_ns or 0)
            outcome.dropped = self._job.arrivals.unclaimed_by(until_ns - start_ns)

    def _collect(self, *, until_ready: bool) -> None:
        """Take what the hosts send, until they are all ready or, later, all gone."""
        limit_s = _READY_S if until_ready else self._job.plan.timeout_ns / 1e9 + _SILENCE_S
        while live := [host for host in self._hosts if not host.connection.closed]:
            if until_ready and (self._ready == self._job.plan.workers or self._outcome.broken or self._outcome.lost):
                return
            if until_ready and self._job.board.stopped:
                return
            by_connection = {host.connection: host for host in live}
            for connection in wait(list(by_connection), timeout=_LOOK_S):
                self._receive(by_connection[cast("Connection[Any, Any]", connection)])
            for host in live:
                self._look_after(host, limit_s)
            self._tick(self._outcome.whole)

    def _receive(self, host: _Host) -> None:
        try:
            message = host.connection.recv()
        except (EOFError, OSError):
            self._part_with(host)
            return
        host.heard_s = time.monotonic()
        self._take(host, message)

    def _look_after(self, host: _Host, limit_s: float) -> None:
        """A host whose process has gone, or that hangs, sends no more; a grandchild may keep its pipe open.

        Whether it has gone is asked before whether it has sent: what it said last is then in the pipe to be heard.
        """
        if host.connection.closed:
            return
        has_gone = host.pid is not None and _has_exited(host.pid)
        if host.connection.poll():
            return
        if has_gone:
            self._part_with(host)
        elif time.monotonic() - host.heard_s > limit_s:
            self._part_with(host, f"{host.name} hung: it said nothing for {limit_s:.0f} s and was ended")

    def _part_with(self, host: _Host, cause: str | None = None) -> None:
        host.connection.close()
        status = _end_process(host.pid) if host.pid is not None else 0
        if not host.said_farewell and not self._outcome.broken:
            self._outcome.lost.append(WorkerLost(cause or f"{host.name} {_how_it_ended(status)}"))

    def _take(self, host: _Host, message: Message) -> None:
        outcome = self._outcome
        match message:
            case Interval():
                self._add(message)
            case Ready():
                self._ready += 1
            case Done():
                self._ended_ns = max(self._ended_ns, message.ended_ns)
            case Farewell():
                host.said_farewell = True
                outcome.vitals.append(message.vitals)
            case FirstFailure():
                outcome.first_failure = outcome.first_failure or message
            case Interruption():
                outcome.interruption = outcome.interruption or message
                self.stop()
            case Broken():
                outcome.broken.append(message)
                self.stop()
            case _:
                _carry(message)

    def _add(self, message: Interval) -> None:
        if message.interval < 0:
            return
        self._outcome.whole.merge(message.snapshot)
        self._outcome.intervals.setdefault(message.interval, Snapshot()).merge(message.snapshot)
        if self._job.plan.stages:
            self._outcome.stages.setdefault(message.stage, Snapshot()).merge(message.snapshot)

    # -- end ---------------------------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if self._outcome.signal is not None:
            raise KeyboardInterrupt
        self._outcome.signal = signal.Signals(number).name
        self.stop()

    def _end(self) -> None:
        self._job.board.stop()
        for host in self._hosts:
            if not host.connection.closed:
                host.connection.close()
                if host.pid is not None:
                    _end_process(host.pid)


def _carry(message: Message) -> None:
    """Let what a worker printed, logged or warned of happen here, where pytest captures it."""
    match message:
        case Printed():
            (sys.stdout if message.stream == "stdout" else sys.stderr).write(message.text)
        case Logged():
            for handler in logging.getLogger().handlers:
                if message.record.levelno >= handler.level:
                    handler.handle(message.record)
        case Warned():
            warnings.warn_explicit(message.message, None, message.filename, message.lineno)


_statuses: dict[int, int] = {}


def _has_exited(pid: int) -> bool:
    if pid not in _statuses:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            _statuses[pid] = status
    return pid in _statuses


def _end_process(pid: int) -> int:
    """Reap a host, killing it and whatever it started first; its wait status.

    A host that closed its pipe is on its way out: it gets a moment to show its own status.
    """
    deadline_s = time.monotonic() + 0.5
    while not _has_exited(pid) and time.monotonic() < deadline_s:
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if not _has_exited(pid):
        _statuses[pid] = os.waitpid(pid, 0)[1]
    return _statuses.pop(pid)


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code} in the middle of the run"
    name = signal.Signals(-code).name
    hint = " (the kernel does so when memory runs out)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


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

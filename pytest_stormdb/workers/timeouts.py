"""The watch over a host's workers: iterations that outlive their timeout."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from types import FrameType
from typing import Any

from ..database import connection as line_module
from ..database.connection import NoConnection, WorkerConnection
from . import loop as loop_module
from .loop import IterationTimeout, Loop

_GRACE_NS = 2_000_000_000
"""How long a cancelled iteration gets to end before it is cut off from its server, or interrupted."""

_OURS = frozenset({line_module.__name__, loop_module.__name__})
_CALLERS = frozenset({Loop.run.__code__, Loop._retry.__code__})


class Member:
    """A worker under watch: its loop, its line, and where to interrupt it."""

    def __init__(self, loop: Loop, line: WorkerConnection | NoConnection) -> None:
        self.loop = loop
        self.line = line
        self.task: asyncio.Task[Any] | None = None
        self.given_up = False
        self._iteration = -1
        self._since_ns = perf_counter_ns()

    def late_ns(self, now_ns: int, timeout_ns: int) -> int:
        """By how much the running iteration has outlived its timeout; negative while it has not.

        An iteration's age counts from when it was first seen, so that the loop need not tell when it began.
        """
        if self.loop.agenda.waiting or self.loop.worker.iteration != self._iteration:
            self._iteration = self.loop.worker.iteration
            self._since_ns = now_ns
        return now_ns - self._since_ns - timeout_ns

    def mark(self) -> bool:
        """Call the running iteration overdue, unless it has ended since it was looked at."""
        self.loop.overdue = self._iteration
        return self.loop.worker.iteration == self._iteration and not self.loop.agenda.waiting


def poll_s(timeout_ns: int) -> float:
    """How often to look: a timeout is kept to a twentieth of itself."""
    return min(0.5, max(0.01, timeout_ns / 20e9))


def watch(
    members: Sequence[Member], timeout_ns: int, ended: threading.Event, give_up: Callable[[Member], None]
) -> None:
    """Cancel what outlives its timeout, in a thread, until ``ended``; what ignores the cancel is cut off.

    A worker that waits for no server is interrupted in its Python code, which works for a lone worker in its
    process. One that shares it with others, as a thread, can only be given up.
    """
    while not ended.wait(poll_s(timeout_ns)):
        for member in members:
            late_ns = member.late_ns(perf_counter_ns(), timeout_ns)
            if late_ns < 0 or member.given_up:
                continue
            if late_ns < _GRACE_NS:
                member.line.cancel(member.mark)
            elif not member.line.cut() and not _interrupt(member.loop) and late_ns > 2 * _GRACE_NS:
                give_up(member)


async def watch_async(members: Sequence[Member], timeout_ns: int) -> None:
    """The same in a task: a task's cancellation makes psycopg cancel the statement on the server.

    It is cancelled again after a while, for a server that does not answer, or a workload that swallows it.
    """
    cancelled_ns: dict[Member, int] = {}
    while True:
        await asyncio.sleep(poll_s(timeout_ns))
        for member in members:
            now_ns = perf_counter_ns()
            if member.late_ns(now_ns, timeout_ns) < 0 or member.task is None:
                continue
            is_new = member.loop.overdue != member.loop.worker.iteration
            if is_new or now_ns - cancelled_ns[member] > _GRACE_NS:
                cancelled_ns[member] = now_ns
                if member.mark():
                    member.task.cancel()


_interruptible: Loop | None = None


def accept_interrupts(loop: Loop) -> None:
    """Called in the main thread of a host whose only worker this is."""
    global _interruptible
    if hasattr(signal, "SIGUSR2") and threading.current_thread() is threading.main_thread():
        _interruptible = loop
        signal.signal(signal.SIGUSR2, _raise_timeout)


def _interrupt(loop: Loop) -> bool:
    """Raise IterationTimeout in the main thread, if this worker runs there: not even a sleep withstands that."""
    if loop is not _interruptible:
        return False
    loop.overdue = loop.worker.iteration
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
    return True


def _raise_timeout(number: int, frame: FrameType | None) -> None:
    loop = _interruptible
    if loop is not None and not loop.agenda.waiting and loop.overdue == loop.worker.iteration and _is_in_call(frame):
        raise IterationTimeout("interrupted: it was not waiting for the server")


def _is_in_call(frame: FrameType | None) -> bool:
    """Whether the workload's code is running, and not the loop's own around it, which an exception would end."""
    innermost = frame
    while frame is not None:
        if frame.f_code in _CALLERS:
            return frame is not innermost
        if frame.f_globals.get("__name__") in _OURS:
            return False
        frame = frame.f_back
    return False

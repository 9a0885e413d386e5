"""What becomes of iterations that outlive their timeout: cancelled on the server, cut off, interrupted, given up."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from ..database.connection import NoConnection
from .lifecycle import Lifecycle, State
from .loop import CALLERS, IterationTimeout, Loop

_GRACE_NS = 2_000_000_000
"""How long a cancelled iteration gets to end before it is cut off from its server, or interrupted."""

_PACKAGE = __name__.partition(".")[0] + "."


class WatchedLoop:
    """A worker's loop, as whoever enforces its timeout sees it. ``task`` is what runs it, where it is asynchronous."""

    def __init__(self, loop: Loop, connection: NoConnection, lifecycle: Lifecycle, now_ns: int) -> None:
        self.loop = loop
        self.connection = connection
        self.lifecycle = lifecycle
        self.task: asyncio.Task[Any] | None = None
        self._iteration = -1
        self._since_ns = now_ns

    def late_ns(self, now_ns: int, timeout_ns: int) -> int:
        """By how much the running iteration has outlived its timeout; negative while it has not.

        An iteration's age counts from when it was first seen, so that the loop need not tell when it began.
        """
        if self.loop.turns.is_waiting or self.loop.worker.iteration != self._iteration:
            self._iteration = self.loop.worker.iteration
            self._since_ns = now_ns
        return now_ns - self._since_ns - timeout_ns

    def mark_overdue(self) -> bool:
        """Call the running iteration overdue; False when it has ended since it was looked at."""
        self.loop.overdue = self._iteration
        return self.loop.worker.iteration == self._iteration and not self.loop.turns.is_waiting


def poll_s(timeout_ns: int) -> float:
    """How often to look: a timeout is kept to a twentieth of itself."""
    return min(0.5, max(0.01, timeout_ns / 20e9))


class ThreadTimeouts:
    """For workers that are threads. ``report`` is called with each worker that is given up.

    A worker that waits for no server is interrupted in its Python code, which works for a lone worker in its
    process. One that shares it with others, as a thread, can only be given up.
    """

    def __init__(self, watched: Sequence[WatchedLoop], timeout_ns: int, report: Callable[[WatchedLoop], None]) -> None:
        self._watched = watched
        self._timeout_ns = timeout_ns
        self._report = report

    def check(self, now_ns: int) -> None:
        """Cancel what has outlived its timeout; cut off or interrupt what ignores the cancel; else give it up."""
        for each in self._watched:
            late_ns = each.late_ns(now_ns, self._timeout_ns)
            if late_ns < 0 or each.lifecycle.state is not State.RUNNING:
                continue
            if late_ns < _GRACE_NS:
                each.connection.cancel(each.mark_overdue)
            elif each.connection.shut_down() or _interrupt(each.loop):
                continue
            elif late_ns > 2 * _GRACE_NS and each.lifecycle.enter(State.STUCK):
                self._report(each)


class TaskTimeouts:
    """For workers that are tasks: a task's cancellation makes psycopg cancel the statement on the server.

    It is cancelled again after a while, for a server that does not answer, or a workload that swallows it.
    """

    def __init__(self, watched: Sequence[WatchedLoop], timeout_ns: int) -> None:
        self._watched = watched
        self._timeout_ns = timeout_ns
        self._cancelled_ns: dict[WatchedLoop, int] = {}

    def check(self, now_ns: int) -> None:
        """Cancel the tasks whose iteration has outlived its timeout."""
        for each in self._watched:
            if each.late_ns(now_ns, self._timeout_ns) < 0 or each.task is None:
                continue
            is_new = each.loop.overdue != each.loop.worker.iteration
            if is_new or now_ns - self._cancelled_ns[each] > _GRACE_NS:
                self._cancelled_ns[each] = now_ns
                if each.mark_overdue():
                    each.task.cancel()


_interruptible: Loop | None = None


def accept_interrupts(loop: Loop) -> None:
    """Called in the main thread of a process whose only worker this is."""
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
    if loop is not None and not loop.turns.is_waiting and loop.overdue == loop.worker.iteration and _is_in_call(frame):
        raise IterationTimeout("interrupted: it was not waiting for the server")


def _is_in_call(frame: FrameType | None) -> bool:
    """Whether the workload's code is running, and not ours around it, which an exception would end."""
    innermost = frame
    while frame is not None:
        if frame.f_code in CALLERS:
            return frame is not innermost
        if str(frame.f_globals.get("__name__")).startswith(_PACKAGE):
            return False
        frame = frame.f_back
    return False

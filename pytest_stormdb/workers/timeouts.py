"""What becomes of iterations that outlive their timeout: cancelled on the server, cut off, interrupted, given up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from ..database.cancelling import NamedSessions
from ..database.connection import NoConnection
from ..measurement.clock import Clock
from .calls import IterationTimeout, is_in_call
from .lifecycle import Lifecycle, State
from .loop import Loop

_GRACE_NS = 2_000_000_000
"""How long a cancelled iteration gets to end before it is cut off from its server, or interrupted."""
_PATIENCE_NS = _GRACE_NS // 2
"""How long a cancelled statement gets before its session is ended."""
_AGAIN_NS = 500_000_000
"""How long nothing is asked, or interrupted, again. A driver that waits in slices of 100 ms looks for signals after
each whole one, and a signal begins a new one: sent more often, it is never seen."""


class WatchedLoop:
    """A worker's loop, as whoever enforces its timeout sees it. ``task`` is what runs it, where it is asynchronous.

    ``sessions`` are those that its clients have on the server, by their name.
    """

    def __init__(
        self, loop: Loop, connection: NoConnection, sessions: NamedSessions, lifecycle: Lifecycle, now_ns: int
    ) -> None:
        self.loop = loop
        self.connection = connection
        self.sessions = sessions
        self.lifecycle = lifecycle
        self.task: asyncio.Task[Any] | None = None
        self._iteration = -1
        self._since_ns = now_ns
        self._asked_ns = -_AGAIN_NS
        loop.await_cancels = sessions.wait

    def late_ns(self, now_ns: int, timeout_ns: int) -> int:
        """By how much the running iteration has outlived its timeout; negative while it has not.

        An iteration's age counts from when it was first seen, so that the loop need not tell when it began.
        """
        if self.loop.turns.is_waiting or self.loop.worker.iteration != self._iteration:
            self._iteration = self.loop.worker.iteration
            self._since_ns = now_ns
        return now_ns - self._since_ns - timeout_ns

    def may_ask_again(self, now_ns: int) -> bool:
        """Whether it is time to ask, or to interrupt, once more; it counts as asked then."""
        if now_ns - self._asked_ns < _AGAIN_NS:
            return False
        self._asked_ns = now_ns
        return True

    def mark_overdue(self) -> bool:
        """Call the running iteration overdue; False when it has ended since it was looked at."""
        self.loop.overdue = self._iteration
        return self.loop.worker.iteration == self._iteration and not self.loop.turns.is_waiting


def poll_s(timeout_ns: int) -> float:
    """How often to look: a timeout is kept to a twentieth of itself."""
    return min(0.5, max(0.01, timeout_ns / 20e9))


class ThreadTimeouts:
    """For workers that are threads. ``report`` is called with each worker that is given up.

    What it waits for is cancelled on the server: on its own connection, or, for other clients, by the name of their
    sessions, which are ended if that does not help. A worker that waits for no server is interrupted in its Python
    code, which works for a lone worker in its process. One that shares it with others, as a thread, can only be given
    up.
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
            if late_ns > 2 * _GRACE_NS and not _is_interruptible(each.loop) and not each.connection.is_active():
                if each.lifecycle.enter(State.STUCK):
                    self._report(each)
            elif each.may_ask_again(now_ns):
                _end_iteration(each, late_ns)


def _end_iteration(watched: WatchedLoop, late_ns: int) -> None:
    """Do what is apt for an iteration that is so late."""
    if late_ns >= _GRACE_NS:
        if not watched.connection.shut_down():
            _interrupt(watched.loop)
    elif watched.connection.is_active():
        watched.connection.cancel(watched.mark_overdue)
    elif late_ns < _PATIENCE_NS:
        watched.sessions.cancel(watched.mark_overdue)
    else:
        watched.sessions.terminate(watched.mark_overdue)


class TaskTimeouts:
    """For workers that are tasks: a task's cancellation makes most drivers cancel the statement on the server.

    Not so what the task had run in a thread: it is cancelled there by the name of its session, too. All is done again
    after a while, for a server that does not answer, or a workload that swallows it, and the session is ended then.
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
                    ask = each.sessions.cancel if is_new else each.sessions.terminate
                    ask(lambda: True)
                    each.task.cancel()


@contextlib.contextmanager
def enforced(
    timeouts: ThreadTimeouts, timeout_ns: int, clock: Clock, also: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Check, in a thread of its own, until the block ends; ``also`` is called each time."""
    ended = threading.Event()

    def check() -> None:
        while not ended.wait(poll_s(timeout_ns)):
            timeouts.check(clock.now_ns())
            also()

    guard = threading.Thread(target=check, daemon=True)
    guard.start()
    try:
        yield
    finally:
        ended.set()
        guard.join()


@contextlib.asynccontextmanager
async def enforced_async(timeouts: TaskTimeouts, timeout_ns: int, clock: Clock) -> AsyncIterator[None]:
    """Check, in a task of its own, until the block ends."""

    async def check() -> None:
        while True:
            await asyncio.sleep(poll_s(timeout_ns))
            timeouts.check(clock.now_ns())

    guard = asyncio.create_task(check())
    try:
        yield
    finally:
        guard.cancel()


_interruptible: Loop | None = None


@contextlib.contextmanager
def interruptible(loop: Loop) -> Iterator[None]:
    """Let this worker, which runs alone in the main thread of its process, be interrupted in its Python code."""
    global _interruptible
    if not hasattr(signal, "SIGUSR2") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR2, _raise_timeout)
    _interruptible = loop
    try:
        yield
    finally:
        _interruptible = None
        signal.signal(signal.SIGUSR2, before)


def _is_interruptible(loop: Loop) -> bool:
    return loop is _interruptible


def _interrupt(loop: Loop) -> None:
    """Raise IterationTimeout in the main thread, if this worker runs there: not even a sleep withstands that."""
    if _is_interruptible(loop):
        loop.overdue = loop.worker.iteration
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)


def _raise_timeout(number: int, frame: FrameType | None) -> None:
    loop = _interruptible
    if loop is not None and not loop.turns.is_waiting and loop.overdue == loop.worker.iteration and is_in_call(frame):
        raise IterationTimeout("interrupted: no session of its name was waiting for the server")

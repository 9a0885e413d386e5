"""The watch over a host's workers: iterations that outlive their timeout, and the host's own vital signs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns
from types import FrameType
from typing import Any

from .line import Line, NoLine
from .loop import IterationTimeout, Loop
from .messages import Vitals

_GRACE_NS = 2_000_000_000
"""How long a cancelled statement gets to end before its connection is cut."""


class Member:
    """A worker under watch: its loop, its line, and where to interrupt it."""

    def __init__(self, loop: Loop, line: Line | NoLine) -> None:
        self.loop = loop
        self.line = line
        self.task: asyncio.Task[Any] | None = None
        self._iteration = -1
        self._since_ns = perf_counter_ns()

    def overdue_ns(self, now_ns: int, timeout_ns: int) -> int:
        """By how much the running iteration has outlived its timeout; negative while it has not.

        An iteration's age counts from when it was first seen, so that the loop need not tell when it began.
        """
        if self.loop.waiting or self.loop.worker.iteration != self._iteration:
            self._iteration = self.loop.worker.iteration
            self._since_ns = now_ns
        return now_ns - self._since_ns - timeout_ns


def poll_s(timeout_ns: int) -> float:
    """How often to look: a timeout is kept to a twentieth of itself."""
    return min(0.5, max(0.01, timeout_ns / 20e9))


def watch(members: Sequence[Member], timeout_ns: int, ended: threading.Event) -> None:
    """Cancel what outlives its timeout, in a thread, until ``ended``; what ignores the cancel is cut off."""
    while not ended.wait(poll_s(timeout_ns)):
        for member in members:
            late_ns = member.overdue_ns(perf_counter_ns(), timeout_ns)
            if late_ns < 0:
                continue
            iteration = member.loop.worker.iteration
            if member.loop.overdue != iteration:
                member.loop.overdue = iteration
                member.line.cancel()
            elif late_ns > _GRACE_NS and not member.line.cut():
                _interrupt(member.loop)


async def watch_async(members: Sequence[Member], timeout_ns: int) -> None:
    """The same in a task: a task's cancellation makes psycopg cancel the statement on the server."""
    while True:
        await asyncio.sleep(poll_s(timeout_ns))
        for member in members:
            iteration = member.loop.worker.iteration
            late = member.overdue_ns(perf_counter_ns(), timeout_ns) >= 0
            if late and member.loop.overdue != iteration and member.task is not None:
                member.loop.overdue = iteration
                member.task.cancel()


_interrupted: Loop | None = None


def _interrupt(loop: Loop) -> None:
    """Raise IterationTimeout in the main thread, where a lone worker runs: not even a sleep withstands that.

    A worker that shares its process with others as a thread cannot be reached so; the parent ends its process.
    """
    global _interrupted
    _interrupted = loop
    if hasattr(signal, "pthread_kill") and signal.getsignal(signal.SIGUSR2) is _raise_timeout:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)


def accept_interrupts() -> None:
    """Called in the main thread of a host with one worker."""
    signal.signal(signal.SIGUSR2, _raise_timeout)


def _raise_timeout(number: int, frame: FrameType | None) -> None:
    loop = _interrupted
    if loop is not None and not loop.waiting and loop.overdue == loop.worker.iteration:
        raise IterationTimeout("interrupted: it was not waiting for the server")


class VitalSigns:
    """What the host itself used and suffered between ``start`` and ``read``."""

    def __init__(self) -> None:
        self._gc_started_ns = 0
        self._gc_total_ns = 0
        self._gc_max_ns = 0

    def start(self) -> None:
        gc.callbacks.append(self._note_collection)
        self._wall_ns = perf_counter_ns()
        self._cpu_ns = time.process_time_ns()
        self._wait_ns, self._preemptions, self._yields = _waited()

    def read(self) -> Vitals:
        gc.callbacks.remove(self._note_collection)
        wait_ns, preemptions, yields = _waited()
        return Vitals(
            cpu_ns=time.process_time_ns() - self._cpu_ns,
            wall_ns=perf_counter_ns() - self._wall_ns,
            wait_ns=wait_ns - self._wait_ns,
            preemptions=preemptions - self._preemptions,
            yields=yields - self._yields,
            gc_total_ns=self._gc_total_ns,
            gc_max_ns=self._gc_max_ns,
        )

    def _note_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_started_ns = perf_counter_ns()
        else:
            spent_ns = perf_counter_ns() - self._gc_started_ns
            self._gc_total_ns += spent_ns
            self._gc_max_ns = max(self._gc_max_ns, spent_ns)


def _waited() -> tuple[int, int, int]:
    """Time this process was ready but had no CPU (ns, Linux only), how often it lost its CPU and gave it away."""
    wait_ns = 0
    for schedstat in Path(f"/proc/{os.getpid()}/task").glob("*/schedstat"):
        try:
            wait_ns += int(schedstat.read_text().split()[1])
        except (OSError, IndexError):
            continue
    try:
        import resource
    except ImportError:
        return wait_ns, 0, 0
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return wait_ns, usage.ru_nivcsw, usage.ru_nvcsw

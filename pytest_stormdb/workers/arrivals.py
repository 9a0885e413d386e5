"""The arrivals of an open loop: one queue of intended starts, from which every free worker takes the next.

Between processes, the queue is a pipe that the parent keeps filled. The kernel hands each
start to one reader, whole; a reader that is killed takes no lock with it, and readers hardly wait for each other.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from array import array
from collections.abc import Iterable, Iterator
from io import FileIO
from itertools import chain, islice, takewhile
from typing import Protocol

from ..load.alternation import Alternation
from ..load.pacing import Schedule, alternating_starts_ns, make_schedule
from ..load.plan import LoadPlan
from .layout import CAN_FORK

try:
    import fcntl
    from select import PIPE_BUF
except ImportError:  # Windows: all workers are threads of one process, and there is no pipe
    fcntl = None  # type: ignore[assignment]
    PIPE_BUF = 0  # type: ignore[misc]

NOT_YET = -1
_CAPACITY = 1 << 18
"""In bytes: 32,768 arrivals, a tenth of a second's worth at 330,000 a second."""
_COUNTED_SINGLY = 100_000


class ArrivalQueue(Protocol):
    """What a launcher and its workers need of a queue."""

    def feed(self) -> None:
        """In the parent, several times a second: see that there is something to claim."""

    def claim(self) -> int | None:
        """In a worker: the next arrival's intended start, in ns from the start of the run.

        None when there are no more, ``NOT_YET`` when the parent is late.
        """

    def only_claim(self) -> None:
        """In a process that was forked: leave the feeding to the parent."""

    def is_fed(self) -> bool:
        """In the parent: whether nothing is left to be fed."""

    def unclaimed_before(self, offset_ns: float) -> int:
        """In the parent, at the end: how many arrivals were due before ``offset_ns`` and claimed by nobody."""

    def close(self) -> None:
        """Give everything back."""


def make_arrivals(
    plan: LoadPlan, *, between_processes: bool = CAN_FORK, alternation: Alternation | None = None, arm: int = 0
) -> ArrivalQueue:
    """The queue of an open plan; that of one arm, where arms take turns."""
    schedule = make_schedule(plan)
    starts = schedule.starts_ns() if alternation is None else alternating_starts_ns(plan, alternation, arm)
    if plan.iterations is not None:
        starts = _until_measured(starts, plan.warmup_ns, plan.iterations * plan.workers)
    return PipedArrivalQueue(schedule, starts) if between_processes else LocalArrivalQueue(schedule, starts)


def _until_measured(starts: Iterator[int], measured_from_ns: int, count: int) -> Iterator[int]:
    """The starts up to the ``count``-th of the measured ones."""
    for start_ns in starts:
        if start_ns >= measured_from_ns:
            yield from islice(chain([start_ns], starts), count)
            return
        yield start_ns


def _count_before(offset_ns: float, starts: Iterable[int], schedule: Schedule) -> int:
    """Counted one by one, but no more than a moment's worth of them: beyond, by the mean rate."""
    some = list(takewhile(lambda start_ns: start_ns < offset_ns, islice(starts, _COUNTED_SINGLY)))
    return len(some) + (schedule.left_before(offset_ns) if len(some) == _COUNTED_SINGLY else 0)


class PipedArrivalQueue:
    """For workers in processes of their own."""

    def __init__(self, schedule: Schedule, starts: Iterator[int]) -> None:
        self._schedule = schedule
        self._starts = starts
        self._pending = b""
        ends = os.pipe()
        for end in ends:
            os.set_blocking(end, False)
        self._reader = FileIO(ends[0], "r")
        self._writer = FileIO(ends[1], "w")
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # a user with many pipes gets smaller ones
                fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, _CAPACITY)

    def feed(self) -> None:
        """Fill the pipe, in portions that are written whole or not at all; close it behind the last arrival."""
        while not self._writer.closed:
            self._pending = self._pending or array("q", islice(self._starts, PIPE_BUF // 8)).tobytes()
            if not self._pending:
                self._writer.close()
            elif self._writer.write(self._pending) is None:
                return
            else:
                self._pending = b""

    def claim(self) -> int | None:
        data = self._reader.read(8)
        if data is None:
            return NOT_YET
        return int.from_bytes(data, sys.byteorder) if data else None

    def only_claim(self) -> None:
        self._writer.close()

    def is_fed(self) -> bool:
        return self._writer.closed

    def unclaimed_before(self, offset_ns: float) -> int:
        self._writer.close()
        left = array("q", self._reader.readall() + self._pending)
        return _count_before(offset_ns, chain(left, self._starts), self._schedule)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()


class LocalArrivalQueue:
    """For workers that are threads of this process."""

    def __init__(self, schedule: Schedule, starts: Iterator[int]) -> None:
        self._schedule = schedule
        self._starts = starts
        self._lock = threading.Lock()

    def feed(self) -> None:
        """There is nothing to be filled."""

    def claim(self) -> int | None:
        with self._lock:
            return next(self._starts, None)

    def only_claim(self) -> None:
        """Nobody else feeds."""

    def is_fed(self) -> bool:
        return True

    def unclaimed_before(self, offset_ns: float) -> int:
        return _count_before(offset_ns, self._starts, self._schedule)

    def close(self) -> None:
        """There is nothing to give back."""

"""The few words of memory that all workers of a run share: when to stop, and which arrival comes next."""

from __future__ import annotations

import mmap
import tempfile
import threading

try:
    import fcntl
except ImportError:  # Windows: all workers are threads of one process, the thread lock is enough
    fcntl = None  # type: ignore[assignment]

from ..pacing import Schedule

DEADLINE = 0
_NEXT_INDEX = 1
_NEXT_POSITION = 2
_MEASURED = 3
_WORDS = 4
FOREVER_NS = (1 << 63) - 1
_COUNTED_SINGLY = 100_000


class Board:
    """Shared between processes by fork, between threads as it is. Reading a word takes 40 ns and no lock."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _WORDS * 8)
        self.words = memoryview(self._memory).cast("Q")
        self.floats = memoryview(self._memory).cast("d")
        self.words[DEADLINE] = FOREVER_NS

    def set_deadline(self, deadline_ns: int) -> None:
        """No iteration starts at or after this instant."""
        self.words[DEADLINE] = deadline_ns

    def stop(self) -> None:
        """No iteration starts any more."""
        self.words[DEADLINE] = 0

    @property
    def stopped(self) -> bool:
        return self.words[DEADLINE] == 0

    def close(self) -> None:
        """Give the memory back."""
        self.words.release()
        self.floats.release()
        self._memory.close()


class Arrivals:
    """The one schedule of an open loop, from which every free worker claims the next arrival.

    The lock is a record lock of a file, which the kernel releases when its holder is killed: a semaphore
    would stay taken for ever. Record locks belong to processes, hence the second lock for threads.
    """

    def __init__(self, board: Board, schedule: Schedule, *, measured_from_ns: int, limit: int | None) -> None:
        self._words = board.words
        self._floats = board.floats
        self._schedule = schedule
        self._measured_from_ns = measured_from_ns
        self._limit = limit
        self._thread_lock = threading.Lock()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this
        self._floats[_NEXT_POSITION] = schedule.gap(0)

    def claim(self) -> int | None:
        """The next arrival's intended start, in ns from the start of the run; None when there are no more."""
        with self._thread_lock:
            if fcntl is None:
                return self._claim()
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                return self._claim()
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _claim(self) -> int | None:
        words = self._words
        position = self._floats[_NEXT_POSITION]
        intended_ns = self._schedule.intended_ns(position)
        if intended_ns is None:
            return None
        if intended_ns >= self._measured_from_ns:
            if words[_MEASURED] == self._limit:
                return None
            words[_MEASURED] += 1
        words[_NEXT_INDEX] = index = words[_NEXT_INDEX] + 1
        self._floats[_NEXT_POSITION] = position + self._schedule.gap(index)
        return intended_ns

    def unclaimed_by(self, offset_ns: float) -> int:
        """How many arrivals were due before ``offset_ns`` and claimed by nobody.

        They are counted one by one, but no more than a moment's worth of them: beyond, by the mean rate.
        """
        index, position, count = self._words[_NEXT_INDEX], self._floats[_NEXT_POSITION], 0
        while count < _COUNTED_SINGLY:
            intended_ns = self._schedule.intended_ns(position)
            if intended_ns is None or intended_ns >= offset_ns:
                return count
            count, index = count + 1, index + 1
            position += self._schedule.gap(index)
        return count + max(0, self._schedule.count_before(offset_ns, position))

    def close(self) -> None:
        """Give the lock's file back."""
        self._file.close()

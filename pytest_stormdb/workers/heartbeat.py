"""Whether a process of workers ever stood still: a thread that wants to wake every 20 ms, and notes when it could not.

Time in which a thread of the process waited for a CPU is not counted: the server may have filled them, which is what
is measured, and a thread may hold the lock while it waits.
What remains is the workload's own doing: a thread, or a library, that held the interpreter lock. Iterations of other
workers end late then, and the database had no part in it. A worker whose thread is the only one in its process can hold
up nobody, and need not be woken from its statements for this: that would be 4 % of a point select.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from ..realtime import perf_counter_ns

_BEAT_S = 0.02
_SHORTEST_NS = 25_000_000
"""Five times as long as a thread that computes in Python keeps the lock when another one wants it: with less, a machine
with ten times as much work as CPUs looked like a held lock."""


class Heartbeat:
    """``stalled_ns`` is how long the process stood still in all, ``longest_ns`` at a time."""

    def __init__(self) -> None:
        self.stalled_ns = 0
        self.longest_ns = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self, threads_of_ours: int = 0) -> None:
        """Begin, unless it has begun, where the process has more threads than these, which only wait."""
        if self._thread.ident is None and threading.active_count() > threads_of_ours:
            self._thread.start()

    def end(self) -> None:
        """Stop, and wait for the last beat."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _beat(self) -> None:
        queued_ns = _queued_ns()
        asleep_ns = perf_counter_ns()
        while not self._ended.wait(_BEAT_S):
            late_ns = perf_counter_ns() - asleep_ns - round(_BEAT_S * 1e9)
            if late_ns > _SHORTEST_NS:
                before_ns, queued_ns = queued_ns, _queued_ns()
                self._note(late_ns - (queued_ns - before_ns))
            asleep_ns = perf_counter_ns()

    def _note(self, stalled_ns: int) -> None:
        if stalled_ns > _SHORTEST_NS:
            self.stalled_ns += stalled_ns
            self.longest_ns = max(self.longest_ns, stalled_ns)


def _queued_ns() -> int:
    """How long the threads of this process have waited for a CPU since they began; 0 where nobody counts."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        for thread in Path("/proc/self/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[1])
    return total

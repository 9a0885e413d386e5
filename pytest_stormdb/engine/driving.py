"""Seeing one stretch of a run through: start pgbench, count what it logs, end it on time, and say how it went."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..measurement.recorder import Snapshot
from ..realtime import perf_counter_ns, time_ns
from .log import Blocks, Layout, LogCounter
from .process import HAS_LARGE_PIPES, Running
from .report import Counts, counts_in, has_errors
from .threads import ThreadUsage, threads_of

_LOOK_S = 0.2 if HAS_LARGE_PIPES else 0.01
"""How often pgbench is looked after: at 100,000 transactions a second, half of its pipes fills in between."""
_TELL_NS = 1_000_000_000
_TELL_AT_ONCE_NS = 500_000_000
_MOST_FILLED = 0.1
"""Up to how full a pipe is left alone until it is told what was in it: few large pieces cost less than many."""
_GRACE_NS = 1_000_000_000
"""Beyond the timeout of a statement, how long pgbench may take to end."""
_SHARE = 0.01
"""How much of a CPU may go into counting while load runs: up to some 40,000 transactions a second it keeps up."""
_MOST_KEPT_BYTES = 64 << 20
"""What may wait to be counted until the load has ended: 20 s of 100,000 transactions a second."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a stretch went. Instants are of the monotonic clock, in ns.

    ``status`` is pgbench's exit status, negative for a signal; ``stopped`` says that it ended early, ``cancelled`` that
    transactions in flight were cut off. ``counts`` are pgbench's own, of all it did and not only of what was measured,
    ``lines`` those of its log, ``errors`` what it wrote to stderr. ``filled`` is how full the log's pipe has been at
    most, as a share.
    """

    status: int
    started_ns: int
    ended_ns: int
    stopped: bool
    cancelled: bool
    lines: int
    skipped: int
    counts: Counts | None
    has_errors: bool
    errors: str
    filled: float
    usage: dict[int, ThreadUsage] = field(default_factory=dict)


Emit = Callable[[dict[int, Snapshot]], None]
"""Given what was counted since the last time, by block; at least once a second, also where that is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When what counts where. ``ends_ns`` is told when pgbench began and says when it is to end; None for by itself.

    Blocks count from ``measured_from_ns``, by default from the end of the warm-up, less ``measured_before_ns``: as if
    a stretch followed the one before it without a gap. ``counts_at_once``: what is told is all that has come, whatever
    CPU time that takes.
    """

    blocks: Blocks
    ends_ns: Callable[[int], int | None]
    warmup_ns: int = 0
    measured_from_ns: int | None = None
    measured_before_ns: int = 0
    counts_at_once: bool = False
    rate_per_s: float | None = None
    timeout_ns: int


class Drive:
    """One pgbench under way. ``run`` may be called once."""

    def __init__(self, running: Running, layout: Layout, timing: Timing, threads: int) -> None:
        self._running = running
        self._timing = timing
        self._rate_per_s = timing.rate_per_s
        has_warmup = timing.warmup_ns > 0 or timing.measured_from_ns is not None
        self._counter = LogCounter(layout, timing.blocks, threads, has_warmup=has_warmup)
        self._uncounted: deque[tuple[int, bytes]] = deque()
        self._uncounted_bytes = 0
        self._spent_ns = 0
        self._share = 1.0 if timing.counts_at_once else _SHARE
        self._tell_every_ns = _TELL_AT_ONCE_NS if timing.counts_at_once else _TELL_NS
        self._created_ns = perf_counter_ns()
        self._epoch_us = (time_ns() - perf_counter_ns()) // 1_000
        self._begun_ns: int | None = None
        self._start_us: int | None = None
        self._ending_since_ns: int | None = None
        self._stopped = False
        self._cancelled = False
        self._filled = 0.0
        self._seen_errors = 0
        self._usage: dict[int, ThreadUsage] = {}

    def run(self, stop: Callable[[], bool], emit: Emit) -> Ending:
        """See it through to its end; ``stop`` says when it is to end early."""
        tell_ns = perf_counter_ns() + self._tell_every_ns
        while True:
            status = self._running.status  # asked before reading: what it wrote last is then there to be read
            self._running.listen()
            filled, now_ns = self._running.filled(), perf_counter_ns()
            self._filled = max(self._filled, filled)
            is_to_tell = now_ns >= tell_ns or status is not None
            while (is_to_tell or self._start_us is None or filled > _MOST_FILLED) and self._read():
                pass
            if status is not None:
                break
            self._end_if_due(now_ns, stop)
            if is_to_tell:
                tell_ns = now_ns + self._tell_every_ns
                self._count(now_ns)
                self._usage.update(threads_of(self._running.pid))
                emit(self._counter.take(self._told_until_us()))
            self._sleep()
        self._count()
        emit(self._counter.take())
        return self._ending(status)

    @property
    def measured_from_ns(self) -> int | None:
        """Where the first block begins; None as long as that is not known."""
        if self._timing.measured_from_ns is not None:
            return self._timing.measured_from_ns
        if self._start_us is None:
            return None
        return self._started_ns() + self._timing.warmup_ns - self._timing.measured_before_ns

    # -- when to end -------------------------------------------------------------------------------------------

    def _end_if_due(self, now_ns: int, stop: Callable[[], bool]) -> None:
        if self._ending_since_ns is not None:
            if now_ns > self._ending_since_ns + self._timing.timeout_ns + _GRACE_NS:
                self._cancelled = True
                self._running.end()
            return
        self._stopped = stop() or self._has_new_errors()
        if not self._stopped and self._left_ns(now_ns) > 0:
            return
        self._usage.update(threads_of(self._running.pid))
        self._ending_since_ns = now_ns
        if self._timing.ends_ns(now_ns) is not None:
            self._running.end_gently()
        else:
            self._cancelled = True
            self._running.end()

    def _has_new_errors(self) -> bool:
        """Whether a client has given up since we looked last: with one less, the load is not the planned one."""
        length = len(self._running.errors)
        has_grown, self._seen_errors = length != self._seen_errors, length
        return has_grown and has_errors(str(self._running.errors))

    def _left_ns(self, now_ns: int) -> float:
        """The time to the planned end; without one, or before the start, more than any."""
        ends_ns = self._timing.ends_ns(self._started_ns()) if self._begun_ns is not None else None
        return float("inf") if ends_ns is None else ends_ns - now_ns

    def _sleep(self) -> None:
        left_ns = self._left_ns(perf_counter_ns()) if self._ending_since_ns is None else float("inf")
        time.sleep(min(_LOOK_S, max(0.0, left_ns / 1e9)))

    def _started_ns(self) -> int:
        if self._start_us is None:
            return self._created_ns if self._begun_ns is None else self._begun_ns
        return (self._start_us - self._epoch_us) * 1_000

    # -- what it logs ------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Take in what has come; whether there was any."""
        chunks = self._running.read()
        if self._begun_ns is None and self._running.has_begun:
            self._begun_ns = perf_counter_ns()
        for thread, chunk in enumerate(chunks):
            if chunk:
                self._uncounted.append((thread, chunk))
                self._uncounted_bytes += len(chunk)
        if self._start_us is None:
            self._start_us = self._start_of_first()
        return any(chunks)

    def _count(self, now_ns: int | None = None) -> None:
        """Count what has come: everything at the end, before that as much as costs the load no CPU time to speak of."""
        from_ns = self.measured_from_ns
        while self._uncounted and self._start_us is not None and from_ns is not None:
            if now_ns is not None and self._uncounted_bytes <= _MOST_KEPT_BYTES and self._has_spent_enough(now_ns):
                return
            thread, chunk = self._uncounted.popleft()
            self._uncounted_bytes -= len(chunk)
            before_ns = time.process_time_ns()
            self._counter.feed(chunk, from_ns // 1_000 + self._epoch_us, thread)
            self._spent_ns += time.process_time_ns() - before_ns

    def _has_spent_enough(self, now_ns: int) -> bool:
        return self._spent_ns >= (now_ns - self._created_ns) * self._share

    def _start_of_first(self) -> int | None:
        """When it began: with the earliest of the first transactions, under a rate a mean distance before."""
        first = dict(reversed(self._uncounted))
        starts = [start for chunk in first.values() if (start := self._counter.first_start_us(chunk)) is not None]
        if not starts:
            return None
        earliest_us = min(starts)
        if self._rate_per_s is None or self._begun_ns is None:
            return earliest_us
        begun_us = self._begun_ns // 1_000 + self._epoch_us
        return min(earliest_us, max(begun_us, earliest_us - round(1e6 / self._rate_per_s)))

    def _told_until_us(self) -> int:
        """Up to where all threads have told what they did: pgbench writes 4 KiB at a time, each thread in its own."""
        if self.measured_from_ns is None:
            return 0
        return max(0, min(self._counter.ends_us) - self.measured_from_ns // 1_000 - self._epoch_us)

    # -- how it went -------------------------------------------------------------------------------------------

    def _ending(self, status: int) -> Ending:
        last_us = max(self._counter.ends_us)
        return Ending(
            status=status,
            started_ns=self._started_ns(),
            ended_ns=(last_us - self._epoch_us) * 1_000 if last_us else perf_counter_ns(),
            stopped=self._stopped,
            cancelled=self._cancelled,
            lines=self._counter.lines,
            skipped=self._counter.skipped,
            counts=counts_in(str(self._running.output)),
            has_errors=has_errors(str(self._running.errors)),
            errors=str(self._running.errors),
            filled=self._filled,
            usage=self._usage,
        )

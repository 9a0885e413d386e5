"""When a worker puts away what it recorded: into histograms when that is much, to the supervisor once a second.

It does so when there is time for it, or when there is much of it, and not by the clock in the middle of the load. What
it costs a worker between two statements is less its own time than what it drives out of the caches, which a handful of
samples does as well as a thousand.

In an open loop, arrivals wait meanwhile. So there it is done in small portions, by one worker after the other: to sort
and to pack once a second, all four at the same time, delayed one of a hundred of their 20,000 arrivals by 5 ms.

Samples belong to the interval, and to the side of the warm-up, in which their iteration was meant to start: what was
recorded is sent before the first turn beyond a boundary.
"""

from __future__ import annotations

import os
import pickle
from array import array
from bisect import bisect
from collections.abc import Callable
from weakref import WeakSet

from ..load.alternation import Alternation
from ..load.pacing import stage_starts_ns
from ..load.plan import LoadPlan
from ..measurement.blocks import block_ns
from ..measurement.histogram import Histogram
from ..measurement.recorder import Recorder, SetAside, Snapshot
from ..realtime import perf_counter_ns
from ..workload.contract import Worker
from .messages import IntervalCounts, Message

INTERVAL_NS = 1_000_000_000
"""What a killed worker can lose at most."""

MANY = 2_000
"""So many samples are worth putting away: it takes half a millisecond."""
_SOME = 500
"""And so many of an open loop, each with three durations."""
_SPARE_NS = 2_000_000
"""Time enough for that before the next arrival."""
_NEVER_NS = 1 << 63


class Flush:
    """What one worker recorded, on its way out.

    ``boundary_ns`` is where the present interval or stage ends, ``send_ns`` when to send at the latest, ``due_ns`` the
    earlier of both; ``pack_ns`` is when, in an open loop, to make ready what will be sent. ``calls`` and ``called_ns``
    count the measured calls packed and the time within them, ``wake_lag`` how late an idle worker came to its arrivals
    (to be appended to ``wake_lags_ns``). Where arms take turns, the intervals are their blocks, and ``on_block`` is
    called when one begins, with its number. ``on_measured`` is called once, between two iterations, when the measured
    part begins, and takes ``own_ns``.
    """

    def __init__(
        self,
        *,
        worker: Worker,
        plan: LoadPlan,
        recorder: Recorder,
        send: Callable[[Message], None],
        alternation: Alternation | None = None,
        on_block: Callable[[int], None] | None = None,
    ) -> None:
        self.on_measured: Callable[[], None] | None = None
        self.calls = 0
        self.called_ns = self.own_ns = 0
        self.wake_lag = Histogram()
        self.wake_lags_ns = array("Q")
        self.due_ns = self.send_ns = self.boundary_ns = 0
        self.pack_ns = _NEVER_NS
        self._worker = worker
        self._plan = plan
        self._recorder = recorder
        self._send = send
        self._interval = self._stage = self._block = -1
        self._kept: list[tuple[int, int, SetAside, bytes]] = []
        self._packed: list[IntervalCounts] = []
        self._enough = _SOME if plan.is_open else MANY
        self._block_ns = block_ns(plan.duration_ns)
        self._alternation = alternation
        self._on_block = on_block
        self._pid = os.getpid()
        _living.add(self)

    def begin(self, start_ns: int) -> None:
        """The run starts at this instant, with its warm-up."""
        self.measured_from_ns = self.boundary_ns = start_ns + self._plan.warmup_ns
        self._stage_starts_ns = [start_ns + offset for offset in stage_starts_ns(self._plan)]
        self.send_ns = start_ns + INTERVAL_NS
        self.due_ns = min(self.boundary_ns, self.send_ns)

    def is_full(self) -> bool:
        """Whether there is much to put away."""
        return self._recorder.pending() >= self._enough

    def is_wanted(self, now_ns: int) -> bool:
        """Whether there is something to send, to pack, or to put away."""
        return now_ns >= self.send_ns or now_ns >= self.pack_ns or self.is_full()

    def has_time_until(self, instant_ns: int, now_ns: int) -> bool:
        """Whether there is something to put away, and time for it."""
        return now_ns < instant_ns - _SPARE_NS and self._recorder.pending() > 0

    def flush(self, at_ns: int, now_ns: int) -> None:
        """Put away what was recorded: ``at_ns`` is the next intended start, ``now_ns`` the time."""
        self.leave_if_forked()
        if at_ns >= self.boundary_ns:
            self._set_aside()
            self._begin_measuring()
            self._enter_interval_at(at_ns)
            if self._plan.is_open:
                self.pack_ns = now_ns + self._block_ns * (self._worker.id + 1) // (self._plan.workers + 1)
        elif now_ns < min(self.send_ns, self.pack_ns):
            self._recorder.drain()
        if now_ns >= self.pack_ns:
            self._pack()
        if now_ns >= self.send_ns:
            self._emit()
            self.send_ns = now_ns + INTERVAL_NS
        self.due_ns = min(self.boundary_ns, self.send_ns)
        if self.wake_lags_ns:
            self.wake_lag.record_many(self.wake_lags_ns)
            del self.wake_lags_ns[:]

    def show_life(self, now_ns: int) -> None:
        """Send something at least once an interval, while there is no turn to be taken."""
        if now_ns >= self.send_ns:
            self.flush(now_ns, now_ns)

    def finish(self) -> None:
        """Send what is left."""
        self._emit()

    def expire(self) -> None:
        """Be due at once."""
        self.due_ns = self.send_ns = 0
        self._worker.is_unusual = True

    def leave_if_forked(self) -> None:
        """End a child that the workload forked and that came back: it must not go on as this worker's double."""
        if os.getpid() != self._pid:
            os._exit(0)

    def _begin_measuring(self) -> None:
        if self.on_measured is None:
            return
        from_ns = perf_counter_ns()
        self.on_measured()
        self.own_ns = perf_counter_ns() - from_ns
        self.on_measured = None

    def _enter_interval_at(self, at_ns: int) -> None:
        if self._alternation is not None:
            self._enter_phase_at(at_ns - self.measured_from_ns, self._alternation)
            return
        self._interval = (at_ns - self.measured_from_ns) // self._block_ns
        self._stage = bisect(self._stage_starts_ns, at_ns) - 1
        later = [start for start in self._stage_starts_ns if start > at_ns]
        self.boundary_ns = min(self.measured_from_ns + (self._interval + 1) * self._block_ns, *later[:1] or [_NEVER_NS])

    def _enter_phase_at(self, offset_ns: int, alternation: Alternation) -> None:
        self._interval, until_ns = alternation.phase_at(offset_ns)
        self.boundary_ns = self.measured_from_ns + until_ns
        block = offset_ns // alternation.block_ns
        if block != self._block and self._on_block is not None:
            self._on_block(block)
        self._block = block

    def _set_aside(self) -> None:
        """End an interval: what was recorded in it is sent with the others of its second.

        To sort and to send it at once would be done with cold caches up to ten times a second, between two statements.
        """
        recorder = self._recorder
        self._kept.append((self._interval, self._stage, recorder.set_aside(), recorder.take_spans()))

    def _emit(self) -> None:
        """Send what was recorded, interval by interval, or, as a sign of life, nothing."""
        self._set_aside()
        self._pack()
        packed, self._packed = self._packed, []
        for message in packed:
            self._send(message)

    def _pack(self) -> None:
        """Sort what was kept, and make it ready to be sent."""
        kept, self._kept, self.pack_ns = self._kept, [], _NEVER_NS
        self._packed += [self._counts(interval, stage, taken.sorted(), spans) for interval, stage, taken, spans in kept]

    def _counts(self, interval: int, stage: int, snapshot: Snapshot, spans: bytes) -> IntervalCounts:
        """What an interval holds; what belongs to the warm-up is dropped here."""
        whole = [tally for tally in snapshot.tallies.values() if not tally.is_part]
        operations, failures = sum(tally.count for tally in whole), sum(tally.failures for tally in whole)
        if interval < 0:
            snapshot = Snapshot()
        for tally in snapshot.tallies.values():
            if not tally.is_part:
                for calls in (tally.service, tally.failed, tally.aborted):
                    self.calls += calls.count
                    self.called_ns += calls.total_ns
        packed = pickle.dumps(snapshot, pickle.HIGHEST_PROTOCOL)
        return IntervalCounts(self._worker.id, interval, stage, packed, operations, failures, spans)


_living: WeakSet[Flush] = WeakSet()


def _expire_all() -> None:
    """In a child that the workload forked: its next turn, if it comes back for one, is where it leaves."""
    for each in _living:
        each.expire()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_expire_all)

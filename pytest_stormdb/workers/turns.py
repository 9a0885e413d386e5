"""A worker's agenda: when its turns come, and between them the appointments at which samples are put away.

``turns`` is one generator for all drivers. It does no waiting of its own: it yields either the intended start of the
next iteration, or, negated, the instant until which to wait before it is asked again.

Samples belong to the interval, and to the side of the warm-up, in which their iteration was meant to start: the
snapshot is taken before the first turn beyond a boundary.
"""

from __future__ import annotations

import os
import pickle
import random
from array import array
from bisect import bisect
from collections.abc import Callable, Generator
from time import perf_counter_ns

from ..load.pacing import active_windows_ns, stage_starts_ns
from ..load.plan import LoadPlan
from ..measurement.histogram import Histogram
from ..measurement.recorder import Recorder, Snapshot
from ..workload.contract import Worker
from .arrivals import NOT_YET, ArrivalQueue
from .deadline import DEADLINE, Deadline
from .messages import IntervalCounts, Message

INTERVAL_NS = 1_000_000_000
"""What a killed worker can lose at most, and the step of the timeline."""

_DRAIN_NS = 10_000_000
_WAIT_SLICE_NS = 50_000_000
_LOOK_AGAIN_NS = 200_000


class Turns:
    """The turns of one worker. ``waiting`` is true while it is between two iterations and may be for a while."""

    def __init__(
        self,
        *,
        worker: Worker,
        plan: LoadPlan,
        recorder: Recorder,
        board: Deadline,
        arrivals: ArrivalQueue | None,
        send: Callable[[Message], None],
        draws: random.Random,
    ) -> None:
        self.waiting = True
        self.wake_lag = Histogram()
        self.calls = 0
        self.pause_ns = 0
        self._worker = worker
        self._plan = plan
        self._recorder = recorder
        self._board = board
        self._arrivals = arrivals
        self._send = send
        self._draws = draws
        self._interval = -1
        self._orphaned = False
        self._wake_lags_ns = array("Q")

    # -- turns -------------------------------------------------------------------------------------------------

    def turns(self, start_ns: int) -> Generator[int, None, None]:
        """The intended starts of this worker's iterations; negative: wait until then, and ask again."""
        self._begin(start_ns)
        yield -start_ns
        if self._arrivals is None:
            yield from self._closed_turns()
        else:
            yield from self._open_turns(self._arrivals)

    def finish(self) -> None:
        """Send what is left; the turns are over."""
        self.waiting = True
        self._emit()
        if self._arrivals is None and self.calls:
            self.pause_ns += perf_counter_ns() - max(self._start_ns, self._measured_from_ns)

    def _closed_turns(self) -> Generator[int, None, None]:
        words = self._board.words
        low_ns, high_ns = self._plan.think_time_ns
        left = self._plan.iterations
        for from_ns, to_ns in active_windows_ns(self._plan, self._worker.id):
            yield from self._wait(self._start_ns + from_ns)
            end_ns = self._start_ns + to_ns
            while (now := perf_counter_ns()) < words[DEADLINE] and now < end_ns:
                if now >= self._appointment_ns:
                    self._keep_appointments(now, now)
                yield now
                if left is not None and now >= self._measured_from_ns:
                    left -= 1
                    if not left:
                        return
                pause_ns = self._worker.take_pause_ns()
                if high_ns:
                    pause_ns += self._draws.randint(low_ns, high_ns)
                if pause_ns:
                    yield from self._pause(pause_ns)

    def _open_turns(self, arrivals: ArrivalQueue) -> Generator[int, None, None]:
        words = self._board.words
        intended_ns, starved = self._start_ns, False
        while (now := perf_counter_ns()) < words[DEADLINE]:
            if now >= self._drain_ns:  # before the claim: meanwhile, another worker can serve the next arrival
                self._keep_appointments(intended_ns, now)
            offset_ns = arrivals.claim()
            if offset_ns is None:
                return
            if offset_ns == NOT_YET:
                starved = True  # until it has caught up, its lag is ours
                self.waiting = True
                yield -(now + _LOOK_AGAIN_NS)
                self.waiting = False
                continue
            intended_ns = self._start_ns + offset_ns
            now = perf_counter_ns()
            if now < intended_ns - _WAIT_SLICE_NS:
                yield from self._wait(intended_ns - _WAIT_SLICE_NS)
            if intended_ns >= self._boundary_ns:
                self._keep_appointments(intended_ns, perf_counter_ns())
            if perf_counter_ns() < intended_ns:  # from here on, nothing must stand between waking up and the call
                self.waiting = True
                yield -intended_ns
                self._wake_lags_ns.append(perf_counter_ns() - intended_ns)
                self.waiting = starved = False
            elif starved:
                self._wake_lags_ns.append(perf_counter_ns() - intended_ns)
            if words[DEADLINE] == 0:
                return
            yield intended_ns
            pause_ns = self._worker.take_pause_ns()
            if pause_ns:
                yield from self._pause(pause_ns)

    def _pause(self, pause_ns: int) -> Generator[int, None, None]:
        """Wait between two iterations, but not beyond the end of the run."""
        yield from self._wait(min(perf_counter_ns() + pause_ns, self._board.words[DEADLINE]))

    def _wait(self, until_ns: int) -> Generator[int, None, None]:
        """Wait in slices, so that a stop is noticed and an idle worker still sends its intervals."""
        self.waiting = True
        from_ns = perf_counter_ns()
        while (now := perf_counter_ns()) < until_ns and not self._board.stopped:
            if now >= self._drain_ns:
                self._keep_appointments(min(now, until_ns), now)
            yield -min(until_ns, now + _WAIT_SLICE_NS)
        self.pause_ns -= max(0, perf_counter_ns() - max(from_ns, self._measured_from_ns))
        self.waiting = False

    def may_go_on(self) -> bool:
        """Asked between attempts to reconnect: whether the run still goes on. Sends a sign of life, too."""
        now = perf_counter_ns()
        if now >= self._send_ns:
            self._keep_appointments(now, now)
        return now < self._board.words[DEADLINE]

    # -- forks -------------------------------------------------------------------------------------------------

    def disown(self) -> None:
        """Called in a child that the workload forked: it must not go on as a second self of this worker."""
        self._orphaned = True
        self._appointment_ns = self._drain_ns = 0

    def leave_if_orphaned(self) -> None:
        """End a forked child that came back from the workload."""
        if self._orphaned:
            os._exit(0)

    # -- appointments ------------------------------------------------------------------------------------------

    def _begin(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._measured_from_ns = start_ns + self._plan.warmup_ns
        self._stage_starts_ns = [start_ns + offset for offset in stage_starts_ns(self._plan)]
        self._stage = -1
        self._boundary_ns = self._measured_from_ns
        self._drain_ns = start_ns + _DRAIN_NS
        self._send_ns = start_ns + INTERVAL_NS
        self._appointment_ns = min(self._boundary_ns, self._drain_ns)
        self.waiting = False

    def _keep_appointments(self, at_ns: int, now_ns: int) -> None:
        """Put away what was recorded: ``at_ns`` is the next intended start, ``now_ns`` the time."""
        self.leave_if_orphaned()
        if at_ns >= self._boundary_ns:
            self._emit()
            self._enter_interval_at(at_ns)
        elif now_ns >= self._send_ns:
            self._emit()
        else:
            self._recorder.drain()
        if self._wake_lags_ns:
            self.wake_lag.record_many(self._wake_lags_ns)
            del self._wake_lags_ns[:]
        if now_ns >= self._send_ns:
            self._send_ns = now_ns + INTERVAL_NS
        self._drain_ns = now_ns + _DRAIN_NS
        self._appointment_ns = min(self._boundary_ns, self._drain_ns)

    def _enter_interval_at(self, at_ns: int) -> None:
        self._interval = (at_ns - self._measured_from_ns) // INTERVAL_NS
        self._stage = bisect(self._stage_starts_ns, at_ns) - 1
        later = [start for start in self._stage_starts_ns if start > at_ns]
        self._boundary_ns = min(self._measured_from_ns + (self._interval + 1) * INTERVAL_NS, *later[:1] or [2**63])

    def _emit(self) -> None:
        """Send what was recorded, or, as a sign of life, nothing: what belongs to the warm-up is dropped here."""
        snapshot = self._recorder.take()
        if self._interval < 0:
            snapshot = Snapshot()
        for tally in snapshot.tallies.values():
            if not tally.is_part:
                self.calls += tally.service.count + tally.failed.count
                self.pause_ns -= tally.service.total_ns + tally.failed.total_ns
        packed = pickle.dumps(snapshot, pickle.HIGHEST_PROTOCOL)
        self._send(IntervalCounts(self._worker.id, self._interval, self._stage, packed))

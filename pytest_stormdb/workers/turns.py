"""When a worker's turns come.

``turns`` is one generator for all drivers. It does no waiting of its own: negated, it yields the instant until which to
wait before it is asked again. A turn of an open loop is the intended start of one iteration; one of a closed loop is
the instant until which iterations may follow each other, ``most`` of them.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable

from ..load.alternation import Alternation
from ..load.pacing import active_windows_ns
from ..load.plan import LoadPlan
from ..measurement.clock import Clock
from ..workload.contract import Worker
from .arrivals import NOT_YET, ArrivalQueue
from .deadline import DEADLINE, Deadline
from .flush import MANY, Flush

_WAIT_SLICE_NS = 50_000_000
_LOOK_AGAIN_NS = 200_000
_STRETCH_NS = 100_000_000
"""How long a closed loop goes on without looking whether the run has been stopped."""


class Turns:
    """The turns of one worker. ``is_waiting`` is true while it is between two iterations and may be for a while,
    ``most`` is how many iterations the present turn has at most."""

    def __init__(
        self,
        *,
        worker: Worker,
        plan: LoadPlan,
        flush: Flush,
        deadline: Deadline,
        arrivals: ArrivalQueue | None,
        draws: random.Random,
        clock: Clock,
        alternation: Alternation | None = None,
        arm: int = 0,
    ) -> None:
        self.is_waiting = True
        self.most = 1
        self.pause_ns = 0
        self._waited_ns = 0
        self._worker = worker
        self._plan = plan
        self._flush = flush
        self._deadline = deadline
        self._arrivals = arrivals
        self._draws = draws
        self._now_ns = clock.now_ns
        self._alternation = alternation
        self._arm = arm
        # one that waits for its block must not wake while the other arm is measured
        self._slice_ns = _WAIT_SLICE_NS if alternation is None else alternation.block_ns

    def turns(self, start_ns: int) -> Generator[int, None, None]:
        """This worker's turns; negative: wait until then, and ask again."""
        self._start_ns = start_ns
        self._flush.begin(start_ns)
        yield -start_ns
        self.is_waiting = False
        if self._arrivals is None:
            yield from self._closed_turns()
        else:
            yield from self._open_turns(self._arrivals)

    def finish(self) -> None:
        """Send what is left; the turns are over. ``pause_ns`` is what a closed loop spent between its calls, and did
        not mean to wait."""
        self.is_waiting = True
        self._flush.finish()
        if self._arrivals is None and self._flush.calls:
            elapsed_ns = self._now_ns() - max(self._start_ns, self._flush.measured_from_ns)
            self.pause_ns = max(0, elapsed_ns - self._waited_ns - self._flush.called_ns - self._flush.own_ns)

    def may_go_on(self) -> bool:
        """Asked between attempts to reconnect: whether the run still goes on. Sends a sign of life, too."""
        now = self._now_ns()
        self._flush.show_life(now)
        return now < self._deadline.words[DEADLINE]

    def leave_if_forked(self) -> None:
        """End a child that the workload forked and that came back."""
        self._flush.leave_if_forked()

    @property
    def is_stopped(self) -> bool:
        """Whether the run was stopped before its end."""
        return self._deadline.stopped

    def _closed_turns(self) -> Generator[int, None, None]:
        words, flush, now_ns, worker = self._deadline.words, self._flush, self._now_ns, self._worker
        low_ns, high_ns = self._plan.think_time_ns
        left = self._plan.iterations
        for from_ns, to_ns in self._windows_ns():
            yield from self._wait(self._start_ns + from_ns)
            end_ns = self._start_ns + to_ns
            while (now := now_ns()) < words[DEADLINE] and now < end_ns:
                if now >= flush.due_ns or flush.is_full():
                    flush.flush(now, now)
                is_counted = left is not None and now >= flush.measured_from_ns
                self.most = 1 if high_ns else min(left, MANY) if left and is_counted else MANY
                before = worker.iteration
                yield round(min(end_ns, flush.due_ns, words[DEADLINE], now + _STRETCH_NS))
                if left and is_counted:
                    left -= worker.iteration - before
                    if not left:
                        return
                pause_ns = worker.take_pause_ns()
                if high_ns:
                    pause_ns += self._draws.randint(low_ns, high_ns)
                if pause_ns:
                    yield from self._pause(pause_ns)

    def _windows_ns(self) -> Iterable[tuple[int, float]]:
        """When this worker of a closed loop runs, from the start."""
        if self._alternation is not None:
            return ((turn.from_ns, turn.to_ns) for turn in self._alternation.turns_of(self._arm))
        return active_windows_ns(self._plan, self._worker.id)

    def _open_turns(self, arrivals: ArrivalQueue) -> Generator[int, None, None]:
        words, flush, now_ns = self._deadline.words, self._flush, self._now_ns
        intended_ns, starved = self._start_ns, False
        while (now := now_ns()) < words[DEADLINE]:
            if flush.is_wanted(now):  # before the claim: meanwhile, another can serve the next one
                flush.flush(intended_ns, now)
            offset_ns = arrivals.claim()
            if offset_ns is None:
                return
            if offset_ns == NOT_YET:
                starved = True  # until it has caught up, its lag is ours
                self.is_waiting = True
                yield -(now + _LOOK_AGAIN_NS)
                self.is_waiting = False
                continue
            intended_ns = self._start_ns + offset_ns
            now = now_ns()
            if now < intended_ns - _WAIT_SLICE_NS:
                yield from self._wait(intended_ns - _WAIT_SLICE_NS)
            if intended_ns >= flush.boundary_ns or flush.has_time_until(intended_ns, now):
                flush.flush(intended_ns, now_ns())
            if now_ns() < intended_ns:  # from here on, nothing must stand between waking up and the call
                self.is_waiting = True
                yield -intended_ns
                flush.wake_lags_ns.append(now_ns() - intended_ns)
                self.is_waiting = starved = False
            elif starved:
                flush.wake_lags_ns.append(now_ns() - intended_ns)
            if words[DEADLINE] == 0:
                return
            yield intended_ns
            pause_ns = self._worker.take_pause_ns()
            if pause_ns:
                yield from self._pause(pause_ns)

    def _pause(self, pause_ns: int) -> Generator[int, None, None]:
        """Wait between two iterations, but not beyond the end of the run."""
        yield from self._wait(min(self._now_ns() + pause_ns, self._deadline.words[DEADLINE]))

    def _wait(self, until_ns: int) -> Generator[int, None, None]:
        """Wait in slices, so that a stop is noticed and an idle worker still sends its intervals."""
        self.is_waiting = True
        from_ns = self._now_ns()
        while (now := self._now_ns()) < until_ns and not self._deadline.stopped:
            if now >= self._flush.send_ns or self._flush.has_time_until(until_ns, now):
                self._flush.flush(min(now, until_ns), now)
            yield -min(until_ns, now + self._slice_ns)
        self._waited_ns += max(0, self._now_ns() - max(from_ns, self._flush.measured_from_ns))
        self.is_waiting = False

"""The worker's loop: take a turn, call, note the time; everything else happens between the turns.

When a turn comes is decided by one generator for all drivers, ``Loop.turns``. It does no waiting of its own: it
yields either the intended start of the next iteration, or, negated, the instant until which to wait before it is
asked again. ``run`` drives it in a thread and ``run_async`` in an asyncio task; the two differ in ``await`` only.

Between the two timestamps of an iteration stands the call and nothing else. A sample is one ``array.append``; drawing
the operation, checking the connection, draining the samples into histograms and sending them to the parent happen
outside. Samples belong to the interval, and to the side of the warm-up, in which their iteration was meant to
start: the snapshot is taken before the first turn beyond a boundary.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from array import array
from bisect import bisect
from collections.abc import Callable, Generator
from itertools import accumulate
from time import perf_counter_ns
from typing import Any, Protocol

from ..histogram import Histogram
from ..pacing import active_windows_ns, stage_starts_ns
from ..plan import LoadPlan
from ..sample import Failure, OperationResult, Sample
from ..stats import Recorder, Snapshot
from ..workload import Worker, Workload, failure_of
from .board import DEADLINE, Arrivals, Board
from .messages import FirstFailure, Interruption, Interval, Message

INTERVAL_NS = 1_000_000_000
"""What a killed worker can lose at most, and the step of the timeline."""

_DRAIN_NS = 100_000_000
_WAIT_SLICE_NS = 50_000_000
_RETRYABLE = frozenset({"40001", "40P01"})
_IDLE = 0
_BACKOFF_S = 0.001
_LONGEST_BACKOFF_S = 0.1


class Line(Protocol):
    """A worker's line to the database: what the loop needs to know of its connection."""

    def is_clean(self) -> bool:
        """Whether the connection is usable and in no transaction."""

    def mend(self) -> bool:
        """Roll back or reconnect; whether it reconnected. Raises ServerError when the server stays away."""

    async def mend_async(self) -> bool:
        """The same for an asynchronous connection."""

    def absorb_cancel(self) -> None:
        """Make sure that a cancel request still on its way hits nothing of the next iteration."""


class IterationTimeout(BaseException):
    """Raised inside an iteration that outlived its timeout and could not be cancelled on the server."""


class Interrupted(Exception):  # noqa: N818 - not an error: the workload's own wish to end the run
    """Ends a loop because the workload skipped its test or left the session."""


class Failed:
    """What a call that raised is replaced by; a returned value like any other, for the code that settles it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Loop:
    """One worker's iterations, from the first turn to the last."""

    def __init__(
        self,
        *,
        workload: Workload,
        plan: LoadPlan,
        worker: Worker,
        recorder: Recorder,
        line: Line,
        board: Board,
        arrivals: Arrivals | None,
        send: Callable[[Message], None],
    ) -> None:
        self.worker = worker
        self.waiting = True
        self.overdue = -1
        self.wake_lag = Histogram()
        self.calls: list[Callable[[], Any]] = []
        self._workload = workload
        self._plan = plan
        self._interval = -1
        self._recorder = recorder
        self._line = line
        self._board = board
        self._arrivals = arrivals
        self._send = send
        self._draws = random.Random(f"plan:{plan.seed}:{worker.id}")
        self._weights = list(accumulate(operation.weight for operation in workload.operations))
        self._explained = False
        self._retries = 0
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
        """Send what is left; the loop is over."""
        self.waiting = True
        self._emit()

    def _closed_turns(self) -> Generator[int, None, None]:
        words = self._board.words
        low_ns, high_ns = self._plan.think_time_ns
        left = self._plan.iterations
        for from_ns, to_ns in active_windows_ns(self._plan, self.worker.id):
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
                pause_ns = self.worker.take_pause_ns()
                if high_ns:
                    pause_ns += self._draws.randint(low_ns, high_ns)
                if pause_ns:
                    yield from self._pause(pause_ns)

    def _open_turns(self, arrivals: Arrivals) -> Generator[int, None, None]:
        words = self._board.words
        while perf_counter_ns() < words[DEADLINE] and (offset_ns := arrivals.claim()) is not None:
            intended_ns = self._start_ns + offset_ns
            was_idle = perf_counter_ns() < intended_ns
            yield from self._wait(intended_ns)
            if self._board.stopped:
                return
            now = perf_counter_ns()
            if was_idle:
                self._wake_lags_ns.append(now - intended_ns)
            if intended_ns >= self._boundary_ns or now >= self._drain_ns:
                self._keep_appointments(intended_ns, now)
            yield intended_ns
            pause_ns = self.worker.take_pause_ns()
            if pause_ns:
                yield from self._pause(pause_ns)

    def _pause(self, pause_ns: int) -> Generator[int, None, None]:
        """Wait between two iterations, but not beyond the end of the run."""
        yield from self._wait(min(perf_counter_ns() + pause_ns, self._board.words[DEADLINE]))

    def _wait(self, until_ns: int) -> Generator[int, None, None]:
        """Wait in slices, so that a stop is noticed and an idle worker still sends its intervals."""
        self.waiting = True
        while (now := perf_counter_ns()) < until_ns and not self._board.stopped:
            if now >= self._drain_ns:
                self._keep_appointments(min(now, until_ns), now)
            yield -min(until_ns, now + _WAIT_SLICE_NS)
        self.waiting = False

    def may_go_on(self) -> bool:
        """Asked between attempts to reconnect: whether the run still goes on. Sends a sign of life, too."""
        now = perf_counter_ns()
        if now >= self._send_ns:
            self._keep_appointments(now, now)
        return now < self._board.words[DEADLINE]

    def disown(self) -> None:
        """Called in a child that the workload forked: it must not go on as a second self of this worker."""
        self._orphaned = True
        self._appointment_ns = self._drain_ns = 0

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
        if self._orphaned:
            os._exit(0)
        if at_ns >= self._boundary_ns:
            self._emit()
            self._interval = (at_ns - self._measured_from_ns) // INTERVAL_NS
            self._stage = bisect(self._stage_starts_ns, at_ns) - 1
            later = [start for start in self._stage_starts_ns if start > at_ns]
            self._boundary_ns = min(self._measured_from_ns + (self._interval + 1) * INTERVAL_NS, *later[:1] or [2**63])
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

    def _emit(self) -> None:
        """Send what was recorded, or, as a sign of life, nothing: what belongs to the warm-up is dropped here."""
        snapshot = self._recorder.take()
        if self._interval < 0:
            snapshot = Snapshot()
        self._send(Interval(self.worker.id, self._interval, self._stage, snapshot))

    # -- driving -----------------------------------------------------------------------------------------------

    def run(self, start_ns: int) -> None:
        """Drive the turns in this thread. Raises Interrupted, or ServerError when the server stays away."""
        worker, line, plan, recorder = self.worker, self._line, self._plan, self._recorder
        is_open, retries = plan.is_open, plan.retries
        name, call, append = self._first()
        mixed = len(self.calls) > 1
        state = None
        for turn in self.turns(start_ns):
            if turn < 0:
                _sleep_until(-turn)
                continue
            if mixed:
                name, call, append = self._draw()
            if retries:
                state = worker.rng.getstate()
            worker.iteration += 1
            started = perf_counter_ns()
            try:
                value = call()
            except BaseException as error:
                value = self._retry(call, error, state) if retries else Failed(error)
            finished = perf_counter_ns()
            if value is None and not is_open and not self._retries and line.is_clean():
                append(finished - started)
                continue
            self._settle(Sample(name, turn if is_open else started, started, finished), value)
            if self.overdue == worker.iteration:
                line.absorb_cancel()
            if not line.is_clean():
                self.waiting = True
                recorder.reconnects += line.mend()
                self.waiting = False

    async def run_async(self, start_ns: int, sleep_until: Callable[[int], Any]) -> None:
        """Drive the turns in this task; the twin of ``run``."""
        worker, line, plan, recorder = self.worker, self._line, self._plan, self._recorder
        is_open, retries = plan.is_open, plan.retries
        name, call, append = self._first()
        mixed = len(self.calls) > 1
        state = None
        for turn in self.turns(start_ns):
            if turn < 0:
                await sleep_until(-turn)
                continue
            if mixed:
                name, call, append = self._draw()
            if retries:
                state = worker.rng.getstate()
            worker.iteration += 1
            started = perf_counter_ns()
            try:
                value = await call()
            except BaseException as error:
                value = await self._retry_async(call, error, state) if retries else Failed(error)
            finished = perf_counter_ns()
            if value is None and not is_open and not self._retries and line.is_clean():
                append(finished - started)
                continue
            self._settle(Sample(name, turn if is_open else started, started, finished), value)
            if self.overdue == worker.iteration:
                _forget_cancel()
            if not line.is_clean():
                self.waiting = True
                recorder.reconnects += await line.mend_async()
                self.waiting = False

    def _first(self) -> tuple[str, Callable[[], Any], Callable[[int], None]]:
        name = self.worker._operation = self._workload.operations[0].name
        return name, self.calls[0], self._recorder.buffers(name).service.append

    def _draw(self) -> tuple[str, Callable[[], Any], Callable[[int], None]]:
        """The next operation of the mix, by weight, from a stream of its own."""
        index = bisect(self._weights, self._draws.random() * self._weights[-1])
        name = self.worker._operation = self._workload.operations[index].name
        return name, self.calls[index], self._recorder.buffers(name).service.append

    # -- outcomes ----------------------------------------------------------------------------------------------

    def _settle(self, sample: Sample, value: object) -> None:
        """Count what a call came to: a success, the results it returned, or a failure."""
        if self._retries:
            self._recorder.tally(sample.operation).retries += self._retries
            self._retries = 0
        if isinstance(value, Failed):
            self._fail(sample, value.error)
        elif not self._line.is_clean():
            text = "the iteration left its transaction open, or its connection broken; it was rolled back"
            self._recorder.record_failure(sample, Failure("open transaction", text))
        elif isinstance(value, OperationResult):
            self._record_results(sample, [value])
        elif isinstance(value, list) and value and all(isinstance(each, OperationResult) for each in value):
            self._record_results(sample, value)
        else:
            self._recorder.record(sample, is_open=self._plan.is_open)

    def _record_results(self, sample: Sample, results: list[OperationResult]) -> None:
        """Each result counts for its operation; the call's duration enters once for each operation named."""
        successes: dict[str, int] = {}
        for result in results:
            name = result.operation or sample.operation
            if result.success:
                successes[name] = successes.get(name, 0) + 1
            else:
                failure = Failure("unsuccessful", result.error or "success=False")
                self._recorder.record_failure(sample._replace(operation=name), failure)
            self._recorder.tally(name).rows += result.rows_affected or 0
        for name, count in successes.items():
            self._recorder.record(sample._replace(operation=name), is_open=self._plan.is_open, count=count)

    def _fail(self, sample: Sample, error: BaseException) -> None:
        stop = self._workload.stops(error)
        if stop is not None:
            self._send(Interruption(*stop))
            raise Interrupted
        failure = failure_of(error)
        if isinstance(error, IterationTimeout) or self.overdue == self.worker.iteration:
            failure = Failure("timeout", f"cancelled after {self._plan.timeout_ns / 1e9:g} s: {failure.example}")
        self._recorder.record_failure(sample, failure)
        if not self._explained:
            self._explained = True
            text = self._workload.explain(error)
            self._send(FirstFailure(self.worker.id, self.worker.iteration, sample.operation, failure.code, text))

    # -- retries -----------------------------------------------------------------------------------------------

    def _retry(self, call: Callable[[], Any], error: BaseException, state: Any) -> Any:
        """Call again after a serialisation failure or a deadlock, with the same random draws."""
        for attempt in range(self._plan.retries):
            if not self._may_retry(error):
                break
            if not self._line.is_clean():
                self._recorder.reconnects += self._line.mend()
            time.sleep(self._backoff_s(attempt))
            self.worker.rng.setstate(state)
            try:
                return call()
            except BaseException as again:
                error = again
        return Failed(error)

    async def _retry_async(self, call: Callable[[], Any], error: BaseException, state: Any) -> Any:
        """The twin of ``_retry``."""
        for attempt in range(self._plan.retries):
            if not self._may_retry(error):
                break
            if not self._line.is_clean():
                self._recorder.reconnects += await self._line.mend_async()
            await asyncio.sleep(self._backoff_s(attempt))
            self.worker.rng.setstate(state)
            try:
                return await call()
            except BaseException as again:
                error = again
        return Failed(error)

    def _may_retry(self, error: BaseException) -> bool:
        if getattr(error, "sqlstate", None) not in _RETRYABLE or self._board.stopped:
            return False
        self._retries += 1
        return True

    def _backoff_s(self, attempt: int) -> float:
        """Full jitter under a doubling bound."""
        return self._draws.uniform(0, min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2**attempt))


def _sleep_until(instant_ns: int) -> None:
    delay_ns = instant_ns - perf_counter_ns()
    if delay_ns > 0:
        time.sleep(delay_ns / 1e9)


def _forget_cancel() -> None:
    """The task was cancelled to end one iteration, not to end."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()

"""The worker's loop: take a turn, call, note the time; everything else happens between the turns.

``run`` drives the agenda's turns in a thread and ``run_async`` in an asyncio task; the two differ in ``await`` only.
Between the two timestamps of an iteration stands the call and nothing else. A sample is one ``array.append``; drawing
the operation, checking the connection, settling what the call came to, and letting go of what it returned happen
outside.
"""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from time import perf_counter_ns
from typing import Any

from ..database.connection import NoConnection, WorkerConnection
from ..errors import ServerError
from ..load.pacing import attention_ns
from ..load.plan import LoadPlan
from ..measurement.machine import cpus
from ..measurement.recorder import Buffers, Recorder
from ..measurement.sample import Failure, OperationResult, Sample
from ..workload.contract import Worker, Workload, failure_of
from .arrivals import ArrivalQueue
from .deadline import Deadline
from .layout import layout
from .messages import FirstFailure, Interruption, Message
from .turns import Turns

_RETRYABLE = frozenset({"40001", "40P01"})
_BACKOFF_S = 0.001
_LONGEST_BACKOFF_S = 0.1


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
    """One worker's iterations, from the first turn to the last. ``overdue`` is the iteration that outlived
    its timeout, set by the watch."""

    def __init__(
        self,
        *,
        workload: Workload,
        plan: LoadPlan,
        worker: Worker,
        recorder: Recorder,
        line: WorkerConnection | NoConnection,
        board: Deadline,
        arrivals: ArrivalQueue | None,
        send: Callable[[Message], None],
    ) -> None:
        self.worker = worker
        self.overdue = -1
        self.calls: list[Callable[[], Any]] = []
        self._draws = random.Random(f"plan:{plan.seed}:{worker.id}")
        self.agenda = Turns(
            worker=worker,
            plan=plan,
            recorder=recorder,
            board=board,
            arrivals=arrivals,
            send=send,
            draws=self._draws,
        )
        self._workload = workload
        self._plan = plan
        self._recorder = recorder
        self._line = line
        self._board = board
        self._send = send
        self._weights = list(accumulate(operation.weight for operation in workload.operations))
        self._explained = False
        self._retries = 0
        # None where workers share an interpreter: one that watches the clock would hold up the others.
        is_alone = len(layout(plan, is_async=False)) == plan.workers
        self._attention_ns = attention_ns(plan, cpus()) if is_alone else 0
        self._jitter = random.Random()  # apart from the draws: how often a try is repeated is chance

    # -- driving -----------------------------------------------------------------------------------------------

    def run(self, start_ns: int) -> None:
        """Drive the turns in this thread. Raises Interrupted, or ServerError when the server stays away."""
        worker, line, plan = self.worker, self._line, self._plan
        is_open, retries = plan.is_open, plan.retries
        name, call, buffers = self._first()
        mixed = len(self.calls) > 1
        state = None
        for turn in self.agenda.turns(start_ns):
            if turn < 0:
                _sleep_until(-turn, self._attention_ns)
                continue
            if mixed:
                name, call, buffers = self._draw()
            if retries:
                state = worker.rng.getstate()
            worker.iteration += 1
            started = perf_counter_ns()
            try:
                value = call()
            except BaseException as error:
                value = self._retry(call, error, state) if retries else Failed(error)
            finished = perf_counter_ns()
            if value is None and not self._retries and line.is_clean() and self.overdue != worker.iteration:
                buffers.service.append(finished - started)
                if is_open:
                    buffers.response.append(finished - turn)
                    buffers.lag.append(started - turn)
                continue
            self._settle(Sample(name, turn if is_open else started, started, finished), value)
            value = None  # what the call returned is let go of here, and not within the next call's time
            if self.overdue == worker.iteration:
                line.absorb_cancel()
            if not line.is_clean():
                self.agenda.waiting = True
                self._recorder.reconnects += line.mend()
                self.agenda.waiting = False

    async def run_async(self, start_ns: int, sleep_until: Callable[[int], Any]) -> None:
        """Drive the turns in this task; the twin of ``run``."""
        worker, line, plan = self.worker, self._line, self._plan
        is_open, retries = plan.is_open, plan.retries
        name, call, buffers = self._first()
        mixed = len(self.calls) > 1
        state = None
        for turn in self.agenda.turns(start_ns):
            if turn < 0:
                await sleep_until(-turn)
                continue
            if mixed:
                name, call, buffers = self._draw()
            if retries:
                state = worker.rng.getstate()
            worker.iteration += 1
            started = perf_counter_ns()
            try:
                value = await call()
            except BaseException as error:
                value = await self._retry_async(call, error, state) if retries else Failed(error)
            finished = perf_counter_ns()
            if value is None and not self._retries and line.is_clean() and self.overdue != worker.iteration:
                buffers.service.append(finished - started)
                if is_open:
                    buffers.response.append(finished - turn)
                    buffers.lag.append(started - turn)
                continue
            self._settle(Sample(name, turn if is_open else started, started, finished), value)
            value = None  # what the call returned is let go of here, and not within the next call's time
            if self.overdue == worker.iteration:
                _forget_cancel()
            if not line.is_clean():
                self.agenda.waiting = True
                self._recorder.reconnects += await line.mend_async()
                self.agenda.waiting = False

    def _first(self) -> tuple[str, Callable[[], Any], Buffers]:
        name = self.worker._operation = self._workload.operations[0].name
        return name, self.calls[0], self._recorder.buffers(name)

    def _draw(self) -> tuple[str, Callable[[], Any], Buffers]:
        """The next operation of the mix, by weight, from a stream of its own."""
        index = bisect(self._weights, self._draws.random() * self._weights[-1])
        name = self.worker._operation = self._workload.operations[index].name
        return name, self.calls[index], self._recorder.buffers(name)

    # -- outcomes ----------------------------------------------------------------------------------------------

    def _settle(self, sample: Sample, value: object) -> None:
        """Count what a call came to: a success, the results it returned, or a failure."""
        self.agenda.leave_if_orphaned()
        if self._retries:
            self._recorder.tally(sample.operation).retries += self._retries
            self._retries = 0
        if isinstance(value, Failed):
            self._fail(sample, value.error)
        elif self.overdue == self.worker.iteration:
            self._recorder.record_failure(sample, self._timeout("it ended by itself after that"))
        elif not self._line.is_clean():
            self._recorder.record_failure(sample, self._line.complaint())
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
        if isinstance(error, IterationTimeout):
            self._line.distrust()
        if isinstance(error, IterationTimeout) or self.overdue == self.worker.iteration:
            failure = self._timeout(failure.example)
        self._recorder.record_failure(sample, failure)
        if not self._explained:
            self._explained = True
            text = self._workload.explain(error)
            self._send(FirstFailure(self.worker.id, self.worker.iteration, sample.operation, failure.code, text))

    def _timeout(self, detail: str) -> Failure:
        return Failure("timeout", f"cancelled after {self._plan.timeout_ns / 1e9:g} s: {detail}")

    # -- retries -----------------------------------------------------------------------------------------------

    def _retry(self, call: Callable[[], Any], error: BaseException, state: Any) -> Any:
        """Call again after a serialisation failure or a deadlock, with the same random draws."""
        for attempt in range(self._plan.retries):
            if not self._may_retry(error):
                break
            try:
                if not self._line.is_clean():
                    self._recorder.reconnects += self._line.mend()
                time.sleep(self._backoff_s(attempt))
                self.worker.rng.setstate(state)
                return call()
            except ServerError:
                raise
            except BaseException as again:
                error = again
        return Failed(error)

    async def _retry_async(self, call: Callable[[], Any], error: BaseException, state: Any) -> Any:
        """The twin of ``_retry``."""
        for attempt in range(self._plan.retries):
            if not self._may_retry(error):
                break
            try:
                if not self._line.is_clean():
                    self._recorder.reconnects += await self._line.mend_async()
                await asyncio.sleep(self._backoff_s(attempt))
                self.worker.rng.setstate(state)
                return await call()
            except ServerError:
                raise
            except BaseException as again:
                error = again
        return Failed(error)

    def _may_retry(self, error: BaseException) -> bool:
        if getattr(error, "sqlstate", None) not in _RETRYABLE or self._board.stopped:
            return False
        if self.overdue == self.worker.iteration:
            return False
        self._retries += 1
        return True

    def _backoff_s(self, attempt: int) -> float:
        """Full jitter under a doubling bound."""
        return self._jitter.uniform(0, min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2**attempt))


def _sleep_until(instant_ns: int, attention_ns: int) -> None:
    delay_ns = instant_ns - perf_counter_ns() - attention_ns
    if delay_ns > 0:
        time.sleep(delay_ns / 1e9)
    while attention_ns and perf_counter_ns() < instant_ns:
        pass


def _forget_cancel() -> None:
    """The task was cancelled to end one iteration, not to end."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()

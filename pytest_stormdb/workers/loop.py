"""The worker's loop: take a turn, call, note the time; everything else happens between the turns.

``run`` drives the turns in a thread and ``run_async`` in an asyncio task; the two differ in ``await`` only. Between
the two timestamps of an iteration stands the call and nothing else. A sample is one ``array.append``; drawing the
operation, checking the connection, counting what the call came to, and letting go of what it returned happen outside.

In a closed loop a turn is a stretch of iterations, and what stands between two of them is paid between any two
statements: what a statement has driven out of the caches costs more than the instructions, so as little as can be is
touched there. All that is not a plain success goes another way.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect
from collections.abc import Callable, Coroutine
from itertools import accumulate
from typing import Any, TypeVar

from ..database.connection import NoConnection
from ..errors import ServerError
from ..load.plan import LoadPlan
from ..measurement.clock import Clock, sleep_for_ns
from ..measurement.recorder import Buffers, Recorder
from ..measurement.sample import Failure, OperationResult, Sample
from ..workload.contract import Worker, Workload, failure_of
from .deadline import DEADLINE
from .looks import LOOKED
from .messages import FirstFailure, Interruption, Message
from .turns import Turns

T = TypeVar("T")
_RETRYABLE = frozenset({"40001", "40P01"})
_BACKOFF_NS = 1_000_000
_LONGEST_BACKOFF_NS = 100_000_000


class IterationTimeout(BaseException):
    """Raised inside an iteration that outlived its timeout and could not be cancelled on the server."""


class Interrupted(Exception):  # noqa: N818 - not an error: the workload's own wish to end the run
    """Ends a loop because the workload skipped its test or left the session."""


class Failed:
    """What a call that raised is replaced by; a returned value like any other, for the code that counts it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing: how code shared with tasks runs in a thread."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("waited where nothing waits")


class Loop:
    """One worker's iterations, from the first turn to the last.

    ``calls`` are the workload's operations, bound; ``looked`` tells which iterations' spans to keep. ``overdue`` is the
    iteration that outlived its timeout, set by whoever watches it. ``spin_ns``: how long before its arrival an idle
    worker stops sleeping.
    """

    def __init__(
        self,
        *,
        workload: Workload,
        plan: LoadPlan,
        worker: Worker,
        recorder: Recorder,
        connection: NoConnection,
        turns: Turns,
        draws: random.Random,
        send: Callable[[Message], None],
        clock: Clock,
        looked: memoryview,
        spin_ns: int = 0,
    ) -> None:
        self.worker = worker
        self.turns = turns
        self._overdue = -1
        self.calls: list[Callable[[], Any]] = []
        self._draws = draws
        self._workload = workload
        self._plan = plan
        self._recorder = recorder
        self._connection = connection
        self._send = send
        self._clock = clock
        self._looked = looked
        self._spin_ns = spin_ns
        self._weights = list(accumulate(operation.weight for operation in workload.operations))
        self._explained = False
        self._retries = 0
        self._is_mix = len(workload.operations) > 1
        self._words = turns.deadline.words
        self._jitter = random.Random()  # apart from the draws: how often a try is repeated is chance

    # -- driving -----------------------------------------------------------------------------------------------

    def run(self, start_ns: int) -> None:
        """Drive the turns in this thread. Raises Interrupted, or ServerError when the server stays away."""
        for turn in self.turns.turns(start_ns):
            if turn < 0:
                self._clock.sleep_until_ns(-turn, self._spin_ns)
            else:
                self._take(turn)

    async def run_async(self, start_ns: int) -> None:
        """Drive the turns in this task; the twin of ``run``."""
        for turn in self.turns.turns(start_ns):
            if turn < 0:
                await self._clock.sleep_until_ns_async(-turn)
            else:
                await self._take_async(turn)

    def _take(self, turn: int) -> None:
        """The arrival that was meant for this instant, or, in a closed loop, iterations until it."""
        worker, now_ns, words = self.worker, self._clock.now_ns, self._words
        is_open, retries, pgconn, state = self._plan.is_open, self._plan.retries, self._connection.pgconn, None
        name, call, buffers = self._draw()
        append, looked, keep_span = buffers.service.append, self._looked, self._recorder.keep_span
        first = worker.iteration + 1
        for worker.iteration in range(first, first + self.turns.most):
            if retries:
                state = worker.rng.getstate()
            started = now_ns()
            try:
                value = call()
            except BaseException as error:
                value = run_sync(self._retry(call, error, state)) if retries else Failed(error)
            finished = now_ns()
            if value is None and not pgconn.transaction_status and not worker.is_unusual:
                append(finished - started)
                if is_open:
                    buffers.response.append(finished - turn)
                    buffers.lag.append(started - turn)
                if looked[LOOKED] >= started:
                    keep_span(turn if is_open else started, started, finished)
            elif run_sync(self._conclude(Sample(name, turn if is_open else started, started, finished), value)):
                return
            value = None  # what the call returned is let go of here, and not within the next call's time
            if finished >= turn or finished >= words[DEADLINE]:
                return
            if self._is_mix:
                name, call, buffers = self._draw()
                append = buffers.service.append

    async def _take_async(self, turn: int) -> None:
        """The twin of ``_take``."""
        worker, now_ns, words = self.worker, self._clock.now_ns, self._words
        is_open, retries, pgconn, state = self._plan.is_open, self._plan.retries, self._connection.pgconn, None
        name, call, buffers = self._draw()
        append, looked, keep_span = buffers.service.append, self._looked, self._recorder.keep_span
        first = worker.iteration + 1
        for worker.iteration in range(first, first + self.turns.most):
            if retries:
                state = worker.rng.getstate()
            started = now_ns()
            try:
                value = await call()
            except BaseException as error:
                value = await self._retry(call, error, state) if retries else Failed(error)
            finished = now_ns()
            if value is None and not pgconn.transaction_status and not worker.is_unusual:
                append(finished - started)
                if is_open:
                    buffers.response.append(finished - turn)
                    buffers.lag.append(started - turn)
                if looked[LOOKED] >= started:
                    keep_span(turn if is_open else started, started, finished)
            elif await self._conclude(Sample(name, turn if is_open else started, started, finished), value):
                return
            value = None  # what the call returned is let go of here, and not within the next call's time
            if finished >= turn or finished >= words[DEADLINE]:
                return
            if self._is_mix:
                name, call, buffers = self._draw()
                append = buffers.service.append

    def _draw(self) -> tuple[str, Callable[[], Any], Buffers]:
        """The operation to call: of a mix, one drawn by weight, from a stream of its own."""
        index = bisect(self._weights, self._draws.random() * self._weights[-1]) if self._is_mix else 0
        name = self.worker.current_operation = self._workload.operations[index].name
        return name, self.calls[index], self._recorder.buffers(name)

    @property
    def overdue(self) -> int:
        """The iteration that outlived its timeout; set by whoever watches, from any thread."""
        return self._overdue

    @overdue.setter
    def overdue(self, iteration: int) -> None:
        self._overdue = iteration
        self.worker.is_unusual = True

    async def _conclude(self, sample: Sample, value: object) -> bool:
        """What is to be done of an iteration that was not a plain success; whether its stretch ends with it."""
        worker, connection = self.worker, self._connection
        ends, worker.is_unusual = worker.is_unusual, False
        self._count(sample, value)
        if self._overdue == worker.iteration:
            _forget_cancel() if self._workload.is_async else connection.await_cancel()
        if connection.is_clean():
            return ends
        self.turns.is_waiting = True
        self._recorder.reconnects += await connection.repair()
        self.turns.is_waiting = False
        return True

    # -- counting ----------------------------------------------------------------------------------------------

    def _count(self, sample: Sample, value: object) -> None:
        """Count what a call came to: a success, the results it returned, or a failure."""
        self.turns.leave_if_forked()
        if self._retries:
            self._recorder.tally(sample.operation).retries += self._retries
            self._retries = 0
        if isinstance(value, Failed):
            self._fail(sample, value.error)
        elif self.overdue == self.worker.iteration:
            self._recorder.record_failure(sample, self._timeout("it ended by itself after that"))
        elif not self._connection.is_clean():
            self._recorder.record_failure(sample, self._connection.problem())
        elif isinstance(value, OperationResult):
            self._record_results(sample, [value])
        elif isinstance(value, list) and value and all(isinstance(each, OperationResult) for each in value):
            self._record_results(sample, value)
        else:
            self._recorder.record(sample, is_open=self._plan.is_open)
            self._keep_span(sample)

    def _record_results(self, sample: Sample, results: list[OperationResult]) -> None:
        """Each result counts for its operation; the call's duration enters once for each operation named."""
        successes: dict[str, int] = {}
        for result in results:
            name = result.operation or sample.operation
            if result.success:
                successes[name] = successes.get(name, 0) + 1
            else:
                failure = Failure("unsuccessful", result.error or "success=False", result.metadata)
                self._recorder.record_failure(sample._replace(operation=name), failure)
            self._recorder.tally(name).rows += result.rows_affected or 0
        for name, count in successes.items():
            self._recorder.record(sample._replace(operation=name), is_open=self._plan.is_open, count=count)
        if successes:
            self._keep_span(sample)

    def _keep_span(self, sample: Sample) -> None:
        """Where the server was looked at during this iteration, what was seen there belongs to it."""
        if self._looked[LOOKED] >= sample.started_ns:
            self._recorder.keep_span(sample.intended_ns, sample.started_ns, sample.finished_ns)

    def _fail(self, sample: Sample, error: BaseException) -> None:
        stop = self._workload.stops(error)
        if stop is not None:
            self._send(Interruption(*stop))
            raise Interrupted
        failure = failure_of(error)
        if isinstance(error, IterationTimeout):
            self._connection.replace_next()
        if isinstance(error, IterationTimeout) or self.overdue == self.worker.iteration:
            failure = self._timeout(failure.example)
        self._recorder.record_failure(sample, failure)
        if not self._explained:
            self._explained = True
            text = self._workload.explain(error)
            self._send(FirstFailure(self.worker.id, self.worker.iteration, sample.operation, text))

    def _timeout(self, detail: str) -> Failure:
        return Failure("timeout", f"cancelled after {self._plan.timeout_ns / 1e9:g} s: {detail}")

    # -- retries -----------------------------------------------------------------------------------------------

    async def _retry(self, call: Callable[[], Any], error: BaseException, state: Any) -> Any:
        """Call again after a serialisation failure or a deadlock, with the same random draws."""
        is_async = self._workload.is_async
        for attempt in range(self._plan.retries):
            if not self._may_retry(error):
                break
            try:
                if not self._connection.is_clean():
                    self._recorder.reconnects += await self._connection.repair()
                await sleep_for_ns(self._clock, self._backoff_ns(attempt), is_async=is_async)
                self.worker.rng.setstate(state)
                return await call() if is_async else call()
            except ServerError:
                raise
            except BaseException as again:
                error = again
        return Failed(error)

    def _may_retry(self, error: BaseException) -> bool:
        if getattr(error, "sqlstate", None) not in _RETRYABLE or self.turns.is_stopped:
            return False
        if self.overdue == self.worker.iteration:
            return False
        self._retries += 1
        self.worker.is_unusual = True
        return True

    def _backoff_ns(self, attempt: int) -> int:
        """Full jitter under a doubling bound."""
        return self._jitter.randint(0, min(_LONGEST_BACKOFF_NS, _BACKOFF_NS << attempt))


CALLERS = frozenset({Loop._take.__code__, Loop._take_async.__code__, Loop._retry.__code__})
"""The code that calls the workload; what these frames have called is the workload's."""


def _forget_cancel() -> None:
    """The task was cancelled to end one iteration, not to end."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()

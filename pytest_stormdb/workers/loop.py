"""The worker's loop: take a turn, call, note the time; everything else happens between the turns.

``run`` drives the turns in a thread and ``run_async`` in an asyncio task; the two differ in ``await`` only. Between
the two timestamps of an iteration stands the call and nothing else. A sample is one ``list.append``; drawing the
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
from ..errors import ServerError, WorkloadError
from ..load.plan import LoadPlan
from ..measurement.clock import Clock, sleep_for_ns
from ..measurement.recorder import Buffers, Recorder
from ..measurement.sample import Sample
from ..workload.binding import CALLING
from ..workload.contract import Worker, Workload
from ..workload.outcome import abort_in, sqlstate_of
from .calls import CALLERS, Failed
from .counting import Counting
from .looks import LOOKED
from .messages import Message
from .turns import Turns

T = TypeVar("T")
_RETRYABLE = frozenset({"40001", "40P01"})
_BACKOFF_NS = 1_000_000
_LONGEST_BACKOFF_NS = 100_000_000


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
        self.await_cancels: Callable[[], None] = lambda: None
        self.calls: list[Callable[[], Any]] = []
        self._objection: WorkloadError | None = None
        self._draws = draws
        self._workload = workload
        self.counting = Counting(workload, plan, worker, recorder, connection, send, looked)
        self._plan = plan
        self._recorder = recorder
        self._connection = connection
        self._clock = clock
        self._looked = looked
        self._spin_ns = spin_ns
        self._weights = list(accumulate(operation.weight for operation in workload.operations))
        self._retries = 0
        self._is_mix = len(workload.operations) > 1
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
        worker, now_ns, is_mix = self.worker, self._clock.now_ns, self._is_mix
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
            else:
                sample = Sample(name, turn if is_open else started, started, finished)
                if run_sync(self._conclude(sample, value)):
                    return
                value = None  # what the call returned is let go of here, and not within the next call's time
            if finished >= turn:
                return
            if is_mix:
                name, call, buffers = self._draw()
                append = buffers.service.append

    async def _take_async(self, turn: int) -> None:
        """The twin of ``_take``."""
        worker, now_ns, is_mix = self.worker, self._clock.now_ns, self._is_mix
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
            else:
                sample = Sample(name, turn if is_open else started, started, finished)
                if await self._conclude(sample, value):
                    return
                value = None  # what the call returned is let go of here, and not within the next call's time
            if finished >= turn:
                return
            if is_mix:
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
            await self._await_cancels()
        if connection.is_clean():
            return ends
        self.turns.is_waiting = True
        self._recorder.reconnects += await connection.repair()
        self.turns.is_waiting = False
        return True

    async def _await_cancels(self) -> None:
        """Make sure that what was asked of the server to end this iteration hits nothing of the next."""
        if self._workload.is_async:
            forget_cancel()
            await asyncio.to_thread(self.await_cancels)
        else:
            self.await_cancels()
            self._connection.await_cancel()

    def object_to(self, error: WorkloadError) -> None:
        """Called within an iteration: end the run for what it does. The loop looks, as it does at an overdue one."""
        self._objection = error
        self.overdue = self.worker.iteration

    def raise_objection(self) -> None:
        """Raise what was objected to in the last iteration."""
        objection, self._objection = self._objection, None
        if objection is not None:
            self._overdue = -1
            raise objection

    @property
    def is_overdue(self) -> bool:
        """Whether the running iteration has outlived its timeout."""
        return self._overdue == self.worker.iteration and self._objection is None

    # -- counting ----------------------------------------------------------------------------------------------

    def _count(self, sample: Sample, value: object) -> None:
        """Count what a call came to. Raises WorkloadError for what no call may come to, Interrupted for the end."""
        self.turns.leave_if_forked()
        if self._retries:
            self._recorder.tally(sample.operation).retries += self._retries
            self._retries = 0
        if isinstance(value, Failed) and self._objection is not None:  # it has not come as far as to await it
            self._objection, self._overdue = None, -1
        self.raise_objection()
        self.counting.count(sample, value, is_overdue=self.is_overdue)

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
        if abort_in(error) is not None or sqlstate_of(error) not in _RETRYABLE or self.turns.is_stopped:
            return False
        if self._overdue == self.worker.iteration:
            return False
        self._retries += 1
        self.worker.is_unusual = True
        return True

    def _backoff_ns(self, attempt: int) -> int:
        """Full jitter under a doubling bound."""
        return self._jitter.randint(0, min(_LONGEST_BACKOFF_NS, _BACKOFF_NS << attempt))


CALLERS.update(CALLING)
CALLERS.update({Loop._take.__code__, Loop._take_async.__code__, Loop._retry.__code__})


def forget_cancel() -> None:
    """The task was cancelled to end one iteration, not to end."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()

"""One worker without server, process and real time: its clock is moved by hand, its messages are kept."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from pytest_stormdb.database.connection import NoConnection
from pytest_stormdb.load.alternation import Alternation
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.workers.arrivals import ArrivalQueue
from pytest_stormdb.workers.collected import Collected
from pytest_stormdb.workers.deadline import Deadline
from pytest_stormdb.workers.messages import IntervalCounts, Message
from pytest_stormdb.workers.runtime import Control, Job, WorkerRuntime
from pytest_stormdb.workload.contract import Operation, Workload

from ..clock import ManualClock

MS = 1_000_000
SECOND = 1_000_000_000


class FixedArrivals:
    """Arrivals at these offsets, in ns from the start; -1 stands for a parent that is late."""

    def __init__(self, *offsets_ns: int) -> None:
        self._offsets_ns = list(offsets_ns)

    def claim(self) -> int | None:
        return self._offsets_ns.pop(0) if self._offsets_ns else None

    def feed(self) -> None: ...

    def only_claim(self) -> None: ...

    def is_fed(self) -> bool:
        return True

    def unclaimed_before(self, offset_ns: float) -> int:
        return sum(offset_ns > each for each in self._offsets_ns)

    def close(self) -> None: ...


class Unit:
    """A worker that has its calls, and runs when told."""

    def __init__(
        self,
        *functions: Callable[..., Any],
        arrivals: ArrivalQueue | None = None,
        connection: NoConnection | None = None,
        stops: Callable[[BaseException], Any] = lambda error: None,
        alternation: Alternation | None = None,
        arm: int = 0,
        **options: Any,
    ) -> None:
        self.clock = ManualClock()
        self.deadline = Deadline()
        self.messages: list[Message] = []
        self.plan = make_plan(("test", {"connect": False, **options}))
        self.is_async = inspect.iscoroutinefunction(functions[0])
        operations = tuple(Operation(function.__name__, function) for function in functions)
        workload = Workload(name="unit", nodeid="unit", operations=operations, is_async=self.is_async, stops=stops)
        job = Job(workload, self.plan, "", "unit", alternation=alternation, arm=arm)
        control = Control(self.deadline, arrivals, self.clock)
        self.runtime = WorkerRuntime(job, control, 0, self.messages.append, connection=connection)
        self.worker = self.runtime.worker
        self.runtime.loop.calls = workload.bind({"worker": self.worker})

    def run(self) -> Collected:
        """From the first turn to the last, 20 ms from now; all that was counted."""
        start_ns = self.clock.now_ns() + 20 * MS
        if self.plan.duration_ns is not None:
            self.deadline.set(start_ns + self.plan.warmup_ns + self.plan.duration_ns)
        if self.is_async:
            asyncio.run(self.runtime.loop.run_async(start_ns))
        else:
            self.runtime.loop.run(start_ns)
        self.runtime.turns.finish()
        return collected(self.messages)


def collected(messages: Sequence[Message]) -> Collected:
    """All that workers' messages count, added up."""
    found = Collected(by_stage=True)
    for message in messages:
        if isinstance(message, IntervalCounts):
            found.add(message)
    found.so_far()
    return found

"""Everything that a crew brings home, and how it grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import WorkerLost
from ..stats import Snapshot
from .messages import Broken, FirstFailure, Interruption, Interval, Vitals

Tick = Callable[[Snapshot], None]


@dataclass(slots=True)
class Outcome:
    """What was recorded, and what happened. ``elapsed_ns`` runs from the end of the warm-up to the last worker's end,
    at least to the planned end of a run that was not stopped."""

    whole: Snapshot = field(default_factory=Snapshot)
    intervals: dict[int, Snapshot] = field(default_factory=dict)
    stages: dict[int, Snapshot] = field(default_factory=dict)
    first_failure: FirstFailure | None = None
    interruption: Interruption | None = None
    broken: list[Broken] = field(default_factory=list)
    lost: list[WorkerLost] = field(default_factory=list)
    vitals: list[Vitals] = field(default_factory=list)
    elapsed_ns: int = 0
    stopped_ns: int | None = None
    signal: str | None = None
    dropped: int = 0

    def add(self, message: Interval, *, by_stage: bool) -> None:
        """Take in what a worker recorded; nothing of it is of the warm-up."""
        if message.interval < 0:
            return
        self.whole.merge(message.snapshot)
        self.intervals.setdefault(message.interval, Snapshot()).merge(message.snapshot)
        if by_stage:
            self.stages.setdefault(message.stage, Snapshot()).merge(message.snapshot)

    def close(self, ended_ns: int, until_ns: int) -> None:
        """Settle how long the run took; a second in which nothing ended is a gap in the timeline, and shows."""
        self.elapsed_ns = max(0, ended_ns, until_ns)
        for interval in range(max(self.intervals, default=0)):
            self.intervals.setdefault(interval, Snapshot())

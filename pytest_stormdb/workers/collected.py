"""Everything that the workers of a run sent, and how it is added up."""

from __future__ import annotations

import pickle
from array import array
from collections import deque
from dataclasses import dataclass, field

from ..database.costs import BackendWork
from ..errors import WorkerLost
from ..measurement.attribution import Span
from ..measurement.intervals import Intervals
from ..measurement.recorder import Snapshot
from ..measurement.usage import GroupUsage
from .messages import (
    Broken,
    FirstFailure,
    Interruption,
    IntervalCounts,
)
from .rates import Rates

MOST_KEPT_BYTES = 16 << 20


@dataclass(slots=True)
class Collected:
    """What was recorded, and what happened. ``elapsed_ns`` runs from the end of the warm-up to the last worker's end,
    at least to the planned end of a run that was not stopped.

    What workers send is kept while they run, as far as memory goes, and added up at the end, or when somebody asks: the
    CPU time that it takes would be missing where the load is generated, once a second and all at once.
    ``layout`` is the number of workers in each group; ``kept_bytes`` never exceeds ``most_kept_bytes``.
    """

    by_stage: bool = False
    layout: tuple[int, ...] = ()
    most_kept_bytes: int = MOST_KEPT_BYTES
    whole: Snapshot = field(default_factory=Snapshot)
    intervals: Intervals = field(default_factory=Intervals)
    stages: dict[int, Snapshot] = field(default_factory=dict)
    first_failure: FirstFailure | None = None
    interruption: Interruption | None = None
    broken: list[Broken] = field(default_factory=list)
    lost: list[WorkerLost] = field(default_factory=list)
    usage: list[GroupUsage] = field(default_factory=list)
    measured_from_ns: int = 0
    rates: Rates = field(default_factory=Rates)
    elapsed_ns: int = 0
    stopped_ns: int | None = None
    signal: str | None = None
    dropped: int = 0
    works: list[BackendWork | None] = field(default_factory=list)
    _spans: dict[int, array[int]] = field(default_factory=dict)
    _kept: deque[IntervalCounts] = field(default_factory=deque)
    kept_bytes: int = 0

    def add(self, message: IntervalCounts) -> None:
        """Take in what a worker recorded; nothing of it is of the warm-up."""
        if message.interval < 0:
            return
        self._spans.setdefault(message.worker, array("Q")).frombytes(message.spans)
        self._kept.append(message)
        self.kept_bytes += len(message.packed)
        while self.kept_bytes > self.most_kept_bytes:
            self._add_up_oldest()

    def spans(self) -> dict[int, list[Span]]:
        """The iterations in which the server was looked at, by worker, each worker's in the order of their start."""
        return {
            worker: [Span(*kept[at : at + 3]) for at in range(0, len(kept), 3)] for worker, kept in self._spans.items()
        }

    @property
    def done(self) -> tuple[int, int]:
        """How many operations succeeded, and failed, as far as was told; without those of the warm-up."""
        return self.rates.operations, self.rates.failures

    def so_far(self) -> Snapshot:
        """All that was counted until now."""
        while self._kept:
            self._add_up_oldest()
        return self.whole

    def _add_up_oldest(self) -> None:
        message = self._kept.popleft()
        self.kept_bytes -= len(message.packed)
        snapshot: Snapshot = pickle.loads(message.packed)  # noqa: S301 - from a child of ours
        self.whole.merge(snapshot)
        self.whole.spans += snapshot.spans
        self.intervals.add(message.interval, snapshot)
        if self.by_stage:
            self.stages.setdefault(message.stage, Snapshot()).merge(snapshot)

    def close(self, ended_ns: int, until_ns: int) -> None:
        """Settle how long the run took."""
        self.so_far()
        self.elapsed_ns = max(0, ended_ns, until_ns)

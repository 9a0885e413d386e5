"""From counts to statistics: every figure of a run is derived here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .histogram import Histogram
from .recorder import Metric, Snapshot, Tally

_SHOWN_FROM = ((0.999, 1000), (0.99, 100))
"""A percentile needs its samples: p99.9 is shown from 1,000 and p99 from 100."""


class Latency:
    """The distribution of one duration, in seconds. ``nan`` where there is no sample."""

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram

    def percentile(self, percent: float) -> float:
        """The duration that ``percent`` of all calls did not exceed, to 0.1 %."""
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile lies between 0 and 100, not at {percent}")
        return self.histogram.quantile_ns(percent / 100) / 1e9 if self.histogram.count else math.nan

    def shown(self, percent: float) -> float | None:
        """The percentile, or None where there are too few samples to show it."""
        needed = next((count for q, count in _SHOWN_FROM if percent / 100 >= q), 1)
        if percent == 100:
            needed = 1
        return self.percentile(percent) if self.histogram.count >= needed else None

    @property
    def count(self) -> int:
        return self.histogram.count

    @property
    def min(self) -> float:
        return self.percentile(0)

    @property
    def mean(self) -> float:
        return self.histogram.mean_ns / 1e9 if self.histogram.count else math.nan

    @property
    def stddev(self) -> float:
        return self.histogram.stddev_ns / 1e9 if self.histogram.count else math.nan

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p90(self) -> float:
        return self.percentile(90)

    @property
    def p95(self) -> float:
        return self.percentile(95)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    @property
    def max(self) -> float:
        return self.percentile(100)


def response_of(tally: Tally, *, is_open: bool) -> Latency:
    """The response time, counted from the intended start; in a closed loop, and for a part, it is the service time."""
    return Latency(tally.response if is_open and not tally.is_part else tally.service)


@dataclass(frozen=True, slots=True)
class OperationStatistics:
    """One operation over the measured part of a run; ``elapsed_s`` is what its rates divide by."""

    tally: Tally
    elapsed_s: float
    is_open: bool

    @property
    def count(self) -> int:
        """Successful operations."""
        return self.tally.count

    @property
    def failures(self) -> int:
        return self.tally.failures

    @property
    def error_ratio(self) -> float:
        """Failures as a fraction of all operations; nan when there were none."""
        total = self.count + self.failures
        return self.failures / total if total else math.nan

    @property
    def throughput_per_s(self) -> float:
        """Successful operations per second of elapsed time."""
        return self.count / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def service(self) -> Latency:
        return Latency(self.tally.service)

    @property
    def response(self) -> Latency:
        """Counted from the intended start; see ``response_of``."""
        return response_of(self.tally, is_open=self.is_open)

    @property
    def lag(self) -> Latency:
        if self.is_open and not self.tally.is_part:
            return Latency(self.tally.lag)
        return Latency(_zeros(self.tally.service.count))


def _zeros(count: int) -> Histogram:
    """The lag of a closed loop: every iteration starts when it is meant to."""
    histogram = Histogram()
    if count:
        histogram.record(0, count)
    return histogram


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """One second of a run: the iterations that were meant to start in it."""

    at_s: float
    operations: int
    failures: int
    response: Latency


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """Every figure of the measured part of a run."""

    elapsed_s: float
    total: OperationStatistics
    operations: Mapping[str, OperationStatistics]
    timeline: tuple[TimelinePoint, ...]
    metrics: Mapping[str, Metric]
    reconnects: int


def statistics_of(
    whole: Snapshot, intervals: Mapping[int, Snapshot], *, elapsed_s: float, interval_s: float, is_open: bool
) -> RunStatistics:
    """The figures of a run from the sum of its snapshots and their sums per interval."""

    def figures(tally: Tally) -> OperationStatistics:
        return OperationStatistics(tally, elapsed_s, is_open)

    timeline = []
    for index in range(max(intervals, default=-1) + 1):
        interval = figures(intervals.get(index, Snapshot()).total())
        timeline.append(TimelinePoint(index * interval_s, interval.count, interval.failures, interval.response))
    return RunStatistics(
        elapsed_s=elapsed_s,
        total=figures(whole.total()),
        operations={name: figures(tally) for name, tally in sorted(whole.tallies.items())},
        timeline=tuple(timeline),
        metrics=whole.metrics,
        reconnects=whole.reconnects,
    )

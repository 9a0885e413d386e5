"""From counts to statistics: every figure of a run is derived here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .histogram import Histogram
from .recorder import Snapshot
from .tally import Metric, Tally

LATENCY = re.compile(r"(?:(service|lag)\.)?(min|mean|max|p\d{1,2}(?:\.\d+)?)")
"""The names of figures of a latency: ``p99.9``, ``service.mean``; groups: of what, and which."""
_EXTREMES = {"min": 0.0, "max": 1.0}
_SHOWN_FROM = ((0.999, 1000), (0.99, 100))
"""A percentile needs its samples: p99.9 is shown from 1,000 and p99 from 100."""


def quantile_of(metric: str) -> float | None:
    """Of a latency's name, the share of calls that it bounds, 0.99 of ``p99``, 1 of ``max``; None of anything else."""
    match = LATENCY.fullmatch(metric)
    if match is None:
        return None
    name = match[2]
    return float(name[1:]) / 100 if name[0] == "p" else _EXTREMES.get(name)


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
    def aborts(self) -> int:
        """Expected aborts, which are neither successes nor failures."""
        return sum(self.tally.aborts.values())

    @property
    def error_ratio(self) -> float:
        """Failures as a fraction of successes and failures; nan when there were none."""
        total = self.count + self.failures
        return self.failures / total if total else math.nan

    @property
    def throughput_per_s(self) -> float:
        """Successful operations per second of elapsed time."""
        return self.count / self.elapsed_s if self.elapsed_s else 0.0

    def value_of(self, metric: str) -> float:
        """One figure by its name in thresholds and comparisons: ``p95``, ``service.max``, ``mean``, ``throughput``,
        ``errors``. Raises ValueError for any other."""
        if metric == "throughput":
            return self.throughput_per_s
        if metric == "errors":
            return self.error_ratio
        match = LATENCY.fullmatch(metric)
        if match is None:
            raise ValueError(f"no operation has a {metric!r}")
        latency: Latency = getattr(self, match[1] or "response")
        name = match[2]
        return latency.percentile(float(name[1:])) if name[0] == "p" else float(getattr(latency, name))

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
    """One second of a run: the iterations that were meant to start in it. Percentiles are of their response time."""

    at_s: float
    operations: int
    failures: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the measured part: ``size`` of its intervals from ``first`` on, all of one length.

    It counts the iterations that were meant to start in it, anew at each look: the intervals of an hour, all unpacked,
    would take gigabytes.
    """

    at_s: float
    duration_s: float
    intervals: Mapping[int, Snapshot]
    first: int
    size: int
    is_open: bool

    @property
    def snapshot(self) -> Snapshot:
        """What was counted in it."""
        whole = Snapshot()
        for interval in range(self.first, self.first + self.size):
            if interval in self.intervals:
                whole.merge(self.intervals[interval])
        return whole

    def figures(self, operation: str | None = None) -> OperationStatistics:
        """Those of one operation, or of all together."""
        counted = self.snapshot
        tally = counted.total() if operation is None else counted.tallies.get(operation, Tally())
        return OperationStatistics(tally, self.duration_s, self.is_open)

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """Several that follow each other as one. Raises ValueError of none."""
        if not blocks:
            raise ValueError("no block to join")
        first, duration_s = blocks[0], sum(block.duration_s for block in blocks)
        size = sum(block.size for block in blocks)
        return cls(first.at_s, duration_s, first.intervals, first.first, size, first.is_open)


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """Every figure of the measured part of a run. ``blocks`` are its whole ones, the timeline's parts or its points."""

    elapsed_s: float
    total: OperationStatistics
    operations: Mapping[str, OperationStatistics]
    timeline: tuple[TimelinePoint, ...]
    metrics: Mapping[str, Metric]
    reconnects: int
    blocks: tuple[Block, ...] = ()


def statistics_of(
    whole: Snapshot, intervals: Mapping[int, Snapshot], *, elapsed_s: float, interval_s: float, is_open: bool
) -> RunStatistics:
    """The figures of a run from the sum of its snapshots and their sums per interval, which is a part of a second."""

    def figures(tally: Tally) -> OperationStatistics:
        return OperationStatistics(tally, elapsed_s, is_open)

    def is_within(block: Block) -> bool:
        return block.at_s + block.duration_s <= elapsed_s + interval_s / 2

    count = max(intervals, default=-1) + 1
    every = [Block(index * interval_s, interval_s, intervals, index, 1, is_open) for index in range(count)]
    per_second = round(1 / interval_s)
    seconds = [every[start : start + per_second] for start in range(0, count, per_second)]
    if len(seconds) > 1 and not is_within(seconds[-1][0]):  # some milliseconds, which would show as a slump
        seconds[-2:] = [seconds[-2] + seconds[-1]]
    return RunStatistics(
        elapsed_s=elapsed_s,
        total=figures(whole.total()),
        operations={name: figures(tally) for name, tally in sorted(whole.tallies.items())},
        timeline=tuple(_point(Block.joined(second)) for second in seconds),
        metrics=whole.metrics,
        reconnects=whole.reconnects,
        blocks=tuple(filter(is_within, every)),
    )


def _point(second: Block) -> TimelinePoint:
    figures = second.figures()
    percentiles = (figures.response.shown(percent) for percent in (50, 95, 99))
    return TimelinePoint(second.at_s, figures.count, figures.failures, *percentiles)

"""What one operation, and what one metric of the workload's own, did in a stretch of time: counts that add up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .histogram import Histogram
from .sample import Failure
from .values import bounded, plain

MOST_METADATA = 5
"""Of how many failed results with the same code the metadata is kept."""


@dataclass(slots=True)
class Metric:
    """A number of the workload's own. ``value`` is a counter's sum, a gauge's last, or an observation's mean."""

    kind: str
    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    last: float = math.nan

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.low = min(self.low, value)
        self.high = max(self.high, value)
        self.last = value

    def merge(self, other: Metric) -> None:
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        self.last = other.last

    @property
    def value(self) -> float:
        if self.kind == "counter":
            return self.total
        return self.last if self.kind == "gauge" else self.total / self.count


@dataclass(slots=True)
class Tally:
    """What one operation did in a stretch of time. ``count`` are successful operations (a batch holds many),
    the histograms hold one value per timed call, in ns; ``response`` and ``lag`` stay empty in a closed loop.
    ``aborts`` are the expected ones by their reason, ``aborted`` their durations."""

    service: Histogram = field(default_factory=Histogram)
    response: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    failed: Histogram = field(default_factory=Histogram)
    aborted: Histogram = field(default_factory=Histogram)
    count: int = 0
    failures: int = 0
    retries: int = 0
    rows: int = 0
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)
    error_metadata: dict[str, list[Any]] = field(default_factory=dict)
    aborts: dict[str, int] = field(default_factory=dict)
    is_part: bool = False

    def fail(self, failure: Failure, count: int = 1) -> None:
        """Count a failure under its code; the first example stays, and the metadata of the first few."""
        self.failures += count
        code = bounded(failure.code, self.errors)
        seen, example = self.errors.get(code, (0, failure.example))
        self.errors[code] = (seen + count, example)
        if failure.metadata:
            kept = self.error_metadata.setdefault(code, [])
            if len(kept) < MOST_METADATA:
                kept.append(plain(failure.metadata))

    def abort(self, reason: str, count: int = 1) -> None:
        """Count expected aborts under their reason."""
        reason = bounded(reason, self.aborts)
        self.aborts[reason] = self.aborts.get(reason, 0) + count

    def merge(self, other: Tally) -> None:
        """Add what ``other`` counted."""
        self.service.merge(other.service)
        self.response.merge(other.response)
        self.lag.merge(other.lag)
        self.failed.merge(other.failed)
        self.aborted.merge(other.aborted)
        self.count += other.count
        self.retries += other.retries
        self.rows += other.rows
        self.is_part = self.is_part or other.is_part
        for code, (count, example) in other.errors.items():
            self.fail(Failure(code, example), count)
        for code, examples in other.error_metadata.items():
            kept = self.error_metadata.setdefault(bounded(code, self.errors), [])
            kept += examples[: MOST_METADATA - len(kept)]
        for reason, count in other.aborts.items():
            self.abort(reason, count)

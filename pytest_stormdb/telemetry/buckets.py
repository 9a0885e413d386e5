"""A histogram of ours in the buckets of others: fixed bounds, or OpenTelemetry's exponential ones."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..measurement.histogram import Histogram

BOUNDS_S = (
    *(50e-6, 100e-6, 150e-6, 200e-6, 300e-6, 500e-6, 750e-6),
    *(1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 7.5e-3),
    *(10e-3, 15e-3, 20e-3, 30e-3, 50e-3),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
"""Upper bounds of the buckets. What is advised for databases in general starts at 1 ms, too coarse for PostgreSQL."""
_MOST_BUCKETS = 160
_FINEST_SCALE = 8
"""256 buckets for each power of two are 0.3 % wide: ours are not much finer."""


def bucketed(histogram: Histogram, bounds_s: Sequence[float] = BOUNDS_S) -> list[int]:
    """How many durations lie in each bucket, the one above all bounds last; exact to a bucket of the histogram."""
    limits = [round(bound * 1e9) for bound in bounds_s]
    counts = [0] * (len(limits) + 1)
    for lowest, _, count in histogram.buckets():
        counts[bisect_left(limits, lowest)] += count
    return counts


@dataclass(frozen=True, slots=True)
class Exponential:
    """Counts of durations in seconds: bucket ``i`` of ``counts`` ends at ``2 ** ((offset + i + 1) / 2 ** scale)``."""

    scale: int
    offset: int
    counts: tuple[int, ...]
    zeros: int


def exponential(histogram: Histogram) -> Exponential:
    """In at most 160 buckets, as fine as that allows; OpenTelemetry's data model, "exponential histogram"."""
    middles = [((low + high) / 2e9, count) for low, high, count in histogram.buckets()]
    zeros = sum(count for middle, count in middles if not middle)
    positive = [(math.log2(middle), count) for middle, count in middles if middle]
    if not positive:
        return Exponential(0, 0, (), zeros)
    for scale in range(_FINEST_SCALE, -11, -1):
        found: Counter[int] = Counter()
        for logarithm, count in positive:
            found[math.ceil(logarithm * 2.0**scale) - 1] += count
        first, last = min(found), max(found)
        if last - first < _MOST_BUCKETS:
            return Exponential(scale, first, tuple(found[index] for index in range(first, last + 1)), zeros)
    raise AssertionError("an hour in nanoseconds spans 42 powers of two")

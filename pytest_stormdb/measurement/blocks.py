"""A run cut into blocks: how long they are, where the warm-up ends, and what their spread allows to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from .distributions import t_quantile

_LENGTHS_NS = tuple(milliseconds * 1_000_000 for milliseconds in (1000, 500, 250, 200, 100))
_BLOCKS = 80
_UNKNOWN_NS = 250_000_000
_BATCHES = 10
_FEWEST_BATCHES = 4
_GROUP = 5
_FEWEST_GROUPS = 10


def block_ns(duration_ns: int | None) -> int:
    """The length of a run's blocks: 0.1 to 1 s, some 80 of them where it lasts long enough; all divide a second.

    A quarter of a second for a run that ends after a number of iterations.
    """
    if duration_ns is None:
        return _UNKNOWN_NS
    return next((length for length in _LENGTHS_NS if _BLOCKS * length <= duration_ns), _LENGTHS_NS[-1])


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over batches of blocks; ``deviation`` is that of the batches (sample standard deviation)."""

    value: float
    deviation: float
    batches: int

    def below(self, confidence: float) -> float:
        """What the mean is surely above, one-sided at this confidence."""
        return self.value - self._margin(confidence)

    def above(self, confidence: float) -> float:
        """What the mean is surely below, one-sided at this confidence."""
        return self.value + self._margin(confidence)

    def _margin(self, confidence: float) -> float:
        if not self.deviation:
            return 0.0
        return t_quantile(confidence, self.batches - 1) * self.deviation / math.sqrt(self.batches)


def batch_mean(values: Sequence[float], weights: Sequence[float]) -> Mean | None:
    """The weighted mean of blocks' values by batch means (Law and Carson 1979), None of fewer than four batches.

    Neighbouring blocks resemble each other; the means of ten batches of them do so less, and their spread is
    the one that counts.
    """
    used = [(value, weight) for value, weight in zip(values, weights, strict=True) if weight > 0]
    size = max(1, len(used) // _BATCHES)
    batches = [used[start : start + size] for start in range(0, len(used) - size + 1, size)]
    if len(batches) < _FEWEST_BATCHES:
        return None
    means = [_weighted(batch) for batch in batches]
    middle = math.fsum(means) / len(means)
    variance = math.fsum((mean - middle) ** 2 for mean in means) / (len(means) - 1)
    return Mean(_weighted(used), math.sqrt(variance), len(means))


def _weighted(pairs: Sequence[tuple[float, float]]) -> float:
    return math.fsum(value * weight for value, weight in pairs) / math.fsum(weight for _, weight in pairs)


def warm_from(values: Sequence[float]) -> int:
    """How many leading values belong to the warm-up, by MSER-5 (White 1997); at most half of them, ``0`` of few.

    Of all truncations it takes the one that makes the standard error of what remains smallest, on means of five
    values. One that would cut half or more means that the series is not steady. Fewer than 50 values tell nothing.
    """
    groups = [
        math.fsum(values[start : start + _GROUP]) / _GROUP for start in range(0, len(values) - _GROUP + 1, _GROUP)
    ]
    count = len(groups)
    if count < _FEWEST_GROUPS:
        return 0
    sums = list(accumulate(reversed(groups), initial=0.0))
    squares = list(accumulate((group * group for group in reversed(groups)), initial=0.0))

    def error(cut: int) -> float:
        left = count - cut
        return max(0.0, squares[left] - sums[left] ** 2 / left) / left**2

    return _GROUP * min(range(count // 2 + 1), key=error)

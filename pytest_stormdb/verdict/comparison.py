"""Is one arm slower than the other? Three verdicts from pairs of blocks, each with its guarantee."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from ..errors import PlanError
from ..measurement.stats import LATENCY, OperationStatistics
from .betting import confidence_sequence, peak_log_evidence, trimmed_mean, weighted
from .server_figures import is_cost

Answer = Literal["slower", "not slower", "faster", "not faster", "inconclusive"]

SESSION_ALPHA = 0.01
"""How often a session may be wrong, in all of its comparisons together."""
FEWEST_EPOCHS = 3
_TELLING_PAIRS = 4
_DISTURBED = 0.03


@dataclass(frozen=True, slots=True)
class Claim:
    """What a comparison is to decide: whether the second arm is slower than the first by more than a margin.

    ``margin`` is the slow-down allowed, 0.1 for 10 %. With ``min_improvement`` the claim is the opposite one: the
    second arm is so many times as fast as the first, at least. ``alpha`` bounds the chance of either wrong answer.
    """

    metric: str
    margin: float = 0.10
    min_improvement: float | None = None
    alpha: float = SESSION_ALPHA

    @staticmethod
    def check_metric(metric: object, where: str) -> None:
        """Raise PlanError where blocks have no such figure."""
        known = isinstance(metric, str) and (metric == "throughput" or LATENCY.fullmatch(metric) or is_cost(metric))
        if not known:
            raise PlanError(
                f"{where}: metric={metric!r} is none of p50 p90 p95 p99 mean min max throughput, service.p95,"
                " or server.blocks_per_op (rows, wal_bytes, temp_bytes)"
            )

    @property
    def limit(self) -> float:
        """The effect that divides the answers, as the logarithm of second to first; above it is slower."""
        if self.min_improvement is not None:
            return -math.log(self.min_improvement)
        return math.log1p(self.margin)

    @property
    def answers(self) -> tuple[Answer, Answer]:
        """The answer for an effect above the limit, and for one below it."""
        return ("slower", "not slower") if self.min_improvement is None else ("not faster", "faster")


def share_of(alpha: float, tests: int, position: int) -> float:
    """The part of a session's ``alpha`` for the ``position``-th (from 1) comparison in one of ``tests`` tests.

    Each test has an equal part; the comparisons within it, whose number nobody knows in advance, get a half, a sixth,
    a twelfth of it and so on, which add up to the whole.
    """
    return alpha / max(1, tests) / (position * (position + 1))


class Pair(NamedTuple):
    """A block of each arm: the logarithm of second to first, slower positive, and whether nobody disturbed them."""

    difference: float
    is_clean: bool = True

    @property
    def weight(self) -> float:
        """Disturbed pairs are believed a thirtieth by half of the stake: who disturbs one does not know its coin."""
        return 1.0 if self.is_clean else _DISTURBED


class MeasuredPair(NamedTuple):
    """What the blocks of a pair recorded, the first arm's first, and whether nobody disturbed them."""

    first: OperationStatistics
    second: OperationStatistics
    is_clean: bool = True

    def at(self, metric: str) -> Pair | None:
        """The pair for one metric; None where a block has no value of it."""
        first, second = self.first.value_of(metric), self.second.value_of(metric)
        difference = log_ratio(first, second, higher_is_better=metric == "throughput")
        return None if difference is None else Pair(difference, self.is_clean)


@dataclass(frozen=True)
class Comparison:
    """What the pairs of each epoch say."""

    claim: Claim
    epochs: tuple[tuple[Pair, ...], ...]
    generator_trouble: str = ""

    @cached_property
    def pairs(self) -> list[Pair]:
        """All of them, in order."""
        return [pair for epoch in self.epochs for pair in epoch]

    @cached_property
    def verdict(self) -> Answer:
        """Beyond the claim's limit, within it, or neither; proven at the claim's ``alpha`` each."""
        if sum(1 for epoch in self.epochs if epoch) < FEWEST_EPOCHS:
            return "inconclusive"
        above, below = self.claim.answers
        if self._is_proven(1):
            return above if above != "slower" or self._agree(1) else "inconclusive"
        if self._is_proven(-1) and not self.generator_trouble:
            return below if below != "faster" or self._agree(-1) else "inconclusive"
        return "inconclusive"

    def _is_proven(self, sign: int) -> bool:
        """What others take adds to both arms, and pulls their ratio to one: an answer in that direction, such as not
        slower, is for the pairs to give that nobody disturbed."""
        is_favoured = (sign < 0) == (self.claim.limit >= 0)
        pairs = _clean(self.pairs) if is_favoured else self.pairs
        beyond = [sign * (pair.difference - self.claim.limit) for pair in pairs]
        readings = weighted(beyond, [pair.weight for pair in pairs])
        return peak_log_evidence(*readings) >= math.log(1 / self.claim.alpha)

    def _agree(self, sign: int) -> bool:
        """Whether every epoch has the sign; those that were disturbed have no say where enough others have one."""
        telling: list[Sequence[Pair]] = [e for e in map(_clean, self.epochs) if len(e) >= _TELLING_PAIRS]
        if len(telling) < FEWEST_EPOCHS:
            telling = [epoch for epoch in self.epochs if epoch]
        return all(sign * _middle(epoch) > 0 for epoch in telling)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Bounds of the ratio of second to first arm: ``(0, inf)`` of too few pairs.

        Those that others disturbed say how near to one it is at least, and not how far from it: that is for the rest.
        """
        clean = _clean(self.pairs)
        if len(clean) == len(self.pairs):
            low, high = self._bounds(clean, self.claim.alpha)
        else:
            (near_low, near_high), (low, high) = (self._bounds(p, self.claim.alpha / 2) for p in (self.pairs, clean))
            low, high = max(near_low, low) if near_low > 0 else low, min(near_high, high) if near_high < 0 else high
        return math.exp(low), math.exp(high)

    @staticmethod
    def _bounds(pairs: Sequence[Pair], alpha: float) -> tuple[float, float]:
        return confidence_sequence([pair.difference for pair in pairs], alpha, [pair.weight for pair in pairs])

    @cached_property
    def ratio(self) -> float:
        """The estimated ratio of second to first arm, above 1 where the second is slower; nan without a pair."""
        clean = _clean(self.pairs)
        return math.exp(_middle(clean if len(clean) >= _TELLING_PAIRS else self.pairs)) if self.pairs else math.nan

    @property
    def detectable(self) -> float:
        """The smallest change that these pairs could have shown, 0.05 for 5 %; infinite of too few."""
        low, high = self.interval
        return math.sqrt(high / low) - 1 if low else math.inf

    @property
    def reason(self) -> str:
        """Why the verdict is inconclusive, and what would decide it; empty where it is not."""
        if self.verdict != "inconclusive":
            return ""
        told = sum(1 for epoch in self.epochs if epoch)
        if told < FEWEST_EPOCHS:
            return f"{told} epochs of the {FEWEST_EPOCHS} it takes were finished; give it a larger budget"
        if self.generator_trouble and self._is_proven(-1):
            return f"the load generator was in trouble, which hides differences: {self.generator_trouble}"
        if self._is_proven(1) or self._is_proven(-1):
            return "the epochs contradict each other: a restart of both arms changes which is the slower one"
        disturbed = len(self.pairs) - len(_clean(self.pairs))
        if disturbed > len(self.pairs) / 2:
            hidden = f"others disturbed {disturbed} of {len(self.pairs)} pairs, which hides differences"
            return f"{hidden}; a quieter machine or a larger budget decides it"
        return f"the change is too near to the limit for {len(self.pairs)} pairs; give it a larger budget"


def compared(claim: Claim, epochs: Iterable[Iterable[MeasuredPair]], generator_trouble: str = "") -> Comparison:
    """The comparison of what was measured, at the claim's metric."""
    told = tuple(tuple(pair for each in epoch if (pair := each.at(claim.metric)) is not None) for epoch in epochs)
    return Comparison(claim, told, generator_trouble)


def sentence(comparison: Comparison, old: str, new: str) -> str:
    """``new is 17 % slower at p95 [12, 23] (slower than +10 %: certain at 1 %), 38 pairs``."""
    claim, ratio = comparison.claim, comparison.ratio
    if not comparison.pairs:
        return f"{new} and {old} were not compared at {claim.metric}: no pair was measured"
    tail = f"({_certainty(comparison)}), {len(comparison.pairs)} pairs"
    low, high = comparison.interval
    if claim.min_improvement is not None:
        bounds = _between(_inverse(high), _inverse(low), lambda ratio: f"{ratio:.3g}")
        return f"{new} is {1 / ratio:.3g} x as fast as {old} at {claim.metric}{bounds} {tail}"
    if claim.metric == "throughput":
        change = f"{abs(1 / ratio - 1) * 100:.0f} % {'less' if ratio >= 1 else 'more'} throughput than {old}"
        return f"{new} has {change}{_between(_inverse(high), _inverse(low), _percent)} {tail}"
    change = f"{abs(ratio - 1) * 100:.0f} % {'slower' if ratio >= 1 else 'faster'} than {old} at {claim.metric}"
    return f"{new} is {change}{_between(low, high, _percent)} {tail}"


def _between(low: float, high: float, written: Callable[[float], str]) -> str:
    """The bounds of a ratio; nothing of too few pairs, whose sign may be certain while their size is not."""
    return f" [{written(low)}, {written(high)}]" if low or math.isfinite(high) else ""


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:.0f}"


def _inverse(ratio: float) -> float:
    return 1 / ratio if ratio else math.inf


def _certainty(comparison: Comparison) -> str:
    claim = comparison.claim
    against = f"+{claim.margin * 100:.3g} %" if claim.min_improvement is None else f"{claim.min_improvement:g} x"
    if comparison.verdict == "inconclusive":
        return f"inconclusive against {against}: {comparison.reason}"
    return f"{comparison.verdict} than {against}: certain at {claim.alpha * 100:.2g} %"


def _clean(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair.is_clean]


def _middle(pairs: Sequence[Pair]) -> float:
    return trimmed_mean([pair.difference for pair in pairs])


def log_ratio(first: float, second: float, *, higher_is_better: bool) -> float | None:
    """What a pair says, slower positive; None where a block has nothing to say."""
    if not (first > 0 and second > 0 and math.isfinite(first) and math.isfinite(second)):
        return None
    difference = math.log(second) - math.log(first)
    return -difference if higher_is_better else difference

"""Does one arm cost the server more than the other? Counters are exact, so that epochs decide, and no bets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .comparison import FEWEST_EPOCHS, Answer, Claim, Pair
from .server_figures import ServerFigure, server_figure

if TYPE_CHECKING:
    from ..database.activity import ServerActivity

Observed = tuple["ServerActivity | None", "ServerActivity | None"]
"""What the server did for each arm in one epoch, in which the arms ran one after the other, each alone."""


@dataclass(frozen=True)
class CostComparison:
    """What a cost per operation came to in each epoch: the first arm's and the second's. ``missing`` says why an
    epoch has none."""

    claim: Claim
    costs: tuple[tuple[float, float], ...]
    missing: str = ""

    @property
    def ratios(self) -> list[float]:
        """Of second to first arm, one an epoch; of nothing to nothing it is 1."""
        return [ratio_of(*each) for each in self.costs]

    @property
    def pairs(self) -> list[Pair]:
        """The epochs as pairs: the logarithm of each ratio."""
        return [Pair(math.log(ratio) if ratio else -math.inf) for ratio in self.ratios]

    @property
    def epochs(self) -> tuple[tuple[Pair, ...], ...]:
        """The same, each in an epoch of its own."""
        return tuple((pair,) for pair in self.pairs)

    @property
    def verdict(self) -> Answer:
        """Beyond the claim's limit in every epoch, or within it in every epoch, or neither."""
        if len(self.costs) < FEWEST_EPOCHS or self.missing:
            return "inconclusive"
        above, below = self.claim.answers
        beyond = [pair.difference > self.claim.limit for pair in self.pairs]
        if all(beyond):
            return above
        return "inconclusive" if any(beyond) else below

    @property
    def ratio(self) -> float:
        """That of the middle epoch; nan without one."""
        return ratio_of(*self.typical) if self.typical else math.nan

    @property
    def typical(self) -> tuple[float, float] | None:
        """The cost of either arm in the epoch whose ratio is the middle one; None without an epoch.

        A vacuum between two arms changes what both cost from then on: in one epoch, that looks like a difference.
        """
        ordered = sorted(self.costs, key=lambda each: ratio_of(*each))
        return ordered[len(ordered) // 2] if ordered else None

    @property
    def interval(self) -> tuple[float, float]:
        """The least and the greatest ratio of an epoch: ``(0, inf)`` of too few epochs."""
        return (min(self.ratios), max(self.ratios)) if len(self.costs) >= FEWEST_EPOCHS else (0.0, math.inf)

    @property
    def detectable(self) -> float:
        """The smallest change that could have been shown: how far the epochs differ."""
        low, high = self.interval
        return math.sqrt(high / low) - 1 if low and math.isfinite(high) else math.inf

    @property
    def reason(self) -> str:
        """Why the verdict is inconclusive; empty where it is not."""
        if self.verdict != "inconclusive":
            return ""
        if self.missing:
            return f"{self.claim.metric} is not known: {self.missing}"
        if len(self.costs) < FEWEST_EPOCHS:
            return f"{len(self.costs)} of the {FEWEST_EPOCHS} epochs it takes were finished"
        return "the epochs contradict each other: in some the change is beyond the limit, in others it is not"


def costs_compared(claim: Claim, observed: Sequence[Observed]) -> CostComparison:
    """The comparison of what was counted in each epoch, at the claim's metric."""
    figures = [(server_figure(claim.metric, first), server_figure(claim.metric, second)) for first, second in observed]
    known = [(first.value, second.value) for first, second in figures]
    costs = tuple((first, second) for first, second in known if first is not None and second is not None)
    return CostComparison(claim, costs, next((why for each in figures for why in map(_why, each) if why), ""))


def _why(figure: ServerFigure) -> str:
    """Why a cost is not known, or not exactly: with what sessions need to get ready among it, arms look alike."""
    if figure.value is not None and figure.low is not None:
        return "too busy a server to tell it from the set-up of the sessions"
    return figure.missing


def ratio_of(first: float, second: float) -> float:
    """Of second to first; of nothing to nothing it is 1."""
    if first:
        return second / first
    return math.inf if second else 1.0


def cost_sentence(comparison: CostComparison, old: str, new: str) -> str:
    """``new costs 50 % more blocks per operation than old: 6 against 4 (slower than +10 % in each of 3 epochs)``."""
    claim, typical = comparison.claim, comparison.typical
    what = claim.metric.removeprefix("server.").removesuffix("_per_op").replace("_", " ").replace("wal", "WAL")
    if typical is None:
        return f"{new} and {old} were not compared at {claim.metric}: {comparison.missing or 'no epoch was finished'}"
    against = f"+{claim.margin * 100:.3g} %" if claim.min_improvement is None else f"{claim.min_improvement:g} x"
    tail = f"{comparison.verdict} than {against} in each of {len(comparison.costs)} epochs"
    if comparison.verdict == "inconclusive":
        tail = f"inconclusive against {against}: {comparison.reason}"
    change = f"{_change(comparison.ratio)} {what} per operation than {old}"
    return f"{new} costs {change}: {typical[1]:.4g} against {typical[0]:.4g} ({tail})"


def _change(ratio: float) -> str:
    if not math.isfinite(ratio):
        return "infinitely more"
    return f"{abs(ratio - 1) * 100:.3g} % {'more' if ratio >= 1 else 'fewer'}"

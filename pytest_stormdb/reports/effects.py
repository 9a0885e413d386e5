"""How the evidence of a comparison grew, pair by pair."""

from __future__ import annotations

import math
from typing import Any

from ..verdict.betting import confidence_sequence
from ..verdict.comparison import Comparison
from ..verdict.costs import CostComparison

_LOOKS = 10


def effects_of(comparison: Comparison | CostComparison) -> list[dict[str, Any]]:
    """The ratio in each pair, with its epoch and whether it was undisturbed; after some of them, the interval so far.

    Costs have one ratio in each epoch, and need no bets.
    An interval takes a tenth of a second of a hundred pairs, so there are ten, and not one after each pair.
    """
    effects: list[dict[str, Any]] = [
        {"ratio": math.exp(pair.difference), "epoch": number, "clean": pair.is_clean}
        for number, epoch in enumerate(comparison.epochs)
        for pair in epoch
    ]
    if isinstance(comparison, CostComparison):
        return effects
    differences, weights = [pair.difference for pair in comparison.pairs], [pair.weight for pair in comparison.pairs]
    for count in sorted({math.ceil(len(effects) * step / _LOOKS) for step in range(1, _LOOKS + 1)} - {0}):
        low, high = confidence_sequence(differences[:count], comparison.claim.alpha, weights[:count])
        effects[count - 1] |= {"low": math.exp(low), "high": math.exp(high)}
    return effects

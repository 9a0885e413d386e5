"""Evidence by betting: is the effect in pairs of blocks larger than a limit? Valid at every look, under any drift.

In a pair, both arms ran one after the other in an order drawn by a fair coin. Were the limit the true effect, what
remains of the difference would be as likely to have the other sign, whatever the machine did in the meantime. So a
stake that is paid ``1 + c tanh(l x)`` for each difference ``x`` cannot be expected to grow, and that it ever grows to
``1 / alpha`` has a probability of at most ``alpha`` (Ville's inequality). ``tanh`` keeps one huge stall from deciding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

_GRID = tuple((sharpness, share) for sharpness in (3.0, 10.0, 30.0, 100.0) for share in (0.5, 0.95))
_WIDEST = 40.0
_HALVINGS = 60


def log_evidence(*readings: Sequence[float]) -> float:
    """The logarithm of the stake after all of these differences, begun with 1 and spread evenly over eight bets.

    Several readings of the same differences, each positive where the first is, share the stake.
    """
    return _mixed([sum(math.log1p(c * math.tanh(k * x)) for x in xs) for xs in readings for k, c in _GRID])


def peak_log_evidence(*readings: Sequence[float]) -> float:
    """The highest that ``log_evidence`` has been on the way: what may be compared with ``ln(1 / alpha)``."""
    bets = [(k, c) for _ in readings for k, c in _GRID]
    logs, peak = [0.0] * len(bets), 0.0
    for xs in zip(*readings, strict=True):
        each = [x for x in xs for _ in _GRID]
        logs = [log + math.log1p(c * math.tanh(k * x)) for log, x, (k, c) in zip(logs, each, bets, strict=True)]
        peak = max(peak, _mixed(logs))
    return peak


def fewest_pairs(alpha: float) -> int:
    """How many pairs it takes at least, however clear they are."""
    count, proof = 1, math.log(1 / alpha)
    while log_evidence([_WIDEST] * count) < proof:
        count += 1
    return count


def _mixed(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


def weighted(differences: Sequence[float], weights: Sequence[float]) -> tuple[Sequence[float], ...]:
    """The readings of differences of which some are worth less than others: as they are, and by their weights."""
    if all(weight == 1.0 for weight in weights):
        return (differences,)
    return differences, [x * weight for x, weight in zip(differences, weights, strict=True)]


def confidence_sequence(
    differences: Sequence[float], alpha: float, weights: Sequence[float] | None = None
) -> tuple[float, float]:
    """Bounds of the effect that hold at every look together with probability ``1 - alpha``; infinite at first.

    ``weights`` are less than 1 for pairs that are known, from outside of them, to be worth less.
    """
    proof = math.log(2 / alpha)
    weights = weights or [1.0] * len(differences)

    def exceeds(effect: float, sign: int) -> bool:
        return log_evidence(*weighted([sign * x - effect for x in differences], weights)) >= proof

    return _last(lambda effect: exceeds(effect, 1)), -_last(lambda effect: exceeds(effect, -1))


def _last(is_proven: Callable[[float], bool]) -> float:
    """The greatest effect that is still proven to be exceeded; proofs only get weaker as it grows."""
    low, high = -_WIDEST, _WIDEST
    if not is_proven(low):
        return -math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_proven(middle) else (low, middle)
    return low


def trimmed_mean(values: Sequence[float]) -> float:
    """The mean without the highest and the lowest fifth: the middle of the differences, little moved by stalls."""
    cut = len(values) // 5
    kept = sorted(values)[cut : len(values) - cut]
    return math.fsum(kept) / len(kept)

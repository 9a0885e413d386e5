"""Student's t and the binomial, as far as verdicts need them; exact, and without scipy."""

from __future__ import annotations

import math

_HALVINGS = 200


def t_quantile(probability: float, freedom: int) -> float:
    """The value that Student's t with so many degrees of freedom stays below with this probability (0.5 to 1).

    Found by halving an interval around the exact distribution. Raises ValueError out of range.
    """
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"t_quantile: 0.5 <= probability < 1 and freedom >= 1, not {probability}, {freedom}")
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _t_below(middle, freedom) < probability else (low, middle)
    return high


def _t_below(t: float, freedom: int) -> float:
    """P(T < t) for t >= 0: Abramowitz and Stegun 26.7.3 (odd freedom) and 26.7.4 (even)."""
    angle = math.atan2(t, math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for step in range(freedom // 2):
        total += term
        term *= square * (2 * step + 1 + odd) / (2 * step + 2 + odd)
    within = (angle + math.sin(angle) * total) * 2 / math.pi if odd else math.sin(angle) * total
    return (1 + within) / 2


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """The chance of so many successes, or more, in that many trials: 0 to 1."""
    if successes <= 0:
        return 1.0
    if successes > trials or probability <= 0:
        return 0.0
    if probability >= 1:
        return 1.0
    if successes <= trials * probability:
        return 1.0 - _sum_from(trials - successes + 1, trials, 1 - probability)
    return _sum_from(successes, trials, probability)


def _sum_from(successes: int, trials: int, probability: float) -> float:
    """The tail above the mean, where terms fall from the first on."""
    choices = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    term = math.exp(choices + successes * math.log(probability) + (trials - successes) * math.log1p(-probability))
    total, odds = 0.0, probability / (1 - probability)
    for count in range(successes, trials + 1):
        total += term
        if term < total * 1e-17:
            break
        term *= odds * (trials - count) / (count + 1)
    return min(1.0, total)

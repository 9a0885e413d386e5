"""Is a run unlike those before it? A prediction interval from stored numbers, and what it could have seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..measurement.distributions import t_quantile

ENOUGH = 10
CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one more run like the earlier ones would measure: between ``low`` and ``high``, with 98 % confidence."""

    runs: int
    typical: float
    low: float
    high: float

    @property
    def is_enough(self) -> bool:
        """Whether there were enough runs to say when another one is unlike them."""
        return self.runs >= ENOUGH

    @property
    def detectable(self) -> float:
        """The smallest increase that could be seen, 0.3 for 30 %."""
        return self.high / self.typical - 1


def predict(values: Sequence[float]) -> Prediction | None:
    """From the values of earlier runs, above zero, on their logarithms; None of fewer than two.

    The bounds are those for one more value of a normal distribution: mean and t s sqrt(1 + 1/n).
    """
    logs = [math.log(value) for value in values if value > 0]
    if len(logs) < 2:
        return None
    mean = math.fsum(logs) / len(logs)
    deviation = math.sqrt(math.fsum((log - mean) ** 2 for log in logs) / (len(logs) - 1))
    reach = t_quantile(CONFIDENCE, len(logs) - 1) * deviation * math.sqrt(1 + 1 / len(logs))
    return Prediction(len(logs), math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))

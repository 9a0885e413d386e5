"""A comparison in hand: its verdict and figures, for plain asserts or for its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..record import ComparisonRecord
from ..reports.document import comparison_document
from ..verdict.comparison import Answer


class Compared:
    """What a comparison showed. Ratios are of the second arm to the first: 1.2 is a fifth longer, or a fifth more."""

    def __init__(self, record: ComparisonRecord, doubt: Callable[[str], None]) -> None:
        self._record = record
        self._doubt = doubt

    @property
    def verdict(self) -> Answer:
        """``slower``, ``not slower`` or ``inconclusive``; with ``min_improvement``, ``faster`` or ``not faster``.

        Each of the first two is wrong with a probability of at most ``alpha``, the comparison's part of the session's.
        Of a cost, both are what the server counted in each of three epochs; noise has no part in that.
        """
        return self._record.comparison.verdict

    def ratio(self, metric: str | None = None) -> float:
        """The ratio of second to first arm at a metric, by default the one that is compared. Raises ValueError where
        no operation has such a metric.

        Costs, such as ``server.blocks_per_op``, are of each arm alone; nan where the server does not say."""
        ratio = self._record.at(metric or self._record.claim.metric).ratio
        return 1 / ratio if self._is_rate(metric) else ratio

    def interval(self, metric: str | None = None) -> tuple[float, float]:
        """Bounds of the ratio, which hold with probability 1 - ``alpha``; ``(0, inf)`` of too few pairs. Of a cost, the
        least and the greatest of three epochs, where it is what is compared."""
        low, high = self._record.at(metric or self._record.claim.metric).interval
        return (1 / high, 1 / low if low else float("inf")) if self._is_rate(metric) else (low, high)

    def _is_rate(self, metric: str | None) -> bool:
        return (metric or self._record.claim.metric) == "throughput"

    @property
    def detectable(self) -> float:
        """The smallest change that this comparison could have shown, 0.05 for 5 %."""
        return self._record.comparison.detectable

    @property
    def alpha(self) -> float:
        """How probable a wrong verdict is, at most."""
        return self._record.claim.alpha

    @property
    def pairs(self) -> int:
        """How many pairs of blocks were measured."""
        return len(self._record.comparison.pairs)

    @property
    def epochs(self) -> int:
        """How often both arms were started anew."""
        return len(self._record.comparison.epochs)

    @property
    def record(self) -> dict[str, Any]:
        """The comparison as in the JSON report."""
        return comparison_document(self._record)

    def check(self) -> None:
        """Raise AssertionError, in a plain sentence, where the second arm is slower, or is not as much faster as
        claimed. An inconclusive comparison warns, or fails with ``--stormdb-inconclusive=fail``."""
        __tracebackhide__ = True
        if self.verdict in ("slower", "not faster"):
            raise AssertionError(self._record.sentence)
        if self.verdict == "inconclusive":
            self._doubt(self._record.sentence)

    def __repr__(self) -> str:
        return f"<{self._record.sentence}>"

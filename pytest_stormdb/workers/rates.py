"""How a run is going, from the few numbers that workers send beside their histograms."""

from __future__ import annotations

from dataclasses import dataclass, field

from .messages import IntervalCounts

_MOST_SECONDS = 60
_SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class Rates:
    """Operations in all, without the warm-up, and in each of the last sixty seconds, with it.

    ``latest`` is what each worker sent last. Workers send at the end of a second, all at about the same
    time; seconds are cut half-way between, so that what belongs together is counted together.
    """

    operations: int = 0
    failures: int = 0
    latest: dict[int, IntervalCounts] = field(default_factory=dict)
    _by_second: dict[int, int] = field(default_factory=dict)

    def add(self, message: IntervalCounts, at_ns: int) -> None:
        """Take in what a worker counted; ``at_ns`` counts from the end of the warm-up."""
        second = _second(at_ns)
        self._by_second[second] = self._by_second.get(second, 0) + message.operations
        self._by_second.pop(second - _MOST_SECONDS - 1, None)
        if message.interval >= 0:
            self.operations += message.operations
            self.failures += message.failures
            self.latest[message.worker] = message

    def per_s(self, at_ns: int) -> tuple[float, ...]:
        """The rates of the last full seconds, the last one last."""
        if not self._by_second:
            return ()
        last = _second(at_ns)
        first = max(min(self._by_second), last - _MOST_SECONDS)
        if last > 0:  # the warm-up may have begun in the middle of a second
            first = max(first, 0)
        return tuple(float(self._by_second.get(second, 0)) for second in range(first, last))


def _second(at_ns: int) -> int:
    return (at_ns - _SECOND_NS // 2) // _SECOND_NS

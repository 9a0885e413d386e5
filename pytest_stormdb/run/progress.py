"""A run in progress, looked at from beside: cheap enough to do while load is generated."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Protocol

from ..load.plan import LoadPlan
from ..measurement.recorder import Snapshot
from ..measurement.stats import response_of
from ..measurement.tally import Tally
from ..realtime import monotonic, perf_counter_ns
from ..reports.live import View
from ..verdict.comparison import Comparison, sentence
from ..workers.collected import Collected
from ..workers.messages import IntervalCounts

_ENOUGH = 1_000
"""So many calls are enough to show a p99 that somebody looks at for a second."""

Percentiles = tuple[float | None, float | None]


class Screen(Protocol):
    """Where a run in progress is shown; ``every_s`` is how often."""

    every_s: float

    def show(self, view: View) -> None:
        """Show it in place of what was shown before."""


class Watch:
    """Shows what was collected so far.

    Rates come from counts that workers send beside their histograms. The percentiles are those of some workers' last
    second: to unpack and add up all of them each second would take the CPU from those who measure.
    """

    def __init__(self, title: str, plan: LoadPlan, screen: Screen) -> None:
        self._title = title
        self._plan = plan
        self._screen = screen
        self._began_s = monotonic()
        self._next_s = self._began_s + screen.every_s
        self._second = 0.0
        self._percentiles: Percentiles = (None, None)

    def __call__(self, collected: Collected) -> None:
        """Called several times a second."""
        now_s = monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + self._screen.every_s
            self._screen.show(self._view(collected, now_s - self._began_s))

    def _view(self, collected: Collected, since_s: float) -> View:
        at_ns = perf_counter_ns() - collected.measured_from_ns if collected.measured_from_ns else None
        duration_s = None if self._plan.duration_ns is None else self._plan.duration_ns / 1e9
        at_s = None if at_ns is None else at_ns / 1e9
        left_s = None if duration_s is None or at_s is None else max(0.0, duration_s - at_s)
        rates = collected.rates
        if since_s - self._second >= 1:
            self._second = since_s
            self._percentiles = _percentiles(rates.latest.values(), is_open=self._plan.is_open)
        return View(
            title=self._title,
            phase=phase(at_s, left_s, stopped=collected.stopped_ns is not None),
            elapsed_s=since_s if at_s is None else max(0.0, at_s),
            remaining_s=left_s,
            fraction=self._fraction(at_s, duration_s, rates.operations + rates.failures),
            operations=rates.operations,
            failures=rates.failures,
            p50_s=self._percentiles[0],
            p99_s=self._percentiles[1],
            rates_per_s=() if at_ns is None else rates.per_s(at_ns),
        )

    def _fraction(self, at_s: float | None, duration_s: float | None, done: int) -> float | None:
        if self._plan.iterations is not None:
            return min(1.0, done / (self._plan.iterations * self._plan.workers))
        return None if at_s is None or not duration_s else min(1.0, max(0.0, at_s / duration_s))


class ComparisonWatch:
    """Shows how a comparison goes: what the pairs say so far, and the rate of both arms together."""

    def __init__(self, title: str, names: tuple[str, str], budget_s: float, screen: Screen | None) -> None:
        self._title = title
        self._names = names
        self._budget_s = budget_s
        self._screen = screen
        self._note = "no pair yet"
        self._began_s = self._shown_s = monotonic()

    def told(self, comparison: Comparison) -> None:
        """What the pairs say after an epoch."""
        what, _, _ = sentence(comparison, *self._names).partition(" (")
        self._note = f"{len(comparison.pairs)} pairs: {what}, {comparison.verdict}"

    def __call__(self, collected: Collected) -> None:
        """Called several times a second."""
        now_s = monotonic()
        if self._screen is None or now_s - self._shown_s < self._screen.every_s:
            return
        self._shown_s = now_s
        elapsed_s, rates = now_s - self._began_s, collected.rates
        view = View(
            title=self._title,
            phase="comparing",
            elapsed_s=elapsed_s,
            remaining_s=max(0.0, self._budget_s - elapsed_s),
            fraction=min(1.0, elapsed_s / self._budget_s),
            operations=rates.operations,
            failures=rates.failures,
            rates_per_s=rates.per_s(perf_counter_ns() - collected.measured_from_ns),
            note=self._note,
        )
        self._screen.show(view)


def phase(at_s: float | None, left_s: float | None, *, stopped: bool) -> str:
    """The phase of a run that is ``at_s`` seconds after its warm-up; None before its start."""
    if at_s is None:
        return "set-up"
    if stopped or left_s == 0:
        return "draining"
    return "warm-up" if at_s < 0 else "measuring"


def _percentiles(latest: Iterable[IntervalCounts], *, is_open: bool) -> Percentiles:
    whole = Tally()
    for message in latest:
        snapshot: Snapshot = pickle.loads(message.packed)  # noqa: S301 - from a child of ours
        whole.merge(snapshot.total())
        if whole.count >= _ENOUGH:
            break
    response = response_of(whole, is_open=is_open)
    return response.shown(50), response.shown(99)


def watched(title: str, plan: LoadPlan, screen: Screen | None) -> Callable[[Collected], None]:
    """What looks at a run for a screen; nothing where there is none."""
    return Watch(title, plan, screen) if screen is not None else lambda collected: None

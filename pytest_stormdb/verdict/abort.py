"""Thresholds with ``abort=True``: a run that misses one is not worth its end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from ..load.plan import LoadPlan
from ..measurement.recorder import Snapshot, SoFar, Tick
from ..measurement.stats import RunStatistics, statistics_of
from .threshold import Evidence, Threshold, judge

_STEP_S = 1.0
_TELLING_SAMPLES = 10


class Abort:
    """Judges what was counted so far about once a second; ``reason`` says why the run was ended, if it was."""

    def __init__(self, plan: LoadPlan, thresholds: Sequence[Threshold]) -> None:
        self.reason: str | None = None
        self._plan = plan
        self._thresholds = [threshold for threshold in thresholds if threshold.abort]

    @contextlib.contextmanager
    def during(self, stop: Callable[[], None]) -> Iterator[Tick]:
        """Yields what to call with the way to the counts; the run is stopped where a threshold is missed."""
        measured_from_s = time.monotonic() + self._plan.warmup_ns / 1e9
        judged = 0

        def tick(so_far: SoFar) -> None:
            nonlocal judged
            step = int((time.monotonic() - measured_from_s) // _STEP_S)
            if self._thresholds and step > judged and self.reason is None:
                judged = step
                self.reason = self._miss(so_far(), step * _STEP_S)
                if self.reason is not None:
                    stop()

        yield tick

    def _miss(self, snapshot: Snapshot, elapsed_s: float) -> str | None:
        """The threshold missed so far, in one line.

        Workers report after each second, so the counts lack up to one: rates divide by the time they cover.
        """
        covered_s = elapsed_s - _STEP_S
        if covered_s < _STEP_S:
            return None
        statistics = statistics_of(snapshot, {}, elapsed_s=covered_s, interval_s=_STEP_S, is_open=self._plan.is_open)
        for verdict in judge(self._thresholds, Evidence(statistics)):
            if verdict.ruling == "fail" and verdict.estimate is not None and _tells(verdict.threshold, statistics):
                return f"aborted after {elapsed_s:.0f} s: {verdict.line}"
        return None


def _tells(threshold: Threshold, statistics: RunStatistics) -> bool:
    """Whether there are enough samples to end a run for: some, and ten of them beyond a percentile."""
    name = threshold.operation
    figures = statistics.total if name is None else statistics.operations[name]
    percentile = threshold.percentile
    beyond = _TELLING_SAMPLES if percentile is None else figures.service.count * (1 - percentile / 100)
    return figures.count + figures.failures >= 2 * _TELLING_SAMPLES and beyond >= _TELLING_SAMPLES

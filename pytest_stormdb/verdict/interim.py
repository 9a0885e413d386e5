"""Thresholds judged while a run goes on: a hopeless run ends early, and an undecided one may go on for longer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from ..load.plan import LoadPlan
from ..measurement.blocks import block_ns
from ..measurement.noise import Noise
from ..measurement.recorder import Look, Progress
from ..measurement.stats import statistics_of
from ..realtime import perf_counter_ns
from .judgement import Evidence, judge
from .threshold import Threshold, Verdict

_STEP_NS = 1_000_000_000
_HOPELESS_FAILURES = 20
_HEAD_START_NS = 500_000_000
"""How long before the end of a run it is asked whether it goes on: workers that have ended do not come back."""


class Interim:
    """Judges what was counted so far about once a second; ``reason`` says why the run was ended, if it was.

    Thresholds with ``abort`` end the run where they are missed, and so does a first second in which all fails.
    While any is undecided, the run goes on from
    second to second, until it has measured for ``longest_ns``.
    """

    def __init__(self, plan: LoadPlan, thresholds: Sequence[Threshold], longest_ns: int = 0) -> None:
        self.reason: str | None = None
        self._plan = plan
        self._thresholds = list(thresholds)
        self._fatal = [threshold for threshold in thresholds if threshold.abort]
        self._end_ns = plan.duration_ns or 0
        self._longest_ns = longest_ns if thresholds and self._end_ns and not plan.stages else 0

    @property
    def judges(self) -> bool:
        """Whether there is a threshold to be judged, now or in the end."""
        return bool(self._thresholds)

    @property
    def looks(self) -> bool:
        """Whether it looks at the counts before the end."""
        return bool(self._fatal or self._longest_ns)

    @contextlib.contextmanager
    def during(
        self, stop: Callable[[], None], extend: Callable[[int], None], noise: Callable[[], Noise]
    ) -> Iterator[Look]:
        """Yields what to call with the progress. ``extend`` is told for how long to measure, in all."""
        judged = 0
        self._noise = noise

        def tick(progress: Progress) -> None:
            nonlocal judged
            elapsed_ns = perf_counter_ns() - progress.measured_from_ns
            if self.reason is None and elapsed_ns >= _STEP_NS:
                self.reason = self._all_failed(progress, elapsed_ns)
                if self.reason is not None:
                    stop()
            if self._longest_ns > self._end_ns and elapsed_ns >= self._end_ns - _HEAD_START_NS:
                self._go_on(progress, extend)
            if self._fatal and elapsed_ns // _STEP_NS > judged and self.reason is None:
                judged = elapsed_ns // _STEP_NS
                self.reason = self._miss(progress, judged)
                if self.reason is not None:
                    stop()

        yield tick

    @staticmethod
    def _all_failed(progress: Progress, elapsed_ns: int) -> str | None:
        """A workload of which nothing succeeds will not get better: its author wants to see the error."""
        operations, failures = progress.done
        if operations or failures < _HOPELESS_FAILURES:
            return None
        return f"stopped after {elapsed_ns / 1e9:.1f} s: all {failures:,} iterations had failed"

    def _go_on(self, progress: Progress, extend: Callable[[int], None]) -> None:
        """Measure for another second, if a threshold is undecided, or nothing was told yet, and time is left."""
        verdicts = self._verdicts(self._thresholds, progress)
        if verdicts and not any(verdict.ruling == "inconclusive" for verdict in verdicts):
            self._longest_ns = 0
            return
        self._end_ns = min(self._longest_ns, self._end_ns + _STEP_NS)
        extend(self._end_ns)

    def _miss(self, progress: Progress, elapsed_s: int) -> str | None:
        """The threshold missed so far, in one line."""
        for verdict in self._verdicts(self._fatal, progress):
            if verdict.ruling == "fail" and verdict.estimate is not None:
                return f"aborted after {elapsed_s} s: {verdict.line}"
        return None

    def _verdicts(self, thresholds: Sequence[Threshold], progress: Progress) -> list[Verdict]:
        """Those on what has arrived: workers report block by block, so rates divide by the time of whole blocks."""
        length_ns = block_ns(self._plan.duration_ns)
        whole = progress.so_far()
        covered = max(progress.intervals, default=0)
        if not covered:
            return []
        statistics = statistics_of(
            whole,
            progress.intervals,
            elapsed_s=covered * length_ns / 1e9,
            interval_s=length_ns / 1e9,
            is_open=self._plan.is_open,
        )
        return judge(thresholds, Evidence(statistics, noise=self._noise(), began_ns=progress.measured_from_ns))

"""When iterations start: pure arithmetic on a plan, in ns from the start of a run. There is no clock in here."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat

from .alternation import Alternation
from .plan import LoadPlan
from .stages import Stage

_LONGEST_SPIN_NS = 100_000
_SPIN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a schedule whose rate goes evenly from ``begin_per_s`` to ``end_per_s``.

    Products come before quotients, so that whole rates over whole seconds give whole numbers of arrivals, exactly.
    """

    start_ns: int
    duration_ns: float
    begin_per_s: float
    end_per_s: float

    @property
    def arrivals(self) -> float:
        """How many arrivals the whole stretch holds, on average."""
        return (self.begin_per_s + self.end_per_s) * self.duration_ns / 2e9

    def arrivals_by(self, offset_ns: float) -> float:
        """How many arrivals the stretch holds before an instant of the run, on average."""
        elapsed_ns = min(max(0.0, offset_ns - self.start_ns), self.duration_ns)
        rise_per_s = (self.end_per_s - self.begin_per_s) * (elapsed_ns / self.duration_ns)
        return (2 * self.begin_per_s + rise_per_s) * elapsed_ns / 2e9

    def offset_ns(self, arrivals: float) -> float:
        """The time within the stretch at which ``arrivals`` have come: the inverse of the integrated rate.

        Solves ``begin*t + slope*t**2/2 = arrivals`` in the form that stays exact as the slope goes to zero.
        """
        if self.begin_per_s == self.end_per_s:
            return 1e9 * arrivals / self.begin_per_s if self.begin_per_s else 0.0
        slope = (self.end_per_s - self.begin_per_s) / (self.duration_ns / 1e9)
        root = math.sqrt(max(0.0, self.begin_per_s**2 + 2 * slope * arrivals))
        denominator = self.begin_per_s + root
        return 2e9 * arrivals / denominator if denominator else 0.0


class Schedule:
    """The intended starts of an open loop, to be taken one after the other, once.

    Arrival ``k`` comes after ``gap 0 + ... + gap k`` arrivals' worth of the rate, in units of the mean distance: stages
    and ramps change the pace, never the sequence.
    """

    def __init__(self, segments: Sequence[Segment], gaps: Iterator[float]) -> None:
        self._segments = segments
        self._gaps = gaps
        self._position = next(gaps)

    def starts_ns(self) -> Iterator[int]:
        """The starts not taken yet, from the start of the run."""
        before = 0.0
        for segment in self._segments:
            end = before + segment.arrivals
            while (position := self._position) < end:
                self._position = position + next(self._gaps)
                yield segment.start_ns + round(segment.offset_ns(position - before))
            before = end

    def left_before(self, offset_ns: float) -> int:
        """How many arrivals not taken yet lie before an instant: exact for uniform ones, else the mean."""
        due = sum(segment.arrivals_by(offset_ns) for segment in self._segments)
        return max(0, math.ceil(due - self._position))


def make_schedule(plan: LoadPlan) -> Schedule:
    """The schedule of an open plan, its warm-up first, at the rate the measured part begins with."""
    stages = plan.stages or (_only_stage(plan),)
    segments = []
    start_ns = 0
    if plan.warmup_ns:
        rate = stages[0].begin
        segments.append(Segment(0, plan.warmup_ns, rate, rate))
        start_ns = plan.warmup_ns
    for stage in stages:
        duration_ns = stage.duration_ns if plan.duration_ns is not None else math.inf
        segments.append(Segment(start_ns, duration_ns, stage.begin, stage.end))
        start_ns += stage.duration_ns
    return Schedule(segments, uniform_gaps() if plan.arrivals == "uniform" else poisson_gaps(plan.seed))


def _only_stage(plan: LoadPlan) -> Stage:
    assert plan.rate_per_s is not None
    return Stage("rate", plan.duration_ns or 0, plan.rate_per_s, plan.rate_per_s)


def alternating_starts_ns(plan: LoadPlan, alternation: Alternation, arm: int) -> Iterator[int]:
    """The starts of one arm: its blocks', each with the pattern that the pair's other block has, too."""
    assert plan.rate_per_s is not None
    for turn in alternation.turns_of(arm):
        gaps = uniform_gaps() if plan.arrivals == "uniform" else poisson_gaps(f"{plan.seed}:{turn.pair}")
        for position in accumulate(gaps):
            start_ns = turn.from_ns + round(1e9 * position / plan.rate_per_s)
            if start_ns >= turn.to_ns:
                break
            yield start_ns


def uniform_gaps() -> Iterator[float]:
    """Arrival 0 comes at once, each other one unit after the one before."""
    return chain([0.0], repeat(1.0))


def poisson_gaps(seed: int | str) -> Iterator[float]:
    """Exponential gaps of mean one."""
    draw, log1p = random.Random(f"arrivals:{seed}").random, math.log1p
    while True:
        yield -log1p(-draw())


def spin_ns(plan: LoadPlan, cpus: int) -> int:
    """How long before its arrival an idle worker of an open loop stops sleeping and watches the clock.

    A sleeper wakes some 50 us late, with cold caches; watching costs CPU time that the server may need. So it is at
    most 100 us, and less where all arrivals together would take more than a tenth of the machine.
    """
    rates = [plan.rate_per_s or 0.0] + [max(stage.begin, stage.end) for stage in plan.stages if stage.kind == "rate"]
    return min(_LONGEST_SPIN_NS, int(_SPIN_SHARE * cpus * 1e9 / max(rates))) if max(rates) else 0


def stage_starts_ns(plan: LoadPlan) -> tuple[int, ...]:
    """Where each stage begins, from the start of the run; without stages, where the measured part begins."""
    starts = [plan.warmup_ns]
    for stage in plan.stages[:-1]:
        starts.append(starts[-1] + stage.duration_ns)
    return tuple(starts)


def active_windows_ns(plan: LoadPlan, worker: int) -> tuple[tuple[int, float], ...]:
    """The times in which a worker of a closed loop runs, as (from, to); stages of workers let it in and out.

    In a ramp, the number of workers is the rounded value of the line between its ends.
    """
    if not plan.stages or plan.is_open:
        return ((0, math.inf),)
    windows: list[tuple[int, float]] = []
    if plan.warmup_ns and worker < round(plan.stages[0].begin):
        windows.append((0, plan.warmup_ns))
    for start_ns, stage in zip(stage_starts_ns(plan), plan.stages, strict=True):
        windows.extend(_active_in_stage(start_ns, stage, worker))
    return _joined(windows)


def _active_in_stage(start_ns: int, stage: Stage, worker: int) -> Iterable[tuple[int, float]]:
    needed = worker + 0.5
    end_ns = start_ns + stage.duration_ns
    if min(stage.begin, stage.end) >= needed:
        yield start_ns, end_ns
    elif max(stage.begin, stage.end) >= needed:
        turn_ns = start_ns + round(stage.duration_ns * (needed - stage.begin) / (stage.end - stage.begin))
        yield (start_ns, turn_ns) if stage.begin > stage.end else (turn_ns, end_ns)


def _joined(windows: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    joined: list[tuple[int, float]] = []
    for start_ns, end_ns in windows:
        if joined and joined[-1][1] == start_ns:
            joined[-1] = (joined[-1][0], end_ns)
        else:
            joined.append((start_ns, end_ns))
    return tuple(joined)

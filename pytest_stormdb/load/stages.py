"""Stages: stretches of a run, each with its own workers or rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import PlanError
from ..units import parse_duration_ns, parse_rate_per_s
from .option import MAX_WORKERS
from .values import parse_whole

StageKind = Literal["workers", "rate"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a run whose workers, or rate per second, go evenly from ``begin`` to ``end``."""

    kind: StageKind
    duration_ns: int
    begin: float
    end: float

    @property
    def label(self) -> str:
        unit = "/s" if self.kind == "rate" else " worker" if self.begin == self.end == 1 else " workers"
        span = f"{self.begin:g}" if self.begin == self.end else f"{self.begin:g}->{self.end:g}"
        return f"{span}{unit} for {self.duration_ns / 1e9:g} s"


def parse_stages(value: object, what: str = "stages") -> tuple[Stage, ...]:
    """Stages as ``[("30s", 10), ("30s", "10->50")]`` or as ``"10:30s,100/s->500/s:30s"``."""
    if isinstance(value, str):
        pairs: list[tuple[object, object]] = []
        for part in value.split(","):
            target, colon, duration = part.rpartition(":")
            if not colon:
                raise PlanError(f"{what}: {part!r} is not a stage; write it as '10:30s' or '100/s->500/s:1m'")
            pairs.append((duration, target))
    elif isinstance(value, Sequence) and all(isinstance(p, Sequence) and len(p) == 2 for p in value):
        pairs = [(pair[0], pair[1]) for pair in value]
    else:
        raise PlanError(f"{what}: {value!r} is not a list of (duration, workers or rate) pairs")
    if not pairs:
        raise PlanError(f"{what}: an empty list; give at least one (duration, workers or rate) pair")
    stages = tuple(_parse_stage(duration, target, what) for duration, target in pairs)
    if len({stage.kind for stage in stages}) > 1:
        raise PlanError(f"{what}: {value!r} mixes workers and rates; use one of them")
    return stages


def _parse_stage(duration: object, target: object, what: str) -> Stage:
    duration_ns = parse_duration_ns(duration, what)
    if duration_ns == 0:
        raise PlanError(f"{what}: a stage needs a duration above zero, not {duration!r}")
    text = str(target).strip()
    begin, arrow, end = (part.strip() for part in text.partition("->"))
    ends = [begin, end if arrow else begin]
    if "/" in text:
        rates = [parse_rate_per_s(part, what) for part in ends]
        return Stage("rate", duration_ns, rates[0], rates[1])
    counts = [parse_whole(part, what, 0, MAX_WORKERS) for part in ends]
    if not any(counts):
        raise PlanError(f"{what}: a stage needs workers, not {target!r}")
    return Stage("workers", duration_ns, counts[0], counts[1])

"""The load plan: how the iterations of one run are scheduled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from ..errors import PlanError
from ..units import parse_duration_ns, parse_rate_per_s

ArrivalProcess = Literal["uniform", "poisson"]
StageKind = Literal["workers", "rate"]

MAX_WORKERS = 10_000
"""More than any PostgreSQL serves; a number above it is a typing error."""

_ENDS = ("duration", "iterations", "stages")
"""The options that say when a run ends: a layer may give one of them."""

_RIVALS: Mapping[str, tuple[str, ...]] = {
    "duration": ("iterations", "stages"),
    "iterations": ("duration", "stages"),
    "stages": ("duration", "iterations", "rate"),
    "rate": ("stages",),
}
"""What displaces an option when a stronger layer gives it."""

_DEFAULTS: Mapping[str, object] = {
    "workers": 1,
    "duration": "10s",
    "warmup": 0,
    "arrivals": "uniform",
    "timeout": "30s",
    "retries": 0,
    "batch_size": 1,
    "seed": 0,
    "connect": True,
}
_OPTIONS = frozenset(_DEFAULTS) | {"iterations", "rate", "stages", "think_time", "processes"}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How a workload is run. Exactly one of ``duration_ns`` and ``iterations`` (per worker) is set.

    ``rate_per_s`` is the total rate of an open loop, None in a closed one. The warm-up comes before
    the duration or the iterations, and is not measured. ``stages``, where given, add up to the duration.
    """

    workers: int
    duration_ns: int | None
    iterations: int | None
    warmup_ns: int
    rate_per_s: float | None
    arrivals: ArrivalProcess
    stages: tuple[Stage, ...]
    think_time_ns: tuple[int, int]
    timeout_ns: int
    retries: int
    batch_size: int
    seed: int
    connect: bool
    processes: int | None

    @property
    def is_open(self) -> bool:
        """Whether iterations start by a schedule instead of as soon as a worker is free."""
        return self.rate_per_s is not None or any(stage.kind == "rate" for stage in self.stages)


def check_options(options: Iterable[str], where: str) -> None:
    """Raise PlanError for an option that does not exist, naming the nearest that does."""
    for name in options:
        if name not in _OPTIONS:
            near = get_close_matches(name, _OPTIONS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(_OPTIONS))}"
            raise PlanError(f"{where}: unknown option {name!r}; {hint}")


def make_plan(*layers: tuple[str, Mapping[str, Any]]) -> LoadPlan:
    """The plan of ``(source, options)`` layers, the strongest first. Options that are None count as absent.

    ``duration``, ``iterations`` and ``stages`` exclude each other within a layer, and what a stronger layer says
    of them (or of ``rate``, or of ``workers`` where the stages are of workers) displaces what a weaker one says.
    Raises PlanError naming source and value.
    """
    chosen: dict[str, tuple[str, Any]] = {}
    for source, layer in (*layers, ("default", _DEFAULTS)):
        given = _given(source, layer)
        displaced = {name for name, rivals in _RIVALS.items() if any(rival in chosen for rival in rivals)}
        if "workers" in chosen and _stages_workers(given):
            displaced.add("stages")
        chosen.update({n: (source, v) for n, v in given.items() if n not in chosen and n not in displaced})
    return _check_together(_parse(chosen))


def _given(source: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    """What a layer says, if it does not contradict itself."""
    given = {name: value for name, value in layer.items() if value is not None}
    check_options(given, source)
    ends = [name for name in _ENDS if name in given]
    if len(ends) > 1:
        raise PlanError(f"{source}: give {ends[0]} or {ends[1]}, not both ({_shown(given, ends)})")
    if "workers" in given and _stages_workers(given):
        shown = _shown(given, ["workers", "stages"])
        raise PlanError(f"{source}: give workers or stages of workers, not both ({shown})")
    return given


def _stages_workers(given: Mapping[str, Any]) -> bool:
    """Whether the stages, not parsed yet, say how many workers there are: a rate is never without its slash."""
    return "stages" in given and "/" not in str(given["stages"])


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
    counts = [_whole(part, what, 0, MAX_WORKERS) for part in ends]
    if not any(counts):
        raise PlanError(f"{what}: a stage needs workers, not {target!r}")
    return Stage("workers", duration_ns, counts[0], counts[1])


def parse_think_time_ns(value: object) -> tuple[int, int]:
    """``"10ms"`` or ``"10ms..50ms"`` as its bounds in nanoseconds."""
    if isinstance(value, str) and ".." in value:
        low, _, high = value.partition("..")
        bounds = parse_duration_ns(low, "think_time"), parse_duration_ns(high, "think_time")
        if bounds[0] > bounds[1]:
            raise PlanError(f"think_time: {value!r} has its bounds the wrong way round")
        return bounds
    constant = parse_duration_ns(value, "think_time")
    return constant, constant


def _parse(chosen: Mapping[str, tuple[str, Any]]) -> LoadPlan:
    def option(name: str, parse: Any) -> Any:
        if name not in chosen:
            return None
        source, value = chosen[name]
        try:
            return parse(value)
        except PlanError as error:
            raise PlanError(f"{source}: {error}") from None

    stages = option("stages", parse_stages) or ()
    duration_ns = option("duration", _positive_duration)
    if stages:
        duration_ns = sum(stage.duration_ns for stage in stages)
    workers = option("workers", lambda v: _whole(v, "workers", 1, MAX_WORKERS))
    if stages and stages[0].kind == "workers":
        workers = int(max(max(stage.begin, stage.end) for stage in stages))
    return LoadPlan(
        workers=workers,
        duration_ns=duration_ns,
        iterations=option("iterations", lambda v: _whole(v, "iterations", 1, None)),
        warmup_ns=option("warmup", lambda v: parse_duration_ns(v, "warmup")),
        rate_per_s=option("rate", parse_rate_per_s),
        arrivals=option("arrivals", _parse_arrivals),
        stages=stages,
        think_time_ns=option("think_time", parse_think_time_ns) or (0, 0),
        timeout_ns=option("timeout", lambda v: _positive_duration(v, "timeout")),
        retries=option("retries", lambda v: _whole(v, "retries", 0, 1000)),
        batch_size=option("batch_size", lambda v: _whole(v, "batch_size", 1, None)),
        seed=option("seed", lambda v: _whole(v, "seed", None, None)),
        connect=option("connect", _parse_flag),
        processes=option("processes", _parse_processes),
    )


def _check_together(plan: LoadPlan) -> LoadPlan:
    if plan.is_open and plan.think_time_ns != (0, 0):
        raise PlanError("think_time goes with a closed loop; with a rate, the schedule says when to start")
    if plan.rate_per_s is not None and plan.stages:
        raise PlanError(f"rate {plan.rate_per_s:g}/s and stages exclude each other; write the rate in the stages")
    return plan


def _positive_duration(value: object, what: str = "duration") -> int:
    duration_ns = parse_duration_ns(value, what)
    if duration_ns == 0:
        raise PlanError(f"{what}: {value!r} is too short; give more than zero")
    return duration_ns


def _whole(value: object, what: str, low: int | None, high: int | None) -> int:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,99}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PlanError(f"{what}: {value!r} is not a whole number")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"from {low} to {high}" if high is not None else f"of {low} or more"
        raise PlanError(f"{what}: {value} is out of range; give a number {bounds}")
    return value


def _parse_arrivals(value: object) -> str:
    if value not in ("uniform", "poisson"):
        raise PlanError(f"arrivals: {value!r} is neither 'uniform' nor 'poisson'")
    return str(value)


def _parse_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise PlanError(f"connect: {value!r} is neither True nor False")
    return value


def _parse_processes(value: object) -> int | None:
    return None if value == "auto" else _whole(value, "processes", 1, 1024)


def _shown(given: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name}={given[name]!r}" for name in names)

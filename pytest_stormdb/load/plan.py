"""The load plan: how the iterations of one run are scheduled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import PlanError
from .layers import Layer, resolve
from .option import NOT_GIVEN
from .options import check_options, options_of_plan
from .stages import Stage

ArrivalProcess = Literal["uniform", "poisson"]
Judged = Literal["server", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How a workload is run. Exactly one of ``duration_ns`` and ``iterations`` (per worker) is set.

    ``rate_per_s`` is the total rate of an open loop, None in a closed one. The warm-up comes before
    the duration or the iterations, and is not measured. ``stages``, where given, add up to the duration.
    ``judge`` says whose time thresholds are about: the server's, or the client's as well.
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
    judge: Judged

    @property
    def is_open(self) -> bool:
        """Whether iterations start by a schedule instead of as soon as a worker is free."""
        return self.rate_per_s is not None or any(stage.kind == "rate" for stage in self.stages)


def make_plan(*layers: Layer) -> LoadPlan:
    """The plan of ``(source, options)`` layers, the strongest first. Raises PlanError naming source and value."""
    for source, options in layers:
        check_options(options, source)
    return plan_of(resolve(*layers))


def plan_of(options: Mapping[str, Any]) -> LoadPlan:
    """The plan that resolved options make. Raises PlanError for those that do not go together."""
    fields = {option.field: options[option.name] for option in options_of_plan()}
    fields = {name: None if value is NOT_GIVEN else value for name, value in fields.items()}
    stages: tuple[Stage, ...] = fields["stages"] or ()
    fields["stages"] = stages
    if stages:
        fields["duration_ns"] = sum(stage.duration_ns for stage in stages)
    if stages and stages[0].kind == "workers":
        fields["workers"] = round(max(max(stage.begin, stage.end) for stage in stages))
    return _check_together(LoadPlan(**fields))


def _check_together(plan: LoadPlan) -> LoadPlan:
    if plan.is_open and plan.think_time_ns != (0, 0):
        raise PlanError("think_time goes with a closed loop; with a rate, the schedule says when to start")
    if plan.rate_per_s is not None and plan.stages:
        raise PlanError(f"rate {plan.rate_per_s:g}/s and stages exclude each other; write the rate in the stages")
    return plan

"""The run record: everything a run was and showed. Reports read nothing else."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .load.plan import LoadPlan
from .load.stages import Stage
from .measurement.scalability import Point, Sweep
from .measurement.stats import RunStatistics
from .verdict.threshold import Verdict
from .verdict.validity import Validity

if TYPE_CHECKING:
    from .database.health import HealthResult
    from .database.server import ServerFacts

RunOutcome = Literal["passed", "failed", "inconclusive", "invalid", "error"]


@dataclass(frozen=True, slots=True)
class StageResult:
    """The figures of one stage of a run."""

    stage: Stage
    statistics: RunStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run of one workload.

    ``reasons`` say, one line each, why the run did not pass; ``explanation`` shows its first failure with its
    traceback. ``layout`` is the number of workers in each process, ``forked`` whether those are processes at all.
    """

    nodeid: str
    workload: str
    plan: LoadPlan
    layout: tuple[int, ...]
    forked: bool
    outcome: RunOutcome
    statistics: RunStatistics
    server: ServerFacts
    version: str | None = None
    integrity: str | None = None
    stages: tuple[StageResult, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    validity: Validity = field(default_factory=Validity)
    health: tuple[HealthResult, ...] = ()
    dropped: int = 0
    lost: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    explanation: str = ""
    stopped_by: str | None = None
    skipped: str | None = None
    exit_reason: str | None = None
    server_activity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """All runs of a session, and the curves that sweeps made of them: what reports of a session read."""

    runs: tuple[RunRecord, ...] = ()
    sweeps: tuple[Sweep, ...] = ()


def sweep_through(nodeid: str, records: Sequence[RunRecord]) -> Sweep:
    """The curve that runs of one workload at several worker counts make."""
    points = []
    for record in records:
        total = record.statistics.total
        p50_s, p99_s = total.response.shown(50), total.response.shown(99)
        points.append(Point(record.plan.workers, total.throughput_per_s, p50_s, p99_s, total.failures))
    return Sweep(nodeid, tuple(points))


def environment() -> dict[str, Any]:
    """The machine and the software that generated the load."""
    from .database.connect import driver

    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": affinity,
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "pytest_stormdb": importlib.metadata.version("pytest-stormdb"),
        **driver(),
        "ci": bool(os.environ.get("CI")),
    }

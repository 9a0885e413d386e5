"""The run record: everything a run was and showed. Reports read nothing else."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from .load.plan import LoadPlan
from .load.stages import Stage
from .measurement.noise import Noise
from .measurement.scalability import Point, Sweep
from .measurement.stats import OperationStatistics, RunStatistics
from .measurement.tally import Tally
from .units import titled
from .verdict.comparison import Claim, Comparison, MeasuredPair, compared, sentence
from .verdict.costs import CostComparison, Observed, cost_sentence, costs_compared
from .verdict.server_figures import is_cost
from .verdict.threshold import Verdict
from .verdict.validity import Validity

if TYPE_CHECKING:
    from .database.activity import ServerActivity
    from .database.explain import Explained
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
    ``name`` tells it from other runs of its test. ``began_ns`` is when the measured part began, on the clock of the
    ``noise``.
    ``engine`` names the program that made the load where it was not Python: the layout is then that of its threads.
    """

    nodeid: str
    workload: str
    plan: LoadPlan
    layout: tuple[int, ...]
    forked: bool
    outcome: RunOutcome
    statistics: RunStatistics
    server: ServerFacts
    name: str | None = None
    version: str | None = None
    integrity: str | None = None
    stages: tuple[StageResult, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    validity: Validity = field(default_factory=Validity)
    noise: Noise = field(default_factory=Noise)
    began_ns: int = 0
    health: tuple[HealthResult, ...] = ()
    dropped: int = 0
    lost: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    explanation: str = ""
    stopped_by: str | None = None
    skipped: str | None = None
    xfailed: str | None = None
    exit_reason: str | None = None
    server_activity: ServerActivity | None = None
    explained: Explained | None = None
    engine: str | None = None

    @property
    def title(self) -> str:
        """The test, and which of its runs."""
        return titled(self.nodeid, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRecord:
    """One comparison of two arms. ``epochs`` hold the pairs of blocks; ``block_s`` is the length of each block.

    ``observed`` is what the server did for each arm alone, and ``alone`` their figures then: once before blocks take
    turns, or in every epoch where costs are compared, which takes no blocks.
    ``trouble`` is the load generator's, ``broken`` says why there is nothing to compare.
    """

    nodeid: str
    plan: LoadPlan
    claim: Claim
    arms: tuple[str, str]
    epochs: tuple[tuple[MeasuredPair, ...], ...]
    observed: tuple[Observed, ...] = ()
    alone: tuple[OperationStatistics, ...] = ()
    seed: int
    block_s: float
    elapsed_s: float
    trouble: str = ""
    broken: tuple[str, ...] = ()
    explanation: str = ""
    stopped_by: str | None = None
    skipped: str | None = None
    xfailed: str | None = None
    exit_reason: str | None = None

    def at(self, metric: str) -> Comparison | CostComparison:
        """What the pairs say at a metric, the claim's or another one; of a cost, what was counted."""
        claim = replace(self.claim, metric=metric)
        if is_cost(metric):
            return costs_compared(claim, self.observed)
        return compared(claim, self.epochs, self.trouble)

    def figures(self, arm: int) -> OperationStatistics:
        """Those of all blocks of an arm, 0 or 1, together; where there are none, those of the arm alone."""
        if is_cost(self.claim.metric) and self.alone:
            return self.alone[arm]
        whole, elapsed_s, is_open = Tally(), 0.0, self.plan.is_open
        for pair in (pair for epoch in self.epochs for pair in epoch):
            block = (pair.first, pair.second)[arm]
            whole.merge(block.tally)
            elapsed_s += block.elapsed_s
        return OperationStatistics(whole, elapsed_s, is_open)

    @property
    def comparison(self) -> Comparison | CostComparison:
        """What the pairs say at the claim's metric."""
        return self.at(self.claim.metric)

    @property
    def sentence(self) -> str:
        """Verdict, figures and certainty in one line; or why there is none."""
        if self.broken:
            return self.broken[0]
        found = self.comparison
        return sentence(found, *self.arms) if isinstance(found, Comparison) else cost_sentence(found, *self.arms)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """All runs and comparisons of a session, and the curves that sweeps made: what reports of a session read."""

    runs: tuple[RunRecord, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    comparisons: tuple[ComparisonRecord, ...] = ()


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

"""One epoch of a comparison: both arms' workers, launched anew, take turns in blocks until all pairs are measured.

Before, or where costs are compared instead, each arm runs alone, so that the server's counters are its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..database.connect import with_parameters
from ..database.isolation import Home
from ..database.processes import ServerProcesses
from ..engine.command import shortest_block_ns
from ..load.alternation import Alternation, block_ns_for
from ..load.plan import LoadPlan
from ..measurement.noise import Noise, NoiseWatch
from ..measurement.recorder import Look, Progress, Snapshot
from ..measurement.stats import OperationStatistics, RunStatistics, quantile_of, statistics_of
from ..measurement.tally import Tally
from ..record import RunRecord
from ..verdict.comparison import MeasuredPair
from ..verdict.validity import assess_generator
from ..workers.collected import Collected
from ..workers.runtime import Job
from ..workers.scripts import launcher_of
from ..workers.supervisor import Steering, Supervisor
from ..workers.together import LaunchersTogether
from ..workload.contract import Workload
from .conclusion import explanation, interruption
from .pipeline import run

_WARMUP_NS = 250_000_000
_NOTHING = OperationStatistics(Tally(), 0.0, False)


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a comparison: its name in reports, what it runs, and where."""

    name: str
    workload: Workload
    home: Home

    @property
    def dsn(self) -> str:
        """Leads its clients there."""
        return self.home.dsn


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch measured. ``trouble`` is the load generator's; ``broken`` says why there is no more."""

    pairs: tuple[MeasuredPair, ...]
    totals: tuple[OperationStatistics, OperationStatistics]
    trouble: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    explanation: str = ""
    signal: str | None = None
    skipped: str | None = None
    xfailed: str | None = None
    exit_reason: str | None = None


Play = Callable[[Alternation], Epoch]
"""Plays one epoch of both arms, wherever they are."""

Runs = tuple[RunRecord | None, RunRecord | None]
"""What each arm did alone; None of one that was not run any more."""

Alone = Callable[[int, int], Runs]
"""Runs each arm for so many nanoseconds, in the epoch of this number, while the other one rests."""


def run_alone(arm: Arm, plan: LoadPlan, duration_ns: int) -> RunRecord:
    """Run one arm while the other one rests. Raises ServerError.

    pgbench's clients do not hand in their counters where a warm-up ends, so that theirs has none.
    """
    warmup_ns = _WARMUP_NS if arm.workload.pgbench is None else 0
    load = dataclasses.replace(plan, duration_ns=duration_ns, iterations=None, warmup_ns=warmup_ns, stages=())
    return run(arm.workload, load, arm.home, embedded=False)


def each_alone(number: int, run_one: Callable[[int], RunRecord]) -> Runs:
    """Each arm alone, from epoch to epoch in the other order, until one of them ends it all."""
    made: dict[int, RunRecord] = {}
    for arm in (1, 0) if number % 2 else (0, 1):
        made[arm] = run_one(arm)
        if made[arm].outcome == "error" or is_interrupted(made[arm]):
            break
    return made.get(0), made.get(1)


def is_interrupted(record: RunRecord) -> bool:
    """Whether a signal, or the workload, ended it."""
    return any((record.stopped_by, record.skipped, record.xfailed, record.exit_reason))


def epoch_alone(records: Runs) -> Epoch:
    """What arms that ran alone left, as an epoch without a pair."""
    found = [record for record in records if record is not None]
    broken = [record.reasons for record in found if record.outcome == "error" and record.stopped_by is None]
    first, second = (_NOTHING if record is None else record.statistics.total for record in records)
    return Epoch(
        pairs=(),
        totals=(first, second),
        broken=tuple(dict.fromkeys(itertools.chain(*broken))),
        explanation=next((record.explanation for record in found if record.explanation), ""),
        signal=next((record.stopped_by for record in found if record.stopped_by), None),
        skipped=next((record.skipped for record in found if record.skipped), None),
        xfailed=next((record.xfailed for record in found if record.xfailed), None),
        exit_reason=next((record.exit_reason for record in found if record.exit_reason), None),
    )


def block_ns_of(trial: Epoch, metric: str, shortest_ns: int = 0) -> int:
    """How long the blocks have to be for this metric, from what the arms did alone."""
    total = min(trial.totals, key=lambda figures: figures.count)
    slowest_s = max((figures.response.percentile(99) for figures in trial.totals if figures.count), default=0.0)
    return max(shortest_ns, block_ns_for(total.throughput_per_s, slowest_s, quantile_of(metric)))


def shortest_ns_of(arms: Sequence[Arm], plan: LoadPlan) -> int:
    """How short blocks may be: pgbench needs its time to begin and to end."""
    return max(0 if arm.workload.pgbench is None else shortest_block_ns(plan.workers) for arm in arms)


def run_epoch(
    arms: Sequence[Arm],
    plan: LoadPlan,
    alternation: Alternation,
    shown: Callable[[Collected], None] = lambda collected: None,
) -> Epoch:
    """Launch both arms' workers, let them take turns, and say what each block measured.

    From epoch to epoch the arms change places in the order of launching and connecting.
    """
    plan = plan_of_epoch(plan, alternation)
    names = [session_name() for _ in arms]
    watch = NoiseWatch(ServerProcesses([(arm.dsn, name) for arm, name in zip(arms, names, strict=True)]))
    jobs = [job_of(arm, plan, alternation, number, names[number]) for number, arm in enumerate(arms)]
    if alternation.epoch % 2:
        jobs.reverse()
    launchers = LaunchersTogether([launcher_of(job) for job in jobs])
    collected = Supervisor(launchers, plan, beside(watch), watch=shown).run()
    return epoch_of([collected], plan, alternation, watch.noise)


def plan_of_epoch(plan: LoadPlan, alternation: Alternation) -> LoadPlan:
    """The load of one arm in one epoch."""
    return dataclasses.replace(plan, duration_ns=alternation.duration_ns, iterations=None, warmup_ns=0, stages=())


def session_name() -> str:
    """A name for the sessions of one arm in one epoch."""
    return f"stormdb {secrets.token_hex(4)}"


def job_of(arm: Arm, plan: LoadPlan, alternation: Alternation, number: int, name: str) -> Job:
    """What the workers of an arm work on."""
    dsn = with_parameters(arm.dsn, application_name=name)
    return Job(arm.workload, plan, dsn, name, alternation=alternation, arm=number)


def beside(watch: NoiseWatch) -> Callable[[Steering], contextlib.AbstractContextManager[Look]]:
    """What goes on beside an epoch: a look at who disturbs it."""

    @contextlib.contextmanager
    def looking(run: Steering) -> Iterator[Look]:
        with watch.during() as look_around:

            def tick(progress: Progress) -> None:
                look_around()

            yield tick

    return looking


def epoch_of(parts: Sequence[Collected], plan: LoadPlan, alternation: Alternation, noise: Noise) -> Epoch:
    """The epoch that was collected, in one process or in two: the first's clock is that of the noise."""
    whole, collected = Collected(), parts[0]
    for part in parts:
        whole.whole.merge(part.whole)
        whole.usage += part.usage
        whole.broken += part.broken
        whole.lost += part.lost
        for block, snapshot in part.intervals.items():
            whole.intervals.add(block, snapshot)
    whole.measured_from_ns = collected.measured_from_ns
    whole.elapsed_ns = min(part.elapsed_ns for part in parts)
    for part in reversed(parts):
        whole.first_failure = part.first_failure or whole.first_failure
        whole.interruption = part.interruption or whole.interruption
        whole.signal = part.signal or whole.signal
    return _epoch(whole, plan, alternation, noise)


def _epoch(collected: Collected, plan: LoadPlan, alternation: Alternation, noise: Noise) -> Epoch:
    totals = tuple(_total(collected, plan, alternation, arm) for arm in (0, 1))
    whole_s = 2 * alternation.pairs * alternation.measured_ns / 1e9
    statistics = statistics_of(collected.whole, {}, elapsed_s=whole_s, interval_s=1.0, is_open=plan.is_open)
    lost = [str(broken.error) for broken in collected.broken] + [str(lost) for lost in collected.lost]
    return Epoch(
        pairs=tuple(_pairs(collected, plan, alternation, noise)),
        totals=(totals[0], totals[1]),
        trouble=_trouble(plan, statistics, collected, noise),
        broken=tuple(dict.fromkeys(lost)),
        explanation=explanation(collected),
        signal=collected.signal,
        skipped=interruption(collected, "skip"),
        xfailed=interruption(collected, "xfail"),
        exit_reason=interruption(collected, "exit"),
    )


def _trouble(plan: LoadPlan, statistics: RunStatistics, collected: Collected, noise: Noise) -> tuple[str, ...]:
    """What makes slow numbers the generator's own doing; stolen time is the noise's matter here."""
    return assess_generator(plan, statistics, collected.usage, stolen=0.0, dropped=0, taken=noise.taken).reasons


def _total(collected: Collected, plan: LoadPlan, alternation: Alternation, arm: int) -> OperationStatistics:
    whole = Snapshot()
    for pair in range(alternation.pairs):
        whole.merge(collected.intervals.get(alternation.blocks_of(pair)[arm], Snapshot()))
    return OperationStatistics(whole.total(), alternation.pairs * alternation.measured_ns / 1e9, plan.is_open)


def _pairs(collected: Collected, plan: LoadPlan, alternation: Alternation, noise: Noise) -> Iterator[MeasuredPair]:
    """The pairs that were measured to their end."""
    covered_ns = collected.elapsed_ns
    for pair in range(alternation.pairs):
        blocks = alternation.blocks_of(pair)
        from_ns, to_ns = min(blocks) * alternation.block_ns, (max(blocks) + 1) * alternation.block_ns
        if to_ns > covered_ns + alternation.settle_ns:
            return
        first, second = (_figures(collected, plan, alternation, block) for block in blocks)
        began_ns = collected.measured_from_ns
        windows = noise.within(began_ns + from_ns, began_ns + to_ns)
        yield MeasuredPair(first, second, all(window.is_clean for window in windows))


def _figures(collected: Collected, plan: LoadPlan, alternation: Alternation, block: int) -> OperationStatistics:
    snapshot = collected.intervals.get(block, Snapshot())
    return OperationStatistics(snapshot.total(), alternation.measured_ns / 1e9, plan.is_open)

"""A load plan in pgbench's words: the stretches it is run in, and the command line of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import PlanError
from ..load.plan import LoadPlan
from ..workload.pgbench import Pgbench, Script
from .program import Program

_SEEDS = 2**63
_RESERVE_S = 60
"""How much later than planned pgbench would end a stretch by itself: we end it, to the millisecond."""
_CLIENTS_CONNECTED_IN_A_SECOND = 100


@dataclass(frozen=True, slots=True)
class Stretch:
    """One run of pgbench. The time before ``warmup_ns`` is not measured, nothing is where ``is_measured`` is not."""

    clients: int
    rate_per_s: float | None
    warmup_ns: int = 0
    duration_ns: int | None = None
    iterations: int | None = None
    stage: int = -1
    is_measured: bool = True

    @property
    def ends_after_ns(self) -> int | None:
        """When it ends, from its start; None where the number of iterations decides."""
        return None if self.duration_ns is None else self.warmup_ns + self.duration_ns


def stretches(plan: LoadPlan) -> list[Stretch]:
    """What pgbench runs one after the other: it cannot change its load in flight, nor warm up for iterations."""
    workers, rate, warmup_ns = plan.workers, plan.rate_per_s, plan.warmup_ns
    if plan.stages:
        return list(_staged(plan))
    if plan.iterations is None:
        return [Stretch(workers, rate, warmup_ns, plan.duration_ns)]
    counted = Stretch(workers, rate, iterations=plan.iterations)
    if not warmup_ns:
        return [counted]
    return [Stretch(workers, rate, duration_ns=warmup_ns, is_measured=False), counted]


def _staged(plan: LoadPlan) -> Iterator[Stretch]:
    for index, stage in enumerate(plan.stages):
        warmup_ns = 0 if index else plan.warmup_ns
        workers, rate = (plan.workers, stage.begin) if stage.kind == "rate" else (int(stage.begin), None)
        yield Stretch(workers, rate, warmup_ns, stage.duration_ns, stage=index)


def check_plan(plan: LoadPlan, description: Pgbench, program: Program) -> None:
    """Raise PlanError for what this pgbench cannot do, by its name and with the way out."""
    ramp = next((stage for stage in plan.stages if stage.begin != stage.end), None)
    if ramp is not None:
        raise PlanError(f"stages: pgbench cannot go from {ramp.label}; give steps, such as 10:10s,30:10s,50:10s")
    if plan.think_time_ns != (0, 0):
        raise PlanError(r"think_time: pgbench has none of its own; write \sleep in the script")
    if plan.is_open and plan.arrivals != "poisson":
        raise PlanError("arrivals: pgbench's are Poisson; 'uniform' cannot be had")
    if plan.batch_size != 1:
        raise PlanError("batch_size: a pgbench script is one transaction; write the batch into it")
    if not plan.connect:
        raise PlanError("connect: pgbench opens its own connections; connect_per_transaction=True opens many")
    if plan.iterations is not None and description.latency_limit_ns is not None and plan.is_open:
        raise PlanError("iterations: a latency_limit skips some of them under a rate; give a duration")
    if plan.retries and program.major < 15:
        raise PlanError(f"retries: pgbench {program.version} cannot retry; 15 or later can")


def shortest_block_ns(clients: int) -> int:
    """How long the blocks of a comparison must be at least, if a pgbench is started in each: it has connected before
    the tenth of a block is over that is not measured."""
    return 10**9 + max(10**9, 50_000_000 * clients)


def thread_count(clients: int, cpus: int, most: int | None) -> int:
    """As many threads as the CPUs allow, or ``most``, and never more than clients: pgbench's ``-j``."""
    return max(1, min(clients, most or cpus))


def clients_per_thread(clients: int, threads: int) -> tuple[int, ...]:
    """How pgbench deals its clients to its threads."""
    dealt: list[int] = []
    for index in range(threads):
        left = threads - index
        dealt.append((clients - sum(dealt) + left - 1) // left)
    return tuple(dealt)


def command_line(
    program: Program,
    description: Pgbench,
    plan: LoadPlan,
    stretch: Stretch,
    *,
    threads: int,
    log: Path,
    number: int = 0,
) -> list[str]:
    """The command of a stretch, the ``number``-th of its run, without the connection string that comes last."""
    command = [str(program.path), "--no-vacuum", f"--protocol={description.mode}"]
    command += [f"--client={stretch.clients}", f"--jobs={threads}", f"--random-seed={(plan.seed + number) % _SEEDS}"]
    command += ["--log", f"--log-prefix={log}"]
    command += [_extent(stretch)]
    if stretch.rate_per_s is not None:
        command += [f"--rate={stretch.rate_per_s!r}"]
    if description.latency_limit_ns is not None:
        command += [f"--latency-limit={description.latency_limit_ns / 1e6!r}"]
    if program.major >= 15:
        command += ["--failures-detailed", f"--max-tries={plan.retries + 1}"]
    if description.connect_per_transaction:
        command += ["--connect"]
    return [*command, *what_to_run(description)]


def what_to_run(description: Pgbench) -> list[str]:
    """The scripts, their weights and their variables."""
    command = [_script(script) for script in description.scripts]
    if all(script.path is not None for script in description.scripts):  # pgbench counts the branches for its own
        command += [f"--scale={description.scale}"]
    return command + [f"--define={name}={value}" for name, value in description.variables.items()]


def initialization(program: Program, description: Pgbench) -> list[str] | None:
    """The command that makes pgbench's tables, without the connection string; None where none are wanted."""
    if description.initialize is None:
        return None
    return [str(program.path), "--initialize", "--quiet", f"--scale={description.scale}", *description.initialize]


def _extent(stretch: Stretch) -> str:
    if stretch.iterations is not None:
        return f"--transactions={stretch.iterations}"
    ends_after_ns = stretch.ends_after_ns
    assert ends_after_ns is not None
    reserve_s = _RESERVE_S
    if stretch.rate_per_s is not None:  # a client sleeps until its next start, and only sees then that it is too late
        reserve_s = 1 + stretch.clients // _CLIENTS_CONNECTED_IN_A_SECOND
    return f"--time={-(-ends_after_ns // 10**9) + reserve_s}"


def _script(script: Script) -> str:
    if script.path is None:
        return f"--builtin={script.name}@{script.weight}"
    return f"--file={script.copy or script.path}@{script.weight}"

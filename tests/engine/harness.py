"""What the tests of the engine share: one stretch of pgbench seen through, with its raw log kept beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_stormdb.database.handover import guarded, handed_over
from pytest_stormdb.engine.command import command_line, stretches, thread_count
from pytest_stormdb.engine.driving import Drive, Ending, Timing
from pytest_stormdb.engine.log import Blocks, Layout
from pytest_stormdb.engine.process import Running
from pytest_stormdb.engine.program import Program, examined, find_pgbench
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.recorder import Snapshot
from pytest_stormdb.measurement.tally import Tally
from pytest_stormdb.workload.pgbench import described, pgbench

OTHERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))


def programs() -> list[Program]:
    """The wheel's pgbench, its older sisters, and those of this machine."""
    first = find_pgbench()
    sisters = [path for path in sorted(first.path.parents[2].glob("pginstall*/bin/pgbench")) if path != first.path]
    return [first, *(examined(path, "another") for path in (*sisters, *OTHERS))]


class Tee(Running):
    """Keeps what each thread logged."""

    def read(self) -> list[bytes]:
        chunks = super().read()
        if not hasattr(self, "raw"):
            self.raw = [b""] * len(chunks)
        self.raw = [before + chunk for before, chunk in zip(self.raw, chunks, strict=True)]
        return chunks


@dataclass
class Driven:
    """What a stretch left: ``intervals`` as told, their sum, and the raw log."""

    ending: Ending
    raw: list[bytes]
    directory: Path
    intervals: dict[int, Snapshot] = field(default_factory=dict)

    @property
    def whole(self) -> Snapshot:
        whole = Snapshot()
        for snapshot in self.intervals.values():
            whole.merge(snapshot)
        return whole

    @property
    def total(self) -> Tally:
        return self.whole.total()

    def lines(self) -> list[list[str]]:
        """The raw log's lines, in words."""
        return [line.split() for data in self.raw for line in data.decode().splitlines()]


def drive(
    dsn: str,
    *scripts: Any,
    program: Program | None = None,
    stop: Callable[[Tee], bool] = lambda running: False,
    plan: dict[str, Any] | None = None,
    **options: Any,
) -> Driven:
    """Run scripts with pgbench; ``plan`` are options of a load plan."""
    description = described(pgbench(*scripts, **options))
    assert description is not None
    description = description.beside(Path("/"))
    options = plan or {}
    extent = {} if "duration" in options else {"iterations": 20}
    load = make_plan(("test", {"workers": 2, **extent, **options}))
    (stretch,) = stretches(load)
    used = program or find_pgbench()
    threads = thread_count(stretch.clients, 2, load.processes)
    handover = handed_over(guarded(dsn, load.timeout_ns) if load.timeout_ns < 10**10 else dsn)
    limit_ns = description.latency_limit_ns
    layout = Layout(
        description.names,
        has_lag=stretch.rate_per_s is not None,
        has_retries=load.retries > 0,
        latency_limit_us=None if limit_ns is None else limit_ns / 1e3,
    )

    def ends_ns(started_ns: int) -> int | None:
        return None if stretch.ends_after_ns is None else started_ns + stretch.ends_after_ns

    timing = Timing(
        blocks=Blocks(1_000_000),
        ends_ns=ends_ns,
        warmup_ns=stretch.warmup_ns,
        rate_per_s=stretch.rate_per_s,
        timeout_ns=load.timeout_ns,
    )

    def command(log: Path) -> list[str]:
        return [*command_line(used, description, load, stretch, threads=threads, log=log), handover.conninfo]

    running = Tee(command, handover.environment, threads)
    told: dict[int, Snapshot] = {}

    def emit(taken: dict[int, Snapshot]) -> None:
        for interval, snapshot in taken.items():
            told.setdefault(interval, Snapshot()).merge(snapshot)

    try:
        ending = Drive(running, layout, timing, threads).run(lambda: stop(running), emit)
    finally:
        running.close()
    return Driven(ending, running.raw, Path(running._directory.name), told)

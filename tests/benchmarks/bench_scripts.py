"""What our way of running pgbench costs: the same scripts by pgbench alone and by us, in turns.

Run by hand on an idle machine: ``python -m tests.benchmarks.bench_scripts [SECONDS ROUNDS]``. All run the same pgbench
with the same options; alone, it writes no log. A third kind, pgbench alone with a log in memory that nobody reads,
shows what its log costs itself: that is the least, since every transaction is to count. The order within a round is
drawn. CPU time is that of the client for each transaction, our process included; what a run takes to start and to end
is measured with one of a single transaction a client, and taken off. The last line is of the runs by us alone: what
our two processes took, from start to end, as a share of what pgbench took in the same run, which swings much less.
Target: throughput within 2 % of pgbench alone, CPU time within 5 %.
"""

from __future__ import annotations

import math
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from unittest import mock

from pytest_stormdb.database.handover import guarded, handed_over
from pytest_stormdb.database.isolation import Home
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.engine.command import what_to_run
from pytest_stormdb.engine.process import Running
from pytest_stormdb.engine.program import find_pgbench
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.machine import cpus
from pytest_stormdb.plugin.scripts import operations_of
from pytest_stormdb.run.pipeline import run
from pytest_stormdb.workload.contract import Workload
from pytest_stormdb.workload.pgbench import Pgbench, described, pgbench

CLIENTS = 4
SCALE = 10
QUIET = {"autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "8GB"}


@dataclass(frozen=True, slots=True)
class Run:
    """Transactions, how many there were per second, and the client's CPU time: all of it, and pgbench's own."""

    count: int
    per_s: float
    cpu_s: float
    pgbench_s: float = math.nan


_pgbench_s = get_context("fork").Value("d")
_close = Running.close


def _note_and_close(running: Running) -> None:
    """In the process beside pgbench, which has no other children."""
    _close(running)
    _pgbench_s.value = _used_s(resource.RUSAGE_CHILDREN)


def alone(description: Pgbench, dsn: str, seconds: int, *options: str) -> Run:
    """pgbench without us; for no seconds, a single transaction of each client."""
    program = find_pgbench()
    handover = handed_over(guarded(dsn, 30 * 10**9))
    command = [str(program.path), "-n", "-Mprepared", f"-c{CLIENTS}", f"-j{min(CLIENTS, cpus())}"]
    command += [f"-T{seconds}" if seconds else "-t1", "--random-seed=1", *options, *what_to_run(description)]
    before_s = _cpu_s()
    done = subprocess.run(
        [*command, handover.conninfo], env=handover.environment, capture_output=True, text=True, check=True
    )
    count, per_s = (re.findall(pattern, done.stdout)[0] for pattern in (r"processed: (\d+)", r"tps = ([\d.]+)"))
    return Run(int(count), float(per_s), _cpu_s() - before_s)


def logging(description: Pgbench, dsn: str, seconds: int) -> Run:
    """pgbench without us, and with the log that we would read."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        return alone(description, dsn, seconds, "--log", f"--log-prefix={directory}/log")


def by_us(description: Pgbench, dsn: str, seconds: int) -> Run:
    """The same with everything that a run of ours does."""
    workload = Workload(
        name="bench", nodeid="", operations=operations_of(description), arguments={}, pgbench=description
    )
    extent = {"duration": seconds} if seconds else {"iterations": 1}
    plan = make_plan(("", {"workers": CLIENTS, "seed": 1, **extent}))
    before_s = _cpu_s()
    with mock.patch.object(Running, "close", _note_and_close):
        record = run(workload, plan, Home.at(dsn), embedded=True)
    total = record.statistics.total
    assert record.outcome == "passed", record.reasons
    return Run(total.count, total.throughput_per_s, _cpu_s() - before_s, _pgbench_s.value)


KINDS = (alone, logging, by_us)


def _cpu_s() -> float:
    return _used_s(resource.RUSAGE_SELF) + _used_s(resource.RUSAGE_CHILDREN)


def _used_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def compare(name: str, dsn: str, seconds: int, rounds: int) -> None:
    """Print the ratios to pgbench alone: their median, and their mean with its standard error."""
    description = described(pgbench(builtin=name))
    assert description is not None
    shortest = {kind: min((kind(description, dsn, 0) for _ in range(5)), key=lambda run: run.cpu_s) for kind in KINDS}
    own: list[float] = []
    per_s: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for number in range(rounds):
        found = {kind: kind(description, dsn, seconds) for kind in random.Random(number).sample(KINDS, len(KINDS))}
        for kind in KINDS:
            per_s.setdefault(kind.__name__, []).append(found[kind].per_s)
            cpu.setdefault(kind.__name__, []).append(_cpu_us(found[kind], shortest[kind]))
        own.append(found[by_us].cpu_s / found[by_us].pgbench_s - 1)
    for what, unit, values in (("throughput", "/s", per_s), ("client's CPU", " us", cpu)):
        for kind_name, all_of in values.items():
            middle, mean, error = _summary([value / base for value, base in zip(all_of, values["alone"], strict=True)])
            print(
                f"{name:13} {what:12} {kind_name:8} {statistics.median(all_of):10,.2f}{unit:3}  x pgbench alone: median"
                f" {middle:.3f}, mean {mean:.3f} +- {error:.3f}",
                flush=True,
            )
    middle, mean, error = _summary(own)
    print(f"{name:13} ours, in pgbench's CPU time: median {middle:.1%}, mean {mean:.1%} +- {error:.1%}")


def _summary(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, mean, and the mean's standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.median(values), statistics.fmean(values), error


def _cpu_us(found: Run, shortest: Run) -> float:
    """CPU time of a transaction, beyond what the shortest run took."""
    return (found.cpu_s - shortest.cpu_s) / (found.count - shortest.count) * 1e6


def main(seconds: int = 10, rounds: int = 10) -> None:
    """The fastest script, where all that is ours weighs most, and the usual one."""
    with EmbeddedServer.start(settings=QUIET) as server:
        subprocess.run(
            [str(find_pgbench().path), "-i", "-q", f"-s{SCALE}", server.dsn], check=True, capture_output=True
        )
        for name in ("select-only", "tpcb-like"):
            compare(name, server.dsn, seconds, rounds)


if __name__ == "__main__":
    main(*(int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else ())

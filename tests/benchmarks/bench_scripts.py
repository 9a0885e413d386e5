"""What our way of running pgbench costs: the same scripts by pgbench alone and by us, in pairs, in turns.

Run by hand on an idle machine: ``python -m tests.benchmarks.bench_scripts [SECONDS PAIRS]``. Both run the same pgbench
with the same options; alone, it writes no log. The order within a pair is drawn. Target: throughput within 2 % of that
of pgbench alone, CPU time of the client for each transaction within 5 %, with that of our process beside it.
"""

from __future__ import annotations

import math
import random
import re
import resource
import statistics
import subprocess
import sys
from typing import NamedTuple

from pytest_stormdb.database.handover import guarded, handed_over
from pytest_stormdb.database.isolation import Home
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.engine.command import what_to_run
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


class Run(NamedTuple):
    """Transactions per second, and the client's CPU time for each in us, that of our process included."""

    per_s: float
    cpu_us: float


def alone(description: Pgbench, dsn: str, seconds: float) -> Run:
    """pgbench without us."""
    program = find_pgbench()
    handover = handed_over(guarded(dsn, 30 * 10**9))
    command = [str(program.path), "-n", "-Mprepared", f"-c{CLIENTS}", f"-j{min(CLIENTS, cpus())}", f"-T{seconds:.0f}"]
    command += ["--random-seed=1", *what_to_run(description), handover.conninfo]
    before = _children_s()
    told = subprocess.run(command, env=handover.environment, capture_output=True, text=True, check=True).stdout
    count = int(re.findall(r"actually processed: (\d+)", told)[0])
    cpu_us = (_children_s() - before) * 1e6 / count
    return Run(float(re.findall(r"tps = ([\d.]+)", told)[0]), cpu_us)


def by_us(description: Pgbench, dsn: str, seconds: float) -> Run:
    """The same with everything that a run of ours does."""
    workload = Workload(
        name="bench", nodeid="", operations=operations_of(description), arguments={}, pgbench=description
    )
    plan = make_plan(("", {"workers": CLIENTS, "duration": seconds, "seed": 1}))
    before = _children_s()
    record = run(workload, plan, Home.at(dsn), embedded=True)
    total = record.statistics.total
    assert record.outcome == "passed", record.reasons
    return Run(total.throughput_per_s, (_children_s() - before) * 1e6 / total.count)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compare(name: str, dsn: str, seconds: float, pairs: int) -> None:
    """Print the ratios of the pairs: their median, and what lies around it."""
    description = described(pgbench(builtin=name))
    assert description is not None
    rates, cpu = [], []
    for number in range(pairs):
        calls = [alone, by_us]
        random.Random(number).shuffle(calls)
        found = {call: call(description, dsn, seconds) for call in calls}
        rates.append(found[by_us].per_s / found[alone].per_s)
        cpu.append(found[by_us].cpu_us / found[alone].cpu_us)
        print(
            f"{name:13} {found[alone].per_s:8.0f}/s alone, {found[by_us].per_s:8.0f}/s by us: {rates[-1]:.3f};"
            f" CPU {found[alone].cpu_us:.2f} and {found[by_us].cpu_us:.2f} us a transaction: {cpu[-1]:.3f}",
            flush=True,
        )
    for what, ratios in (("throughput", rates), ("client's CPU", cpu)):
        error = statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.nan
        middle, mean = statistics.median(ratios), statistics.fmean(ratios)
        print(f"{name:13} {what}: median ratio {middle:.3f}, mean {mean:.3f} +- {error:.3f}")


def main(seconds: float = 10.0, pairs: int = 7) -> None:
    """The fastest script, where all that is ours weighs most, and the usual one."""
    with EmbeddedServer.start(settings=QUIET) as server:
        subprocess.run(
            [str(find_pgbench().path), "-i", "-q", f"-s{SCALE}", server.dsn], check=True, capture_output=True
        )
        for name in ("select-only", "tpcb-like"):
            compare(name, server.dsn, seconds, pairs)


if __name__ == "__main__":
    main(*(float(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else ())

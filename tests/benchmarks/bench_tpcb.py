"""Whether the workload tpcb measures what pgbench measures: the same transaction, tables and rate, in turn.

Run by hand: ``python tests/benchmarks/bench_tpcb.py [ROUNDS] [SECONDS]``; pgbench has to be on the PATH. Both send
prepared statements (``-M prepared``) at Poisson arrivals of half the rate that pgbench reaches at most, and both count
a transaction's latency from its scheduled start. Prints mean latencies and their ratio, which should be 1, give or take
a tenth. The order of the two alternates from round to round, so that a drift of the machine does not count for one.
On a machine that does other work the means are at the mercy of a few long waits; medians are printed beside them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pytest_stormdb.database.connect import connect, with_search_path
from pytest_stormdb.database.embedded import EmbeddedServer
from pytest_stormdb.database.server import Schema, admin_connection
from pytest_stormdb.plan import make_plan
from pytest_stormdb.run import run
from pytest_stormdb.workload import Operation, Recipe, Worker, WorkerSlot, Workload

FOLDER = Path(__file__).parents[2] / "example_workloads" / "tpcb"
WORKERS = 4
SCALE = 10
SATURATION_S = 5


class Latency(NamedTuple):
    """In milliseconds."""

    mean: float
    p50: float


def pgbench(dsn: str, seconds: int, *options: str) -> str:
    """What pgbench prints. It neither vacuums nor empties the history (``-n``)."""
    command = ["pgbench", "-n", "-M", "prepared", f"-c{WORKERS}", f"-j{WORKERS}", f"-T{seconds}", *options, dsn]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def figure(pattern: str, text: str) -> float:
    """A number in pgbench's report."""
    match = re.search(pattern + r" = ([\d.]+)", text)
    assert match is not None, text
    return float(match[1])


def theirs(dsn: str, rate: float, seconds: int) -> Latency:
    """pgbench's own mean, and the median of its log; both count from the scheduled start."""
    with tempfile.TemporaryDirectory() as directory:
        report = pgbench(dsn, seconds, f"-R{rate:.0f}", "--log", f"--log-prefix={directory}/log")
        lines = [line for log in Path(directory).iterdir() for line in log.read_text().splitlines()]
    return Latency(figure("latency average", report), median(int(line.split()[2]) for line in lines) / 1000)


def ours(tpcb: Any, dsn: str, rate: float, seconds: int) -> Latency:
    """Our response times."""
    options = {"workers": WORKERS, "duration": f"{seconds}s", "rate": f"{rate:.0f}/s", "arrivals": "poisson"}
    counter = Recipe(counter_of, {"worker": WorkerSlot(), "tpcb": tpcb, "bank": tpcb.Parameters(scale=SCALE)})
    workload = Workload(
        name="tpcb",
        nodeid="bench_tpcb",
        operations=(Operation("tpcb_like", transaction, ("counter",)),),
        arguments={"counter": counter},
    )
    record = run(workload, make_plan(("benchmark", options)), dsn, embedded=True)
    assert record.outcome == "passed", record.reasons
    response = record.statistics.total.response
    return Latency(response.mean * 1000, response.percentile(50) * 1000)


def counter_of(worker: Worker, tpcb: Any, bank: Any) -> Any:
    """A worker's prepared statements."""
    yield tpcb.Counter(worker, bank)


def transaction(counter: Any) -> None:
    """One iteration."""
    counter.tpcb_like()


def main(rounds: int = 12, seconds: int = 5) -> None:
    """Load, find the rate, compare."""
    sys.path.insert(0, str(FOLDER))
    tpcb: Any = import_module("test_tpcb")
    with EmbeddedServer.start(max_connections=50) as server, admin_connection(server.dsn) as admin:
        Schema(admin, "stormdb_tpcb").create()
        dsn = with_search_path(server.dsn, "stormdb_tpcb")
        with connect(dsn, name="bench") as conn:
            tpcb.load(conn, tpcb.Parameters(scale=SCALE))
        most = figure("tps", pgbench(dsn, SATURATION_S))
        rate = most / 2
        print(f"{WORKERS} clients, scale {SCALE}: pgbench reaches {most:,.0f}/s, compared at {rate:,.0f}/s")
        means, medians = [], []
        for number in range(rounds):
            if number % 2:
                mine, reference = ours(tpcb, dsn, rate, seconds), theirs(dsn, rate, seconds)
            else:
                reference, mine = theirs(dsn, rate, seconds), ours(tpcb, dsn, rate, seconds)
            means.append(mine.mean / reference.mean)
            medians.append(mine.p50 / reference.p50)
            print(
                f"pgbench mean {reference.mean:7.3f} ms, p50 {reference.p50:7.3f} ms"
                f"   ours mean {mine.mean:7.3f} ms, p50 {mine.p50:7.3f} ms"
                f"   ratio of means {means[-1]:.3f}, of p50 {medians[-1]:.3f}"
            )
        print(f"median ratio of means {median(means):.3f}, of p50 {median(medians):.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

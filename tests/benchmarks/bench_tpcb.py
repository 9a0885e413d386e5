"""Whether the workload tpcb measures what pgbench measures: the same transaction, tables and rates, in turns.

Run by hand on an idle machine: ``python -m tests.benchmarks.bench_tpcb [SECONDS ROUNDS]``. The tables are filled by the
workload's own loader, pgbench runs its built-in script on them, commits wait for the disk. ``bench_pgbench`` tells how
the two are compared, and why with one client and with four. Target: mean latencies within 10 % of each other.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pytest_stormdb.database.connect import Dsn, connect
from pytest_stormdb.database.isolation import isolated
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.workload.contract import Operation, Worker, WorkerPlaceholder, Workload
from pytest_stormdb.workload.resources import WorkerFixture

from .bench_pgbench import CLIENTS, QUIET, SCALE, Contest, compare

FOLDER = Path(__file__).parents[2] / "example_workloads" / "tpcb"


def workload_of(tpcb: Any) -> Workload:
    """The workload's transaction, as its own test runs it."""
    counter = WorkerFixture(
        counter_of, {"worker": WorkerPlaceholder(), "tpcb": tpcb, "bank": tpcb.Parameters(scale=SCALE)}
    )
    operation = Operation("tpcb_like", transaction, ("counter",))
    return Workload(name="tpcb", nodeid="bench_tpcb", operations=(operation,), arguments={"counter": counter})


def counter_of(worker: Worker, tpcb: Any, bank: Any) -> Any:
    """A worker's prepared statements."""
    yield tpcb.Counter(worker, bank)


def transaction(counter: Any) -> None:
    """One iteration."""
    counter.tpcb_like()


def main(seconds: float = 5.0, rounds: int = 5) -> None:
    """Load and compare."""
    sys.path.insert(0, str(FOLDER))
    tpcb: Any = import_module("test_tpcb")
    with EmbeddedServer.start(settings=QUIET) as server, isolated(Dsn(server.dsn), "stormdb_tpcb") as home:
        with connect(home.dsn, name="bench") as conn:
            tpcb.load(conn, tpcb.Parameters(scale=SCALE))
        for clients in CLIENTS:
            contest = Contest(home.dsn, clients, workload_of(tpcb), ["-btpcb-like"], seconds)
            compare(f"tpcb x {clients}", contest, rounds)


if __name__ == "__main__":
    main(*(float(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else ())

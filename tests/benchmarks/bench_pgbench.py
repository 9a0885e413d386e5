"""The same load by pgbench and by us, on the same server, in turns: do both report the same latency?

Run by hand on an idle machine: ``python -m tests.benchmarks.bench_pgbench [SECONDS ROUNDS]``. Both are given the same
Poisson rate, a tenth and a half of what the slower of the two can do of an impossible one, and count from the intended
start, after a second of warm-up. Target: mean latencies within 10 % of each other at half of it. The p99 beside them is
that of every round; two versions of ours are compared by its ratio to pgbench's, each in a run of its own.

pgbench runs one thread, so that it, too, has one schedule that any of its clients serves. With one client the two are
built alike. With four, pgbench's thread has four connections to look after; with four threads it would have four
schedules, and a queue in front of each.
Both are woken by the same fine timer: a sleeper's 50 us of slack, Linux's default, would be half of a point select.
"""

from __future__ import annotations

import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_stormdb.database.isolation import Home
from pytest_stormdb.embedded.binaries import find_binaries
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.run.pipeline import run
from pytest_stormdb.workers.process import wake_on_time
from pytest_stormdb.workload.contract import Operation, WorkerPlaceholder, Workload
from pytest_stormdb.workload.resources import WorkerFixture

CLIENTS = (1, 4)
SCALE = 10
SHARES = (0.1, 0.5)
IMPOSSIBLE = 1e6
WARM_UP_S = 1.0
QUIET = {"autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "8GB"}
SELECT = "SELECT abalance FROM pgbench_accounts WHERE aid = {aid}"
TPCB = (
    "UPDATE pgbench_accounts SET abalance = abalance + {delta} WHERE aid = {aid}",
    SELECT,
    "UPDATE pgbench_tellers SET tbalance = tbalance + {delta} WHERE tid = {tid}",
    "UPDATE pgbench_branches SET bbalance = bbalance + {delta} WHERE bid = {bid}",
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ({tid}, {bid}, {aid}, {delta}, now())",
)
RANGES = {"aid": (1, 100_000 * SCALE), "tid": (1, 10 * SCALE), "bid": (1, SCALE), "delta": (-5000, 5000)}


def script(statements: tuple[str, ...], *, in_transaction: bool) -> str:
    """For pgbench."""
    used = [name for name in RANGES if any(f"{{{name}}}" in statement for statement in statements)]
    lines = [f"\\set {name} random({RANGES[name][0]}, {RANGES[name][1]})" for name in used]
    body = [statement.format(**{name: f":{name}" for name in RANGES}) + ";" for statement in statements]
    return "\n".join([*lines, *(["BEGIN;", *body, "END;"] if in_transaction else body)]) + "\n"


def prepared(worker: Any, statement: str) -> tuple[Any, list[str]]:
    """The statement with ``$1`` placeholders, and the names of its arguments in order."""
    names: list[str] = []
    for name in re.findall(r"{(\w+)}", statement):
        if name not in names:
            names.append(name)
    return worker.prepare(statement.format(**{name: f"${names.index(name) + 1}" for name in names})), names


def ours(statements: tuple[str, ...], *, in_transaction: bool) -> Workload:
    """For us."""

    def steps(worker: Any) -> Iterator[Callable[[], None]]:
        begin, end = worker.prepare("BEGIN"), worker.prepare("END")
        calls = [prepared(worker, statement) for statement in statements]
        used = sorted({name for _, names in calls for name in names})
        below = worker.rng.random

        def step() -> None:
            values = {}
            for name in used:
                low, high = RANGES[name]
                values[name] = low + int(below() * (high - low + 1))
            if in_transaction:
                begin.execute()
            for statement, names in calls:
                statement.execute(*[values[name] for name in names])
            if in_transaction:
                end.execute()

        yield step

    def iteration(worker: Any, step: Callable[[], None]) -> None:
        step()

    arguments = {"worker": WorkerPlaceholder(), "step": WorkerFixture(steps, {"worker": WorkerPlaceholder()})}
    return Workload(
        name="pgbench", nodeid="", operations=(Operation("it", iteration, ("worker", "step")),), arguments=arguments
    )


class Measured(NamedTuple):
    """Transactions per second, and latencies in ms."""

    per_s: float
    mean: float
    p99: float


class Contest:
    """One load, ready to be run by either."""

    def __init__(self, dsn: str, clients: int, workload: Workload, script: Sequence[str], seconds: float) -> None:
        """``script`` are the options that tell pgbench what to run."""
        self._dsn = dsn
        self._clients = clients
        self._workload = workload
        self._script = script
        self._seconds = seconds

    def pgbench(self, rate: float | None) -> Measured:
        """What pgbench's log tells."""
        options = ["-n", "-Mprepared", f"-c{self._clients}", "-j1", f"-T{round(self._seconds + WARM_UP_S)}"]
        options += [f"-R{rate:.0f}"] if rate else []
        with tempfile.TemporaryDirectory() as directory:
            pgbench(*options, "-l", f"--log-prefix={directory}/log", *self._script, self._dsn)
            (log,) = Path(directory).iterdir()
            lines = [line.split() for line in log.read_text().splitlines()]
        ends_s = [int(line[4]) + int(line[5]) / 1e6 for line in lines]
        counted = [int(line[2]) for line, end_s in zip(lines, ends_s, strict=True) if end_s - ends_s[0] > WARM_UP_S]
        p99 = sorted(counted)[math.ceil(0.99 * len(counted)) - 1]
        return Measured(len(counted) / (ends_s[-1] - ends_s[0] - WARM_UP_S), statistics.fmean(counted) / 1e3, p99 / 1e3)

    def us(self, rate: float | None) -> Measured:
        """The same, as our record has it."""
        warmup = WARM_UP_S if rate != IMPOSSIBLE else 0.0  # of an impossible rate, it would not end
        options: dict[str, Any] = {"workers": self._clients, "duration": self._seconds, "warmup": warmup}
        options |= {"rate": rate, "arrivals": "poisson"} if rate else {}
        record = run(self._workload, make_plan(("", options)), Home.at(self._dsn), embedded=True)
        total = record.statistics.total
        assert not total.failures, record.reasons
        return Measured(total.throughput_per_s, total.response.mean * 1e3, total.response.p99 * 1e3)


def pgbench(*arguments: str) -> str:
    beside = find_binaries().program("psql").with_name("pgbench")
    program = str(beside) if beside.exists() else shutil.which("pgbench")
    assert program is not None, "there is no pgbench"
    command = [program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=wake_on_time).stdout


def compare(name: str, contest: Contest, rounds: int) -> None:
    """Print one comparison."""
    both = {"pgbench": contest.pgbench, "stormdb": contest.us}
    for who, call in both.items():
        closed = call(None)
        print(f"{name:10} {who}  closed loop: {closed.per_s:8.0f}/s  mean {closed.mean:.3f} ms")
    saturated = {who: call(IMPOSSIBLE).per_s for who, call in both.items()}
    for who, per_s in saturated.items():
        print(f"{name:10} {who}  open loop, saturated: {per_s:8.0f}/s")
    for share in SHARES:
        compare_at(name, both, share * min(saturated.values()), rounds)


def compare_at(name: str, both: Mapping[str, Callable[[float | None], Measured]], rate: float, rounds: int) -> None:
    """Print the latencies of both at a rate, and their ratios."""
    found: dict[str, list[Measured]] = {who: [] for who in both}
    for _ in range(rounds):
        for who, call in both.items():
            found[who].append(call(rate))
    for what in ("mean", "p99"):
        values = {who: [getattr(each, what) for each in measured] for who, measured in found.items()}
        for who, own in values.items():
            shown = " ".join(f"{value:.3f}" for value in own)
            print(f"{name:10} {who}  at {rate:.0f}/s: {what} {statistics.median(own):.3f} ms  (rounds: {shown})")
        ratios = [of(values["stormdb"]) / of(values["pgbench"]) for of in (statistics.median, min)]
        print(f"{name:10} {what}: ratio of medians {ratios[0]:.3f}, of the least disturbed rounds {ratios[1]:.3f}")
    print(flush=True)


def main(seconds: float = 5.0, rounds: int = 5) -> None:
    """Both loads, with one client and with four."""
    with tempfile.TemporaryDirectory() as directory, EmbeddedServer.start(settings=QUIET) as server:
        pgbench("-i", "-q", f"-s{SCALE}", server.dsn)
        for clients in CLIENTS:
            for name, statements in (("select", (SELECT,)), ("tpcb", TPCB)):
                in_transaction = len(statements) > 1
                file = Path(directory) / f"{name}.sql"
                file.write_text(script(statements, in_transaction=in_transaction))
                workload = ours(statements, in_transaction=in_transaction)
                contest = Contest(server.dsn, clients, workload, ["-f", str(file)], seconds)
                compare(f"{name} x {clients}", contest, rounds)


if __name__ == "__main__":
    main(*(float(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else ())

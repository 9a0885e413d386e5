"""Load generators as commands: how to run each, what its own report says, and what CPU time it took."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from pytest_stormdb.embedded.binaries import find_binaries

from .loads import Load

ROOT = Path(__file__).parents[3]
_SHORT_S = 0.25
"""In which there is enough of everything that is worked out at the end of a run."""


@dataclass(frozen=True, slots=True)
class Found:
    """One run of one tool. ``cpu_s`` is user and system time of all its processes, the server not among them."""

    operations: int
    elapsed_s: float
    cpu_s: float
    p50_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A load generator: ``run(load, clients, seconds, dsn)``. Of no seconds, it is as short as shows start and end.

    ``loads`` and ``clients`` are what it is asked for.
    """

    name: str
    run: Callable[[Load, int, float, str], Found]
    loads: Sequence[str] = ("select", "update", "tpcb")
    clients: Sequence[int] = (1, 10, 50)


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[str, float]:
    """What a command prints, and the CPU seconds of it and of all that it waited for."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    output = process.stdout.read()
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {output[-2000:]} {errors[-2000:]}")
    return output, usage.ru_utime + usage.ru_stime


def pgbench_program() -> str | None:
    """The one beside the server's programs, or the system's."""
    beside = find_binaries().program("psql").with_name("pgbench")
    return str(beside) if beside.exists() else shutil.which("pgbench")


def run_pgbench(load: Load, clients: int, seconds: float, dsn: str) -> Found:
    """A thread for each client; every twentieth transaction is logged for the percentiles."""
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "load.sql"
        script.write_text(load.pgbench())
        amount = [f"-T{max(1, round(seconds))}"] if seconds else ["-t1"]
        log = ["-l", f"--log-prefix={directory}/log", "--sampling-rate=0.05"]
        program = pgbench_program()
        assert program is not None
        command = [program, "-n", "-Mprepared", f"-c{clients}", f"-j{clients}", *amount, *log, "-f", str(script), dsn]
        output, cpu_s = measured(command)
        lines = [line.split() for path in Path(directory).glob("log*") for line in path.read_text().splitlines()]
    latencies_s = sorted(int(line[2]) / 1e6 for line in lines)
    processed = re.search(r"actually processed: (\d+)", output)
    per_s = re.search(r"tps = ([\d.]+) \(without", output)
    assert processed is not None
    assert per_s is not None
    count = int(processed[1])
    return Found(count, count / float(per_s[1]), cpu_s, *_quantiles(latencies_s))


def _quantiles(sorted_s: Sequence[float]) -> tuple[float | None, float | None]:
    if len(sorted_s) < 100:
        return None, None
    return sorted_s[len(sorted_s) // 2], sorted_s[len(sorted_s) * 99 // 100]


def stormdb(function: str) -> Callable[[Load, int, float, str], Found]:
    """Our own, by its command line; all iterations count, those of the end too."""

    def run(load: Load, clients: int, seconds: float, dsn: str) -> Found:
        name = "test_one" if function == "test_each" and len(load.statements) == 1 else function
        with tempfile.TemporaryDirectory() as directory:
            report = Path(directory) / "run.json"
            amount = f"--stormdb-duration={seconds or _SHORT_S}s"
            suite = f"{Path(__file__).with_name('suite.py')}::{name}"
            command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", directory, suite]
            command += [f"--stormdb-workers={clients}", amount, f"--stormdb-dsn={dsn}", f"--stormdb-json={report}"]
            command += ["-p", "stormdb", "-p", "no:cacheprovider"]
            environment = {"PEERS_LOAD": load.name, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
            _, cpu_s = measured(command, environment)
            (result,) = json.loads(report.read_text())["runs"]
        (operation,) = result["operations"].values()
        response = operation["response"]
        return Found(operation["count"], result["elapsed_s"], cpu_s, response.get("p50_s"), response.get("p99_s"))

    return run


def client(kind: str) -> Callable[[Load, int, float, str], Found]:
    """A client in Python without a load generator around it."""

    def run(load: Load, clients: int, seconds: float, dsn: str) -> Found:
        program = [sys.executable, "-m", "tests.benchmarks.contenders.clients", kind, load.name, str(clients)]
        return _told(*measured([*program, str(seconds or 0.01), dsn]))

    return run


def run_locust(load: Load, clients: int, seconds: float, dsn: str) -> Found:
    """Locust's own runner, in one process, as it comes."""
    command = [sys.executable, "-m", "tests.benchmarks.contenders.locust_client", str(clients)]
    environment = {"PEERS_LOAD": load.name, "PEERS_DSN": dsn, "PEERS_SECONDS": str(seconds or 0.01)}
    return _told(*measured(command, environment))


def _told(output: str, cpu_s: float) -> Found:
    told = json.loads(output.splitlines()[-1])
    return Found(told["operations"], told["elapsed_s"], cpu_s, told["p50_s"], told["p99_s"])


def run_sysbench(load: Load, clients: int, seconds: float, dsn: str) -> Found:
    """A thread for each client; its report has one percentile."""
    parts = conninfo_to_dict(dsn)
    place = [f"--pgsql-host={parts['host']}", f"--pgsql-port={parts['port']}", f"--pgsql-user={parts['user']}"]
    amount = [f"--time={max(1, round(seconds))}"] if seconds else ["--events=1", "--time=0"]
    command = ["sysbench", str(Path(__file__).with_name("sysbench.lua")), "--db-driver=pgsql", *place]
    command += [f"--pgsql-db={parts['dbname']}", f"--threads={clients}", "--percentile=99", *amount, "run"]
    output, cpu_s = measured(command, {"PEERS_LOAD": load.name})
    events = re.search(r"total number of events:\s+(\d+)", output)
    time_s = re.search(r"total time:\s+([\d.]+)s", output)
    p99_ms = re.search(r"99th percentile:\s+([\d.]+)", output)
    assert events is not None
    assert time_s is not None
    assert p99_ms is not None
    return Found(int(events[1]), float(time_s[1]), cpu_s, None, float(p99_ms[1]) / 1e3)


def installed() -> list[Tool]:
    """Those that this machine has, pgbench first."""
    tools = [
        Tool("pgbench", run_pgbench),
        Tool("stormdb", stormdb("test_each")),
        Tool("stormdb, pipeline", stormdb("test_pipeline"), loads=("tpcb",)),
        Tool("stormdb, cursor", stormdb("test_cursor"), clients=(10,)),
        Tool("psycopg, threads", client("threads"), clients=(1, 10)),
    ]
    if find_spec("asyncpg") and find_spec("uvloop"):
        tools.append(Tool("asyncpg, uvloop", client("asyncpg"), clients=(10, 50)))
    if find_spec("locust"):
        tools.append(Tool("Locust, psycopg", run_locust, clients=(10,)))
    if shutil.which("sysbench"):
        tools.append(Tool("sysbench", run_sysbench, loads=("select", "update")))
    return tools

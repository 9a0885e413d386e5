"""What a run costs beside its operations: starting it, and its workers' memory; ``bench_collection`` has the rest.

Run by hand: ``python -m tests.benchmarks.footprint``, or at the end of ``tests.benchmarks.peers``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from pytest_stormdb.embedded.server import EmbeddedServer

ROOT = Path(__file__).parents[2]
SUITE = """
import time
import pytest

@pytest.mark.stormdb
def test_first(worker):
    worker.prepare("SELECT 1").fetchval()
    if worker.iteration == 0:
        with open("first", "a") as file:
            print(time.time(), file=file)

@pytest.mark.stormdb(connect=False)
def test_empty(worker):
    pass
"""


def _pytest(directory: Path, *options: str, plugin: bool = True) -> float:
    """Wall seconds of a session; its plugins are pytest's own, and ours or not."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    chosen = ["-p", "stormdb"] if plugin else []
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *options]
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started_s


def first_operation_s(directory: Path, workers: int, *options: str) -> float:
    """From the command to the last worker's first operation."""
    first = directory / "first"
    first.unlink(missing_ok=True)
    started_s = time.time()
    _pytest(directory, "test_it.py::test_first", f"--stormdb-workers={workers}", "--stormdb-iterations=2", *options)
    return max(float(line) for line in first.read_text().splitlines()) - started_s


def memory_kib(directory: Path, iterations: int, workers: int) -> float:
    """The largest private memory that a worker's process had, in KiB, over an empty function's iterations."""
    source = directory / "test_memory.py"
    source.write_text(
        "import pytest\n\n@pytest.mark.stormdb(connect=False)\ndef test_it(worker):\n"
        f"    if worker.iteration == {iterations - 1}:\n"
        "        text = open('/proc/self/smaps_rollup').read()\n"
        "        size = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith('Private_'))\n"
        "        print(size, file=open('memory', 'a'))\n"
    )
    (directory / "memory").unlink(missing_ok=True)
    _pytest(directory, "test_memory.py", f"--stormdb-workers={workers}", f"--stormdb-iterations={iterations}")
    return max(float(line) for line in (directory / "memory").read_text().splitlines())


def per_second(directory: Path, workers: int, dsn: str) -> float:
    """Operations per second of a statement that costs the server next to nothing."""
    options = [
        f"--stormdb-workers={workers}",
        "--stormdb-duration=2s",
        f"--stormdb-dsn={dsn}",
        "--stormdb-json=run.json",
    ]
    (directory / "test_rate.py").write_text(
        "import pytest\n\n@pytest.mark.stormdb\ndef test_it(worker):\n    worker.prepare('SELECT 1').fetchval()\n"
    )
    _pytest(directory, "test_rate.py", *options)
    (run,) = json.loads((directory / "run.json").read_text())["runs"]
    return float(run["totals"]["throughput_per_s"])


def footprint(dsn: str) -> dict[str, float]:
    """Every figure by its name."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "test_it.py").write_text(SUITE)
        starts = [first_operation_s(directory, 10) for _ in range(3)]
        found["s to the first operation, 10 workers, embedded server"] = statistics.median(starts)
        server = f"--stormdb-dsn={dsn}"
        found["s to the first operation, 500 workers, running server"] = first_operation_s(directory, 500, server)
        for workers in (1, 2, 5, 10, 50, 100, 500):
            found[f"SELECT 1 per second, {workers} workers"] = per_second(directory, workers, dsn)
        found["KiB of a worker's own after 1,000 iterations"] = memory_kib(directory, 1_000, 2)
        found["KiB of a worker's own after 10,000,000 iterations"] = memory_kib(directory, 10_000_000, 1)
    return found


def main() -> None:
    """Print it."""
    with EmbeddedServer.start(max_connections=600) as server, psycopg.connect(server.dsn):
        for name, value in footprint(server.dsn).items():
            print(f"{name:60} {value:,.2f}")


if __name__ == "__main__":
    main()

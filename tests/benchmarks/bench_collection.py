"""What the plugin costs a suite that does not use it: collecting 200 empty tests with and without it.

Run by hand: ``python tests/benchmarks/bench_collection.py``. The two kinds of run take turns in fresh interpreters.
Prints milliseconds of CPU time (user and system) and of wall time, the best of many runs, since whatever else the
machine does can only add to them. The promise is 10 ms of CPU time at most.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest_stormdb

ROUNDS = 40
TESTS = 200
PROMISED_MS = 10.0
ROOT = Path(pytest_stormdb.__file__).parents[1]


def collect(directory: Path, *options: str) -> tuple[float, float]:
    """CPU and wall milliseconds of one collection in a fresh interpreter, whose plugins are pytest's and ours only."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the second run of a suite finds its bytecode, as a rule
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *options]
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
    wall_s = time.perf_counter() - started_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu_s * 1e3, wall_s * 1e3


def main() -> int:
    """Alternate the two and print what the plugin adds."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tests = "\n\n".join(f"def test_{n}():\n    pass" for n in range(TESTS))
        (directory / "test_empty.py").write_text(tests + "\n")
        collect(directory, "-p", "stormdb")  # writes the bytecode
        pairs = [(collect(directory, "-p", "stormdb"), collect(directory)) for _ in range(ROUNDS)]
    print(f"Python {platform.python_version()} {platform.machine()}, {TESTS} empty tests, {ROUNDS} pairs of runs")
    differences = []
    for index, kind in enumerate(("CPU", "wall")):
        with_ms = min(with_plugin[index] for with_plugin, _ in pairs)
        without_ms = min(without[index] for _, without in pairs)
        differences.append(with_ms - without_ms)
        print(f"{kind:>4}: {with_ms:.1f} ms with, {without_ms:.1f} ms without, difference {differences[-1]:.1f} ms")
    kept = differences[0] <= PROMISED_MS
    print(f"promised: at most {PROMISED_MS:g} ms: {'kept' if kept else 'BROKEN'}")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())

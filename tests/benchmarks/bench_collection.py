"""What the plugin costs a suite that does not use it: collecting 200 empty tests, and 2,000 parametrised ones.

Run by hand: ``python tests/benchmarks/bench_collection.py``. The two kinds of run take turns in fresh interpreters.
Prints milliseconds of CPU time (user and system) and of wall time, the best of many runs, since whatever else the
machine does can only add to them. The promise is 5 ms of CPU time at most, and a fifth of 2,000 items' collection.
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
PROMISED_MS = 5.0
PROMISED_SHARE = 0.2
MANY = """
import pytest

@pytest.mark.parametrize("number", range(2000))
def test_it(number):
    pass
"""
ROOT = Path(pytest_stormdb.__file__).parents[1]


def collect(directory: Path, *options: str) -> tuple[float, float]:
    """CPU and wall milliseconds of one collection in a fresh interpreter, whose plugins are pytest's and ours only."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{directory}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the second run of a suite finds its bytecode, as a rule
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *options]
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
    wall_s = time.perf_counter() - started_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu_s * 1e3, wall_s * 1e3


def compare(directory: Path, file: str, rounds: int) -> tuple[float, float]:
    """CPU milliseconds with the plugin and without, the least of many rounds; prints wall milliseconds, too.

    Without it, an empty plugin is loaded instead: to look for plugins among what is installed is pytest's own cost.
    """
    collect(directory, "-p", "stormdb", file)  # writes the bytecode
    pairs = [
        (collect(directory, "-p", "stormdb", file), collect(directory, "-p", "empty_plugin", file))
        for _ in range(rounds)
    ]
    least = []
    for index, kind in enumerate(("CPU", "wall")):
        with_ms = min(with_plugin[index] for with_plugin, _ in pairs)
        without_ms = min(without[index] for _, without in pairs)
        least.append((with_ms, without_ms))
        more = f"{with_ms - without_ms:.1f} ms or {with_ms / without_ms - 1:.1%} more"
        print(f"{file}: {kind} {with_ms:.1f} ms with, {without_ms:.1f} ms without, {more}")
    return least[0]


def main() -> int:
    """Alternate the two and print what the plugin adds."""
    print(f"Python {platform.python_version()} {platform.machine()}, {ROUNDS} pairs of runs")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "empty_plugin.py").write_text("")
        tests = "\n\n".join(f"def test_{n}():\n    pass" for n in range(TESTS))
        (directory / "test_empty.py").write_text(tests + "\n")
        (directory / "test_many.py").write_text(MANY)
        few = compare(directory, "test_empty.py", ROUNDS)
        many = compare(directory, "test_many.py", ROUNDS // 4)
    kept = few[0] - few[1] <= PROMISED_MS and many[0] / many[1] <= 1 + PROMISED_SHARE
    print(f"promised: at most {PROMISED_MS:g} ms, {PROMISED_SHARE:.0%} of many: {'kept' if kept else 'BROKEN'}")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())

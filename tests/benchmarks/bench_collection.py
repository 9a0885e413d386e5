"""What the plugin costs a suite that does not use it: collecting 200 empty tests, and 2,000 parametrised ones.

Run by hand: ``python tests/benchmarks/bench_collection.py``. The two kinds of run take turns in fresh interpreters.
Prints milliseconds of CPU time (user and system) and of wall time, the mean of the lowest fifth of many runs, since
whatever else the machine does can only add to them. The promise is 5 ms of CPU time at most, and a fifth of 2,000
items' collection.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest_stormdb

ROUNDS = 60
TESTS = 200
PROMISED_MS = 5.0
PROMISED_SHARE = 0.2
MANY = """
import pytest

@pytest.mark.parametrize("number", range(2000))
def test_it(number):
    pass
"""
RUNNERS = {"stormdb": "run_pytest.py", "empty_plugin": "run.py"}
"""What starts pytest with a plugin. Our start-up file acts where a word of the command line names pytest."""
RUNNER = "import sys, pytest; sys.exit(pytest.main())\n"
ROOT = Path(pytest_stormdb.__file__).parents[1]


def collect(directory: Path, plugin: str, file: str) -> tuple[float, float]:
    """CPU and wall milliseconds of one collection in a fresh interpreter, whose plugins are pytest's and this one."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{directory}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the second run of a suite finds its bytecode, as a rule
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.perf_counter()
    words = ["--collect-only", "-qq", "-p", "no:cacheprovider", "-p", plugin, file]
    subprocess.run(
        [sys.executable, RUNNERS[plugin], *words], cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    wall_s = time.perf_counter() - started_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu_s * 1e3, wall_s * 1e3


def compare(directory: Path, file: str, rounds: int) -> tuple[float, float]:
    """CPU milliseconds with the plugin and without, the lowest of many rounds; prints wall milliseconds, too.

    Without it, an empty plugin is loaded instead: to look for plugins among what is installed is pytest's own cost.
    """
    for plugin in RUNNERS:
        collect(directory, plugin, file)  # writes the bytecode
    pairs = [(collect(directory, "stormdb", file), collect(directory, "empty_plugin", file)) for _ in range(rounds)]
    lowest = []
    for index, kind in enumerate(("CPU", "wall")):
        with_ms, without_ms = (_lowest([pair[arm][index] for pair in pairs]) for arm in (0, 1))
        lowest.append((with_ms, without_ms))
        more = f"{with_ms - without_ms:.1f} ms or {with_ms / without_ms - 1:.1%} more"
        print(f"{file}: {kind} {with_ms:.1f} ms with, {without_ms:.1f} ms without, {more}")
    return lowest[0]


def _lowest(times_ms: list[float]) -> float:
    return statistics.fmean(sorted(times_ms)[: max(1, len(times_ms) // 5)])


def main() -> int:
    """Alternate the two and print what the plugin adds."""
    print(f"Python {platform.python_version()} {platform.machine()}, {ROUNDS} pairs of runs")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "empty_plugin.py").write_text("")
        for runner in RUNNERS.values():
            (directory / runner).write_text(RUNNER)
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

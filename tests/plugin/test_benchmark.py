"""The seam to pytest-benchmark: what is put into its storage, and that its own commands read it."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from pytest_stormdb.measurement.histogram import Histogram
from pytest_stormdb.plugin.benchmark import representative_s

from ..conftest import Suite

WORKLOAD = """
    import pytest

    @pytest.mark.stormdb(iterations=300)
    def test_load(worker):
        worker.conn.execute("SELECT 1")

    def test_plain(benchmark):
        benchmark(sum, range(100))

    def test_with_connection(benchmark, stormdb_connection):
        benchmark(lambda: stormdb_connection.execute("SELECT 1"))
"""
PLUGINS = ("stormdb", "pytest_benchmark.plugin")


def test_workloads_stand_beside_benchmarks(suite: Suite) -> None:
    """A workload is in the table and in what is saved, its true figures in extra_info; compare reads it."""
    suite.write(WORKLOAD)
    result = suite.run("--stormdb-benchmark", "--benchmark-autosave", "--stormdb-json=runs.json", plugins=PLUGINS)
    result.assert_outcomes(passed=3)
    (saved,) = suite.path.glob(".benchmarks/*/*.json")
    found = {each["name"]: each for each in json.loads(saved.read_text())["benchmarks"]}
    assert set(found) == {"test_load", "test_plain", "test_with_connection"}
    (run,) = suite.runs()
    load, info = found["test_load"], found["test_load"]["extra_info"]
    assert load["fullname"] == "test_it.py::test_load"
    assert (info["operations"], info["workers"]) == (300, 1)
    response = run["totals"]["response"]
    assert info["p95_s"] == response["p95_s"]
    assert load["stats"]["min"] == pytest.approx(response["min_s"], rel=1e-3)
    assert load["stats"]["max"] == pytest.approx(response["max_s"], rel=1e-3)
    assert load["stats"]["mean"] == pytest.approx(response["mean_s"], rel=0.05)
    again = suite.run("--stormdb-benchmark", "--benchmark-compare=0001", plugins=PLUGINS)
    again.assert_outcomes(passed=3)
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "0001"]
    compared = subprocess.run(command, cwd=suite.path, capture_output=True, text=True, check=True)
    assert "test_load" in compared.stdout


def test_without_pytest_benchmark_it_is_refused(suite: Suite) -> None:
    """There is nowhere to put anything: a usage error says so."""
    suite.write(WORKLOAD)
    result = suite.run("--stormdb-benchmark")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --stormdb-benchmark: pytest-benchmark is not installed, or not loaded"])


def test_representatives_have_the_same_distribution() -> None:
    """A thousand of a hundred thousand have their extremes, mean and quantiles; all of few are themselves."""
    rng = random.Random(1)
    histogram = Histogram()
    histogram.record_many([round(rng.lognormvariate(13, 0.5)) for _ in range(100_000)])
    some = representative_s(histogram)
    assert len(some) == 1000
    assert (some[0], some[-1]) == (histogram.quantile_ns(0) / 1e9, histogram.quantile_ns(1) / 1e9)
    assert sum(some) / 1000 == pytest.approx(histogram.mean_ns / 1e9, rel=0.02)
    few = Histogram()
    few.record_many([1000, 2000, 3000])
    assert representative_s(few) == [1e-6, 2e-6, 3e-6]
    one = Histogram()
    one.record(5)
    assert representative_s(one) == [5e-9]

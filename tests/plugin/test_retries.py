"""Retries are counted, whatever became of the iteration."""

from __future__ import annotations

import pytest

from tests.conftest import Suite

WORKLOAD = """
import psycopg
import pytest
import pytest_stormdb

@pytest_stormdb.worker_fixture
def tries(worker):
    yield []

@pytest.mark.stormdb(workers=1, iterations=4, retries=3)
def test_conflicts(worker, tries):
    tries.append(worker.iteration)
    if tries.count(worker.iteration) <= worker.iteration:
        raise psycopg.errors.SerializationFailure("made up")
"""


@pytest.mark.parametrize("load", [[], ["--stormdb-rate=100/s"]], ids=["closed loop", "open loop"])
def test_retries_of_iterations_that_then_succeed_are_counted(suite: Suite, load: list[str]) -> None:
    """Iterations 0 to 3 take as many retries as their number, and all succeed at last."""
    suite.write(WORKLOAD)
    suite.run("--stormdb-json=runs.json", *load).assert_outcomes(passed=1)
    totals = suite.runs()[0]["totals"]
    assert (totals["operations"], totals["failures"], totals["retries"]) == (4, 0, 0 + 1 + 2 + 3)

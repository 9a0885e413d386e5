"""Retries are counted, whatever became of the iteration."""

from __future__ import annotations

import json

import pytest

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


@pytest.mark.parametrize(
    ("load", "succeeded"), [([], 4), (["--stormdb-rate=100/s"], 4)], ids=["closed loop", "open loop"]
)
def test_retries_of_iterations_that_then_succeed_are_counted(
    pytester: pytest.Pytester, load: list[str], succeeded: int
) -> None:
    """Iterations 0 to 3 take as many retries as their number, and all succeed at last."""
    pytester.makepyfile(WORKLOAD)
    result = pytester.runpytest_subprocess("--stormdb-json=run.json", *load)
    result.assert_outcomes(passed=1)
    totals = json.loads((pytester.path / "run.json").read_text())["runs"][0]["totals"]
    assert (totals["operations"], totals["failures"], totals["retries"]) == (succeeded, 0, 0 + 1 + 2 + 3)

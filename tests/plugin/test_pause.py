"""worker.pause: waiting between iterations without being measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

WORKLOAD = """
import pytest

@pytest.mark.stormdb(workers=2, connect=False)
def test_pausing(worker):
    worker.pause({seconds})
"""


def run(pytester: pytest.Pytester, seconds: float, *options: str) -> dict[str, Any]:
    pytester.makepyfile(WORKLOAD.format(seconds=seconds))
    record = pytester.path / "run.json"
    result = pytester.runpytest_subprocess(f"--stormdb-json={record}", *options)
    result.assert_outcomes(passed=1)
    found: dict[str, Any] = json.loads(Path(record).read_text())["runs"][0]
    return found


def test_a_pause_comes_between_iterations_and_is_not_measured(pytester: pytest.Pytester) -> None:
    """Five iterations with pauses of 0.1 s take 0.4 s, none of which is in a latency."""
    found = run(pytester, 0.1, "--stormdb-iterations=5")
    assert found["totals"]["operations"] == 10
    assert 0.4 <= found["elapsed_s"] < 2
    assert found["totals"]["response"]["max_s"] < 0.05


def test_a_pause_ends_with_the_run(pytester: pytest.Pytester) -> None:
    """A worker that would pause for an hour is done when the duration is over."""
    found = run(pytester, 3600, "--stormdb-duration=500ms")
    assert found["totals"]["operations"] == 2
    assert found["elapsed_s"] < 2


def test_a_pausing_worker_takes_no_arrival(pytester: pytest.Pytester) -> None:
    """In an open loop with all workers pausing, arrivals wait and are late."""
    found = run(pytester, 0.2, "--stormdb-rate=20/s", "--stormdb-duration=1s")
    assert found["totals"]["operations"] <= 12
    assert found["totals"]["lag"]["max_s"] > 0.1

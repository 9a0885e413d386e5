"""worker.pause: waiting between iterations without being measured."""

from __future__ import annotations

from typing import Any

from tests.conftest import Suite

WORKLOAD = """
import pytest

@pytest.mark.stormdb(workers=2, connect=False)
def test_pausing(worker):
    worker.pause({seconds})
"""


def run(suite: Suite, seconds: float, *options: str) -> dict[str, Any]:
    suite.write(WORKLOAD.format(seconds=seconds))
    suite.run("--stormdb-json=runs.json", *options).assert_outcomes(passed=1)
    return suite.runs()[0]


def test_a_pause_comes_between_iterations_and_is_not_measured(suite: Suite) -> None:
    """Five iterations with pauses of 0.1 s take 0.4 s, none of which is in a latency."""
    found = run(suite, 0.1, "--stormdb-iterations=5")
    assert found["totals"]["operations"] == 10
    assert 0.4 <= found["elapsed_s"] < 2
    assert found["totals"]["response"]["max_s"] < 0.05


def test_a_pause_ends_with_the_run(suite: Suite) -> None:
    """A worker that would pause for an hour is done when the duration is over."""
    found = run(suite, 3600, "--stormdb-duration=500ms")
    assert found["totals"]["operations"] == 2
    assert found["elapsed_s"] < 2


def test_a_pausing_worker_takes_no_arrival(suite: Suite) -> None:
    """In an open loop with all workers pausing, arrivals wait and are late."""
    found = run(suite, 0.2, "--stormdb-rate=20/s", "--stormdb-duration=1s")
    assert found["totals"]["operations"] <= 12
    assert found["totals"]["lag"]["max_s"] > 0.1

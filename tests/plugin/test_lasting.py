"""Results last: on the disk before tear-down, and beside sessions that measure nothing."""

from __future__ import annotations

import json

from ..conftest import Suite

SLOW_TO_LEAVE = """
    import json, pathlib
    import pytest

    @pytest.fixture(scope="module")
    def seen(request):
        yield
        runs = json.loads(pathlib.Path("runs.json").read_text())["runs"]
        print("in tear-down:", [run["totals"]["operations"] for run in runs])

    @pytest.mark.stormdb(workers=2, iterations=5)
    def test_it(worker, seen):
        worker.conn.execute("SELECT 1")
"""
SOMETIMES = """
    import os
    import pytest

    @pytest.mark.stormdb(workers=1, iterations=3)
    def test_it(worker):
        assert not os.environ.get("BROKEN")
"""
ALWAYS = """
    import pytest

    @pytest.mark.stormdb(workers=2, duration="20s")
    def test_it(worker):
        worker.conn.execute("SELECT * FROM nowhere")
"""


def test_results_are_on_the_disk_before_tear_down(suite: Suite) -> None:
    """A fixture's tear-down finds the run in the JSON report already."""
    suite.write(SLOW_TO_LEAVE)
    result = suite.run("-s", "--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*in tear-down: [[]10]"])


def test_a_session_without_load_leaves_earlier_results(suite: Suite) -> None:
    """Neither --collect-only nor a smoke run writes over the report of a measured run."""
    suite.write(SLOW_TO_LEAVE)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    before = (suite.path / "runs.json").read_text()
    suite.run("--stormdb-json=runs.json", "--collect-only")
    suite.run("--stormdb-json=runs.json", "--stormdb-smoke").assert_outcomes(passed=1)
    assert (suite.path / "runs.json").read_text() == before


def test_a_smoke_run_leaves_what_failed_under_load(suite: Suite) -> None:
    """What failed in a measured run is still found by --last-failed after a smoke run in which it passed."""
    suite.write(SOMETIMES)
    suite.env.setenv("BROKEN", "1")
    suite.run(keeps_cache=True).assert_outcomes(failed=1)
    suite.env.delenv("BROKEN")
    suite.run("--stormdb-smoke", keeps_cache=True).assert_outcomes(passed=1)
    assert json.loads((suite.path / ".pytest_cache/v/cache/lastfailed").read_text()) == {"test_it.py::test_it": True}
    suite.run(keeps_cache=True).assert_outcomes(passed=1)
    assert json.loads((suite.path / ".pytest_cache/v/cache/lastfailed").read_text()) == {}


def test_a_workload_of_which_nothing_succeeds_is_stopped(suite: Suite) -> None:
    """After a second in which all failed, the run ends with the error instead of going on for its twenty."""
    suite.write(ALWAYS)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["stopped after *: all * iterations had failed*", "*42P01*nowhere*"])
    assert suite.runs()[0]["elapsed_s"] < 15

"""Sweeps and stages, from the command line to the reports."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from ..conftest import Suite

SLEEPER = """
    import pytest

    @pytest.mark.stormdb(duration="300ms")
    def test_it(worker):
        worker.conn.execute("SELECT pg_sleep(0.01)")
"""


def test_a_sweep_runs_at_each_count_and_shows_the_curve(suite: Suite) -> None:
    """Five counts make five runs, a curve in the terminal and the document, a knee, and a fitted law."""
    suite.write(SLEEPER)
    result = suite.run("--stormdb-sweep=1,2,3,4,6", "--stormdb-json=runs.json", "--junitxml=r.xml")
    result.assert_outcomes(passed=1)
    runs = suite.runs()
    assert [run["plan"]["workers"] for run in runs] == [1, 2, 3, 4, 6]
    assert {run["nodeid"] for run in runs} == {"test_it.py::test_it"}
    (sweep,) = json.loads((suite.path / "runs.json").read_text())["sweeps"]
    assert [point["workers"] for point in sweep["points"]] == [1, 2, 3, 4, 6]
    assert [point["throughput_per_s"] for point in sweep["points"]] == [
        run["totals"]["throughput_per_s"] for run in runs
    ]
    assert sweep["fit"]["residual"] < 1
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_it, sweep",
            "  knee: * workers, the fewest within 5 % of the best rate",
            "  Universal Scalability Law: contention *, coherency *; the fit is off by * (RMS)",
        ]
    )
    properties = {p.get("name"): p.get("value") for p in ET.parse(suite.path / "r.xml").iter("property")}
    assert properties["stormdb.sweep.knee_workers"] == str(sweep["knee_workers"])


def test_few_points_claim_no_law(suite: Suite) -> None:
    """With two counts the curve is shown, and no fit is claimed."""
    suite.write(SLEEPER)
    result = suite.run("--stormdb-sweep=1,2", "--stormdb-iterations=5", "--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  no scalability law is fitted to fewer than 5 points"])
    assert json.loads((suite.path / "runs.json").read_text())["sweeps"][0]["fit"] is None
    assert [run["totals"]["operations"] for run in suite.runs()] == [5, 10]


def test_a_threshold_missed_in_a_sweep_says_where(suite: Suite) -> None:
    """The first line of the failure names the worker count at which the threshold was missed."""
    suite.write(SLEEPER)
    result = suite.run("--stormdb-sweep=1,2", "--stormdb-iterations=25", "--stormdb-slo", "p50 < 100us")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["at 1 workers: p50 * ms is not < 100 us: certain (*1 worker, 25 operations)"])


def test_a_sweep_over_stages_of_workers_is_refused(suite: Suite) -> None:
    """Stages of workers and a sweep both set the workers; the error says so."""
    suite.write(SLEEPER)
    result = suite.run("--stormdb-sweep=1,2", "--stormdb-stages=1:1s,2:1s")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["--stormdb-sweep: this workload has stages of workers; a sweep sets the workers itself"]
    )


def test_a_bad_sweep_is_a_usage_error(suite: Suite) -> None:
    """What is no sweep ends the session before anything is collected."""
    suite.write(SLEEPER)
    result = suite.run("--stormdb-sweep=4..1")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --stormdb-sweep: '4..1' is not '1,2,4,8', 'linear:1..32:4' or 'doubling*"])


def test_stages_of_workers_have_statistics_of_their_own(suite: Suite) -> None:
    """Each stage has a row and figures; its operations add up to those of the run; more workers do more."""
    suite.write(SLEEPER)
    result = suite.run("--stormdb-stages=1:600ms,1->5:600ms,5:600ms", "--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    (run,) = suite.runs()
    stages = run["stages"]
    assert [(s["begin"], s["end"], s["duration_s"]) for s in stages] == [(1, 1, 0.6), (1, 5, 0.6), (5, 5, 0.6)]
    assert sum(stage["operations"] for stage in stages) == run["totals"]["operations"]
    assert stages[0]["operations"] < stages[1]["operations"] < stages[2]["operations"]
    assert run["plan"]["workers"] == 5
    result.stdout.fnmatch_lines(["  1 worker for 0.6 s *", "  1->5 workers for 0.6 s *", "  5 workers for 0.6 s *"])


def test_stages_of_rates_follow_the_schedule(suite: Suite) -> None:
    """A constant, a rising and a spiking rate each start what the integral of the rate says, to the arrival."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(workers=4, stages=[("500ms", "100/s"), ("1s", "100/s->200/s"), ("500ms", "400/s")])
        def test_it(worker):
            worker.conn.execute("SELECT 1")
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert [stage["operations"] for stage in run["stages"]] == [50, 150, 200]
    assert (run["totals"]["operations"], run["totals"]["dropped"]) == (400, 0)


def test_slots_for_the_greatest_count_are_checked_first(suite: Suite) -> None:
    """A sweep whose last count the server cannot serve fails at set-up, before the first run."""
    suite.write(SLEEPER)
    result = suite.run("--stormdb-sweep=1,5000", "--stormdb-json=runs.json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["5000 workers need 5000 connections, but the server has *"])
    assert suite.runs() == []

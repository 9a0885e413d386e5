"""Thresholds end to end: a missed one is a failed test whose first line carries the numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from ..conftest import Suite

SLEEPY = """
    import time
    import pytest

    @pytest.mark.stormdb(iterations=20, connect=False)
    @pytest.mark.stormdb_slo({expressions})
    def test_sleepy(worker):
        time.sleep(0.002)
        if {fails}:
            raise ValueError("every fourth")
"""


def write(suite: Suite, *expressions: str, fails: str = "False") -> None:
    suite.write(SLEEPY.format(expressions=", ".join(map(repr, expressions)), fails=fails))


def test_a_missed_threshold_is_a_failed_test(suite: Suite) -> None:
    """Expression and measured value are the first line of the failure, everywhere; exit status 1."""
    write(suite, "max < 1us", "min > 1us")
    result = suite.run("--junitxml=r.xml", "--stormdb-json=runs.json")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "max * ms is not < 1 us: certain (test_sleepy, *operations)",
            "  ✘ max < 1us  * ms  fail: certain",
            "  ✔ min > 1us  * pass",
        ]
    )
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_sleepy - *max * ms is not < 1 us: certain (test_sleepy, *)"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")
    failure = ET.parse(suite.path / "r.xml").find(".//failure")
    assert failure is not None
    assert (
        "ms is not < 1 us: certain (test_sleepy, 1 worker, 20 operations)" in failure.attrib["message"].splitlines()[0]
    )
    (run,) = suite.runs()
    assert [(t["expression"], t["verdict"]) for t in run["thresholds"]] == [
        ("max < 1us", "fail"),
        ("min > 1us", "pass"),
    ]
    assert run["outcome"] == "failed"


def test_the_command_line_adds_and_replaces(suite: Suite) -> None:
    """``--stormdb-slo`` replaces the mark's expression on the same metric and adds to the others."""
    write(suite, "max < 1us", "min > 1us")
    result = suite.run("--stormdb-slo=max < 1h", "--stormdb-slo", "p50 < 1h", "--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    assert [t["expression"] for t in suite.runs()[0]["thresholds"]] == ["max < 1h", "p50 < 1h", "min > 1us"]


@pytest.mark.slow
def test_failures_fail_unless_a_threshold_allows_them(suite: Suite) -> None:
    """Without a word on errors any failure fails the run; with one, the threshold decides alone."""
    write(suite, "max < 1h", fails="worker.iteration % 4 == 0")
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["5 of 20 iterations failed: 5 x ValueError"])
    suite.run("--stormdb-slo=errors < 26%").assert_outcomes(passed=1)
    result = suite.run("--stormdb-slo=errors < 1%")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["errors 25.0% is not < 1%: certain (test_sleepy, * operations)"])


@pytest.mark.slow
def test_a_metric_with_digits_in_its_name_ends_a_run(suite: Suite) -> None:
    """``abort=True`` on a metric named like a percentile ends the run by that metric's value, not by samples."""
    suite.write("""
        import time
        import pytest

        @pytest.mark.stormdb(duration="30s", connect=False)
        @pytest.mark.stormdb_slo("metrics.http2xx < 5", abort=True)
        def test_it(worker):
            worker.metrics.count("http2xx")
            time.sleep(0.01)
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["aborted after * s: metrics.http2xx < 5: measured *"])
    assert suite.runs()[0]["elapsed_s"] < 20


def test_no_success_is_no_pass(suite: Suite) -> None:
    """Not even a threshold that allows every error passes a run in which nothing succeeded."""
    write(suite, "errors <= 100%", fails="True")
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["no iteration succeeded (20 failed)"])


def test_a_threshold_for_one_operation(suite: Suite) -> None:
    """``operation=`` judges a part by its own figures; a name that did not run fails and says which did."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=5)
        @pytest.mark.stormdb_slo("max < 1ns", operation="pay")
        @pytest.mark.stormdb_slo("max < 1h", operation="pya")
        def test_it(worker):
            with worker.operation("pay"):
                worker.conn.execute("SELECT 1")
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["max * is not < 1 ns: certain (test_it, *, operation pay, * operations)"])
    result.stdout.fnmatch_lines(["max < 1h [[]pya]: no operation 'pya' ran; there were: pay, test_it"])


def test_bad_thresholds_are_errors(suite: Suite) -> None:
    """An expression that cannot be read, or that nobody would judge, stops its test before any fixture."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=1)
        @pytest.mark.stormdb_slo("p99 < soon")
        def test_value(worker):
            pass

        @pytest.mark.stormdb(iterations=1)
        @pytest.mark.stormdb_slo("speed > 3")
        def test_metric(worker):
            pass

        @pytest.mark.stormdb(iterations=1)
        @pytest.mark.stormdb_slo("p99 < 1s", op="x")
        def test_option(worker):
            pass

        @pytest.mark.stormdb_slo("p99 < 1s")
        def test_plain():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(
        [
            "mark stormdb_slo of test_value: threshold 'p99 < soon': p99: 'soon' is not a duration*",
            "mark stormdb_slo of test_metric: threshold 'speed > 3': unknown metric 'speed'; known are *",
            "mark stormdb_slo of test_option: unknown option 'op'; there is operation, abort",
            "test_plain has thresholds but is no workload; mark it stormdb, or use the stormdb fixture",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_a_bad_threshold_on_the_command_line_is_a_usage_error(suite: Suite) -> None:
    """It is refused before anything is collected."""
    write(suite, "max < 1h")
    result = suite.run("--stormdb-slo=p99")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: threshold 'p99': write it as METRIC OP VALUE, such as 'p99 < 20ms'"])


def test_thresholds_hold_for_runs_in_hand(suite: Suite) -> None:
    """The thresholds of a test judge what it runs with the ``stormdb`` fixture, too."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb_slo("max < 1ns")
        def test_it(stormdb):
            stormdb.run(lambda worker: worker.conn.execute("SELECT 1"), iterations=5)
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["max * is not < 1 ns: certain (test_it, 1 worker, 5 operations)"])


def test_a_threshold_of_a_method_is_for_its_operation(suite: Suite) -> None:
    """stormdb_slo on a method of a mix judges that operation alone, beside those of the class."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=120)
        @pytest.mark.stormdb_slo("errors == 0%")
        class TestShop:
            @pytest.mark.stormdb_operation(weight=1)
            @pytest.mark.stormdb_slo("p50 < 1us")
            def slow(self, worker):
                worker.conn.execute("SELECT pg_sleep(0.01)")

            @pytest.mark.stormdb_operation(weight=1)
            @pytest.mark.stormdb_slo("p50 < 10s")
            def fast(self, worker):
                worker.conn.execute("SELECT 1")
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["p50 * ms is not < 1 us: certain (TestShop, 1 worker, operation slow, * operations)"])
    (run,) = suite.runs()
    assert {(t["expression"], t["operation"]): t["verdict"] for t in run["thresholds"]} == {
        ("errors == 0%", None): "pass",
        ("p50 < 1us", "slow"): "fail",
        ("p50 < 10s", "fast"): "pass",
    }


def test_a_threshold_mark_without_a_threshold_is_an_error(suite: Suite) -> None:
    """A stormdb_slo mark that says nothing is refused at set-up."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=1)
        @pytest.mark.stormdb_slo()
        def test_it(worker):
            pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["mark stormdb_slo of test_it: no threshold; write one such as 'p99 < 20ms'"])


def test_a_threshold_that_nobody_can_judge_is_no_plain_green(suite: Suite) -> None:
    """The p99.9 of eight iterations: a warning, counted in the last line, or a failure where that is asked for."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb_slo("p99.9 < 1m")
        @pytest.mark.stormdb(workers=1, iterations=8)
        def test_it(worker):
            worker.conn.execute("SELECT 1")
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*InconclusiveWarning: *p99.9 < 1*", "*= 1 passed, 1 warning, 1 inconclusive in *"])
    assert suite.runs()[0]["outcome"] == "inconclusive"
    suite.run("--stormdb-inconclusive=fail").assert_outcomes(failed=1)

"""What happens in the workers comes home: failures with their introspection, skips, prints, logs, warnings."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..conftest import Suite

LOUD = """
    import logging
    import sys
    import warnings
    import pytest

    logger = logging.getLogger("shop")

    @pytest.mark.stormdb(iterations=1, workers=2)
    def test_loud(worker):
        print(f"printed {worker.id}")
        print(f"erred {worker.id}", file=sys.stderr)
        logger.warning("logged %s %d", "by", worker.id)
        warnings.warn(f"warned {worker.id}")
        assert not FAIL

    def test_quiet():
        print("quiet printed")
        assert False
"""


def test_a_failing_iteration_is_shown_with_its_introspection(suite: Suite) -> None:
    """The first failure appears with worker, iteration, source line and values; the loop went on."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=4, workers=2)
        def test_it(worker):
            answer = worker.conn.execute("SELECT 41").fetchone()
            assert answer != (41,) or worker.iteration != 2
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "2 of 8 iterations failed: 2 x AssertionError",
            "first failure: worker [01], iteration 2, test_it",
            ">       assert answer != (41,) or worker.iteration != 2",
            "E       assert ((41,) != (41,) or 2 != 2)*",
            "  test_it: 2 x AssertionError: *",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")
    (run,) = suite.runs()
    assert (run["totals"]["operations"], run["totals"]["failures"]) == (6, 2)


def test_failures_are_counted_by_their_code(suite: Suite) -> None:
    """By SQLSTATE where the server gave one, else by the exception's type; the connection stays usable."""
    suite.write("""
        import pytest

        FAILURES = {
            "22012": lambda worker: worker.conn.execute("SELECT 1/0"),
            "Failed": lambda worker: pytest.fail("on purpose"),
            "KeyError": lambda worker: {}["gone"],
            "open transaction": lambda worker: worker.conn.execute("BEGIN"),
        }

        @pytest.mark.parametrize("code", FAILURES)
        @pytest.mark.stormdb(iterations=6)
        def test_it(worker, code):
            if worker.iteration % 2:
                FAILURES[code](worker)
            else:
                assert worker.conn.execute("SELECT 1").fetchone() == (1,)
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(failed=4)
    codes = ("22012", "Failed", "KeyError", "open transaction")
    result.stdout.fnmatch_lines([f"3 of 6 iterations failed: 3 x {code}" for code in codes])
    for run, code in zip(suite.runs(), codes, strict=True):
        assert [(e["code"], e["count"]) for e in run["operations"]["test_it"]["errors"]] == [(code, 3)]
        assert (run["totals"]["operations"], run["totals"]["failures"], run["totals"]["reconnects"]) == (3, 3, 0)


def test_a_skip_in_a_worker_skips_the_test(suite: Suite) -> None:
    """``pytest.skip`` ends the run and skips its test, with the reason."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(duration="30s", workers=2)
        def test_it(worker):
            pytest.skip("no such extension")

        @pytest.mark.stormdb(iterations=1)
        def test_next(worker):
            pass
    """)
    result = suite.run("-rs")
    result.assert_outcomes(skipped=1, passed=1)
    result.stdout.fnmatch_lines(["SKIPPED [[]1] test_it.py:3: no such extension"])


def test_an_exit_in_a_worker_leaves_the_session(suite: Suite) -> None:
    """``pytest.exit`` ends the run and the session, with the reason."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(duration="30s", workers=2)
        def test_it(worker):
            pytest.exit("the server burns")

        def test_next():
            raise AssertionError("never reached")
    """)
    result = suite.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*Exit: the server burns*"])
    result.assert_outcomes()


@pytest.mark.parametrize("capture", ["fd", "sys"])
def test_output_of_workers_belongs_to_their_test(suite: Suite, capture: str) -> None:
    """What workers print and log is shown with their test when it fails, and not with the next."""
    suite.write(LOUD.replace("FAIL", "True"))
    result = suite.run(f"--capture={capture}", warnings="ignore")
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    loud, quiet = text.split("_ test_quiet _")
    for word in ("printed", "erred", "logged by"):
        assert [loud.count(f"{word} {worker}") for worker in (0, 1)] == [1, 1], word
        assert word not in quiet.replace("quiet printed", "")
    assert "Captured stdout call" in loud
    assert "Captured stderr call" in loud
    assert "Captured log call" in loud


def test_output_of_workers_is_quiet_when_they_pass(suite: Suite) -> None:
    """A passing workload shows no output, and gives none to the next test."""
    suite.write(LOUD.replace("FAIL", "False"))
    result = suite.run(warnings="ignore")
    result.assert_outcomes(passed=1, failed=1)
    for word in ("printed 0", "erred 0", "logged by"):
        assert word not in result.stdout.str()


def test_output_without_capture_is_shown(suite: Suite) -> None:
    """Under ``-s`` the workers' output appears as it is, each line once."""
    suite.write(LOUD.replace("FAIL", "False"))
    result = suite.run("-s", warnings="ignore")
    assert [result.stdout.str().count(f"printed {worker}") for worker in (0, 1)] == [1, 1]
    assert [result.stderr.str().count(f"erred {worker}") for worker in (0, 1)] == [1, 1]


def test_warnings_of_workers_are_in_the_summary(suite: Suite) -> None:
    """A warning raised in a worker is in pytest's warnings summary, with its test."""
    suite.write(LOUD.replace("FAIL", "False"))
    result = suite.run("--deselect=test_it.py::test_quiet", warnings="default")
    result.assert_outcomes(passed=1, warnings=2, deselected=1)
    result.stdout.fnmatch_lines(["test_it.py::test_loud", "*UserWarning: warned [01]"])


def test_a_warning_that_is_an_error_fails_its_iteration(suite: Suite) -> None:
    """Under ``-W error`` a warning in a worker is a failure of the iteration, not of the run's machinery."""
    suite.write(LOUD.replace("FAIL", "False"))
    result = suite.run("--deselect=test_it.py::test_quiet")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["2 of 2 iterations failed: 2 x UserWarning"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_the_log_file_gets_the_workers_records(suite: Suite) -> None:
    """``caplog``'s handlers and the log file see the records of the workers as of any test."""
    suite.write(LOUD.replace("FAIL", "False"))
    suite.run("--log-file=run.log", "--log-file-level=INFO", warnings="ignore")
    log = Path(suite.path / "run.log").read_text()
    assert all(f"logged by {worker}" in log for worker in (0, 1))


def test_a_worker_fixture_that_fails_is_an_error_of_its_author(suite: Suite) -> None:
    """A failing set-up or tear-down in a worker fails the run with worker, exception and source line."""
    suite.write("""
        import pytest
        import pytest_stormdb

        @pytest_stormdb.worker_fixture
        def cache(worker):
            assert worker.id < 1, "only one cache"
            yield
            assert False, "cannot close"

        @pytest.mark.stormdb(iterations=1)
        def test_it(worker, cache):
            pass
    """)
    result = suite.run("--stormdb-workers=2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["worker 1: AssertionError: only one cache*", ">       assert worker.id < 1, *"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")
    result = suite.run("--stormdb-workers=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["worker 0: AssertionError: cannot close*"])

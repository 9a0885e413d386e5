"""The runner in the hand: a result, and plain asserts on it."""

from __future__ import annotations

from ..conftest import Suite


def test_a_result_has_the_promised_figures(suite: Suite) -> None:
    """Every name of the interface is there, consistent, and in seconds."""
    suite.write("""
        import time
        import pytest

        def nap(worker):
            with worker.operation("part"):
                time.sleep(0.002)
            worker.metrics.count("naps")
            if worker.iteration == 3:
                raise ValueError("tired")

        def test_it(stormdb):
            result = stormdb.run(nap, workers=2, iterations=10)
            assert (result.operations, result.failures, result.errors) == (18, 2, {"ValueError": 2})
            assert 0.002 <= result.min <= result.p50 <= result.p90 <= result.p95 <= result.p99 <= result.max < 5
            assert result.min <= result.mean <= result.max
            assert result.percentile(100) == result.max
            assert result.service.p50 == result.p50
            assert result.lag.max == 0
            assert 0 < result.throughput < 1000
            assert result.operation("part").operations == 20
            assert result.operation("nap").operations == 18
            assert result.metrics == {"naps": 20}
            assert (result.retries, result.reconnects, result.dropped) == (0, 0, 0)
            assert result.record["totals"]["operations"] == 18
            assert result.record["plan"]["workers"] == 2
            with pytest.raises(KeyError, match="no operation 'pat' ran; there were nap, part"):
                result.operation("pat")
    """)
    result = suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["* test_it.py::test_it", "  2 workers, 10 iterations each, * s"])


def test_an_assert_on_a_result_shows_its_numbers(suite: Suite) -> None:
    """The introspection of a failing assert shows the value, and the figures around it."""
    suite.write("""
        import time

        def test_it(stormdb):
            result = stormdb.run(lambda worker: time.sleep(0.002), iterations=5, connect=False)
            assert result.p99 < 0.000020
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"E       assert 0\.00\d+ < 2e-05",
            r"E        \+  where 0\.00\d+ = <Result: 5 operations, 0 failures, [\d.]+/s, p50 .* ms, .*>\.p99",
        ]
    )


def test_options_come_from_call_mark_and_command_line(suite: Suite) -> None:
    """The call is stronger than the mark, the command line stronger than both."""
    suite.write("""
        import pytest

        @pytest.mark.parametrize("size", [1, 2])
        def test_it(stormdb, size):
            result = stormdb.run(lambda worker: worker.conn.execute("SELECT 1"), workers=3, iterations=size, seed=2)
            assert result.operations == result.record["plan"]["workers"] * size
    """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=2)
    assert [run["plan"]["workers"] for run in suite.runs()] == [3, 3]
    suite.run("--stormdb-json=runs.json", "--stormdb-workers=1").assert_outcomes(passed=2)
    assert [(run["plan"]["workers"], run["plan"]["seed"]) for run in suite.runs()] == [(1, 2), (1, 2)]


def test_several_runs_in_one_test(suite: Suite) -> None:
    """Two runs of one test are two results, both reported."""
    suite.write("""
        def test_it(stormdb):
            one = stormdb.run(lambda worker: worker.conn.execute("SELECT 1"), iterations=3)
            two = stormdb.run(lambda worker: worker.conn.execute("SELECT 2"), iterations=4)
            assert (one.operations, two.operations) == (3, 4)
    """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    assert [(run["name"], run["totals"]["operations"]) for run in suite.runs()] == [(None, 3), ("run-2", 4)]


def test_runs_of_one_test_are_told_apart_by_their_names(suite: Suite) -> None:
    """Each run's name is in the summary, in JSON and JUnit; an unnamed one after another gets its number."""
    suite.write("""
        import pytest

        def ask(worker):
            with worker.operation("part"):
                worker.conn.execute("SELECT 1")

        @pytest.mark.parametrize("size", [3])
        def test_it(stormdb, size):
            stormdb.run(ask, iterations=size, name="first")
            stormdb.run(ask, iterations=4)
            stormdb.run(ask, iterations=5, name="the last")
    """)
    result = suite.run("--stormdb-json=runs.json", "--stormdb-markdown=runs.md", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1)
    names = ["first", "run-2", "the last"]
    assert [(run["nodeid"], run["name"]) for run in suite.runs()] == [
        ("test_it.py::test_it[3]", name) for name in names
    ]
    result.stdout.fnmatch_lines([f"* test_it.py::test_it[[]3] ({name})" for name in names])
    properties = (suite.path / "junit.xml").read_text()
    for name, count in zip(names, (3, 4, 5), strict=True):
        assert f'name="stormdb.{name}.operations" value="{count}"' in properties
        assert f'name="stormdb.{name}.part.operations" value="{count}"' in properties
        assert f"({name}) |" in (suite.path / "runs.md").read_text()
    assert 'name="stormdb.operations"' not in properties


def test_equal_names_of_runs_are_refused(suite: Suite) -> None:
    """Two runs of one name, and what is no name, are one sentence; a test that runs again may use its names again."""
    suite.write("""
        import pytest

        @pytest.mark.parametrize("size", [1, 2])
        def test_it(stormdb, size):
            stormdb.run(lambda worker: None, iterations=1, name="same")
            if size == 2:
                stormdb.run(lambda worker: None, iterations=1, name="same")

        def test_that(stormdb):
            stormdb.run(lambda worker: None, iterations=1, name="")
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "stormdb.run in test_it[[]2]: name: this test has a run 'same' already; give each its own",
            "stormdb.run in test_that: name: '' is no name; give a short text",
        ]
    )


def test_a_run_without_success_fails_its_test(suite: Suite) -> None:
    """Even a test that asserts nothing about the result fails when nothing succeeded."""
    suite.write("""
        def test_it(stormdb):
            result = stormdb.run(lambda worker: 1 / 0, iterations=3)
            assert (result.operations, result.failures) == (0, 3)
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*stormdb.run: no iteration succeeded (3 failed)"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_an_async_function_in_hand(suite: Suite) -> None:
    """A coroutine function runs in tasks, on an asynchronous connection."""
    suite.write("""
        async def ask(worker):
            cursor = await worker.conn.execute("SELECT 41 + 1")
            assert await cursor.fetchone() == (42,)

        def test_it(stormdb):
            assert stormdb.run(ask, workers=4, iterations=3).operations == 12
    """)
    suite.run().assert_outcomes(passed=1)


def test_bad_options_in_hand(suite: Suite) -> None:
    """A wrong option is one sentence that names the call."""
    suite.write("""
        def test_it(stormdb):
            stormdb.run(lambda worker: None, worker=3)

        def test_that(stormdb):
            stormdb.run(lambda worker: None, workers=0)
    """)
    result = suite.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "stormdb.run in test_it: unknown option 'worker'; did you mean 'workers'?",
            "stormdb.run in test_that: workers: 0 is out of range; give a number from 1 to 10000",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_the_marker_selects_runs_in_hand(suite: Suite) -> None:
    """``-m stormdb`` selects tests with the runner as well, and a mark on one gives its runs their options."""
    suite.write("""
        import pytest

        def test_plain():
            pass

        @pytest.mark.stormdb(iterations=3, workers=2)
        def test_in_hand(stormdb):
            assert stormdb.run(lambda worker: None).operations == 6

        def test_unmarked(stormdb):
            assert stormdb.run(lambda worker: None, iterations=2).operations == 2
    """)
    suite.run("-m", "stormdb").assert_outcomes(passed=2, deselected=1)
    suite.run("-m", "not stormdb").assert_outcomes(passed=1, deselected=2)

"""What pytest keeps for a test comes back from its workers, or is refused in a sentence before the load."""

from __future__ import annotations

import pytest

from ..conftest import Suite


def test_soft_failures_are_failures(suite: Suite) -> None:
    """A failing subtest and a failing check fail their iteration, also from a callable in hand."""
    pytest.importorskip("pytest_check")
    suite.write("""
        import pytest

        check = pytest.importorskip("pytest_check")

        @pytest.mark.stormdb(workers=2, iterations=4)
        def test_subtests(worker, subtests):
            with subtests.test("wrong every second time", worker=worker.id):
                assert worker.iteration % 2

        @pytest.mark.stormdb(workers=2, iterations=4)
        def test_check(worker):
            check.equal(worker.iteration % 2, 1)

        @pytest.mark.stormdb(workers=2, iterations=4, processes=1)
        def test_check_block(worker):
            with check.check:
                assert worker.iteration % 2

        def test_in_hand(stormdb, subtests):
            def subtest(worker):
                with subtests.test("always wrong"):
                    assert False
            assert stormdb.run(subtest, iterations=3).errors == {"AssertionError": 3}
    """)
    result = suite.run("--stormdb-json=runs.json", plugins=("stormdb", "pytest_check.plugin"))
    result.assert_outcomes(failed=4)
    for run in suite.runs()[:3]:
        assert (run["totals"]["operations"], run["totals"]["failures"]) == (4, 4), run["nodeid"]
    assert len(suite.runs()) == 4
    result.stdout.no_fnmatch_line("*SUBFAIL*")


@pytest.mark.parametrize(
    "fixture",
    ["record_property", "record_xml_attribute", "record_testsuite_property", "caplog", "capsys", "capfd", "recwarn"],
)
def test_fixtures_that_see_nothing_of_workers(fixture: str) -> None:
    """Each is refused with the way out."""
    from pytest_stormdb.plugin.reporting import lost_in_workers

    said = lost_in_workers("test_it", ("worker", fixture))
    assert said is not None
    assert said.startswith(f"test_it: fixture {fixture!r} sees nothing of what workers do; ")
    assert lost_in_workers("test_it", ("worker", "tmp_path")) is None


def test_outcomes_of_pytest_and_unittest(suite: Suite) -> None:
    """Skips and expected failures, raised in a worker or marked, are the test's; refusals are errors of its set-up."""
    suite.write("""
        import unittest
        import pytest

        pytestmark = pytest.mark.stormdb(workers=2, duration="20s")
        one = pytest.mark.stormdb(workers=1, iterations=1)
        seen = []

        def setup_function(function):
            seen.append(function.__name__)

        def test_skip_test(worker):
            raise unittest.SkipTest("not today")

        def test_xfail(worker):
            pytest.xfail("known to be slow")

        @pytest.mark.skip(reason="by mark")
        def test_skip_mark(worker):
            pass

        @one
        @pytest.mark.xfail(reason="by mark")
        def test_xfail_mark(worker):
            assert False

        @one
        def test_set_up(worker):
            assert seen[-1] == "test_set_up"

        class TestPlain:
            @pytest.fixture
            def rows(self):
                return 3

            def setup_method(self):
                self.value = 1

            @classmethod
            def setup_class(cls):
                cls.of_class = 2

            @one
            def test_method(self, worker, rows):
                assert (self.value, self.of_class, rows) == (1, 2, 3)

        def test_refused(worker, capsys):
            pass
    """)
    result = suite.run("-rsxE", "--stormdb-iterations=1")
    result.assert_outcomes(skipped=2, xfailed=2, passed=2, errors=1)
    result.stdout.fnmatch_lines_random(
        ["SKIPPED*not today", "SKIPPED*by mark", "XFAIL*known to be slow", "*fixture 'capsys' sees nothing of *"]
    )


def test_xfail_that_expects_an_exception(suite: Suite) -> None:
    """``xfail(raises=...)`` is about what iterations raise: the first of that kind ends the run as expected to fail,
    anything else fails as without the mark."""
    suite.write("""
        import psycopg
        import pytest

        pytestmark = pytest.mark.stormdb(workers=2, iterations=4)

        @pytest.mark.xfail(raises=psycopg.errors.DivisionByZero, reason="bug 17")
        def test_expected(worker):
            worker.conn.execute("SELECT 1 / 0")

        @pytest.mark.xfail(raises=(KeyError, psycopg.Error), strict=True)
        async def test_any_of_them(worker):
            await worker.conn.execute("SELECT 1 / 0")

        @pytest.mark.xfail(raises=KeyError)
        def test_another(worker):
            worker.conn.execute("SELECT 1 / 0")

        @pytest.mark.xfail(raises=KeyError)
        def test_both(worker):
            {}["x"] if worker.iteration == 2 else worker.conn.execute("SELECT 1 / 0")

        @pytest.mark.xfail(raises=KeyError, strict=True)
        def test_none(worker):
            pass

        @pytest.mark.xfail(False, raises=KeyError, reason="not here")
        def test_condition(worker):
            {}["x"]

        @pytest.mark.xfail(raises=AssertionError)
        def test_in_hand(stormdb):
            def fail(worker):
                assert worker.iteration % 2
            assert stormdb.run(fail, iterations=4).failures == 0
    """)
    result = suite.run("-rfxX")
    result.assert_outcomes(xfailed=3, failed=4)
    names = ["test_another", "test_both", "test_none", "test_condition"]
    result.stdout.fnmatch_lines_random([f"FAILED test_it.py::{name}*" for name in names])
    result.stdout.fnmatch_lines(["XFAIL test_it.py::test_expected - *bug 17*"])
    result = suite.run("--runxfail", "-k", "expected or any")
    result.assert_outcomes(failed=2)

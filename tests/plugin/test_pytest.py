"""Marked functions are tests: every way pytest selects, orders, stops and reports them keeps working."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from ..conftest import Suite

THREE = """
    import pytest

    pytestmark = pytest.mark.stormdb(iterations=1)

    @pytest.fixture(scope="module")
    def table(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE t (i int)")

    def test_read(worker, table):
        assert worker.conn.execute("SELECT count(*) FROM t").fetchone()

    def test_write(worker, table):
        worker.conn.execute("INSERT INTO t VALUES (1)")

    @pytest.mark.parametrize("size", [1, 20])
    def test_many(worker, table, size):
        worker.conn.execute("INSERT INTO t SELECT generate_series(1, %s)", [size])

    class TestGroup:
        def test_method(self, worker, table):
            assert isinstance(self, TestGroup)
"""


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        ((), {"passed": 5}),
        (("-k", "read or write"), {"passed": 2, "deselected": 3}),
        (("-k", "many and 20"), {"passed": 1, "deselected": 4}),
        (("-m", "stormdb"), {"passed": 5}),
        (("-m", "not stormdb"), {"deselected": 5}),
        (("test_it.py::TestGroup::test_method",), {"passed": 1}),
        (("test_it.py::test_many[20]", "--strict-markers"), {"passed": 1}),
    ],
)
def test_selection(suite: Suite, options: tuple[str, ...], outcomes: dict[str, int]) -> None:
    """``-k``, ``-m`` and node ids select workloads as they select tests."""
    suite.write(THREE)
    suite.run(*options).assert_outcomes(**outcomes)


def test_collecting_touches_no_server(suite: Suite) -> None:
    """``--collect-only`` lists the workloads and connects to nothing; ``-q`` prints node ids alone."""
    suite.env.setenv("STORMDB_DSN", "host=/nowhere")
    suite.write(THREE)
    result = suite.run("--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    assert result.outlines[:5] == [
        "test_it.py::test_read",
        "test_it.py::test_write",
        "test_it.py::test_many[1]",
        "test_it.py::test_many[20]",
        "test_it.py::TestGroup::test_method",
    ]
    result.stdout.no_fnmatch_line("*stormdb =*")


def test_the_plan_of_the_set_up_touches_no_server(suite: Suite) -> None:
    """``--setup-plan`` shows the fixtures and runs nothing."""
    suite.env.setenv("STORMDB_DSN", "host=/nowhere")
    suite.write(THREE)
    result = suite.run("--setup-plan", "-k", "test_read")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*SETUP    S stormdb_dsn*", "*SETUP    M table*", "*test_read*"])


def test_the_set_up_alone(suite: Suite) -> None:
    """``--setup-only`` sets the fixtures up, on the server, and runs no load."""
    suite.write(THREE)
    result = suite.run("--setup-only", "-k", "test_read")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*SETUP    M table*"])
    result.stdout.no_fnmatch_line("*= stormdb =*")


@pytest.mark.parametrize(("options", "failed"), [(("-x",), 1), (("--maxfail=2",), 2), ((), 3)])
def test_stopping_after_failures(suite: Suite, options: tuple[str, ...], failed: int) -> None:
    """``-x`` and ``--maxfail`` stop between workloads."""
    suite.write("""
        import pytest

        @pytest.mark.parametrize("n", range(3))
        @pytest.mark.stormdb(iterations=1)
        def test_it(worker, n):
            assert False
    """)
    result = suite.run(*options)
    result.assert_outcomes(failed=failed)


def test_marks_of_pytest_keep_their_meaning(suite: Suite) -> None:
    """``skip``, ``skipif`` and ``xfail`` apply to a workload as to any test."""
    suite.write("""
        import pytest

        @pytest.mark.skip(reason="later")
        @pytest.mark.stormdb(iterations=1)
        def test_skipped(worker):
            pass

        @pytest.mark.xfail(strict=True)
        @pytest.mark.stormdb(iterations=1)
        def test_expected(worker):
            assert False

        @pytest.mark.xfail(strict=True)
        @pytest.mark.stormdb(iterations=1)
        def test_unexpected(worker):
            pass
    """)
    suite.run().assert_outcomes(skipped=1, xfailed=1, failed=1)


def test_classes_hold_workloads(suite: Suite) -> None:
    """A marked method gets its own instance, its class's fixtures, and marks of the class or of itself."""
    suite.write("""
        import pytest

        class TestShop:
            @pytest.fixture(autouse=True)
            def shelf(self):
                self.shelf = ["apple"]

            @pytest.mark.stormdb(iterations=2, workers=2)
            def test_buy(self, worker):
                assert self.shelf == ["apple"]

        @pytest.mark.stormdb(iterations=3)
        class TestAll:
            def test_one(self, worker):
                pass

            @pytest.mark.stormdb(iterations=1)
            def test_two(self, worker):
                pass
    """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=3)
    assert [run["totals"]["operations"] for run in suite.runs()] == [4, 3, 1]


def test_the_debugger_runs_one_worker_inline(suite: Suite) -> None:
    """``--pdb`` stops in the workload's own frame, on its failing line, and ``q`` leaves."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(duration="1h", workers=8)
        def test_it(worker):
            answer = worker.conn.execute("SELECT 41").fetchone()[0]
            assert answer == 42
    """)
    result = suite.run("--pdb", stdin=b"p answer\np worker\nq\n")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["E       assert 41 == 42", "*(Pdb)*41", "*<Worker 0 of 8>*"])
    result.stdout.fnmatch_lines(["1 workload ran once, not measured (--pdb)"])


def test_smoke_runs_each_workload_once(suite: Suite) -> None:
    """``--stormdb-smoke`` runs each operation once, in this process, as a plain test, thresholds aside."""
    suite.write("""
        import os
        import pytest

        parent = os.getpid()

        @pytest.mark.stormdb(duration="1h", workers=50, warmup="1h")
        @pytest.mark.stormdb_slo("max < 1ns")
        def test_good(worker):
            assert os.getpid() == parent
            assert (worker.id, worker.iteration) == (0, 0)
            assert worker.conn.execute("SELECT 1").fetchone() == (1,)

        @pytest.mark.stormdb(duration="1h")
        def test_bad(worker):
            assert worker.conn.execute("SELECT 1").fetchone() == (2,)

        @pytest.mark.stormdb(duration="1h")
        async def test_async(worker):
            assert await (await worker.conn.execute("SELECT 1")).fetchone() == (1,)

        @pytest.mark.stormdb(duration="1h")
        class TestMix:
            @pytest.mark.stormdb_operation(weight=99)
            def read(self, worker):
                print("read once")

            @pytest.mark.stormdb_operation(weight=1)
            def write(self, worker):
                print("wrote once")

        def test_in_hand(stormdb):
            stormdb.run(lambda worker: print("in hand once"), duration="1h")
    """)
    result = suite.run("--stormdb-smoke", "-rPs")
    result.assert_outcomes(passed=3, failed=1, skipped=1)
    result.stdout.fnmatch_lines(["E       assert (1,) == (2,)*"])
    for line in ("read once", "wrote once"):
        assert result.outlines.count(line) == 1
    result.stdout.fnmatch_lines(["5 workloads ran once, not measured (--stormdb-smoke)"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_reruns_start_afresh(suite: Suite) -> None:
    """rerunfailures runs a workload again, and the properties of the first try do not stay."""
    suite.write("""
        import pathlib
        import pytest

        @pytest.mark.stormdb(iterations=1)
        def test_it(worker):
            tries = pathlib.Path("tries")
            with tries.open("a") as out:
                out.write("x")
            assert len(tries.read_text()) == 2
    """)
    result = suite.run("--reruns=2", "--junitxml=r.xml", plugins=("stormdb", "rerunfailures"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 passed, 1 rerun*"])
    cases = ET.parse(suite.path / "r.xml").findall(".//testcase")
    verdicts = [[p.attrib["value"] for p in case.iter("property") if "verdict" in p.attrib["name"]] for case in cases]
    assert verdicts == [["failed"], ["passed"]]


def test_without_the_plugin_the_rest_of_a_suite_is_clean(suite: Suite) -> None:
    """``-p no:stormdb`` leaves ordinary tests alone, even with every warning an error."""
    suite.write("""
        def test_plain():
            pass
    """)
    suite.env.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    suite.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    result = suite.run("-p", "no:stormdb", plugins=())
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*stormdb-*")


def test_ordinary_tests_beside_workloads(suite: Suite) -> None:
    """A module may hold both; only the workload is measured, and an ordinary test cannot ask for the worker."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=1)
        def test_load(worker):
            pass

        def test_plain(stormdb_connection):
            assert stormdb_connection.execute("SELECT current_database()").fetchone() == ("stormdb_it",)

        def test_wrong(worker):
            pass
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=2, errors=1)
    assert len(suite.runs()) == 1
    result.stdout.fnmatch_lines(["fixture 'worker': test_wrong is not marked stormdb; only a workload has workers"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")

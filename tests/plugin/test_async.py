"""Asynchronous workloads, mixes, batches, and loads that are not the plain closed loop."""

from __future__ import annotations

import pytest

from ..conftest import Suite

ASYNC = """
    import asyncio
    import pytest
    import pytest_stormdb

    @pytest_stormdb.worker_fixture
    async def session(worker):
        await asyncio.sleep(0)
        yield f"session {worker.id}"
        await asyncio.sleep(0)

    @pytest.mark.stormdb(iterations=5, workers=4)
    async def test_async(worker, session):
        assert session == f"session {worker.id}"
        cursor = await worker.conn.execute("SELECT 41 + 1")
        assert await cursor.fetchone() == (42,)
        assert await worker.prepare("SELECT $1::int").fetchval(7) == 7
"""


@pytest.mark.parametrize(
    ("plugins", "options"),
    [
        ((), ()),
        (("asyncio",), ("--asyncio-mode=strict",)),
        (("asyncio",), ("--asyncio-mode=auto",)),
        (("asyncio", "anyio"), ("--asyncio-mode=auto", "-p", "no:asyncio")),
    ],
)
def test_async_functions_need_no_other_mark(suite: Suite, plugins: tuple[str, ...], options: tuple[str, ...]) -> None:
    """They run in tasks with or without pytest-asyncio, in both its modes, beside its own tests."""
    if "anyio" in plugins:
        plugins, options = (), ("-p", "no:asyncio")
    suite.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    own = """
    @pytest.mark.asyncio
    async def test_theirs():
        await asyncio.sleep(0)
    """
    suite.write(ASYNC + (own if "asyncio" in plugins else ""))
    warnings = "error" if plugins else "ignore::pytest.PytestConfigWarning"
    result = suite.run("--stormdb-json=runs.json", *options, plugins=("stormdb", *plugins), warnings=warnings)
    result.assert_outcomes(passed=2 if "asyncio" in plugins else 1)
    assert suite.runs()[0]["totals"]["operations"] == 20


def test_an_async_failure_is_shown(suite: Suite) -> None:
    """An assertion in a coroutine keeps its introspection."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=2)
        async def test_it(worker):
            row = await (await worker.conn.execute("SELECT 1")).fetchone()
            assert row == (2,)
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["no iteration succeeded (2 failed)", ">       assert row == (2,)", "E       assert (1,) ==*"]
    )
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


MIX = """
    import pytest

    @pytest.fixture(scope="module")
    def table(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE t (kind text)")
        return "t"

    @pytest.mark.stormdb(iterations=200, workers=2, seed=3)
    @pytest.mark.stormdb_slo("max < 1h", operation="write")
    class TestShop:
        def __init__(self):
            self.calls = 0

        @pytest.mark.stormdb_operation(weight=75)
        def read(self, worker):
            self.calls += 1
            worker.conn.execute("SELECT 1")

        @pytest.mark.stormdb_operation(weight=25)
        def write(self, worker, table):
            self.calls += 1
            worker.metrics.gauge(f"calls-{worker.id}", self.calls)
            worker.conn.execute(f"INSERT INTO {table} VALUES ('write')")

        def helper(self):
            raise AssertionError("no operation")
"""


def test_a_marked_class_is_one_weighted_mix(suite: Suite) -> None:
    """One test item; each method an operation drawn by its weight, on one object per worker."""
    suite.write(MIX)
    result = suite.run("--stormdb-json=runs.json", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_it.py::TestShop PASSED*"])
    (run,) = suite.runs()
    counts = {name: operation["count"] for name, operation in run["operations"].items()}
    assert set(counts) == {"read", "write"}
    assert sum(counts.values()) == run["totals"]["operations"] == 400
    assert 250 < counts["read"] < 350
    assert [t["operation"] for t in run["thresholds"]] == ["write"]
    again = suite.run("--stormdb-json=runs.json")
    again.assert_outcomes(passed=1)
    assert {n: o["count"] for n, o in suite.runs()[0]["operations"].items()} == counts


def test_bad_mixes_are_set_up_errors(suite: Suite) -> None:
    """What is wrong with a mix is one sentence that names the method."""
    suite.write("""
        import pytest

        pytestmark = pytest.mark.stormdb(iterations=1)
        operation = pytest.mark.stormdb_operation

        class TestZero:
            @operation(weight=0)
            def read(self, worker):
                pass

        class TestText:
            @operation(weight="big")
            def read(self, worker):
                pass

        class TestTypo:
            @operation(wieght=2)
            def read(self, worker):
                pass

        class TestAlone:
            @operation()
            def read(self):
                pass

        class TestTwo:
            @operation()
            def read(self, worker):
                pass

            @operation()
            async def write(self, worker):
                pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=5)
    result.stdout.fnmatch_lines(
        [
            "TestZero.read: weight=0 is not a number above zero",
            "TestText.read: weight='big' is not a number above zero",
            "mark stormdb_operation of TestTypo.read: unknown option 'wieght'; there is weight",
            "TestAlone.read is an operation but has no 'worker' argument; write def read(self, worker, ...)",
            "TestTwo mixes 'def' and 'async def' operations; use one kind",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_operations_without_their_mark_are_no_silent_nothing(suite: Suite) -> None:
    """A test class whose methods are operations, but which is not marked, is a collection error."""
    suite.write("""
        import pytest

        class Shop:
            @pytest.mark.stormdb_operation(weight=2)
            def read(self, worker):
                pass

        class TestShop(Shop):
            pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["TestShop has operations but is not marked stormdb"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")
    (suite.path / "test_it.py").write_text(
        (suite.path / "test_it.py").read_text() + "\npytestmark = pytest.mark.stormdb(iterations=3)\n"
    )
    suite.run().assert_outcomes(passed=1)


def test_results_speak_for_their_operations(suite: Suite) -> None:
    """A batch returns a result for each of its operations; rows, failures and names are counted as it says."""
    suite.write("""
        import pytest
        from pytest_stormdb import OperationResult

        @pytest.mark.stormdb(iterations=3, batch_size=4)
        @pytest.mark.stormdb_slo("errors < 50%")
        def test_batch(worker, batch_size):
            results = [OperationResult(operation="insert", rows_affected=10) for _ in range(batch_size - 1)]
            return [*results, OperationResult(False, "insert", "the last one never works")]
    """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    (run,) = suite.runs()
    insert = run["operations"]["insert"]
    assert (insert["count"], insert["failures"], insert["rows"]) == (9, 3, 90)
    assert insert["errors"] == [{"code": "unsuccessful", "count": 3, "example": "the last one never works"}]
    assert run["totals"]["operations"] == 9


def test_an_open_loop_keeps_its_schedule(suite: Suite) -> None:
    """A rate starts as many iterations as it says, and lag and response count from the intended start."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(workers=4, rate="100/s", duration="500ms")
        def test_it(worker):
            worker.conn.execute("SELECT 1")
    """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert run["plan"]["rate_per_s"] == 100
    assert run["totals"]["operations"] + run["totals"]["dropped"] == 50
    operation = run["operations"]["test_it"]
    assert operation["response"]["max_s"] >= operation["service"]["min_s"]
    assert operation["lag"]["max_s"] > 0


def test_stages_are_reported_one_by_one(suite: Suite) -> None:
    """Stages of workers run one after the other, each with its own figures."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(stages="1:300ms,3:300ms")
        def test_it(worker):
            worker.conn.execute("SELECT 1")
    """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert [stage["label"] for stage in run["stages"]] == ["1 worker for 0.3 s", "3 workers for 0.3 s"]
    assert sum(stage["operations"] for stage in run["stages"]) == run["totals"]["operations"]
    assert all(stage["operations"] > 0 for stage in run["stages"])

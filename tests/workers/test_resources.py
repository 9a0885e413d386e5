"""What a worker sets up for itself, how it is torn down, and asynchronous workloads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.isolation import Home
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.run.pipeline import run
from pytest_stormdb.workload.contract import Operation, WorkerPlaceholder, Workload
from pytest_stormdb.workload.resources import WorkerFixture

from .harness import errors_of, load, sessions, within

Log = Callable[[], list[str]]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Any]:
    """Writes a line from any process; called without one, gives all lines."""
    out = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(line: str = "") -> list[str]:
        if line:
            os.write(out, f"{line}\n".encode())
        return (tmp_path / "log").read_text().splitlines()

    yield note
    os.close(out)


def recipes(log: Any, *, broken: str = "") -> dict[str, object]:
    """Two resources, the second built on the first."""

    def first(worker: Any) -> Iterator[str]:
        log(f"{worker.id} first up")
        yield f"first of {worker.id}"
        log(f"{worker.id} first down")

    def second(worker: Any, first: str) -> Iterator[str]:
        if broken == "up":
            raise RuntimeError("second cannot be set up")
        log(f"{worker.id} second up on {first}")
        yield "second"
        log(f"{worker.id} second down")
        if broken == "down":
            raise RuntimeError("second cannot be torn down")

    slot = WorkerPlaceholder()
    one = WorkerFixture(first, {"worker": slot})
    return {"second": WorkerFixture(second, {"worker": slot, "first": one}), "first": one}


@pytest.mark.parametrize("processes", [1, 2], ids=["threads", "processes"])
def test_resources_are_torn_down_in_reverse(dsn: str, log: Any, processes: int) -> None:
    """Each worker has its own, set up once in the order of need, shared within it, torn down in reverse."""

    def uses(worker: Any, second: str, first: str) -> None:
        assert (first, second) == (f"first of {worker.id}", "second")

    record = load(uses, dsn, arguments=recipes(log), workers=2, iterations=3, processes=processes)
    assert record.statistics.total.count == 6
    for worker in (0, 1):
        assert [line for line in log() if line.startswith(str(worker))] == [
            f"{worker} first up",
            f"{worker} second up on first of {worker}",
            f"{worker} second down",
            f"{worker} first down",
        ]


def test_a_resource_that_cannot_be_set_up_ends_the_run(dsn: str, log: Any) -> None:
    """The run does not start, the error names the worker, and what was set up is torn down."""

    def uses(worker: Any, second: str, first: str) -> None:
        log("ran")

    record = load(uses, dsn, arguments=recipes(log, broken="up"), workers=2, duration="30s")
    assert record.outcome == "error"
    assert "RuntimeError: second cannot be set up" in record.reasons[0]
    assert sorted(log()) == ["0 first down", "0 first up", "1 first down", "1 first up"]
    assert within(3, lambda: not sessions(dsn))


def test_a_resource_that_cannot_be_torn_down_keeps_no_other(dsn: str, log: Any) -> None:
    """The error of one tear-down fails the run after its results, and the next resource is torn down all the same."""

    def uses(worker: Any, second: str, first: str) -> None:
        """Nothing."""

    record = load(uses, dsn, arguments=recipes(log, broken="down"), workers=1, iterations=3)
    assert record.outcome == "error"
    assert "second cannot be torn down" in record.reasons[0]
    assert record.statistics.total.count == 3
    assert log()[-1] == "0 first down"


def test_resources_are_torn_down_after_failures(dsn: str, log: Any) -> None:
    """Failed iterations, and a workload that exits early, leave the tear-down to happen."""

    def fails(worker: Any, second: str, first: str) -> None:
        raise ValueError("always")

    record = load(fails, dsn, arguments=recipes(log), workers=1, iterations=2)
    assert errors_of(record) == {"ValueError": 2}
    assert log()[-2:] == ["0 second down", "0 first down"]


def test_asynchronous_resources(dsn: str, log: Any) -> None:
    """An async generator and a plain one serve an async workload side by side."""

    async def pool(worker: Any) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(worker.dsn, autocommit=True) as conn:
            yield conn
        log(f"{worker.id} closed")

    async def uses(worker: Any, pool: psycopg.AsyncConnection[Any]) -> None:
        assert isinstance(worker.conn, psycopg.AsyncConnection)
        row = await (await pool.execute("SELECT pg_backend_pid() <> %s", [worker.conn.info.backend_pid])).fetchone()
        assert row == (True,)

    arguments = {"pool": WorkerFixture(pool, {"worker": WorkerPlaceholder()})}
    record = load(uses, dsn, arguments=arguments, workers=3, iterations=2, processes=1)
    assert (record.statistics.total.count, record.statistics.total.failures) == (6, 0)
    assert sorted(log()) == ["0 closed", "1 closed", "2 closed"]


def test_an_asynchronous_resource_needs_an_asynchronous_workload(dsn: str) -> None:
    """Used by a plain function, it ends the run with a sentence that says so."""

    async def pool(worker: Any) -> AsyncIterator[int]:
        yield 1

    def uses(worker: Any, pool: int) -> None:
        """Nothing."""

    record = load(
        uses, dsn, arguments={"pool": WorkerFixture(pool, {"worker": WorkerPlaceholder()})}, workers=1, iterations=1
    )
    assert "only an async def workload can use it" in record.reasons[0]


def test_tasks_of_one_process_run_at_the_same_time(dsn: str) -> None:
    """Ten tasks that sleep 0.2 s on the server each finish together, in one process."""

    async def sleeps(worker: Any) -> None:
        await worker.conn.execute("SELECT pg_sleep(0.2)")

    record = load(sleeps, dsn, workers=10, iterations=2, processes=1)
    assert record.layout == (10,)
    assert record.statistics.total.count == 20
    assert record.statistics.elapsed_s < 10 * 2 * 0.2 / 2


def test_parts_and_mixes_of_asynchronous_operations(dsn: str) -> None:
    """Tasks have parts of their own, which do not nest, beside a weighted mix."""

    async def reads(worker: Any) -> None:
        with worker.operation("select"):
            await asyncio.sleep(0.001)
        with worker.operation("fetch"):
            await worker.conn.execute("SELECT 1")

    async def nests(worker: Any) -> None:
        with worker.operation("outer"), worker.operation("inner"):
            pass

    operations = (Operation("reads", reads, weight=3), Operation("nests", nests, weight=1))
    plan = make_plan(("", {"workers": 4, "iterations": 50, "processes": 1}))
    record = run(
        Workload(name="mix", nodeid="mix", operations=operations, is_async=True), plan, Home.at(dsn), embedded=True
    )
    found = record.statistics.operations
    assert found["reads"].count + found["nests"].failures == record.statistics.total.count + found["nests"].failures
    assert found["reads"].count == found["select"].count == found["fetch"].count
    assert 100 < found["reads"].count < 200
    assert found["nests"].failures == 200 - found["reads"].count
    assert found["outer"].failures == found["nests"].failures
    assert "operation 'inner' is nested in 'outer'" in found["nests"].tally.errors["WorkloadError"][1]


def test_a_prepared_statement_of_a_task(dsn: str) -> None:
    """On an asynchronous worker, a prepared statement is awaited."""

    async def adds(worker: Any) -> None:
        statement = worker.prepare("SELECT $1::int + 1")
        assert await statement.fetchval(worker.iteration) == worker.iteration + 1
        assert await statement.fetchall(1) == [(2,)]
        assert await statement.execute(1) == 1

    record = load(adds, dsn, workers=2, iterations=3)
    assert (record.statistics.total.count, record.statistics.total.failures) == (6, 0)


def test_the_event_loop_can_be_another(dsn: str) -> None:
    """The loop factory of the workload, where it has one, makes the loop that its tasks run on."""
    uvloop = pytest.importorskip("uvloop")

    async def looks(worker: Any) -> None:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        await worker.conn.execute("SELECT 1")

    record = load(looks, dsn, workload={"loop_factory": uvloop.new_event_loop}, workers=2, iterations=5)
    assert (record.statistics.total.count, record.statistics.total.failures) == (10, 0)


def test_the_event_loop_of_pytest_asyncio_is_used(session: Any, dsn: str) -> None:
    """With pytest-asyncio's hook giving uvloop, the workload runs on it, beside async tests."""
    pytest.importorskip("uvloop")
    pytest.importorskip("pytest_asyncio")
    ended = session(
        """
        import asyncio

        @pytest.mark.stormdb(workers=2, iterations=3)
        async def test_it(worker):
            assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
            await worker.conn.execute("SELECT 1")

        @pytest.mark.asyncio
        async def test_own():
            await asyncio.sleep(0)
        """,
        "-p",
        "pytest_asyncio.plugin",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        dsn=dsn,
        conftest="""
        import uvloop

        def pytest_asyncio_loop_factories(config, item):
            return {"uvloop": uvloop.new_event_loop}
        """,
    ).end(60)
    assert ended.status == 0, ended.output
    assert ended.run["totals"]["operations"] == 6


@pytest.mark.slow
def test_five_hundred_workers() -> None:
    """On any machine, 500 workers against a server with max_connections=600 run, report and record their layout."""
    from pytest_stormdb.embedded.server import EmbeddedServer

    def selects(worker: Any) -> None:
        worker.conn.execute("SELECT pg_sleep(0.05)")

    with EmbeddedServer.start(max_connections=600) as wide:
        record = load(selects, wide.dsn, workers=500, iterations=3, timeout="60s")
        assert within(10, lambda: not sessions(wide.dsn))
    assert (record.statistics.total.count, record.statistics.total.failures) == (1500, 0)
    assert record.outcome == "passed"
    assert len(record.layout) == 64
    assert sum(record.layout) == 500
    assert set(record.layout) == {7, 8}

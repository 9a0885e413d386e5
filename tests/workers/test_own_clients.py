"""A timeout reaches clients that the workload opened itself: their sessions are known by name, and ended there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.workload.contract import WorkerPlaceholder
from pytest_stormdb.workload.resources import WorkerFixture

from .harness import errors_of, load, sessions, within
from .test_outcomes import busy_sessions

HANGS = "SELECT pg_sleep(60)"
PLACEHOLDER = {"worker": WorkerPlaceholder()}


def own_psycopg(worker: Any) -> Iterator[Any]:
    with psycopg.connect(worker.dsn, autocommit=True) as connection:
        yield connection.execute


OWN = WorkerFixture(own_psycopg, PLACEHOLDER)


def own_psycopg2(worker: Any) -> Iterator[Any]:
    psycopg2 = pytest.importorskip("psycopg2")
    connection = psycopg2.connect(worker.dsn)
    connection.autocommit = True
    yield connection.cursor().execute
    connection.close()


def own_pg8000(worker: Any) -> Iterator[Any]:
    """Does not read the address, so it is told its name."""
    pg8000 = pytest.importorskip("pg8000.dbapi")
    parts = psycopg.conninfo.conninfo_to_dict(worker.dsn)
    socket = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
    name, user, database = parts["application_name"], parts["user"], parts["dbname"]
    connection = pg8000.connect(user=user, unix_sock=socket, database=database, application_name=name)
    connection.autocommit = True
    yield connection.cursor().execute
    connection.close()


@pytest.mark.parametrize("timeout", ["300ms", "1s"])
@pytest.mark.parametrize("processes", [2, 1], ids=["processes", "threads"])
@pytest.mark.parametrize("own", [own_psycopg, own_psycopg2, own_pg8000], ids=["psycopg", "psycopg2", "pg8000"])
def test_a_hanging_statement_is_cancelled_and_the_run_goes_on(dsn: str, own: Any, processes: int, timeout: str) -> None:
    """One timeout for each worker, no new connection, and nothing left running on the server."""
    library = own.__name__.removeprefix("own_")
    pytest.importorskip(library)

    def hangs_once(worker: Any, own: Any) -> None:
        own(HANGS if worker.iteration == 1 else "SELECT 1")

    began_s = time.monotonic()
    fixture = WorkerFixture(own, PLACEHOLDER)
    options: dict[str, Any] = {
        "workers": 2,
        "iterations": 5,
        "connect": False,
        "processes": processes,
        "timeout": timeout,
    }
    record = load(hangs_once, dsn, arguments={"own": fixture}, **options)
    assert (record.outcome, errors_of(record)) == ("failed", {"timeout": 2}), record.reasons
    assert record.statistics.total.count == 8
    assert time.monotonic() - began_s < 20
    assert busy_sessions(dsn) == []
    assert within(3, lambda: not sessions(dsn))


def test_beside_the_workers_own_connection(dsn: str) -> None:
    """A worker that has ``worker.conn``, too, is reached where it hangs."""

    def hangs_once(worker: Any, own: Any) -> None:
        worker.conn.execute("SELECT 1")
        own(HANGS if worker.iteration == 1 else "SELECT 1")

    record = load(
        hangs_once, dsn, arguments={"own": WorkerFixture(own_psycopg, PLACEHOLDER)}, iterations=4, timeout="300ms"
    )
    assert errors_of(record) == {"timeout": 1}
    assert (record.statistics.total.count, record.statistics.reconnects) == (3, 0)


def test_what_a_task_runs_in_a_thread_does_not_run_on(dsn: str) -> None:
    """The task's cancellation leaves its thread in the statement; the next iteration begins after that has ended."""

    async def hangs_once(worker: Any, own: Any) -> None:
        if worker.iteration == 2:
            assert busy_sessions(dsn) == []
        await asyncio.to_thread(own, HANGS if worker.iteration == 1 else "SELECT 1")

    record = load(
        hangs_once, dsn, arguments={"own": WorkerFixture(own_psycopg, PLACEHOLDER)}, iterations=4, timeout="300ms"
    )
    assert errors_of(record) == {"timeout": 1}
    assert record.statistics.total.count == 3


async def own_asyncpg(worker: Any) -> AsyncIterator[Any]:
    asyncpg = pytest.importorskip("asyncpg")
    connection = await asyncpg.connect(worker.url)
    yield connection.execute
    await connection.close()


def test_asyncpg(dsn: str) -> None:
    """A driver of asyncio's own is reached like any other, and its connection stays in use."""
    pytest.importorskip("asyncpg")

    async def hangs_once(worker: Any, own: Any) -> None:
        await own(HANGS if worker.iteration == 1 else "SELECT 1")

    fixture = WorkerFixture(own_asyncpg, PLACEHOLDER)
    record = load(hangs_once, dsn, arguments={"own": fixture}, iterations=4, timeout="300ms", connect=False)
    assert errors_of(record) == {"timeout": 1}
    assert record.statistics.total.count == 3
    assert busy_sessions(dsn) == []


def test_a_session_that_ignores_its_cancellation_is_ended(dsn: str) -> None:
    """A statement that catches the cancel and goes on is ended with its session, after a second."""
    stubborn = (
        "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
    )

    def hangs_once(worker: Any) -> None:
        with psycopg.connect(worker.dsn, autocommit=True) as own:
            own.execute(stubborn if worker.iteration == 1 else "SELECT 1")

    began_s = time.monotonic()
    record = load(hangs_once, dsn, iterations=4, timeout="500ms", connect=False)
    assert errors_of(record) == {"timeout": 1}
    assert record.statistics.total.count == 3
    assert time.monotonic() - began_s < 20
    assert busy_sessions(dsn) == []

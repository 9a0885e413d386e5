"""A timeout reaches clients that the workload opened itself: their sessions are known by name, and ended there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.record import RunRecord
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


def by_alchemy(driver: str) -> WorkerFixture:
    """A connection of SQLAlchemy's, opened from the URL with this driver."""

    def own(worker: Any) -> Iterator[Any]:
        alchemy = pytest.importorskip("sqlalchemy")
        url = alchemy.make_url(worker.url).set(drivername=f"postgresql+{driver}")
        engine = alchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield lambda text: connection.execute(alchemy.text(text))
        engine.dispose()

    return WorkerFixture(own, PLACEHOLDER)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000"])
def test_sqlalchemy_from_the_url(dsn: str, driver: str) -> None:
    """Whatever the driver, the URL leads to the socket, its session is known by name, and what hangs is cancelled."""
    pytest.importorskip(driver)

    def hangs_once(worker: Any, own: Any) -> None:
        own(HANGS if worker.iteration == 1 else "SELECT pg_sleep(0.2)")

    record = load(hangs_once, dsn, arguments={"own": by_alchemy(driver)}, iterations=5, timeout="1s", connect=False)
    assert (record.outcome, errors_of(record)) == ("failed", {"timeout": 1}), record.reasons
    assert record.statistics.total.count == 4
    assert busy_sessions(dsn) == []
    assert sleeping(record) > 0.5


def sleeping(record: RunRecord) -> float:
    """The share of response time that sessions were seen to sleep, on the server."""
    assert record.server_activity is not None
    share = record.server_activity.waits.everything.share("Timeout:PgSleep")
    return share.share if share is not None else 0.0


async def own_async_alchemy(worker: Any) -> AsyncIterator[Any]:
    alchemy = pytest.importorskip("sqlalchemy")
    asyncio_of = pytest.importorskip("sqlalchemy.ext.asyncio")
    url = alchemy.make_url(worker.url).set(drivername="postgresql+asyncpg")
    engine = asyncio_of.create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield lambda text: connection.execute(alchemy.text(text))
    await engine.dispose()


@pytest.mark.parametrize("own", [own_asyncpg, own_async_alchemy])
def test_asyncpg_from_the_url(dsn: str, own: Any) -> None:
    """By itself and below SQLAlchemy, which would take the URL's parameters for arguments: its waits are seen."""
    pytest.importorskip("asyncpg")

    async def sleeps(worker: Any, own: Any) -> None:
        await own("SELECT pg_sleep(0.2)")

    fixture = WorkerFixture(own, PLACEHOLDER)
    record = load(sleeps, f"{dsn} sslmode=prefer", arguments={"own": fixture}, iterations=6, connect=False)
    assert (record.outcome, errors_of(record)) == ("passed", {}), record.reasons
    assert sleeping(record) > 0.5


def test_a_session_without_an_address_of_ours(dsn: str) -> None:
    """A client of libpq's that was given no name has the worker's: an engine that came along from the set-up."""
    plain = dsn

    def own(worker: Any) -> Iterator[Any]:
        with psycopg.connect(plain, autocommit=True) as connection:
            yield connection.execute

    def hangs_once(worker: Any, own: Any) -> None:
        own(HANGS if worker.iteration == 1 else "SELECT 1")

    fixture = WorkerFixture(own, PLACEHOLDER)
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

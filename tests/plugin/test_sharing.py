"""Fixtures that hold what workers cannot share are refused before the load, each with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.plugin.sharing import shared_connection
from pytest_stormdb.workload.resources import WorkerFixture


def complaint(value: object) -> str | None:
    return shared_connection({"worker": 1, "it": value})


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn) as found:
        yield found


def test_connections_of_psycopg(connection: psycopg.Connection[Any]) -> None:
    """As they are, as a cursor, within a container, and as an argument of a worker fixture."""
    for value in (
        connection,
        connection.cursor(),
        [connection],
        {"a": connection},
        WorkerFixture(iter, {"c": connection}),
    ):
        assert complaint(value) == (
            "fixture 'it' holds a connection, which the workers cannot share;"
            " use worker.conn, or make it a pytest_stormdb.worker_fixture"
        )
    assert complaint("a text") is None


def test_what_sqlalchemy_holds(dsn: str) -> None:
    """Connections and sessions in a transaction are refused; engines, and sessions in none, are not."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy import orm

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    scoped = orm.scoped_session(orm.sessionmaker(engine))
    with orm.Session(engine) as session, engine.connect() as connection:
        assert complaint(engine) is complaint(session) is complaint(scoped) is None
        session.execute(sqlalchemy.text("SELECT 1"))
        scoped.execute(sqlalchemy.text("SELECT 1"))
        for value in (session, scoped):
            assert str(complaint(value)).startswith("fixture 'it' holds a session that is in a transaction; commit or")
        session.commit()
        scoped.remove()
        assert complaint(session) is complaint(scoped) is None
        for value in (connection, orm.Session(connection)):
            assert str(complaint(value)).startswith("fixture 'it' holds a connection of SQLAlchemy, which the workers")
    engine.dispose()


def test_what_other_drivers_hold(dsn: str) -> None:
    """psycopg2's connections and pools, asyncpg's and pg8000's connections."""
    psycopg2 = pytest.importorskip("psycopg2")
    held = psycopg2.connect(dsn)
    pool = pytest.importorskip("psycopg2.pool").SimpleConnectionPool(1, 1, dsn)
    assert "holds a connection" in str(complaint(held))
    assert "holds a connection" in str(complaint(held.cursor()))
    assert "holds a pool whose connections the workers cannot share" in str(complaint(pool))
    held.close()
    pool.closeall()


@pytest.mark.parametrize(
    ("library", "name", "words"),
    [
        ("asyncpg.pool", "Pool", "holds a pool that belongs to another event loop"),
        ("asyncpg.connection", "Connection", "holds a connection"),
        ("asyncpg.pool", "PoolConnectionProxy", "holds a connection"),
        ("psycopg_pool", "AsyncConnectionPool", "holds a pool that belongs to another event loop"),
        ("psycopg", "AsyncConnection", "holds a connection"),
        ("sqlalchemy.ext.asyncio", "AsyncConnection", "holds a connection of SQLAlchemy"),
        ("pg8000.legacy", "Connection", "holds a connection"),
        ("pg8000.native", "Connection", "holds a connection"),
    ],
)
def test_asynchronous_ones_and_their_pools(library: str, name: str, words: str) -> None:
    """The classes are where they are looked for."""
    kind = getattr(pytest.importorskip(library), name)
    one = type(kind)("One", (kind,), {"__del__": lambda self: None})
    assert words in str(complaint(one.__new__(one)))


def test_pools_that_are_made_anew(dsn: str) -> None:
    """psycopg's pool may be handed over."""
    pools = pytest.importorskip("psycopg_pool")
    with pools.ConnectionPool(dsn, min_size=1, open=False) as pool:
        assert complaint(pool) is None

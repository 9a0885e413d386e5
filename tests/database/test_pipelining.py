"""Several statements in one round trip: what they return, what an error among them does, what stays in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.async_statement import AsyncStatement
from pytest_stormdb.database.pipelining import AsyncPipeline, Pipeline
from pytest_stormdb.database.readiness import release
from pytest_stormdb.database.statement import Statement
from pytest_stormdb.embedded.server import EmbeddedServer

Owned = Any


@pytest.fixture
def owner(server: EmbeddedServer) -> Iterator[Owned]:
    """What a statement belongs to: something with a connection, and a table to write to."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("CREATE TEMP TABLE t (n int PRIMARY KEY)")
        yield SimpleNamespace(conn=conn)


def numbers(owner: Owned) -> list[int]:
    """What is in the table."""
    return [n for (n,) in owner.conn.execute("SELECT n FROM t ORDER BY n")]


def test_results_come_with_the_end_of_the_block(owner: Owned) -> None:
    """Each call gives what will have its result: rows affected, a row, a value, all rows, or nothing found."""
    insert = Statement(owner, "INSERT INTO t SELECT generate_series(1, $1)")
    select = Statement(owner, "SELECT n, -n FROM t WHERE n > $1 ORDER BY n")
    conn = owner.conn
    with Pipeline(owner):
        given: list[Any] = [
            insert.execute(3),
            select.fetchone(1),
            select.fetchval(2),
            select.fetchall(1),
            select.fetchval(9),
        ]
        with pytest.raises(psycopg.InterfaceError, match="has no result before the block ends"):
            given[0].result()
    assert [later.result() for later in given] == [3, (2, -2), 3, [(2, -2), (3, -3)], None]
    assert owner.conn is conn
    assert select.fetchval(0) == 1


def test_one_round_trip(owner: Owned, tmp_path: Path) -> None:
    """The server is asked once for all statements of the block: libpq's trace has a single Sync."""
    add = Statement(owner, "SELECT $1::int + 1")
    add.fetchval(0)
    with (tmp_path / "trace").open("wb") as trace:
        owner.conn.pgconn.trace(trace.fileno())
        with Pipeline(owner):
            found: list[Any] = [add.fetchval(number) for number in range(5)]
        owner.conn.pgconn.untrace()
    sent = [line.split("\t")[3] for line in (tmp_path / "trace").read_text().splitlines() if line.split("\t")[1] == "F"]
    assert (sent.count("Execute"), sent.count("Sync"), sent.count("Flush")) == (5, 1, 0)
    assert [later.result() for later in found] == [1, 2, 3, 4, 5]


def test_without_begin_all_or_nothing(owner: Owned) -> None:
    """The first error is raised at the end; what came before it is undone, what came after it has not run."""
    insert = Statement(owner, "INSERT INTO t VALUES ($1)")
    with pytest.raises(psycopg.errors.UniqueViolation), Pipeline(owner):  # noqa: PT012 - its end raises
        first: Any = insert.execute(1)
        insert.execute(1)
        last: Any = insert.execute(2)
    assert first.result() == 1
    with pytest.raises(psycopg.InterfaceError):
        last.result()
    assert numbers(owner) == []
    assert insert.execute(5) == 1


def test_an_error_in_a_transaction(owner: Owned) -> None:
    """With BEGIN in the block, an error leaves the transaction failed, as it would without a pipeline."""
    begin, insert, end = (Statement(owner, sql) for sql in ("BEGIN", "INSERT INTO t VALUES ($1)", "COMMIT"))
    with Pipeline(owner):
        begin.execute()
        insert.execute(1)
        end.execute()
    with pytest.raises(psycopg.errors.UniqueViolation), Pipeline(owner):  # noqa: PT012 - its end raises
        begin.execute()
        insert.execute(1)
        end.execute()
    assert owner.conn.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
    owner.conn.rollback()
    assert numbers(owner) == [1]


def test_a_block_that_raises_sends_nothing(owner: Owned) -> None:
    """The workload's own exception comes through, and the server never hears of the block."""
    insert = Statement(owner, "INSERT INTO t VALUES ($1)")
    with pytest.raises(LookupError), Pipeline(owner):  # noqa: PT012 - its end raises
        insert.execute(1)
        raise LookupError
    assert numbers(owner) == []


def test_order_is_kept(owner: Owned) -> None:
    """What psycopg does with the connection in the block comes after what the block has collected before."""
    insert = Statement(owner, "INSERT INTO t VALUES ($1)")
    with Pipeline(owner) as pipeline:
        insert.execute(1)
        assert owner.conn.execute("SELECT count(*) FROM t").fetchone() == (1,)
        later: Any = insert.execute(2)
        pipeline.sync()
        assert later.result() == 1
        insert.execute(3)
    assert numbers(owner) == [1, 2, 3]


def test_pipelines_do_not_nest(owner: Owned) -> None:
    """A block within a block is an error that says so; the outer one still does its work."""
    insert = Statement(owner, "INSERT INTO t VALUES ($1)")
    with Pipeline(owner):
        insert.execute(1)
        with pytest.raises(psycopg.ProgrammingError, match="not nested"), Pipeline(owner):
            pass
    assert numbers(owner) == [1]


def test_more_than_the_sockets_hold(owner: Owned) -> None:
    """Megabytes in both directions at once do not leave both sides waiting for the other to read."""
    echo = Statement(owner, "SELECT $1::text")
    text = "x" * 100_000
    with Pipeline(owner):
        found: list[Any] = [echo.fetchval(f"{index}{text}") for index in range(100)]
    assert [later.result() for later in found] == [f"{index}{text}" for index in range(100)]


def test_a_statement_that_the_session_forgot(owner: Owned) -> None:
    """It fails in the block, which may have done other things; in the next it is prepared again."""
    insert = Statement(owner, "INSERT INTO t VALUES ($1)")
    insert.execute(1)
    owner.conn.execute("DEALLOCATE ALL", prepare=False)
    with pytest.raises(psycopg.errors.InvalidSqlStatementName), Pipeline(owner):
        insert.execute(2)
    with Pipeline(owner):
        insert.execute(3)
    assert numbers(owner) == [1, 3]


def test_a_connection_lost_in_the_block(owner: Owned) -> None:
    """The server's reason is the error, and the connection is closed."""
    end = Statement(owner, "SELECT pg_terminate_backend(pg_backend_pid())")
    insert = Statement(owner, "INSERT INTO t VALUES ($1)")
    conn = owner.conn
    with pytest.raises(psycopg.errors.AdminShutdown), Pipeline(owner):  # noqa: PT012 - its end raises
        end.execute()
        insert.execute(1)
    assert owner.conn is conn
    assert conn.closed


def test_a_pipeline_of_a_task(server: EmbeddedServer) -> None:
    """On an asynchronous connection the block is ``async with``, and calls are awaited for what will have a result."""

    async def use() -> None:
        async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as conn:
            owner = SimpleNamespace(conn=conn)
            add = AsyncStatement(owner, "SELECT $1::int + 1")
            async with AsyncPipeline(owner) as pipeline:
                one: Any = await add.fetchval(1)
                with pytest.raises(psycopg.InterfaceError, match=r"await pipeline.sync\(\)"):
                    await owner.conn.execute("SELECT 1")
                await pipeline.sync()
                assert one.result() == 2
                two: Any = await add.fetchall(2)
            assert two.result() == [(3,)]
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with AsyncPipeline(owner):
                    await AsyncStatement(owner, "SELECT 1 / $1::int").execute(0)
            assert await add.fetchval(3) == 4
            release(conn)

    asyncio.run(use())

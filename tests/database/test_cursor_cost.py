"""What cursors cost is known where they were used."""

from __future__ import annotations

import asyncio

import psycopg

from pytest_stormdb.database.cursor_cost import cursor_cost_ns, executions
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.workers.loop import run_sync


def test_executions_are_those_of_cursors(server: EmbeddedServer) -> None:
    """The sixth execution of a text is the first that psycopg has prepared; other sessions do not count."""
    with psycopg.connect(server.dsn, autocommit=True) as conn, psycopg.connect(server.dsn, autocommit=True) as other:
        for number in range(15):
            conn.execute("SELECT %s::int", [number])
        assert (executions(conn.pgconn), executions(other.pgconn)) == (10, 0)


def test_the_cost_of_an_iteration(server: EmbeddedServer) -> None:
    """Twice the cursors in an iteration cost about twice as much; few of them, or none, are not looked into."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        assert run_sync(cursor_cost_ns(conn, 1)) == 0.0
        for number in range(205):
            conn.execute("SELECT %s::int", [number])
        assert run_sync(cursor_cost_ns(conn, 1_000)) == 0.0
        one = run_sync(cursor_cost_ns(conn, 200))
        two = run_sync(cursor_cost_ns(conn, 100))
        assert 1_000 < one < 10_000_000
        assert one < two


def test_the_cost_to_a_task(server: EmbeddedServer) -> None:
    """An asynchronous cursor is measured where it runs, in an event loop."""

    async def cost() -> float:
        async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as conn:
            for number in range(105):
                await conn.execute("SELECT %s::int", [number])
            return await cursor_cost_ns(conn, 100)

    assert asyncio.run(cost()) > 1_000

"""The short path of asyncio workers: the same values and errors, one lasting watch, and a cancel that reaches."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.async_statement import AsyncStatement
from pytest_stormdb.database.readiness import readiness, release
from pytest_stormdb.embedded.server import EmbeddedServer

Use = Callable[[Any], Awaitable[None]]


def loops() -> list[Any]:
    """Ways to make an event loop: one that selects, one that polls, and uvloop where there is one."""
    made: list[Any] = [lambda: asyncio.SelectorEventLoop(selectors.SelectSelector()), asyncio.new_event_loop]
    try:
        import uvloop
    except ImportError:
        return made
    return [*made, uvloop.new_event_loop]


@pytest.fixture(params=loops())
def use(request: pytest.FixtureRequest, server: EmbeddedServer) -> Callable[[Use], None]:
    """Runs a coroutine function with what owns a connection, on each kind of event loop."""

    async def with_owner(function: Use) -> None:
        async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as conn:
            try:
                await function(SimpleNamespace(conn=conn))
            finally:
                release(conn)

    def run(function: Use) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(with_owner(function))

    return run


def test_what_the_calls_return(use: Callable[[Use], None]) -> None:
    """Rows affected, the first row, its first value, all rows; and what they are when there is none."""

    async def calls(owner: Any) -> None:
        select = AsyncStatement(owner, "SELECT n, n::text FROM generate_series(1, 3) n WHERE n > $1")
        found = [await select.execute(1), await select.fetchone(1), await select.fetchval(2), await select.fetchall(1)]
        assert found == [2, (2, "2"), 3, [(2, "2"), (3, "3")]]
        found = [await select.execute(9), await select.fetchone(9), await select.fetchval(9), await select.fetchall(9)]
        assert found == [0, None, None, []]

    use(calls)


def test_statements_and_cursors_take_turns(use: Callable[[Use], None]) -> None:
    """Psycopg begins and ends its own watch of the socket, and ours does not suffer."""

    async def takes_turns(owner: Any) -> None:
        add = AsyncStatement(owner, "SELECT $1::int + 1")
        for number in range(20):
            assert await add.fetchval(number) == number + 1
            assert await add.fetchval(number) == number + 1
            assert await (await owner.conn.execute("SELECT %s::int", [number])).fetchone() == (number,)
        await owner.conn.execute("NOTIFY nobody")
        assert await asyncio.gather(*(add.fetchval(number) for number in range(5))) == [1, 2, 3, 4, 5]

    use(takes_turns)


def test_large_results_and_arguments(use: Callable[[Use], None]) -> None:
    """What neither fits into the socket at once, nor comes at once, is sent and read to its end."""

    async def echoes(owner: Any) -> None:
        text = "long " * 1_000_000
        assert await AsyncStatement(owner, "SELECT $1::text").fetchval(text) == text
        rows = await AsyncStatement(owner, "SELECT i FROM generate_series(1, $1) i").fetchall(100_000)
        assert (len(rows), rows[-1]) == (100_000, (100_000,))

    use(echoes)


def test_errors_and_what_comes_after_them(use: Callable[[Use], None]) -> None:
    """Psycopg's exceptions; a forgotten statement and a changed table are not among them."""

    async def fails(owner: Any) -> None:
        divide = AsyncStatement(owner, "SELECT 1 / $1::int")
        with pytest.raises(psycopg.errors.DivisionByZero):
            await divide.fetchval(0)
        await owner.conn.execute("DISCARD ALL")
        assert await divide.fetchval(1) == 1
        await owner.conn.execute("CREATE TEMP TABLE t AS SELECT 1 AS n")
        select = AsyncStatement(owner, "SELECT * FROM t")
        assert await select.fetchall() == [(1,)]
        await owner.conn.execute("ALTER TABLE t ADD s text")
        assert await select.fetchall() == [(1, None)]
        with pytest.raises(psycopg.errors.AdminShutdown):
            await AsyncStatement(owner, "SELECT pg_terminate_backend(pg_backend_pid())").execute()

    use(fails)


def test_a_cancelled_task(use: Callable[[Use], None]) -> None:
    """The statement ends on the server as well, and the connection can be used at once."""

    async def is_cancelled(owner: Any) -> None:
        sleep = AsyncStatement(owner, "SELECT pg_sleep($1)")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleep.execute(30), 0.2)
        assert owner.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert await AsyncStatement(owner, "SELECT $1::int").fetchval(1) == 1

    use(is_cancelled)


def test_a_connection_without_autocommit(use: Callable[[Use], None]) -> None:
    """There the first statement begins a transaction, as psycopg's would."""

    async def rolls_back(owner: Any) -> None:
        await owner.conn.execute("CREATE TEMP TABLE t (n int)")
        await owner.conn.set_autocommit(False)
        assert await AsyncStatement(owner, "INSERT INTO t VALUES ($1)").execute(1) == 1
        await owner.conn.rollback()
        assert await AsyncStatement(owner, "SELECT count(*) FROM t").fetchval() == 0
        await owner.conn.rollback()

    use(rolls_back)


def test_the_socket_is_let_go(use: Callable[[Use], None]) -> None:
    """One more descriptor is open while a connection is watched, whatever the number of statements."""

    async def counts(owner: Any) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(3):
            await AsyncStatement(owner, f"SELECT {number}").fetchval()
        assert len(os.listdir("/proc/self/fd")) == before + 1
        assert readiness(owner.conn) is readiness(owner.conn)
        release(owner.conn)
        assert len(os.listdir("/proc/self/fd")) == before

    use(counts)

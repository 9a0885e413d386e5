"""How a worker's connection is repaired: on a real server, by a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.connection import MOST_AWAY_S, WorkerConnection
from pytest_stormdb.errors import ServerError

from ..clock import ManualClock

NOWHERE = "host=/nonexistent port=1"


class Holder:
    """Whose connection it is."""

    conn: Any = None

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connect_hooks: list[Callable[[Any], Any]] = []


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Both kinds of connection."""
    return bool(request.param)


def lived(dsn: str, act: Callable[[WorkerConnection, Holder], Any], *, is_async: bool) -> tuple[Any, ManualClock]:
    """What a coroutine with an open connection comes to, and the clock it slept by; it is closed afterwards."""
    clock, holder = ManualClock(), Holder(dsn)
    connection = WorkerConnection(holder, "stormdb test", is_async=is_async, clock=clock)

    async def live() -> Any:
        await connection.open()
        try:
            return await act(connection, holder)
        finally:
            await connection.close()

    return asyncio.run(live()), clock


async def executed(holder: Holder, sql: str, *, is_async: bool) -> None:
    result = holder.conn.execute(sql)
    if is_async:
        await result


def test_a_clean_connection_is_left_alone(dsn: str, is_async: bool) -> None:
    """There is nothing to repair, and it stays the same one."""

    async def act(connection: WorkerConnection, holder: Holder) -> Any:
        before = holder.conn
        return connection.is_clean(), await connection.repair(), holder.conn is before

    assert lived(dsn, act, is_async=is_async)[0] == (True, False, True)


def test_an_open_transaction_is_rolled_back(dsn: str, is_async: bool) -> None:
    """Its problem is named, and the connection is kept."""

    async def act(connection: WorkerConnection, holder: Holder) -> Any:
        before = holder.conn
        await executed(holder, "BEGIN", is_async=is_async)
        problem = connection.problem().code
        return connection.is_clean(), problem, await connection.repair(), connection.is_clean(), holder.conn is before

    assert lived(dsn, act, is_async=is_async)[0] == (False, "open transaction", False, True, True)


def test_a_connection_not_to_be_used_again_is_replaced(dsn: str, is_async: bool) -> None:
    """However clean it looks."""

    async def act(connection: WorkerConnection, holder: Holder) -> Any:
        before = holder.conn
        connection.replace_next()
        return connection.is_clean(), await connection.repair(), connection.is_clean(), before.closed

    assert lived(dsn, act, is_async=is_async)[0] == (False, True, True, True)


def test_a_server_that_stays_away_is_given_up_after_half_a_minute(dsn: str, is_async: bool) -> None:
    """Attempts come at pauses of 25 ms that double up to a second, until thirty seconds are over."""

    async def act(connection: WorkerConnection, holder: Holder) -> Any:
        with pytest.raises(psycopg.errors.AdminShutdown):
            await executed(holder, "SELECT pg_terminate_backend(pg_backend_pid())", is_async=is_async)
        holder.dsn = NOWHERE
        with pytest.raises(ServerError, match="the server stayed away for 30 s: "):
            await connection.repair()

    _, clock = lived(dsn, act, is_async=is_async)
    pauses_s = [slept_ns / 1e9 for slept_ns in clock.slept_ns]
    assert MOST_AWAY_S <= sum(pauses_s) <= MOST_AWAY_S + 1
    assert 0.025 <= pauses_s[0] <= 0.05
    assert 0.05 <= pauses_s[1] <= 0.1
    assert all(0.5 <= pause_s <= 1 for pause_s in pauses_s[6:])


def test_a_server_that_comes_back_is_connected_to(dsn: str, is_async: bool) -> None:
    """The attempt after its return succeeds."""

    async def act(connection: WorkerConnection, holder: Holder) -> Any:
        connection.replace_next()
        holder.dsn = NOWHERE
        asked: list[int] = []

        def may_go_on() -> bool:
            asked.append(0)
            if len(asked) == 3:
                holder.dsn = dsn
            return True

        connection.may_go_on = may_go_on
        return await connection.repair(), connection.is_clean()

    result, clock = lived(dsn, act, is_async=is_async)
    assert result == (True, True)
    assert len(clock.slept_ns) == 3


def test_a_run_that_is_over_needs_no_connection(dsn: str, is_async: bool) -> None:
    """When the run ends while the server is away, the attempts end, without an error."""

    async def act(connection: WorkerConnection, holder: Holder) -> Any:
        connection.replace_next()
        holder.dsn = NOWHERE
        connection.may_go_on = lambda: False
        return await connection.repair()

    result, clock = lived(dsn, act, is_async=is_async)
    assert result is False
    assert len(clock.slept_ns) == 1

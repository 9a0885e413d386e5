"""Connections of ours that are no load: limited in time, without the role's limits, and there after a loss."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.steady import SteadyConnection, open_steady
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.errors import ServerError

LIMITS = ("statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
def steady(server: EmbeddedServer) -> Iterator[SteadyConnection]:
    """A connection of ours."""
    conn = open_steady(server.dsn, name="stormdb steady")
    yield conn
    conn.close()


def end_session(database: psycopg.Connection[Any], conn: psycopg.Connection[Any]) -> None:
    """As an idle limit, a restart or an administrator does."""
    database.execute("SELECT pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])


def test_a_session_that_was_ended_is_replaced(steady: SteadyConnection, database: psycopg.Connection[Any]) -> None:
    """The next statement runs in a new session, and what was registered on the connection stands."""
    steady.adapters.register_loader("int4", psycopg.types.string.TextLoader)
    end_session(database, steady)
    assert steady.execute("SELECT 42").fetchone() == ("42",)
    with steady.transaction():
        assert steady.execute("SELECT 1").fetchone() == ("1",)


def test_a_transaction_is_not_replaced(steady: SteadyConnection, database: psycopg.Connection[Any]) -> None:
    """What was done in it is lost, so that it fails; after it the connection is there again."""
    with steady.transaction():
        steady.execute("SELECT 1")
        end_session(database, steady)
        with pytest.raises(psycopg.OperationalError):
            steady.execute("SELECT 1")
    assert steady.execute("SELECT 1").fetchone() == (1,)


def test_one_that_was_closed_stays_closed(steady: SteadyConnection) -> None:
    """Only what was lost comes back."""
    steady.close()
    with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
        steady.execute("SELECT 1")


def test_a_statement_has_a_limit(steady: SteadyConnection, database: psycopg.Connection[Any]) -> None:
    """What takes longer is cancelled on the server, and the connection can be used again."""
    steady.limit_s = 0.3
    with pytest.raises(psycopg.OperationalError, match="no answer within"):
        steady.execute("SELECT pg_sleep(4711)")
    left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4711)%' AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + 10
    while database.execute(left.encode()).fetchone() != (0,):
        assert time.monotonic() < deadline
    assert steady.execute("SELECT 1").fetchone() == (1,)


def test_limits_of_the_role_are_for_the_load(server: EmbeddedServer, database: psycopg.Connection[Any]) -> None:
    """Each time limit that the role has is off, in the first session and in one that replaces it."""
    database.execute("CREATE ROLE hasty SUPERUSER LOGIN")
    for name in LIMITS:
        database.execute(f"ALTER ROLE hasty SET {name} = '7s'".encode())
    try:
        conn = open_steady(f"{server.dsn} user=hasty", name="stormdb steady")
        for _ in range(2):
            shown = [conn.execute(f"SHOW {name}".encode()).fetchone() for name in LIMITS]
            assert shown == [("0",)] * len(LIMITS)
            end_session(database, conn)
        conn.close()
    finally:
        database.execute("DROP ROLE hasty")


def test_text_comes_as_text(server: EmbeddedServer, database: psycopg.Connection[Any]) -> None:
    """A database of no encoding gives text and not bytes, which no report could be written with."""
    database.execute("CREATE DATABASE plain TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        with open_steady(f"{server.dsn} dbname=plain", name="stormdb steady") as conn:
            assert conn.execute("SHOW server_encoding").fetchone() == ("SQL_ASCII",)
    finally:
        database.execute("DROP DATABASE plain WITH (FORCE)")


def test_a_server_that_is_not_there(server: EmbeddedServer) -> None:
    """The first connection fails at once, and says why."""
    with pytest.raises(ServerError, match='database "nowhere" does not exist'):
        open_steady(f"{server.dsn} dbname=nowhere", name="stormdb steady")

"""Behind a pooler: it is recognised, sessions are left as they were found, and a lock is a lock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.async_statement import AsyncStatement
from pytest_stormdb.database.connect import Dsn, connect
from pytest_stormdb.database.connection import SessionCare, WorkerConnection
from pytest_stormdb.database.health import built_in, run_checks
from pytest_stormdb.database.isolation import isolated
from pytest_stormdb.database.pooler import Pooler, pooler_at
from pytest_stormdb.database.statement import Statement
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.errors import ServerError
from tests.pooler import needs_pgbouncer, pooled

pytestmark = needs_pgbouncer
QUERY = "SELECT $1::int + 1"


@pytest.fixture(scope="module", params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    """How long the pooler lends a session."""
    return str(request.param)


@pytest.fixture(scope="module")
def through(server: EmbeddedServer, mode: str) -> Iterator[str]:
    """The address of a pooler in that mode."""
    with pooled(server, mode) as dsn:
        yield dsn


def test_it_is_recognised(server: EmbeddedServer, through: str, mode: str) -> None:
    """Its mode too, on which depends whether statements can be prepared."""
    assert pooler_at(server.dsn) is Pooler.NONE
    assert pooler_at(through) is Pooler(mode)


def test_a_database_of_ones_own(through: str) -> None:
    """It comes and goes; a second run is refused, though the pooler may give it the first one's session."""
    for _ in range(2):
        with isolated(Dsn(through), "stormdb_pooled") as home:
            assert home.is_pooled
            assert not home.care.sets
            with connect(home.dsn, name="test") as conn:
                conn.prepare_threshold = None
                conn.execute("CREATE TABLE item ()")
            for _ in range(3):
                refused = pytest.raises(ServerError, match="database stormdb_pooled is in use by another run")
                with refused, isolated(Dsn(through), "stormdb_pooled"):
                    pass


def test_a_schema_needs_the_path(through: str) -> None:
    """A pooler that drops the options of a connection drops the path into the schema: refused, not loaded beside it."""
    with (
        isolated(Dsn(through), "stormdb_pathless", wanted="schema") as home,
        pytest.raises(ServerError, match="the session's schema is public, not stormdb_pathless"),
    ):
        connect(home.dsn, name="test")


def test_set_up_has_an_address_of_its_own(server: EmbeddedServer, through: str) -> None:
    """Lock, health and set-up of the database go past the pooler, the load goes through it."""
    with isolated(Dsn(through), "stormdb_past", admin_dsn=Dsn(server.dsn)) as home:
        assert home.is_pooled
        with connect(home.dsn, name="test") as load, connect(home.admin_dsn, name="test") as ours:
            assert load.info.dbname == ours.info.dbname == "stormdb_past"
            assert load.info.host != ours.info.host == str(server.directory)


def test_sessions_are_left_as_they_were_found(through: str) -> None:
    """Those that the application gets after us have no settings of ours."""
    run_checks(built_in(timeout_s=5, interval_s=1), through, "before")
    with isolated(Dsn(through), "stormdb_tidy"):
        pass
    sessions = [psycopg.connect(through, prepare_threshold=None) for _ in range(4)]
    names = ("statement_timeout", "idle_session_timeout", "client_connection_check_interval", "lock_timeout")
    for conn in sessions:
        assert [conn.execute(f"SHOW {name}".encode()).fetchone() for name in names] == [("0",)] * 4
        conn.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_statements_are_not_prepared(through: str, mode: str, is_async: bool) -> None:
    """Where a session is lent for a transaction only, ``worker.prepare`` sends its statement anew each time."""

    class Holder:
        conn: Any = None
        dsn = through
        connect_hooks = ()

    async def use() -> list[Any]:
        holder = Holder()
        care = SessionCare(sets=False, prepares=mode == "session")
        connection = WorkerConnection(holder, "stormdb test", is_async=is_async, care=care)
        await connection.open()
        others = [psycopg.connect(through, prepare_threshold=None) for _ in range(2)]
        statement: Any = AsyncStatement(holder, QUERY) if is_async else Statement(holder, QUERY)
        answers = []
        for number in range(4):
            others[number % 2].execute("SELECT 1")  # holds a session in its transaction, from now on
            answer = statement.fetchval(number)
            answers.append(await answer if is_async else answer)
        for other in others:
            other.close()
        await connection.close()
        return answers

    assert asyncio.run(use()) == [1, 2, 3, 4]

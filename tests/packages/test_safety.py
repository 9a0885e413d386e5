"""A workload's database is its own: nothing else is dropped, and two sessions do not meet in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.names import own_name

from .conftest import ROOT, Suite

MODULE = """
import pytest

@pytest.fixture(scope="module")
def table(stormdb_connection):
    stormdb_connection.execute("CREATE TABLE item ()")

@pytest.mark.stormdb(iterations=1)
def test_own(worker, table):
    worker.conn.execute("SELECT 1 FROM item")
"""


NAME = own_name("my-shop")
LOADED = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"
AWAKE = "SELECT count(pg_cancel_backend(pid)) > 0 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"


def held() -> str:
    """The module, whose load lasts until somebody cancels its statement."""
    return MODULE.replace(
        'worker.conn.execute("SELECT 1 FROM item")',
        """try:
        worker.conn.execute("SELECT pg_sleep(60)")
    except Exception as error:
        assert error.sqlstate == "57014\"""",
    )


def databases(conn: psycopg.Connection[Any]) -> set[str]:
    rows = conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'stormdb%'").fetchall()
    return {row[0] for row in rows}


def test_only_its_database_comes_and_goes(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A run leaves the server as it was: other databases and the target's own tables untouched."""
    database.execute("CREATE TABLE public.item (id int)")
    before = databases(database)
    suite.sealed("my-shop", module=MODULE)
    assert suite.run().counts == {"passed": 1}
    assert databases(database) == before == set()
    assert database.execute("SELECT to_regclass('public.item')::text").fetchone() == ("item",)


def test_a_left_over_database_is_ours(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """What a session that was killed left behind is ours by its mark, and is made anew."""
    suite.sealed("my-shop", module=held())
    with session(suite) as running:
        wait_until(database, LOADED)
        running.kill()
        running.wait()
    assert NAME in databases(database)
    suite.sealed("my-shop", module=MODULE)
    assert suite.run().counts == {"passed": 1}
    assert NAME not in databases(database)


def test_two_sessions_at_once(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """The second session on one server gets a clear error, and the first is not disturbed."""
    suite.sealed("my-shop", module=held())
    with session(suite) as running:
        wait_until(database, LOADED)
        ran = suite.run()
        assert (ran.status, ran.counts) == (1, {"errors": 1})
        assert f"database {NAME} is in use by another run on this server; wait for its end" in ran.text
        database.execute(AWAKE.encode())
        text, _ = running.communicate(timeout=60)
    assert "1 passed" in text
    assert databases(database) == set()


def test_two_workloads_at_once(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """Sessions of different workloads share a server."""
    suite.sealed("my-shop", module=held())
    suite.sealed("bakery", module=MODULE)
    with session(suite, "my-shop") as running:
        wait_until(database, LOADED)
        assert suite.run("bakery").counts == {"passed": 1}
        database.execute(AWAKE.encode())
        text, _ = running.communicate(timeout=60)
    assert "1 passed" in text


def test_database_url_must_be_near(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server known only from DATABASE_URL that is not this machine is refused, without its password."""
    monkeypatch.delenv("STORMDB_DSN", raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:hush-hush@db.example.com/live")
    suite.sealed("my-shop", module=MODULE)
    ran = suite.run()
    assert ran.counts == {"errors": 1}
    assert "DATABASE_URL leads to another machine" in ran.text
    assert "hush-hush" not in ran.text


def session(suite: Suite, *arguments: str) -> subprocess.Popen[str]:
    """A session that goes on beside the test."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "stormdb", "-W", "error", *arguments],
        cwd=suite.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until(conn: psycopg.Connection[Any], query: str, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while conn.execute(query.encode()).fetchone() != (True,):
        assert time.monotonic() < deadline, f"never came: {query}"
        time.sleep(0.1)

"""A workload's schema is its own: nothing else is dropped, and two sessions do not meet in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest

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


LOADED = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_advisory_xact_lock%'"


def held() -> str:
    """The module, whose load lasts as long as somebody holds the lock."""
    return MODULE.replace("SELECT 1 FROM item", "SELECT pg_advisory_xact_lock(4711)")


def schemas(conn: psycopg.Connection[Any]) -> set[str]:
    rows = conn.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'").fetchall()
    return {row[0] for row in rows}


def test_somebody_elses_schema(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A schema of the workload's name that we did not make is refused, and keeps what is in it."""
    database.execute("CREATE SCHEMA stormdb_my_shop")
    database.execute("CREATE TABLE stormdb_my_shop.precious AS SELECT 42 AS answer")
    suite.sealed("my-shop", module=MODULE)
    ran = suite.run()
    assert (ran.status, ran.counts) == (1, {"errors": 1})
    assert "schema stormdb_my_shop exists and was not made by pytest-stormdb; drop or rename it" in ran.text
    assert database.execute("SELECT answer FROM stormdb_my_shop.precious").fetchall() == [(42,)]


@pytest.mark.parametrize("comment", ["made by hand", "made by pytest-stormdb", ""])
def test_a_comment_does_not_make_it_ours(suite: Suite, database: psycopg.Connection[Any], comment: str) -> None:
    """Only our whole mark makes a schema ours."""
    database.execute("CREATE SCHEMA stormdb_my_shop")
    database.execute(psycopg.sql.SQL("COMMENT ON SCHEMA stormdb_my_shop IS {}").format(comment))
    suite.sealed("my-shop", module=MODULE)
    assert suite.run().counts == {"errors": 1}
    assert "stormdb_my_shop" in schemas(database)


def test_only_its_schema_comes_and_goes(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A run leaves the database as it was: other schemas, the public one and its tables untouched."""
    database.execute("CREATE SCHEMA stormdb_other CREATE TABLE precious ()")
    database.execute("CREATE TABLE public.item (id int)")
    before = schemas(database)
    suite.sealed("my-shop", module=MODULE)
    assert suite.run().counts == {"passed": 1}
    assert schemas(database) == before == {"public", "stormdb_other"}
    assert database.execute("SELECT to_regclass('stormdb_other.precious'), to_regclass('public.item')").fetchone() == (
        "stormdb_other.precious",
        "item",
    )


def test_left_over_schema_is_ours(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """What a session that was killed left behind is ours by its mark, and is made anew."""
    suite.sealed("my-shop", module=held())
    database.execute("SELECT pg_advisory_lock(4711)")
    with session(suite) as running:
        wait_until(database, LOADED)
        running.kill()
        running.wait()
    assert "stormdb_my_shop" in schemas(database)
    database.execute("SELECT pg_advisory_unlock(4711)")
    wait_until(database, "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'")
    suite.sealed("my-shop", module=MODULE)
    assert suite.run().counts == {"passed": 1}
    assert "stormdb_my_shop" not in schemas(database)


def test_two_sessions_at_once(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """The second session on one database gets a clear error, and the first is not disturbed."""
    suite.sealed("my-shop", module=held())
    database.execute("SELECT pg_advisory_lock(4711)")
    with session(suite) as running:
        wait_until(database, LOADED)
        ran = suite.run()
        assert (ran.status, ran.counts) == (1, {"errors": 1})
        assert "schema stormdb_my_shop is in use by another run on this database; wait for its end" in ran.text
        database.execute("SELECT pg_advisory_unlock(4711)")
        text, _ = running.communicate(timeout=60)
    assert "1 passed" in text
    assert schemas(database) == {"public"}


def test_two_workloads_at_once(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """Sessions of different workloads share a database."""
    suite.sealed("my-shop", module=held())
    suite.sealed("bakery", module=MODULE)
    database.execute("SELECT pg_advisory_lock(4711)")
    with session(suite, "my-shop") as running:
        wait_until(database, LOADED)
        assert suite.run("bakery").counts == {"passed": 1}
        database.execute("SELECT pg_advisory_unlock(4711)")
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

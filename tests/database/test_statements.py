"""The server's time by statement, where pg_stat_statements is, and how to get it where it is not."""

from __future__ import annotations

import psycopg
import pytest

from pytest_stormdb.database.statements import HOW_TO_CREATE, HOW_TO_LOAD, Statement, Statements, read_statements


def test_what_was_executed_in_between_is_told(conn: psycopg.Connection) -> None:
    """Calls, rows and time of each kind of statement of that database, the weightiest first."""
    if read_statements(conn, "postgres").missing == HOW_TO_LOAD:
        pytest.skip("this server has no pg_stat_statements")
    assert read_statements(conn, "postgres").missing == HOW_TO_CREATE
    conn.execute("CREATE EXTENSION pg_stat_statements")
    try:
        before = read_statements(conn, "postgres")
        for n in range(3):
            conn.execute(f"SELECT pg_sleep(0.01), {n}")
        conn.execute("SELECT generate_series(1, 100)")
        found = read_statements(conn, "postgres").since(before)
    finally:
        conn.execute("DROP EXTENSION pg_stat_statements")
    first, *rest = found.top()
    assert (first.query, first.calls, first.rows) == ("SELECT pg_sleep($1), $2", 3, 3)
    assert 10 <= first.mean_ms < 1000
    assert found.total_ms >= 30
    assert [each.rows for each in rest if each.query == "SELECT generate_series($1, $2)"] == [100]
    assert read_statements(conn, "no_such_database").found == {}


def test_how_to_enable_it_is_one_line(conn: psycopg.Connection) -> None:
    """Without the extension nothing is read, and the line says what to run or to set."""
    missing = read_statements(conn, "postgres").missing
    assert missing in (HOW_TO_CREATE, HOW_TO_LOAD)
    assert "\n" not in missing
    assert Statements({}, missing).since(Statements({})).missing == missing


def test_a_statement_that_was_forgotten_begins_anew() -> None:
    """The extension drops the rarest when it is full: a count that fell is a count since then."""
    earlier = Statements({(1, True, 1): Statement("a", 10, 5.0, 0, 10, 0, 0, 0, 0)})
    later = Statements({(1, True, 1): Statement("a", 4, 2.0, 0, 4, 0, 0, 0, 0)})
    assert later.since(earlier).top() == (Statement("a", 4, 2.0, 0, 4, 0, 0, 0, 0),)
    assert earlier.since(earlier).top() == ()

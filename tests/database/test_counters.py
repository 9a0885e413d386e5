"""The server's counters, under one set of names on every version."""

from __future__ import annotations

import time

import psycopg
import pytest

from pytest_stormdb.database.costs import flush_counters
from pytest_stormdb.database.counters import read_counters, read_position

DATABASE = {
    "commits", "rollbacks", "blocks_hit", "blocks_read", "rows_returned", "rows_fetched", "rows_inserted",
    "rows_updated", "rows_deleted", "temp_files", "temp_bytes", "deadlocks", "conflicts", "read_time_ms",
    "write_time_ms",
}  # fmt: skip


def test_every_version_gives_the_same_names(conn: psycopg.Connection) -> None:
    """All groups are there on every version, pg_stat_io's from 16 on, and nothing is missing."""
    counters = read_counters(conn, "postgres")
    assert counters.missing == ()
    assert counters.groups["database"].keys() - {"parallel_workers_launched"} == DATABASE
    assert set(counters.groups["wal"]) == {"records", "full_page_images", "bytes", "buffers_full"}
    assert {"timed", "requested", "write_time_ms", "buffers_written"} <= counters.groups["checkpoints"].keys()
    assert (read_position(conn).get("position", "position") or 0) > 0
    io = [name for name in counters.groups if name.startswith("io, client backend, relation, normal")]
    assert len(io) == (conn.info.server_version >= 160000)


def test_what_was_done_is_what_is_counted(conn: psycopg.Connection, own_dsn: str) -> None:
    """Rows, commits, rollbacks and the write-ahead log grow by what one session did, once it has left."""
    with psycopg.connect(own_dsn, autocommit=True) as worker:
        worker.execute("CREATE TABLE t (i int PRIMARY KEY, t text)")
        flush_counters(worker.pgconn)
        time.sleep(0.8 if conn.info.server_version < 150000 else 0.05)
        flush_counters(conn.pgconn)  # it made the database, whose log is as large as all that follows
        before = read_counters(conn, "own").with_(read_position(conn))
        worker.pgconn.exec_(b"INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i")
        worker.pgconn.exec_(b"UPDATE t SET t = 'y' WHERE i <= 100")
        worker.pgconn.exec_(b"DELETE FROM t WHERE i > 990")
        worker.pgconn.exec_(b"SELECT * FROM no_such_table")
    time.sleep(0.8 if conn.info.server_version < 150000 else 0.3)
    growth = read_counters(conn, "own").with_(read_position(conn)).since(before)
    database = growth.groups["database"]
    rows = [database[name] for name in ("rows_inserted", "rows_updated", "rows_deleted", "rollbacks")]
    if conn.info.server_version < 150000:  # it hands in when it likes: what was done before may be among it
        assert rows == pytest.approx([1000, 100, 10, 1], rel=0.1)
        assert 3 <= database["commits"] <= 6
    else:
        assert rows == [1000, 100, 10, 1]
        assert database["commits"] == 3
    if conn.info.server_version >= 150000:
        assert growth.groups["wal"]["bytes"] == pytest.approx(growth.groups["position"]["position"], rel=0.1)
    assert growth.groups["wal"]["bytes"] > 1000 * 100


def test_a_view_that_is_denied_is_missing_and_no_error(conn: psycopg.Connection) -> None:
    """One line says which; the others are read."""
    conn.execute("REVOKE SELECT ON pg_stat_wal FROM PUBLIC")
    conn.execute("CREATE ROLE poor")
    try:
        conn.execute("SET ROLE poor")
        counters = read_counters(conn, "postgres")
    finally:
        conn.execute("RESET ROLE")
        conn.execute("DROP ROLE poor")
        conn.execute("GRANT SELECT ON pg_stat_wal TO PUBLIC")
    assert counters.missing == ("wal: permission denied for view pg_stat_wal",)
    assert "database" in counters.groups

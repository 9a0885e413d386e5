"""What the workers' own backends did, and the flush that makes it current."""

from __future__ import annotations

import psycopg

from pytest_stormdb.database.costs import COUNTS_BACKENDS_FROM, flush_counters, own_work, work_of
from pytest_stormdb.database.counters import read_counters


def test_a_flush_hands_in_everything_at_once(conn: psycopg.Connection, own_dsn: str) -> None:
    """From 15 on, what was done until the flush is counted, the flush itself included, and nothing after it for now."""
    if conn.info.server_version < 150000:
        return
    with psycopg.connect(own_dsn, autocommit=True) as worker:
        flush_counters(worker.pgconn)
        before = read_counters(conn, "own")
        for _ in range(5):
            worker.pgconn.exec_(b"SELECT 1")
        assert read_counters(conn, "own").since(before).get("database", "commits") == 0
        flush_counters(worker.pgconn)
        assert read_counters(conn, "own").since(before).get("database", "commits") == 6


def test_a_backends_own_work_is_only_its_own(conn: psycopg.Connection, own_dsn: str) -> None:
    """From 18 on, blocks and log of one session, whatever another does; before, there is nothing to read."""
    with psycopg.connect(own_dsn, autocommit=True) as worker, psycopg.connect(own_dsn, autocommit=True) as other:
        worker.execute("CREATE TABLE mine (i int)")
        other.execute("CREATE TABLE theirs (i int)")
        begun = own_work(worker.pgconn)
        if conn.info.server_version < COUNTS_BACKENDS_FROM:
            assert begun is None
            assert work_of(conn, [worker.info.backend_pid]) == {}
            return
        other.execute("INSERT INTO theirs SELECT generate_series(1, 20000)")
        worker.execute("INSERT INTO mine SELECT generate_series(1, 1000)")
        ended = own_work(worker.pgconn)
        assert begun is not None
        assert ended is not None
        assert 1000 * 50 < ended.wal_bytes - begun.wal_bytes < 1000 * 100
        assert 1000 <= ended.blocks - begun.blocks < 2000
        flush_counters(worker.pgconn)
        assert work_of(conn, [ended.pid, 1])[ended.pid].wal_bytes == ended.wal_bytes

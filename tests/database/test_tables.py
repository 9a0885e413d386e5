"""Tables before and after, and what was done with them in between."""

from __future__ import annotations

import psycopg

from pytest_stormdb.database.costs import flush_counters
from pytest_stormdb.database.tables import read_tables, used
from pytest_stormdb.database.tuning import changed_settings


def test_tables_that_were_used_are_told(own_dsn: str) -> None:
    """Sizes as they are, counts as they grew, dead rows and vacuums included; a table that rested is left out."""
    with psycopg.connect(own_dsn, autocommit=True) as worker:
        worker.execute("CREATE TABLE rests AS SELECT generate_series(1, 10) i")
        worker.execute("CREATE TABLE works (i int PRIMARY KEY, n int)")
        worker.execute("INSERT INTO works SELECT i, 0 FROM generate_series(1, 1000) i")
        flush_counters(worker.pgconn)
    with psycopg.connect(own_dsn, autocommit=True) as worker:
        before = read_tables(worker)
        worker.execute("UPDATE works SET n = 1")
        worker.execute("SELECT * FROM works WHERE i = 5")
        worker.execute("CREATE TABLE new AS SELECT 1 AS i")
        flush_counters(worker.pgconn)
        if worker.info.server_version < 150000:  # it hands them in at most every half second
            worker.execute("SELECT pg_sleep(0.6)")
            worker.execute("SELECT pg_sleep(0.6)")
        tables = used(before, read_tables(worker))
    assert [table.name for table in tables] == ["public.works", "public.new"]
    works, new = tables
    assert (works.updated, works.inserted, works.dead_rows, works.live_rows) == (1000, 0, 1000, 1000)
    assert (works.sequential_scans, works.index_scans, new.inserted) == (1, 1, 1)
    assert works.table_bytes >= 2000 * 32
    assert works.index_bytes >= 8192


def test_settings_that_differ_and_matter_are_told(conn: psycopg.Connection) -> None:
    """work_mem of the configuration file shows; a setting of our own session does not, and the port does not matter."""
    conn.execute("SET random_page_cost = 1.1")
    changed = {setting.name: setting for setting in changed_settings(conn)}
    assert (changed["work_mem"].value, changed["work_mem"].default) == ("1MB", "4096 x kB")
    assert changed.keys() & {"port", "fsync", "wal_buffers", "random_page_cost"} == set()

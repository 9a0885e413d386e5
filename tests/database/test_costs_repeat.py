"""What an operation costs the server repeats, however busy the machine is."""

from __future__ import annotations

import contextlib
import random
import statistics
import threading
from collections.abc import Iterator

import psycopg
import pytest

from pytest_stormdb.database.costs import FLUSHES_FROM
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.workload.contract import Worker

from ..workers.harness import load


@contextlib.contextmanager
def neighbours(dsn: str, count: int) -> Iterator[None]:
    """Sessions of somebody else's, busy for some tenths of a second and idle for some, at random."""
    ended = threading.Event()

    def disturb(seed: int) -> None:
        draws = random.Random(seed)
        with psycopg.connect(dsn, autocommit=True) as conn:
            while not ended.is_set():
                for _ in range(draws.randint(1, 20)):
                    conn.execute("SELECT count(*) FROM generate_series(1, 20000)")
                ended.wait(draws.uniform(0, 0.3))

    threads = [threading.Thread(target=disturb, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.slow
def test_costs_repeat_to_one_per_cent_under_neighbours(server: EmbeddedServer, newest_dsn: str) -> None:
    """Twenty runs beside two busy neighbours: blocks and rows per operation of a read stay within 1 %."""
    with psycopg.connect(newest_dsn, autocommit=True) as conn:
        if conn.info.server_version < FLUSHES_FROM:
            pytest.skip("PostgreSQL 14 counts up to a second of the warm-up, and a note says so")
        conn.execute("CREATE TABLE item (id int PRIMARY KEY, n int)")
        conn.execute("INSERT INTO item SELECT i, 0 FROM generate_series(1, 10000) i")
        conn.execute("ALTER TABLE item SET (autovacuum_enabled = off)")
        conn.execute("VACUUM ANALYZE item")

    def read(worker: Worker) -> None:
        worker.prepare("SELECT count(n) FROM item WHERE id BETWEEN $1 AND $1 + 99").fetchval(
            worker.rng.randint(1, 9900)
        )

    blocks, rows = [], []
    with neighbours(server.dsn, 2):
        for _ in range(20):
            record = load(read, newest_dsn, watched_from=server.dsn, workers=2, duration="1s", warmup="300ms")
            assert record.server_activity is not None
            if record.server_activity.growth.get("database", "commits") is None:
                continue  # the machine was too busy to read them in time, and said so
            blocks.append(record.server_activity.per_operation("blocks") or 0)
            rows.append(record.server_activity.per_operation("rows") or 0)
    assert len(blocks) >= 10
    for values in (blocks, rows):
        spread = (max(values) - min(values)) / statistics.median(values)
        assert spread <= 0.01, values

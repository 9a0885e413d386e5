"""Prepared statements, pipelines and COPY in workers under load."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from .harness import errors_of, load


def test_a_statement_prepared_in_every_iteration_is_prepared_once(dsn: str) -> None:
    """The session holds one statement, however often the text is prepared; DISCARD ALL only means once more."""

    def prepares(worker: Any) -> None:
        assert worker.prepare("SELECT $1::int + 1").fetchval(worker.iteration) == worker.iteration + 1
        row = worker.conn.execute("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'stormdb%'").fetchone()
        assert row == (1,)
        if worker.iteration == 5:
            worker.conn.execute("DISCARD ALL", prepare=False)

    record = load(prepares, dsn, workers=2, iterations=10)
    assert (record.statistics.total.count, errors_of(record)) == (20, {})


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_pipelines_under_load(dsn: str, kind: str) -> None:
    """Transactions in pipelines keep the sum that they move about; an error counts, and the next one works."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS public.purse")
        conn.execute("CREATE TABLE public.purse (id int PRIMARY KEY, coins int CHECK (coins < 1000))")
        conn.execute("INSERT INTO public.purse SELECT i, 100 FROM generate_series(1, 10) i")

    move = "UPDATE public.purse SET coins = coins + $1 WHERE id = $2"

    def moves(worker: Any) -> None:
        begin, update, commit = (worker.prepare(sql) for sql in ("BEGIN", move, "COMMIT"))
        few, many = sorted(worker.rng.sample(range(1, 11), 2))
        coins = 5000 if worker.iteration == 3 else 1
        with worker.pipeline():
            begin.execute()
            updated = update.execute(-1, few)
            update.execute(coins, many)
            commit.execute()
        assert updated.result() == 1

    async def moves_async(worker: Any) -> None:
        begin, update, commit = (worker.prepare(sql) for sql in ("BEGIN", move, "COMMIT"))
        few, many = sorted(worker.rng.sample(range(1, 11), 2))
        coins = 5000 if worker.iteration == 3 else 1
        async with worker.pipeline():
            await begin.execute()
            updated = await update.execute(-1, few)
            await update.execute(coins, many)
            await commit.execute()
        assert updated.result() == 1

    record = load(moves if kind == "thread" else moves_async, dsn, workers=3, iterations=20)
    assert errors_of(record) == {"23514": 3}
    assert record.statistics.total.count == 57
    assert record.statistics.reconnects == 0
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert conn.execute("SELECT sum(coins) FROM public.purse").fetchone() == (1000,)
        conn.execute("DROP TABLE public.purse")


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_copies_are_counted(dsn: str, kind: str) -> None:
    """What workers load by COPY is stored, and told as counters of theirs."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS public.heap")
        conn.execute("CREATE TABLE public.heap (n int)")

    def copies(worker: Any) -> None:
        with worker.copy("COPY public.heap FROM STDIN") as copy:
            for number in range(100):
                copy.write_row((number,))

    async def copies_async(worker: Any) -> None:
        async with worker.copy("COPY public.heap FROM STDIN") as copy:
            for number in range(100):
                await copy.write_row((number,))

    record = load(copies if kind == "thread" else copies_async, dsn, workers=2, iterations=5)
    assert errors_of(record) == {}
    metrics = record.statistics.metrics
    assert (metrics["copy.rows"].value, metrics["copy.bytes"].value) == (1000, 2900)
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert conn.execute("SELECT count(*) FROM public.heap").fetchone() == (1000,)
        conn.execute("DROP TABLE public.heap")


def test_a_prepared_statement_that_outlives_its_timeout(dsn: str) -> None:
    """It is cancelled on the server, and the next iteration runs on the same connection."""

    def sleeps(worker: Any) -> None:
        worker.prepare("SELECT pg_sleep($1)").execute(30.0 if worker.iteration == 1 else 0.0)

    record = load(sleeps, dsn, workers=1, iterations=3, timeout="300ms")
    assert errors_of(record) == {"timeout": 1}
    assert (record.statistics.total.count, record.statistics.reconnects) == (2, 0)

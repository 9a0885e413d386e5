"""What becomes of an iteration: timeouts, retries, reconnects, failures, results."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import psycopg
import pytest

from pytest_stormdb.measurement.sample import OperationResult
from pytest_stormdb.reports.document import run_document

from .harness import errors_of, load, sessions, within


def busy_sessions(dsn: str) -> list[str]:
    """What our sessions on the server are executing."""
    with psycopg.connect(dsn, autocommit=True, application_name="observer") as conn:
        rows = conn.execute(
            "SELECT query FROM pg_stat_activity WHERE application_name LIKE 'stormdb%' AND state = 'active'"
        )
        return [str(query) for (query,) in rows]


def sleeps_once(worker: Any) -> None:
    """Too long in the second iteration, quick in all others."""
    seconds = 20 if worker.iteration == 1 else 0.001
    worker.conn.execute("SELECT pg_sleep(%s)", [seconds])
    assert worker.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


async def sleeps_once_async(worker: Any) -> None:
    """The same as a task."""
    seconds = 20 if worker.iteration == 1 else 0.001
    await worker.conn.execute("SELECT pg_sleep(%s)", [seconds])


def sleeps_in_python(worker: Any) -> None:
    """Too long in the second iteration, without the server."""
    if worker.iteration == 1:
        time.sleep(20)
    worker.conn.execute("SELECT 1")


def computes_in_python(worker: Any) -> None:
    """The same, awake."""
    until = time.monotonic() + (20 if worker.iteration == 1 else 0)
    while time.monotonic() < until:
        pass
    worker.conn.execute("SELECT 1")


async def sleeps_in_python_async(worker: Any) -> None:
    """The same as a task."""
    await asyncio.sleep(20 if worker.iteration == 1 else 0.001)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 1], ids=["processes", "threads"])
@pytest.mark.parametrize(
    "function", [sleeps_once, sleeps_once_async, sleeps_in_python_async], ids=lambda function: str(function.__name__)
)
def test_a_timeout_cancels_the_statement_on_the_server(dsn: str, function: Any, processes: int) -> None:
    """The late iteration of each worker fails as a timeout, its statement ends, and the others succeed."""
    began = time.monotonic()
    record = load(function, dsn, workers=2, iterations=5, timeout="1s", processes=processes)
    assert time.monotonic() - began < 15
    assert errors_of(record) == {"timeout": 2}
    assert record.statistics.total.count == 8
    assert record.statistics.reconnects == 0
    assert 1.0 <= record.statistics.total.tally.failed.quantile_ns(0) / 1e9 < 3
    assert busy_sessions(dsn) == []
    assert within(3, lambda: not sessions(dsn))


@pytest.mark.slow
@pytest.mark.parametrize(
    "function", [sleeps_in_python, computes_in_python], ids=lambda function: str(function.__name__)
)
def test_a_timeout_interrupts_python(dsn: str, function: Any) -> None:
    """An iteration that waits for no server is interrupted, and its worker goes on, on a new connection."""
    began = time.monotonic()
    record = load(function, dsn, workers=2, iterations=5, timeout="1s")
    assert time.monotonic() - began < 15
    assert errors_of(record) == {"timeout": 2}
    assert record.statistics.total.count == 8
    assert record.statistics.reconnects == 2


@pytest.mark.slow
def test_a_thread_that_cannot_be_interrupted_ends_the_run(dsn: str) -> None:
    """Among threads, the worker that sleeps in Python is named, and what the others did is reported."""

    def one_sleeps(worker: Any) -> None:
        worker.conn.execute("SELECT pg_sleep(0.001)")
        if worker.id == 1 and worker.iteration == 5:
            time.sleep(60)

    began = time.monotonic()
    record = load(one_sleeps, dsn, workers=3, duration="40s", timeout="1s", processes=1)
    assert time.monotonic() - began < 20
    assert record.outcome == "error"
    assert "worker 1: an iteration did not end within 1 s" in record.reasons[0]
    assert record.statistics.total.count > 100
    assert within(3, lambda: not sessions(dsn))


@pytest.mark.slow
def test_a_blocked_event_loop_is_ended_from_outside(dsn: str) -> None:
    """A process whose event loop stands still is ended and named; what the other process did is reported."""

    async def one_blocks(worker: Any) -> None:
        await worker.conn.execute("SELECT pg_sleep(0.001)")
        if worker.id == 1 and worker.iteration == 5:
            time.sleep(60)

    began = time.monotonic()
    record = load(one_blocks, dsn, workers=2, duration="40s", timeout="1s", processes=2)
    assert 7 <= time.monotonic() - began < 14
    assert record.outcome == "error"
    assert "worker 1 hung: it said nothing for 7 s and was ended" in record.reasons[0]
    assert record.statistics.total.count > 100
    assert within(3, lambda: not sessions(dsn))


def test_an_iteration_that_ends_late_by_itself_is_a_timeout(dsn: str) -> None:
    """What outlived its timeout is one, also where it came to an end before anything could cancel it."""

    def late(worker: Any) -> None:
        time.sleep(0.6 if worker.iteration == 1 else 0)

    record = load(late, dsn, workers=1, iterations=3, timeout="200ms")
    assert errors_of(record) == {"timeout": 1}
    assert record.statistics.total.count == 2


def test_retries_keep_the_draws_and_count_once(dsn: str) -> None:
    """A serialisation failure is tried again with the same draws, and one iteration's time spans all tries."""

    def fails_twice(worker: Any, seen: list[Any]) -> None:
        seen.append((worker.iteration, worker.rng.random()))
        tries = [draw for iteration, draw in seen if iteration == worker.iteration]
        assert len(set(tries)) == 1
        if len(tries) < 3:
            worker.conn.execute("SELECT pg_sleep(0.01)")
            raise psycopg.errors.SerializationFailure("made up")

    record = load(fails_twice, dsn, arguments={"seen": []}, workers=2, iterations=10, retries=3)
    total = record.statistics.total
    assert (total.count, total.failures, total.tally.retries) == (20, 0, 40)
    assert total.service.min > 0.02


def test_retries_that_run_out_are_a_failure(dsn: str) -> None:
    """Beyond its retries, a deadlock is a failure by its SQLSTATE, counted once for the iteration."""

    def deadlocked(worker: Any) -> None:
        raise psycopg.errors.DeadlockDetected("made up")

    record = load(deadlocked, dsn, workers=1, iterations=4, retries=2)
    assert errors_of(record) == {"40P01": 4}
    assert record.statistics.total.tally.retries == 8


def test_only_conflicts_are_retried(dsn: str) -> None:
    """Another error fails at once."""

    def divides(worker: Any) -> None:
        worker.conn.execute("SELECT 1/0")

    record = load(divides, dsn, workers=1, iterations=4, retries=2)
    assert errors_of(record) == {"22012": 4}
    assert record.statistics.total.tally.retries == 0


@pytest.mark.slow
def test_real_conflicts_succeed_after_retries(dsn: str) -> None:
    """Serialisable increments of one row by four workers all arrive, by way of retries."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS counter")
        conn.execute("CREATE TABLE counter AS SELECT 0 AS n")

    def increments(worker: Any) -> None:
        with worker.conn.transaction():
            worker.conn.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            n = worker.conn.execute("SELECT n FROM counter").fetchone()[0]
            worker.conn.execute("UPDATE counter SET n = %s", [n + 1])

    record = load(increments, dsn, workers=4, iterations=50, retries=1000)
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT n FROM counter").fetchone() == (200,)
    assert (record.statistics.total.count, record.statistics.total.failures) == (200, 0)
    assert record.statistics.total.tally.retries > 0


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_a_lost_connection_is_replaced(dsn: str, kind: str) -> None:
    """A terminated session is a failure of its iteration by SQLSTATE, and one reconnect; the rest succeeds."""

    def terminates(worker: Any) -> None:
        if worker.iteration == 3:
            worker.conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        worker.conn.execute("SELECT 1")

    async def terminates_async(worker: Any) -> None:
        if worker.iteration == 3:
            await worker.conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        await worker.conn.execute("SELECT 1")

    record = load(terminates if kind == "thread" else terminates_async, dsn, workers=2, iterations=10)
    assert errors_of(record) == {"57P01": 2}
    assert record.statistics.total.count == 18
    assert record.statistics.reconnects == 2


def test_a_prepared_statement_survives_a_reconnect(dsn: str) -> None:
    """On its new connection, the worker's statement is prepared again by itself."""

    def prepared(worker: Any, statements: dict[int, Any]) -> None:
        statement = statements.setdefault(worker.id, worker.prepare("SELECT $1::int + 1"))
        if worker.iteration == 2:
            worker.conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert statement.fetchval(worker.iteration) == worker.iteration + 1

    record = load(prepared, dsn, arguments={"statements": {}}, workers=2, iterations=6)
    assert errors_of(record) == {"57P01": 2}
    assert record.statistics.total.count == 10


def test_a_statement_that_cannot_be_prepared_says_why_each_time(dsn: str) -> None:
    """A missing table is reported as such by every iteration, and a later one that finds it succeeds."""

    def prepared(worker: Any, statements: dict[int, Any]) -> None:
        if worker.iteration == 3:
            worker.conn.execute("CREATE TEMP TABLE late (n int)")
        statement = statements.setdefault(worker.id, worker.prepare("SELECT count(*) FROM late"))
        assert statement.fetchval() == 0

    record = load(prepared, dsn, arguments={"statements": {}}, workers=1, iterations=6)
    assert errors_of(record) == {"42P01": 3}
    assert record.statistics.total.count == 3


def test_failures_have_a_code_a_count_and_an_example(dsn: str) -> None:
    """Failures count by SQLSTATE, or else by type, with the first one's text, in a latency of their own."""

    def fails(worker: Any) -> None:
        if worker.iteration % 4 == 1:
            worker.conn.execute("SELECT 1/0")
        if worker.iteration % 4 == 2:
            raise LookupError(f"iteration {worker.iteration}")

    record = load(fails, dsn, workers=1, iterations=20)
    total = record.statistics.total
    assert total.tally.errors == {
        "22012": (5, "division by zero"),
        "LookupError": (5, "iteration 2"),
    }
    assert (total.count, total.failures, total.service.count, total.tally.failed.count) == (10, 10, 10, 10)
    assert record.outcome == "failed"
    assert "10 of 20 iterations failed" in record.reasons[0]
    assert "iteration 1" in record.explanation


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_results_of_a_batch_count_each(dsn: str, is_open: bool) -> None:
    """A list of results adds each to its operation, with its rows; the call's duration enters once for each."""

    def batch(worker: Any) -> list[OperationResult]:
        insert = [OperationResult(operation="insert", rows_affected=2) for _ in range(3)]
        return [*insert, OperationResult(operation="delete", success=False, error="gone"), OperationResult()]

    options: dict[str, Any] = {"rate": "1000/s"} if is_open else {}
    record = load(batch, dsn, workers=1, iterations=10, batch_size=5, **options)
    operations = record.statistics.operations
    assert {name: (figures.count, figures.failures) for name, figures in operations.items()} == {
        "insert": (30, 0),
        "delete": (0, 10),
        "batch": (10, 0),
    }
    assert operations["insert"].tally.rows == 60
    assert operations["insert"].service.count == 10
    assert operations["delete"].tally.errors == {"unsuccessful": (10, "gone")}


@pytest.mark.parametrize("processes", [1, 2], ids=["threads", "processes"])
def test_metadata_of_the_first_failed_results_is_kept(dsn: str, processes: int) -> None:
    """Of failed results, the first five per code leave their metadata in the record, as plain values."""

    def fails(worker: Any) -> OperationResult:
        said = {"iteration": worker.iteration, "when": time.gmtime(0), "share": float("nan"), "text": "x" * 1000}
        return OperationResult(success=worker.iteration < 2, error="out of stock", metadata=said)

    record = load(fails, dsn, workers=2, iterations=10, processes=processes, connect=False)
    (error,) = run_document(record)["operations"]["fails"]["errors"]
    assert (error["code"], error["count"], error["example"]) == ("unsuccessful", 16, "out of stock")
    assert len(error["metadata"]) == 5
    assert error["metadata"][0]["iteration"] == 2
    assert error["metadata"][0]["share"] is None
    assert error["metadata"][0]["text"] == "x" * 497 + "..."
    assert json.loads(json.dumps(error["metadata"], allow_nan=False)) == error["metadata"]


def test_what_a_call_returns_is_released_outside_of_the_next_call(dsn: str) -> None:
    """Letting go of a large result is not part of the time of the iteration after."""

    class Slow:
        def __del__(self) -> None:
            time.sleep(0.02)

    def returns(worker: Any) -> object:
        return Slow()

    record = load(returns, dsn, workers=1, iterations=10)
    assert record.statistics.total.service.p50 < 0.01


LATEST = {"iteration": -1}


def test_a_first_failure_is_explained_after_the_load(dsn: str) -> None:
    """What takes long to render is rendered when no iteration is left that could wait for it."""

    def fails_once(worker: Any) -> None:
        LATEST["iteration"] = worker.iteration
        if worker.iteration == 2:
            raise ValueError("tired")

    def explain(error: BaseException) -> str:
        return f"{error}, told after iteration {LATEST['iteration']}"

    record = load(fails_once, dsn, workers=1, iterations=9, workload={"explain": explain})
    assert record.explanation == "first failure: worker 0, iteration 2, fails_once\ntired, told after iteration 8"

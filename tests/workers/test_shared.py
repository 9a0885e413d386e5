"""What fixtures opened before the fork is shared by no workers: made anew, or named as what ended the run."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.workload.contract import WorkerPlaceholder
from pytest_stormdb.workload.resources import WorkerFixture

from .harness import errors_of, load


def ids_read_back(read: Callable[[int], Any]) -> Callable[[Any], None]:
    """A workload that asks the server for its own id, and fails where it gets another worker's."""

    def asks(worker: Any) -> None:
        got = read(worker.id)
        assert got == worker.id, f"worker {worker.id} got {got}"

    return asks


@pytest.mark.parametrize("processes", [4, 1], ids=["processes", "threads"])
def test_an_engine_of_a_fixture_gives_each_worker_its_own_rows(dsn: str, processes: int) -> None:
    """SQLAlchemy's engine, used before the fork, connects anew in each worker; the parent's session goes on."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))

    def backend() -> int:
        with engine.connect() as connection:
            return int(connection.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar())

    def read(me: int) -> Any:
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text("SELECT :me"), {"me": me}).scalar()

    before = backend()
    record = load(ids_read_back(read), dsn, workers=4, iterations=50, connect=False, processes=processes)
    assert (errors_of(record), record.statistics.total.count) == ({}, 200)
    assert backend() == before
    engine.dispose()


def test_a_pool_of_a_fixture_is_made_again(dsn: str) -> None:
    """psycopg_pool's pool works in each worker with connections of its own."""
    pools = pytest.importorskip("psycopg_pool")
    with pools.ConnectionPool(dsn, min_size=1, max_size=2) as pool:

        def read(me: int) -> Any:
            with pool.connection() as connection:
                return connection.execute("SELECT %s", [me]).fetchone()[0]

        assert read(7) == 7
        record = load(ids_read_back(read), dsn, workers=4, iterations=50, connect=False)
        assert (errors_of(record), record.statistics.total.count) == ({}, 200)
        assert read(7) == 7


def test_djangos_connections_are_made_again(dsn: str) -> None:
    """Django connects anew in each worker, and goes on with its own connection in the parent."""
    django = pytest.importorskip("django")
    settings = pytest.importorskip("django.conf").settings
    connection = pytest.importorskip("django.db").connection

    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts["host"],
        "PORT": parts.get("port", 5432),
        "USER": parts["user"],
        "NAME": parts["dbname"],
    }
    settings.configure(DATABASES={"default": database})
    django.setup()

    def read(me: int) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s", [me])
            return cursor.fetchone()[0]

    assert read(7) == 7
    before = connection.connection.info.backend_pid
    record = load(ids_read_back(read), dsn, workers=4, iterations=50, connect=False)
    assert (errors_of(record), record.statistics.total.count) == ({}, 200)
    assert read(7) == 7
    assert connection.connection.info.backend_pid == before
    connection.close()


def test_a_connection_that_cannot_be_made_anew_fails_the_run_by_name(dsn: str) -> None:
    """One that a closure carries into the workers is dead there: no rows get mixed up, and the run says why."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        read = ids_read_back(lambda me: connection.execute("SELECT %s", [me]).fetchone()[0])  # type: ignore[index]
        record = load(read, dsn, workers=4, iterations=50, connect=False)
        assert record.outcome == "error"
        assert record.reasons[0].startswith("a connection to ")
        assert "was opened before the workers were forked was used in a worker" in record.reasons[0]
        assert record.statistics.total.count == 0
        assert "first failure: worker" in record.explanation
        assert connection.execute("SELECT 7").fetchone() == (7,)


def test_a_worker_fixture_that_uses_one_is_told_of_it_too(dsn: str) -> None:
    """The run never starts; beside the fixture's own error stands the cause."""
    with psycopg.connect(dsn, autocommit=True) as connection:

        def cache(worker: Any) -> Any:
            yield connection.execute("SELECT 1").fetchone()

        record = load(
            lambda worker, cache: None,
            dsn,
            arguments={"cache": WorkerFixture(cache, {"worker": WorkerPlaceholder()})},
            workers=2,
        )
    assert record.outcome == "error"
    assert any("OperationalError" in reason for reason in record.reasons)
    assert any(reason.startswith("a connection to ") for reason in record.reasons)


def test_connections_that_no_worker_uses_do_no_harm(dsn: str) -> None:
    """A set-up connection stays open through the run, and nobody is blamed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        record = load(lambda worker: worker.conn.execute("SELECT 1"), dsn, workers=3, iterations=5)
        assert (record.outcome, record.statistics.total.count) == ("passed", 15)
        assert connection.execute("SELECT 7").fetchone() == (7,)


MODULES = random.Random(5)
"""A generator of the module's own, as test modules have them."""


def test_chance_goes_its_own_way_in_each_worker(dsn: str, tmp_path: Path) -> None:
    """Global generators, a module's and a fixture's give other values in each worker, the same in the next run."""
    fixtures = random.Random(5)

    def draws(worker: Any, chance: Any) -> None:
        found = [random.random(), MODULES.random(), chance.random(), worker.rng.random()]
        (tmp_path / f"{worker.id}").write_text(repr(found))

    runs = []
    for _ in range(2):
        assert load(draws, dsn, arguments={"chance": fixtures}, workers=3, iterations=1).outcome == "passed"
        runs.append([(tmp_path / f"{worker}").read_text() for worker in range(3)])
    assert runs[0] == runs[1]
    drawn = [value for line in runs[0] for value in line.strip("[]").split(", ")]
    assert len(set(drawn)) == 12

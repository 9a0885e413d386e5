"""What workers inherit through the fork: no connection is shared, and chance goes its own way in each."""

from __future__ import annotations

import os
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.workers.inherited import look_for_inherited, seed_global_randoms

QUERY = "SELECT pg_backend_pid()"


def in_child(tmp_path: Path, function: Callable[[], object]) -> str:
    """What a function returns, or raises, in a forked child that was told to disconnect."""
    inherited = look_for_inherited({5432})
    out = tmp_path / "out"
    if not (pid := os.fork()):
        try:
            inherited.disconnect()
            out.write_text(f"{function()}")
            inherited.check_unused()
        except WorkloadError as error:
            out.write_text(f"used: {error}")
        except BaseException:
            out.write_text(traceback.format_exc())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return out.read_text()


def backend(connection: Any) -> int:
    return int(connection.execute(QUERY).fetchone()[0])


def test_an_inherited_connection_is_dead_in_the_child_only(dsn: str, tmp_path: Path) -> None:
    """A child that uses it gets an error at once and is told of it; the parent's session goes on."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        before = backend(connection)

        def use() -> str:
            with pytest.raises(psycopg.OperationalError):
                connection.execute(QUERY)
            return "refused"

        said = in_child(tmp_path, use)
        assert said.startswith("used: a connection to ")
        assert "opened before the workers were forked was used in a worker" in said
        assert backend(connection) == before


def test_closing_what_was_inherited_is_no_use_and_no_harm(dsn: str, tmp_path: Path) -> None:
    """A connection that a child closes or drops stays open in the parent, and nobody is blamed."""
    connection = psycopg.connect(dsn, autocommit=True)
    before = backend(connection)
    assert in_child(tmp_path, connection.close) == "None"
    assert backend(connection) == before
    connection.close()


def test_an_engine_connects_anew(dsn: str, tmp_path: Path) -> None:
    """SQLAlchemy's engine gives a child a session of its own, and the parent keeps its pooled one."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))

    def ask() -> int:
        with engine.connect() as connection:
            return int(connection.execute(sqlalchemy.text(QUERY)).scalar())

    before = ask()
    theirs = in_child(tmp_path, ask)
    assert theirs.isdigit(), theirs
    assert int(theirs) != before
    assert ask() == before
    engine.dispose()


def test_a_pool_is_made_again(dsn: str, tmp_path: Path) -> None:
    """psycopg_pool's pool works in a child, with its own settings; the parent's connections stay."""
    pool_module = pytest.importorskip("psycopg_pool")

    def configure(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SET application_name = 'configured'")
        connection.commit()

    with pool_module.ConnectionPool(dsn, min_size=1, max_size=1, configure=configure) as pool:

        def ask() -> str:
            with pool.connection() as connection:
                name = connection.execute("SHOW application_name").fetchone()[0]
                return f"{name} {connection.execute(QUERY).fetchone()[0]}"

        before = ask()
        theirs = in_child(tmp_path, ask)
        assert theirs.startswith("configured "), theirs
        assert theirs != before
        assert ask() == before


def test_other_sockets_are_left_alone(tmp_path: Path) -> None:
    """A connection to something that is no PostgreSQL server goes through the fork as it is."""
    import socket

    ours, theirs = socket.socketpair()

    def use() -> str:
        theirs.sendall(b"hello")
        return "sent"

    assert in_child(tmp_path, use) == "sent"
    assert ours.recv(10) == b"hello"
    ours.close()
    theirs.close()


def draws() -> list[float]:
    found = [random.random()]
    for name, draw in (("numpy", "random.rand"), ("faker", "Faker"), ("factory.random", "randgen")):
        try:
            module = __import__(name, fromlist=["_"])
        except ImportError:
            continue
        if draw == "random.rand":
            found.append(float(module.random.rand()))
        elif draw == "Faker":
            found.append(float(module.Faker().random_int(0, 10**9)))
        else:
            found.append(module.randgen.random())
    return found


def test_chance_differs_between_workers_and_not_between_runs() -> None:
    """Every library's global generator gives each worker numbers of its own, and the same ones in the next run."""
    state = random.getstate()
    draws()  # loads the libraries
    of_worker: dict[int, list[float]] = {}
    for _run in range(2):
        for worker in range(3):
            seed_global_randoms(7, worker)
            drawn = draws()
            assert of_worker.setdefault(worker, drawn) == drawn
    for column in zip(*of_worker.values(), strict=True):
        assert len(set(column)) == 3
    random.setstate(state)


def test_generators_of_fixtures_are_seeded_too() -> None:
    """A random.Random or a NumPy generator that a fixture made differs between workers, not between runs."""
    numpy = pytest.importorskip("numpy")
    mine, theirs = random.Random(1), numpy.random.default_rng(1)

    def drawn(worker: int) -> tuple[float, float]:
        seed_global_randoms(3, worker, [mine, theirs, "no generator"])
        return mine.random(), float(theirs.random())

    assert drawn(0) == drawn(0)
    assert drawn(0)[0] != drawn(1)[0]
    assert drawn(0)[1] != drawn(1)[1]

"""The loads as a suite of ours, as users write it; ``PEERS_LOAD`` says which. Collected by the benchmark only."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pytest_stormdb
from tests.benchmarks.contenders.loads import ACCOUNTS, BY_NAME, RANGES

LOAD = BY_NAME[os.environ["PEERS_LOAD"]]
FIRST = LOAD.numbered()[0][0]
PLACED = [text for text, _ in LOAD.with_placeholders()]
USED = sorted({name for _, names in LOAD.numbered() for name in names})


def drawn(rng: random.Random) -> dict[str, int]:
    """A value for each argument of the load."""
    return {name: rng.randint(*RANGES[name]) for name in USED}


@pytest_stormdb.worker_fixture
def statements(worker: Any) -> Iterator[list[tuple[Callable[..., Any], list[str]]]]:
    """The load's statements, each as the call that fits it."""
    made = [(worker.prepare(text), names) for text, names in LOAD.numbered()]
    yield [
        (statement.fetchval if text.startswith("SELECT") else statement.execute, names)
        for (text, _), (statement, names) in zip(LOAD.numbered(), made, strict=True)
    ]


@pytest.mark.stormdb(isolation="none")
def test_one(worker: Any) -> None:
    """A single statement."""
    aid = worker.rng.randint(1, ACCOUNTS)
    if LOAD.name == "select":
        worker.prepare(FIRST).fetchval(aid)
    else:
        worker.prepare(FIRST).execute(aid, worker.rng.randint(-5000, 5000))


@pytest.mark.stormdb(isolation="none")
def test_each(worker: Any, statements: list[tuple[Callable[..., Any], list[str]]]) -> None:
    """Several, one after the other."""
    values = drawn(worker.rng)
    for call, names in statements:
        call(*[values[name] for name in names])


@pytest.mark.stormdb(isolation="none")
def test_pipeline(worker: Any, statements: list[tuple[Callable[..., Any], list[str]]]) -> None:
    """Several, in one round trip."""
    values = drawn(worker.rng)
    with worker.pipeline():
        for call, names in statements:
            call(*[values[name] for name in names])


@pytest.mark.stormdb(isolation="none")
def test_cursor(worker: Any) -> None:
    """By psycopg's cursors, as most workloads begin."""
    values = drawn(worker.rng)
    for text in PLACED:
        cursor = worker.conn.execute(text, values)
        if cursor.description:
            cursor.fetchone()

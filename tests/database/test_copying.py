"""COPY at psycopg's speed, and what it counts."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database import copying as module
from pytest_stormdb.database.copying import copying, copying_async
from pytest_stormdb.embedded.server import EmbeddedServer


class Counters(dict[str, float]):
    """Metrics of a worker, as far as COPY needs them."""

    def count(self, name: str, n: float = 1) -> None:
        self[name] = self.get(name, 0) + n


def test_rows_and_bytes(server: EmbeddedServer, caplog: pytest.LogCaptureFixture) -> None:
    """The rows that the server took and the bytes that were sent are counted, and the log says so."""
    with psycopg.connect(server.dsn, autocommit=True) as conn, caplog.at_level(logging.INFO, "stormdb"):
        owner = SimpleNamespace(conn=conn, metrics=Counters())
        conn.execute("CREATE TEMP TABLE t (n int, s text)")
        with copying(owner, "COPY t FROM STDIN", None) as copy:
            for number in range(1000):
                copy.write_row((number, "x"))
        assert conn.execute("SELECT count(*), sum(n) FROM t").fetchone() == (1000, 499_500)
    text = "".join(f"{number}\tx\n" for number in range(1000))
    assert owner.metrics == {"copy.rows": 1000, "copy.bytes": len(text)}
    assert "copied 1,000 rows" in caplog.text


def test_progress_on_the_way(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long copy tells how far it is; here after every block, since nobody wants to wait a second for it."""
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.0)
    with psycopg.connect(server.dsn, autocommit=True) as conn, caplog.at_level(logging.INFO, "stormdb"):
        conn.execute("CREATE TEMP TABLE t (s text)")
        owner = SimpleNamespace(conn=conn, metrics=Counters())
        with copying(owner, "COPY t FROM STDIN", None) as copy:
            for _ in range(3):
                copy.write(b"x" * 999_999 + b"\n")
    assert [record.getMessage().split(" MB")[0] for record in caplog.records] == [
        "copying: 1.0",
        "copying: 2.0",
        "copying: 3.0",
        "copied 3 rows: 3.0",
    ]


def test_a_copy_that_fails(server: EmbeddedServer) -> None:
    """An error of the server, or of the block, is raised, nothing is stored, and the connection goes on."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        owner = SimpleNamespace(conn=conn, metrics=Counters())
        conn.execute("CREATE TEMP TABLE t (n int)")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation), copying(owner, "COPY t FROM STDIN", None) as copy:
            copy.write_row(("x",))
        with pytest.raises(LookupError), copying(owner, "COPY t FROM STDIN", None) as copy:  # noqa: PT012 - its end raises
            copy.write_row((1,))
            raise LookupError
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert "copy.rows" not in owner.metrics


def test_a_copy_of_a_task(server: EmbeddedServer) -> None:
    """The same, awaited."""

    async def copies() -> Any:
        async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as conn:
            owner = SimpleNamespace(conn=conn, metrics=Counters())
            await conn.execute("CREATE TEMP TABLE t (n int)")
            async with copying_async(owner, "COPY t FROM STDIN", None) as copy:
                await copy.write_row((7,))
            return owner.metrics, await (await conn.execute("SELECT n FROM t")).fetchall()

    assert asyncio.run(copies()) == ({"copy.rows": 1, "copy.bytes": 2}, [(7,)])

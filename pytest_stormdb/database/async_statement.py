"""Prepared statements of asyncio workers: the short path again, with a wait of its own for the socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from psycopg import errors, generators, pq

from .pipelining import Collected, Later
from .readiness import readiness
from .results import FAILED, checked
from .statement import Prepared, unnamed

_IDLE = pq.TransactionStatus.IDLE
_CANCEL_TIMEOUT_S = 5.0


class AsyncStatement(Prepared):
    """A statement of an asynchronous connection; every call is awaited.

    Within ``worker.pipeline()`` each call returns a ``Later``. Errors are psycopg's.
    """

    async def execute(self, *arguments: Any) -> int:
        """Run it; the number of rows affected (or returned)."""
        result = await self._run(arguments)
        count: int | None = result.command_tuples
        return await self._otherwise(result, arguments, self._count) if count is None else count

    async def fetchone(self, *arguments: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        result = await self._run(arguments)
        return self._row(result) if result.ntuples else await self._otherwise(result, arguments, self._row)

    async def fetchval(self, *arguments: Any) -> Any:
        """The first column of the first row, or None."""
        result = await self._run(arguments)
        return self._value(result) if result.ntuples else await self._otherwise(result, arguments, self._value)

    async def fetchall(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        result = await self._run(arguments)
        return self._rows(result) if result.ntuples else await self._otherwise(result, arguments, self._rows)

    async def _run(self, arguments: tuple[Any, ...]) -> Any:
        """Its result, which is not checked: one without rows goes through ``_otherwise``."""
        conn = self._owner.conn
        if conn is not self._conn or not conn._autocommit:
            return await self._run_unusually(conn, arguments)
        return await self._answer(conn, self._dumped(arguments))

    async def _run_unusually(self, conn: Any, arguments: tuple[Any, ...]) -> Any:
        """Run it on a connection that is new, not in autocommit, or in a pipeline."""
        actual = conn.actual if isinstance(conn, Collected) else conn
        if not actual._autocommit and actual.pgconn.transaction_status == _IDLE:
            await actual.execute("")  # lets psycopg begin the transaction, with its characteristics
        if actual is not self._conn:
            await self._prepare(actual)
        values = self._dumped(arguments)
        return await self._answer(actual, values) if actual is conn else conn.enqueue(self._name, values)

    async def _prepare(self, conn: Any) -> None:
        pgconn = conn.pgconn
        async with conn.lock:
            if leftover := self._take_leftover(pgconn):
                pgconn.send_query(leftover)
                await conn.wait(generators.execute(pgconn))
            name, sql = self._text(conn)
            self._readiness = readiness(conn)
            if conn.prepare_threshold is None and pgconn.transaction_status == _IDLE:
                await self._describe(conn, name, sql)
                self._send = partial(unnamed, pgconn.send_query_params, sql)
                return
            self._send = pgconn.send_query_prepared
            pgconn.send_prepare(name, sql)
            checked(conn, (await conn.wait(generators.execute(pgconn)))[-1])
            pgconn.send_describe_prepared(name)
            self._settle_on(conn, name, checked(conn, (await conn.wait(generators.execute(pgconn)))[-1]))

    async def _describe(self, conn: Any, name: bytes, sql: bytes) -> None:
        """Learn its types without preparing it, in a transaction, for which a pooler keeps the session."""
        pgconn = conn.pgconn
        steps: tuple[Callable[[], None], ...] = (
            lambda: pgconn.send_query(b"BEGIN"),
            lambda: pgconn.send_prepare(b"", sql),
            lambda: pgconn.send_describe_prepared(b""),
        )
        try:
            for step in steps:
                step()
                result = checked(conn, (await conn.wait(generators.execute(pgconn)))[-1])
            self._settle_on(conn, name, result)
        finally:
            pgconn.send_query(b"ROLLBACK")
            await conn.wait(generators.execute(pgconn))

    async def _answer(self, conn: Any, values: list[Any]) -> Any:
        """Send, wait and read; what is left to send or to read in a second step is psycopg's."""
        pgconn, lock = conn.pgconn, conn.lock
        await lock.acquire()
        try:
            self._send(self._name, values)
            if pgconn.flush():
                return (await conn.wait(generators.execute(pgconn)))[-1]
            try:
                await self._readiness.answer()
            except asyncio.CancelledError:
                await _abandon(conn)
                raise
            result = pgconn.get_result()
            if pgconn.is_busy() or pgconn.get_result() is not None:
                await _read_rest(conn, result)
            return result
        finally:
            lock.release()

    async def _otherwise(self, result: Any, arguments: tuple[Any, ...], read: Callable[[Any], Any]) -> Any:
        """What a call returns without rows: it waits in a pipeline, is outdated, failed, or has none."""
        if isinstance(result, Later):
            result.statement = self
            result.read = read
            return result
        conn = self._owner.conn
        if self.forget_if_outdated(result) and conn.pgconn.transaction_status == _IDLE:
            result = await self._run(arguments)
        return read(checked(conn, result))


async def _read_rest(conn: Any, result: Any) -> None:
    try:
        await conn.wait(generators.fetch_many(conn.pgconn))
    except errors.OperationalError:
        if result.status != FAILED:
            raise  # else the server said why it hung up


async def _abandon(conn: Any) -> None:
    """End the statement on the server, as psycopg does when its wait for it is cancelled."""
    with contextlib.suppress(errors.Error):
        await conn.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
        await conn.wait(generators.fetch_many(conn.pgconn))

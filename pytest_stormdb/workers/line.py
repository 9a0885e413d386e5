"""A worker's line to the database: its connection, and what it takes to keep it usable."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from ..database.connect import connect, connect_async
from ..errors import ServerError
from ..workload import Worker

_IDLE = psycopg.pq.TransactionStatus.IDLE
_IN_TRANSACTION = (psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR)
AWAY_S = 30.0
"""A server that cannot be reached for this long has left for good."""
_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 1.0
_CANCEL_TIMEOUT_S = 2.0


class NoLine:
    """The line of a workload that opens its own connections."""

    def is_clean(self) -> bool:
        return True

    def mend(self) -> bool:
        return False

    async def mend_async(self) -> bool:
        return False

    def cancel(self) -> None:
        """There is nothing to cancel."""

    def absorb_cancel(self) -> None:
        """There is nothing to absorb."""

    def cut(self) -> bool:
        return False

    def open(self) -> None:
        """There is nothing to open."""

    async def open_async(self) -> None:
        """There is nothing to open."""

    def close(self) -> None:
        """There is nothing to close."""

    async def close_async(self) -> None:
        """There is nothing to close."""


class Line:
    """A connection in autocommit, idle between iterations.

    ``may_go_on`` is asked between attempts to reconnect, whether there is still a run to reconnect for.
    """

    def __init__(self, worker: Worker, name: str) -> None:
        self.may_go_on: Callable[[], bool] = lambda: True
        self._worker = worker
        self._name = name
        self._pgconn: Any = None
        self._jitter = random.Random()
        self._cancelling = threading.Lock()

    def is_clean(self) -> bool:
        """Whether the connection is usable and in no transaction."""
        return self._pgconn.transaction_status == _IDLE  # type: ignore[no-any-return]

    def open(self) -> None:
        """Connect. Raises ServerError."""
        self._take(connect(self._worker.dsn, name=self._name))
        self._prepare_for_load(self._worker.conn.pgconn)

    async def open_async(self) -> None:
        """Connect, for asyncio."""
        self._take(await connect_async(self._worker.dsn, name=self._name))
        self._prepare_for_load(self._worker.conn.pgconn)

    def mend(self) -> bool:
        """Roll back or reconnect; whether it reconnected. Raises ServerError when the server stays away."""
        conn = self._worker.conn
        if self._pgconn.transaction_status in _IN_TRANSACTION:
            with contextlib.suppress(psycopg.Error):
                conn.rollback()
        if self.is_clean() and not conn.closed:
            return False
        self.close()
        return self._reconnect()

    async def mend_async(self) -> bool:
        """The same for an asynchronous connection."""
        conn = self._worker.conn
        if self._pgconn.transaction_status in _IN_TRANSACTION:
            with contextlib.suppress(psycopg.Error):
                await conn.rollback()
        if self.is_clean() and not conn.closed:
            return False
        await self.close_async()
        return await self._reconnect_async()

    def cancel(self) -> None:
        """Ask the server to cancel the running statement. Safe to call from another thread."""
        with self._cancelling, contextlib.suppress(psycopg.Error, OSError):
            self._worker.conn.cancel_safe(timeout=_CANCEL_TIMEOUT_S)

    def absorb_cancel(self) -> None:
        """Make sure that a cancel request still on its way hits nothing of the next iteration.

        The server sends the signal before it closes the connection that asked for it, and an idle backend
        ignores it: so wait for the request to end, then give the signal one statement to land on.
        """
        with self._cancelling:
            if self.is_clean():
                self._pgconn.exec_(b"SELECT 1")

    def cut(self) -> bool:
        """Shut the socket of a statement that does not end; whether there was one. For another thread."""
        if self._pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
            return False
        with contextlib.suppress(OSError), socket.fromfd(self._pgconn.socket, socket.AF_UNIX, 0) as alias:
            alias.shutdown(socket.SHUT_RDWR)
        return True

    def close(self) -> None:
        """Hang up."""
        if self._pgconn is None:
            return
        with contextlib.suppress(psycopg.Error):
            self._worker.conn.close()

    async def close_async(self) -> None:
        """Hang up, for asyncio."""
        if self._pgconn is None:
            return
        with contextlib.suppress(psycopg.Error):
            await self._worker.conn.close()

    def _take(self, conn: Any) -> None:
        self._worker.conn = conn
        self._pgconn = conn.pgconn

    @staticmethod
    def _prepare_for_load(pgconn: Any) -> None:
        """Let the server notice within a second that a worker was killed in the middle of a statement.

        The setting exists from PostgreSQL 14 on, on Linux and macOS servers; elsewhere the error is of no account.
        """
        pgconn.exec_(b"SET client_connection_check_interval = 1000")

    def _reconnect(self) -> bool:
        deadline_s = time.monotonic() + AWAY_S
        for backoff_s in self._backoffs():
            try:
                self.open()
            except ServerError as error:
                self._give_up(error, deadline_s)
                time.sleep(backoff_s)
            else:
                return True
            if not self.may_go_on():
                break
        return False

    async def _reconnect_async(self) -> bool:
        deadline_s = time.monotonic() + AWAY_S
        for backoff_s in self._backoffs():
            try:
                await self.open_async()
            except ServerError as error:
                self._give_up(error, deadline_s)
                await asyncio.sleep(backoff_s)
            else:
                return True
            if not self.may_go_on():
                break
        return False

    def _give_up(self, error: ServerError, deadline_s: float) -> None:
        if time.monotonic() > deadline_s:
            raise ServerError(f"the server stayed away for {AWAY_S:g} s: {error}", error.sqlstate)

    def _backoffs(self) -> Any:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            yield self._jitter.uniform(backoff_s / 2, backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

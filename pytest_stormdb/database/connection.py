"""A worker's connection, and what it takes to keep it usable."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import psycopg

from ..errors import ServerError
from ..measurement.sample import Failure
from .connect import CONNECT_TIMEOUT_S, connect, connect_async

_ACTIVE = psycopg.pq.TransactionStatus.ACTIVE
_IDLE = psycopg.pq.TransactionStatus.IDLE
_IN_TRANSACTION = (psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR)
AWAY_S = 30.0
"""A server that cannot be reached for this long has left for good."""
_RECONNECT_TIMEOUT_S = 3
_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 1.0
_CANCEL_TIMEOUT_S = 2.0


class Owner(Protocol):
    """Whose connection it is: it holds the connection, and the address to open another."""

    conn: Any
    dsn: str


class NoConnection:
    """For a workload that opens its own connections: always clean, never to be mended."""

    def is_clean(self) -> bool:
        return True

    def is_active(self) -> bool:
        return False

    def complaint(self) -> Failure:
        raise AssertionError("a connection that is always clean")

    def distrust(self) -> None:
        """There is nothing to distrust."""

    def mend(self) -> bool:
        return False

    async def mend_async(self) -> bool:
        return False

    def cancel(self, mark: Callable[[], bool]) -> None:
        mark()

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


class WorkerConnection(NoConnection):
    """A connection in autocommit, idle between iterations.

    ``may_go_on`` is asked between attempts to reconnect, whether there is still a run to reconnect for.
    """

    def __init__(self, owner: Owner, name: str) -> None:
        self.may_go_on: Callable[[], bool] = lambda: True
        self._owner = owner
        self._name = name
        self._pgconn: Any = None
        self._distrusted = False
        self._jitter = random.Random()
        self._cancelling = threading.Lock()

    def is_clean(self) -> bool:
        """Whether the connection is usable and in no transaction."""
        return self._pgconn.transaction_status == _IDLE and not self._distrusted

    def is_active(self) -> bool:
        """Whether a statement is running."""
        return bool(self._pgconn.transaction_status == _ACTIVE)

    def complaint(self) -> Failure:
        """What is wrong with a connection that is not clean."""
        if self._owner.conn.closed:
            return Failure("connection closed", "the iteration left its connection closed; it was opened again")
        if self._pgconn.transaction_status in _IN_TRANSACTION:
            return Failure("open transaction", "the iteration left its transaction open; it was rolled back")
        return Failure("unfinished statement", "the iteration left a statement running; its connection was replaced")

    def distrust(self) -> None:
        """Take a new connection before the next iteration, whatever this one looks like."""
        self._distrusted = True

    def open(self) -> None:
        """Connect. Raises ServerError."""
        self._open(CONNECT_TIMEOUT_S)

    async def open_async(self) -> None:
        """Connect, for asyncio."""
        await self._open_async(CONNECT_TIMEOUT_S)

    def mend(self) -> bool:
        """Roll back or reconnect; whether it reconnected. Raises ServerError when the server stays away."""
        conn = self._owner.conn
        if not self._distrusted and self._pgconn.transaction_status in _IN_TRANSACTION:
            with contextlib.suppress(psycopg.Error):
                conn.rollback()
        if self.is_clean() and not conn.closed:
            return False
        self.close()
        for backoff_s in self._attempts():
            try:
                self._open(_RECONNECT_TIMEOUT_S)
            except ServerError as error:
                self._note_failed_attempt(error)
                time.sleep(backoff_s)
            else:
                return True
        return False

    async def mend_async(self) -> bool:
        """The twin of ``mend``."""
        conn = self._owner.conn
        if not self._distrusted and self._pgconn.transaction_status in _IN_TRANSACTION:
            with contextlib.suppress(psycopg.Error):
                await conn.rollback()
        if self.is_clean() and not conn.closed:
            return False
        await self.close_async()
        for backoff_s in self._attempts():
            try:
                await self._open_async(_RECONNECT_TIMEOUT_S)
            except ServerError as error:
                self._note_failed_attempt(error)
                await asyncio.sleep(backoff_s)
            else:
                return True
        return False

    def cancel(self, mark: Callable[[], bool]) -> None:
        """Ask the server to cancel the running statement, unless ``mark`` says that there is none any more.

        For another thread, which does not wait for the request to be answered: a frozen server does not.
        """
        if not self._cancelling.acquire(blocking=False):
            return
        if mark():
            threading.Thread(target=self._request_cancel, daemon=True).start()
        else:
            self._cancelling.release()

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
        if not self.is_active():
            return False
        with contextlib.suppress(OSError, psycopg.Error), socket.fromfd(self._pgconn.socket, socket.AF_UNIX, 0) as twin:
            twin.shutdown(socket.SHUT_RDWR)
        return True

    def close(self) -> None:
        """Hang up."""
        if self._pgconn is not None:
            with contextlib.suppress(psycopg.Error):
                self._owner.conn.close()

    async def close_async(self) -> None:
        """Hang up, for asyncio."""
        if self._pgconn is not None:
            with contextlib.suppress(psycopg.Error):
                await self._owner.conn.close()

    def _open(self, timeout_s: int) -> None:
        self._take(connect(self._owner.dsn, name=self._name, timeout_s=timeout_s))

    async def _open_async(self, timeout_s: int) -> None:
        self._take(await connect_async(self._owner.dsn, name=self._name, timeout_s=timeout_s))

    def _take(self, conn: Any) -> None:
        """Use a new connection, and let the server notice within a second should we be killed in a statement.

        The setting exists from PostgreSQL 14 on, on Linux and macOS servers; elsewhere the error is of no account.
        """
        self._owner.conn = conn
        self._pgconn = conn.pgconn
        self._distrusted = False
        self._pgconn.exec_(b"SET client_connection_check_interval = 1000")

    def _request_cancel(self) -> None:
        try:
            with contextlib.suppress(psycopg.Error, OSError):
                self._owner.conn.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
        finally:
            self._cancelling.release()

    def _attempts(self) -> Iterator[float]:
        """The pauses after failed attempts to reconnect, as long as there is a run to reconnect for."""
        self._away_until_s = time.monotonic() + AWAY_S
        backoff_s = _FIRST_BACKOFF_S
        yield self._jitter.uniform(backoff_s / 2, backoff_s)
        while self.may_go_on():
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
            yield self._jitter.uniform(backoff_s / 2, backoff_s)

    def _note_failed_attempt(self, error: ServerError) -> None:
        if time.monotonic() > self._away_until_s:
            raise ServerError(f"the server stayed away for {AWAY_S:g} s: {error}", error.sqlstate)

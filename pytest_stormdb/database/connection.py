"""A worker's connection: opened, kept usable between iterations, and cancelled from outside where it must be."""

from __future__ import annotations

import contextlib
import inspect
import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from ..errors import ServerError
from ..measurement.clock import SYSTEM_CLOCK, Clock, sleep_for_ns
from ..measurement.sample import Failure
from .connect import CONNECT_TIMEOUT_S, connect, connect_async, reraised
from .costs import BackendWork, flush_counters, own_work
from .cursor_cost import cursor_cost_ns
from .readiness import release

_ACTIVE = psycopg.pq.TransactionStatus.ACTIVE
_IDLE = psycopg.pq.TransactionStatus.IDLE
_IN_TRANSACTION = (psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR)
MOST_AWAY_S = 30.0
"""A server that cannot be reached for this long has left for good."""
_RECONNECT_TIMEOUT_S = 3
_FIRST_BACKOFF_NS = 50_000_000
_LONGEST_BACKOFF_NS = 1_000_000_000
_CANCEL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class SessionCare:
    """What may be done to a worker's session on the server: settings made in it, statements prepared by themselves."""

    sets: bool = True
    prepares: bool = True


OWN_SESSION = SessionCare()


class Holder(Protocol):
    """Whose connection it is: holds the connection for the workload, and the address to open another."""

    conn: Any
    dsn: str

    @property
    def connect_hooks(self) -> Sequence[Callable[[Any], Any]]:
        """What sets up each new connection."""


class _Idle:
    """What is in no transaction."""

    transaction_status = _IDLE


class NoConnection:
    """For a workload that opens its own connections: always clean, never to be repaired.

    ``pgconn`` is libpq's connection, whose status tells a loop whether an iteration left it as it was.
    The coroutines of connections wait for nothing where the worker is not asynchronous.
    """

    pgconn: Any = _Idle()

    def is_clean(self) -> bool:
        return True

    def is_active(self) -> bool:
        return False

    def problem(self) -> Failure:
        raise AssertionError("a connection that is always clean")

    def replace_next(self) -> None:
        """There is nothing to replace."""

    async def repair(self) -> bool:
        return False

    def cancel(self, is_due: Callable[[], bool]) -> None:
        is_due()

    def await_cancel(self) -> None:
        """There is nothing to wait for."""

    def shut_down(self) -> bool:
        return False

    async def open(self) -> None:
        """There is nothing to open."""

    def flush_counters(self) -> None:
        """There is nothing to hand in."""

    def own_work(self) -> BackendWork | None:
        return None

    async def cursor_cost_ns(self, iterations: int) -> float | None:
        return None

    async def close(self) -> None:
        """There is nothing to close."""


class WorkerConnection(NoConnection):
    """A connection in autocommit, idle between iterations.

    ``may_go_on`` is asked between attempts to reconnect, whether there is still a run to reconnect for; ``on_open`` is
    told the number of the server's process for each session.
    """

    def __init__(
        self,
        holder: Holder,
        name: str,
        *,
        is_async: bool = False,
        clock: Clock = SYSTEM_CLOCK,
        care: SessionCare = OWN_SESSION,
    ) -> None:
        self.may_go_on: Callable[[], bool] = lambda: True
        self.on_open: Callable[[int], None] = lambda pid: None
        self._holder = holder
        self._name = name
        self._is_async = is_async
        self._clock = clock
        self._care = care
        self._conn: Any = None
        self.pgconn: Any = None
        self._is_unusable = False
        self._jitter = random.Random()
        self._cancelling = threading.Lock()

    def is_clean(self) -> bool:
        """Whether the connection is usable and in no transaction."""
        return self.pgconn.transaction_status == _IDLE and not self._is_unusable

    def is_active(self) -> bool:
        """Whether a statement is running."""
        return bool(self.pgconn.transaction_status == _ACTIVE)

    def problem(self) -> Failure:
        """What is wrong with a connection that is not clean."""
        if self._conn.closed:
            return Failure("connection closed", "the iteration left its connection closed; it was opened again")
        if self.pgconn.transaction_status in _IN_TRANSACTION:
            return Failure("open transaction", "the iteration left its transaction open; it was rolled back")
        return Failure("unfinished statement", "the iteration left a statement running; its connection was replaced")

    def replace_next(self) -> None:
        """Take a new connection before the next iteration, whatever this one looks like."""
        self._is_unusable = True

    def flush_counters(self) -> None:
        """Have the backend hand in what it counted until now. For between two iterations."""
        if self.is_clean():
            flush_counters(self.pgconn)

    def own_work(self) -> BackendWork | None:
        """What the backend did in all, where the server counts that. For after the last iteration."""
        return own_work(self.pgconn) if self.is_clean() else None

    async def cursor_cost_ns(self, iterations: int) -> float | None:
        """The CPU time of each iteration, in ns, that ``worker.prepare`` would have spared. For after the last one.

        It takes one transaction; None where it was not looked for."""
        if not self.is_clean():
            return None
        with contextlib.suppress(psycopg.Error):
            return await cursor_cost_ns(self._conn, iterations)
        return None

    async def open(self, timeout_s: int = CONNECT_TIMEOUT_S) -> None:
        """Connect. Raises ServerError."""
        if self._is_async:
            self._use(await connect_async(self._holder.dsn, name=self._name, timeout_s=timeout_s))
        else:
            self._use(connect(self._holder.dsn, name=self._name, timeout_s=timeout_s))
        for hook in self._holder.connect_hooks:
            with reraised("worker.on_connect"):
                await _finished(hook(self._holder.conn))

    async def repair(self) -> bool:
        """Roll back or reconnect; whether it reconnected. Raises ServerError when the server stays away."""
        conn = self._conn
        if not self._is_unusable and self.pgconn.transaction_status in _IN_TRANSACTION:
            with contextlib.suppress(psycopg.Error):
                await _finished(conn.rollback())
        if self.is_clean() and not conn.closed:
            return False
        await self.close()
        away_until_ns = self._clock.now_ns() + int(MOST_AWAY_S * 1e9)
        for backoff_ns in self._backoffs_ns():
            try:
                await self.open(_RECONNECT_TIMEOUT_S)
            except ServerError as error:
                if self._clock.now_ns() > away_until_ns:
                    raise ServerError(
                        f"the server stayed away for {MOST_AWAY_S:g} s: {error}", error.sqlstate
                    ) from None
                await sleep_for_ns(self._clock, backoff_ns, is_async=self._is_async)
            else:
                return True
        return False

    def cancel(self, is_due: Callable[[], bool]) -> None:
        """Ask the server to cancel the running statement, unless ``is_due`` says that there is none any more.

        For another thread, which does not wait for the request to be answered: a frozen server does not.
        """
        if not self._cancelling.acquire(blocking=False):
            return
        if is_due():
            threading.Thread(target=self._request_cancel, daemon=True).start()
        else:
            self._cancelling.release()

    def await_cancel(self) -> None:
        """Make sure that a cancel request still on its way hits nothing of the next iteration.

        The server sends the signal before it closes the connection that asked for it, and an idle backend
        ignores it: so wait for the request to end, then give the signal one statement to land on.
        """
        with self._cancelling:
            if self.is_clean():
                self.pgconn.exec_(b"SELECT 1")

    def shut_down(self) -> bool:
        """Shut the socket of a statement that does not end; whether there was one. For another thread."""
        if not self.is_active():
            return False
        with contextlib.suppress(OSError, psycopg.Error), socket.fromfd(self.pgconn.socket, socket.AF_UNIX, 0) as twin:
            twin.shutdown(socket.SHUT_RDWR)
        return True

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self.pgconn is not None:
            release(self._conn)
            with contextlib.suppress(psycopg.Error):
                await _finished(self._conn.close())

    def _use(self, conn: Any) -> None:
        """Use a new connection, and let the server notice within a second should we be killed in a statement.

        A session that others use as well, behind a pooler, or where nothing is to be set, stays as it is.

        The setting exists from PostgreSQL 14 on, on Linux and macOS servers; elsewhere the error is of no account.
        """
        self._holder.conn = self._conn = conn
        self.pgconn = conn.pgconn
        self._is_unusable = False
        if self._care.sets:
            self.pgconn.exec_(b"SET client_connection_check_interval = 1000")
        if not self._care.prepares:
            conn.prepare_threshold = None
        self.on_open(self.pgconn.backend_pid)

    def _request_cancel(self) -> None:
        try:
            with contextlib.suppress(psycopg.Error, OSError):
                self._conn.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
        finally:
            self._cancelling.release()

    def _backoffs_ns(self) -> Iterator[int]:
        """The pauses after failed attempts to reconnect, as long as there is a run to reconnect for."""
        backoff_ns = _FIRST_BACKOFF_NS
        yield self._jitter.randint(backoff_ns // 2, backoff_ns)
        while self.may_go_on():
            backoff_ns = min(2 * backoff_ns, _LONGEST_BACKOFF_NS)
            yield self._jitter.randint(backoff_ns // 2, backoff_ns)


async def _finished(value: Any) -> None:
    """Wait for what an asynchronous connection's method gave; a plain one's is finished already."""
    if inspect.isawaitable(value):
        await value

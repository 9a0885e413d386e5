"""Connections of ours that are no load: they wait for no answer for ever, and survive the loss of their session."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import psycopg

from ..errors import ServerError
from ..realtime import monotonic
from .connect import CONNECT_TIMEOUT_S, connect_as, is_pooled

T = TypeVar("T")
LIMIT_S = 60.0
"""The longest that a statement of ours may take."""

_AWAY_S = 10.0
_PAUSE_S = 0.2
_FAREWELL_S = 0.02  # between a server's last words and its hanging up
_CANCEL_TIMEOUT_S = 2.0
_LIMITS = (
    "statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout",
    "transaction_timeout",
)  # fmt: skip
_IDLE = psycopg.pq.TransactionStatus.IDLE


class LimitedConnection(psycopg.Connection[tuple[Any, ...]]):
    """Each statement takes ``limit_s`` at most; then it is cancelled, and the connection is given up."""

    limit_s: float | None = LIMIT_S

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """As psycopg's, which lets the generator look at the clock ten times a second."""
        if self.limit_s is None:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_until(gen, monotonic() + self.limit_s), *args, **kwargs)
        except _OutOfTime:
            with contextlib.suppress(psycopg.Error, OSError):
                self.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.limit_s:g} s") from None


class _OutOfTime(Exception):  # noqa: N818 - never leaves this module
    pass


def _until(gen: Generator[Any, Any, T], deadline_s: float) -> Generator[Any, Any, T]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and monotonic() > deadline_s:
                raise _OutOfTime
            wanted = gen.send(ready)
    except StopIteration as stop:
        result: T = stop.value
        return result


class SteadyConnection(LimitedConnection):
    """Opened anew where its session was lost between two statements: by a restart, an idle limit, a reset.

    What a session holds is lost with it: settings, temporary tables, prepared statements. What a transaction
    holds would be too, so one that is open is never replaced.
    """

    reopen: Callable[[], psycopg.Connection[tuple[Any, ...]]]
    _was_idle = True
    _depth = 0

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """As psycopg's, of a session that is there."""
        self.keep_up()
        return super().cursor(*args, **kwargs)

    @contextlib.contextmanager
    def transaction(self, *args: Any, **kwargs: Any) -> Iterator[psycopg.Transaction]:
        """As psycopg's, of a session that is there."""
        self.keep_up()
        self._depth += 1
        try:
            with super().transaction(*args, **kwargs) as transaction:
                yield transaction
        finally:
            self._depth -= 1

    def keep_up(self) -> None:
        """Open it anew if its session was lost. Raises ServerError where the server stays away."""
        if self._closed or self._depth or self._pipeline is not None:
            return
        if not self._is_lost():
            self._was_idle = self.pgconn.transaction_status == _IDLE
        elif self._was_idle:
            self._adopt(self.reopen())

    def _is_lost(self) -> bool:
        if self.pgconn.status != psycopg.pq.ConnStatus.OK:
            return True
        if self.pgconn.transaction_status != _IDLE:
            return False
        patience_s = 0.0
        try:
            while select.select([self.pgconn.socket], [], [], patience_s)[0]:
                self.pgconn.consume_input()
                patience_s = _FAREWELL_S
        except psycopg.Error:
            return True
        return False

    def _adopt(self, fresh: psycopg.Connection[tuple[Any, ...]]) -> None:
        """Take the session of a fresh connection; ours keeps its adapters, handlers and settings."""
        lost, self.pgconn, fresh.pgconn = self.pgconn, fresh.pgconn, self.pgconn
        self.pgconn.notice_handler, self.pgconn.notify_handler = lost.notice_handler, lost.notify_handler
        threshold = self._prepared.prepare_threshold
        self._prepared = type(self._prepared)()
        self._prepared.prepare_threshold = threshold
        self._num_transactions = 0


def open_steady(
    dsn: str, *, name: str, limit_s: float | None = LIMIT_S, timeout_s: int = CONNECT_TIMEOUT_S
) -> SteadyConnection:
    """A connection of ours, without the time limits of role and database. Raises ServerError."""

    def once() -> SteadyConnection:
        conn = connect_as(SteadyConnection, dsn, name=name, timeout_s=timeout_s)
        lift_limits(conn)
        return conn

    def again() -> SteadyConnection:
        deadline_s = monotonic() + _AWAY_S
        while True:
            try:
                return once()
            except ServerError:
                if monotonic() > deadline_s:
                    raise
                time.sleep(_PAUSE_S)

    conn = once()
    conn.limit_s, conn.reopen = limit_s, again
    return conn


def lift_limits(conn: psycopg.Connection[Any]) -> None:
    """Take the limits off that role, database or connection string set, which are meant for the load.

    Behind a pooler the session is shared with others: they stay, and automatic prepared statements are off.
    """
    if is_pooled(conn):
        conn.prepare_threshold = None
        return
    conn.execute(
        "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY(%s) AND setting <> '0'", [list(_LIMITS)]
    )

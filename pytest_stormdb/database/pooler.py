"""Whether a pooler stands before the server, and for how long it lends a session."""

from __future__ import annotations

import contextlib
import enum

import psycopg

from ..errors import ServerError
from .connect import connect_as, is_pooled, reraised
from .steady import LimitedConnection

_TRIES = 4
_LIMIT_S = 2.0


class Pooler(enum.Enum):
    """What stands between a client and the server."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


def pooler_at(dsn: str) -> Pooler:
    """Find out: a pooler tells its clients other process ids than the server does.

    One that lends a session for a transaction only gives the one we had to the next who asks; we ask with
    transactions that stay open, so that it has to. Raises ServerError.
    """
    with contextlib.ExitStack() as open_ones, reraised("cannot look for a pooler"):

        def ask(begin: bytes) -> int:
            conn = open_ones.enter_context(contextlib.closing(connect_as(LimitedConnection, dsn, name="stormdb admin")))
            conn.limit_s = _LIMIT_S
            conn.execute(begin)
            row = conn.execute("SELECT pg_backend_pid()").fetchone()
            return int(row[0]) if row is not None else 0

        first = open_ones.enter_context(contextlib.closing(connect_as(LimitedConnection, dsn, name="stormdb admin")))
        if not is_pooled(first):
            return Pooler.NONE
        row = first.execute("SELECT pg_backend_pid()").fetchone()
        mine = row[0] if row is not None else 0
        try:
            is_lent = any(ask(b"BEGIN") == mine for _ in range(_TRIES))
        except (psycopg.OperationalError, ServerError):  # no session is left for one more: it lends few
            return Pooler.TRANSACTION
        return Pooler.TRANSACTION if is_lent else Pooler.SESSION

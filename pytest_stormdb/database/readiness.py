"""When an asynchronous connection has its answer: one watch over its socket for all of its statements.

To begin and to end a watch takes three system calls, and more time than the rest of a short statement. Psycopg does so
at each use of a connection. Ours lasts, on a descriptor of its own, until something arrives that no statement waits
for: then somebody else uses the connection, and it ends until the next statement.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import errors


class Readiness:
    """The watch over one connection, in the event loop that it was made in."""

    def __init__(self, pgconn: Any) -> None:
        self._pgconn = pgconn
        self._descriptor = os.dup(pgconn.socket)
        self._loop = asyncio.get_running_loop()
        self._is_watching = False
        self._waiter: asyncio.Future[None] | None = None

    def answer(self) -> asyncio.Future[None]:
        """Done when a whole result has been read. Raises psycopg's OperationalError when the connection is lost."""
        self._waiter = waiter = self._loop.create_future()
        if not self._is_watching:
            self._is_watching = True
            self._loop.add_reader(self._descriptor, self._read)
        return waiter

    def close(self) -> None:
        """Let go of the socket."""
        self._rest()
        os.close(self._descriptor)

    def _read(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._rest()
            return
        try:
            self._pgconn.consume_input()
            if not self._pgconn.is_busy():
                waiter.set_result(None)
        except errors.Error as error:
            waiter.set_exception(error)

    def _rest(self) -> None:
        if self._is_watching:
            self._is_watching = False
            self._loop.remove_reader(self._descriptor)


_known: WeakKeyDictionary[Any, Readiness] = WeakKeyDictionary()


def readiness(conn: Any) -> Readiness:
    """The one of this connection. Whoever closes the connection calls ``release`` first."""
    found = _known.get(conn)
    if found is None:
        found = _known[conn] = Readiness(conn.pgconn)
    return found


def release(conn: Any) -> None:
    """Let go of a connection's socket, so that closing the connection closes it."""
    if (found := _known.pop(conn, None)) is not None:
        found.close()

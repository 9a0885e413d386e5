"""Bulk load by COPY: psycopg's own copy object, at its full speed, and how far it has come."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

from psycopg.copy import AsyncLibpqWriter, LibpqWriter

from ..realtime import monotonic

_log = logging.getLogger("stormdb")
_TELL_EVERY_S = 1.0


class _Metrics(Protocol):
    def count(self, name: str, n: float = 1) -> None: ...


class _Owner(Protocol):
    conn: Any

    @property
    def metrics(self) -> _Metrics: ...


class Progress:
    """What one COPY has sent: the counters ``copy.bytes`` and ``copy.rows``, and a log record a second."""

    def __init__(self, metrics: _Metrics) -> None:
        self._metrics = metrics
        self._bytes = 0
        self._started_s = self._told_s = monotonic()

    def add(self, size: int) -> None:
        """Count a block of ``size`` bytes that was sent."""
        self._metrics.count("copy.bytes", size)
        self._bytes += size
        if monotonic() - self._told_s >= _TELL_EVERY_S:
            self._tell("copying")

    def end(self, rows: int) -> None:
        """Count the rows that the server took."""
        self._metrics.count("copy.rows", rows)
        self._tell(f"copied {rows:,} rows")

    def _tell(self, what: str) -> None:
        self._told_s = monotonic()
        elapsed_s = self._told_s - self._started_s
        _log.info("%s: %.1f MB in %.1f s", what, self._bytes / 1e6, elapsed_s)


@contextmanager
def copying(owner: _Owner, statement: Any, parameters: Any) -> Iterator[Any]:
    """Start ``COPY ... FROM STDIN``, and end it with the block; gives psycopg's ``Copy``."""
    progress, cursor = Progress(owner.metrics), owner.conn.cursor()
    with cursor.copy(statement, parameters, writer=_Writer(cursor, progress)) as copy:
        yield copy
    progress.end(cursor.rowcount)


@asynccontextmanager
async def copying_async(owner: _Owner, statement: Any, parameters: Any) -> AsyncIterator[Any]:
    """The same, for asyncio; gives psycopg's ``AsyncCopy``."""
    progress, cursor = Progress(owner.metrics), owner.conn.cursor()
    async with cursor.copy(statement, parameters, writer=_AsyncWriter(cursor, progress)) as copy:
        yield copy
    progress.end(cursor.rowcount)


class _Writer(LibpqWriter):
    """Counts blocks, not rows: psycopg gathers many rows in one, and none of them costs more for it."""

    def __init__(self, cursor: Any, progress: Progress) -> None:
        super().__init__(cursor)
        self._progress = progress

    def write(self, data: Any) -> None:
        super().write(data)
        self._progress.add(len(data))


class _AsyncWriter(AsyncLibpqWriter):
    """The same, for asyncio."""

    def __init__(self, cursor: Any, progress: Progress) -> None:
        super().__init__(cursor)
        self._progress = progress

    async def write(self, data: Any) -> None:
        await super().write(data)
        self._progress.add(len(data))

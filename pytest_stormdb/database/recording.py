"""A worker's statements, written down as they are executed, to find out which of them takes the time."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from .async_statement import AsyncStatement
from .statement import Statement


@dataclass(frozen=True, slots=True)
class Executed:
    """One statement that was executed, with its parameters; ``raw`` ones are written ``$1``."""

    query: str
    params: Sequence[Any] | Mapping[str, Any] | None
    raw: bool
    duration_s: float


class Recording:
    """What went over a worker's connection, by ``conn.execute``, cursors and ``worker.prepare``."""

    def __init__(self) -> None:
        self.executed: list[Executed] = []

    def attach(self, worker: Any, *, is_async: bool) -> None:
        """Write down what this worker executes from now on; ask before its statements are prepared."""
        kind = _recorded_async(self) if is_async else _recorded(self)
        worker.prepare = functools.cache(lambda sql: kind(worker, sql))

    def attach_connection(self, conn: Any) -> None:
        """Write down what is executed by cursors of this connection that are made from now on."""
        conn.cursor_factory = _async_cursor(self) if isinstance(conn, psycopg.AsyncConnection) else _cursor(self)

    def main(self) -> Executed | None:
        """The slowest execution of the statement that took most time in all."""
        totals: dict[str, float] = {}
        for each in self.executed:
            totals[each.query] = totals.get(each.query, 0.0) + each.duration_s
        return max(self.executed, key=lambda each: (totals[each.query], each.duration_s), default=None)

    @contextmanager
    def noting(self, query: Any, params: Any, *, raw: bool) -> Iterator[None]:
        """Write down what is executed in this block."""
        began_s = time.perf_counter()
        yield
        text = query.decode() if isinstance(query, bytes) else query
        if isinstance(text, str):
            self.executed.append(Executed(text, params, raw, time.perf_counter() - began_s))


def _cursor(recording: Recording) -> type[psycopg.Cursor[Any]]:
    class RecordedCursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            with recording.noting(_text(query, self), params, raw=False):
                return super().execute(query, params, **options)

    return RecordedCursor


def _async_cursor(recording: Recording) -> type[psycopg.AsyncCursor[Any]]:
    class RecordedCursor(psycopg.AsyncCursor[Any]):
        async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            with recording.noting(_text(query, self), params, raw=False):
                return await super().execute(query, params, **options)

    return RecordedCursor


def _text(query: Any, cursor: Any) -> Any:
    """The text of a composed statement."""
    return query.as_string(cursor) if isinstance(query, psycopg.sql.Composable) else query


def _recorded(recording: Recording) -> type[Statement]:
    class RecordedStatement(Statement):
        def _run(self, arguments: tuple[Any, ...]) -> Any:
            with recording.noting(self._sql, arguments, raw=True):
                return super()._run(arguments)

    return RecordedStatement


def _recorded_async(recording: Recording) -> type[AsyncStatement]:
    class RecordedStatement(AsyncStatement):
        async def _run(self, arguments: tuple[Any, ...]) -> Any:
            with recording.noting(self._sql, arguments, raw=True):
                return await super()._run(arguments)

    return RecordedStatement

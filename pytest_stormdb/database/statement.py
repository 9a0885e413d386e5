"""Prepared statements with a short path to libpq: no cursor, no query parsing, ``$1`` placeholders."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

from psycopg import errors, generators, pq
from psycopg.adapt import PyFormat, Transformer

_names = itertools.count(1)
_TEXT = PyFormat.TEXT
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)


class _Owner(Protocol):
    conn: Any


class _Prepared:
    """What both kinds share: the statement's name, its arguments out, its rows in."""

    def __init__(self, owner: _Owner, sql: str) -> None:
        self._owner = owner
        self._sql = sql.encode()
        self._name = f"stormdb_{next(_names)}".encode()
        self._pgconn: Any = None

    def _adopt(self, pgconn: Any) -> None:
        """Get ready for a connection; it is ours, in ``_pgconn``, once the statement is prepared on it."""
        self._transformer = Transformer(self._owner.conn)
        self._encoding = self._transformer.encoding

    def _dumped(self, arguments: tuple[Any, ...]) -> Sequence[Any] | None:
        if not arguments:
            return None
        return self._transformer.dump_sequence(arguments, [_TEXT] * len(arguments))

    def _checked(self, result: Any) -> Any:
        if result.status not in _GOOD:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result, encoding=self._encoding)
            raise errors.ProgrammingError("a prepared statement runs one plain command, no COPY")
        return result

    def _rows(self, result: Any, count: int) -> list[tuple[Any, ...]]:
        self._transformer.set_pgresult(result)
        rows: list[tuple[Any, ...]] = self._transformer.load_rows(0, count, tuple)
        return rows

    def _first(self, result: Any) -> tuple[Any, ...] | None:
        return self._rows(result, 1)[0] if result.ntuples else None


class Statement(_Prepared):
    """A statement of a worker's own connection, prepared at its first use on each connection."""

    def execute(self, *arguments: Any) -> int:
        """Run it; the number of rows affected (or returned)."""
        return self._run(arguments).command_tuples or 0

    def fetchone(self, *arguments: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        return self._first(self._run(arguments))

    def fetchval(self, *arguments: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.fetchone(*arguments)
        return None if row is None else row[0]

    def fetchall(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        result = self._run(arguments)
        return self._rows(result, result.ntuples)

    def _run(self, arguments: tuple[Any, ...]) -> Any:
        pgconn = self._owner.conn.pgconn
        if pgconn is not self._pgconn:
            self._adopt(pgconn)
            self._checked(pgconn.prepare(self._name, self._sql))
            self._pgconn = pgconn
        return self._checked(pgconn.exec_prepared(self._name, self._dumped(arguments)))


class AsyncStatement(_Prepared):
    """The same on an asynchronous connection; every call is awaited."""

    async def execute(self, *arguments: Any) -> int:
        """Run it; the number of rows affected (or returned)."""
        return (await self._run(arguments)).command_tuples or 0

    async def fetchone(self, *arguments: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        return self._first(await self._run(arguments))

    async def fetchval(self, *arguments: Any) -> Any:
        """The first column of the first row, or None."""
        row = await self.fetchone(*arguments)
        return None if row is None else row[0]

    async def fetchall(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        result = await self._run(arguments)
        return self._rows(result, result.ntuples)

    async def _run(self, arguments: tuple[Any, ...]) -> Any:
        conn = self._owner.conn
        pgconn = conn.pgconn
        async with conn.lock:
            if pgconn is not self._pgconn:
                self._adopt(pgconn)
                pgconn.send_prepare(self._name, self._sql)
                self._checked((await conn.wait(generators.execute(pgconn)))[-1])
                self._pgconn = pgconn
            pgconn.send_query_prepared(self._name, self._dumped(arguments))
            return self._checked((await conn.wait(generators.execute(pgconn)))[-1])

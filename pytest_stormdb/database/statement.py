"""Prepared statements with a short path to libpq: no cursor, no query parsing, ``$1`` placeholders.

What a call costs in Python counts: the machine that pays for it is the one that measures. So nothing is looked up
twice: psycopg's loaders of the columns are found once, when a statement is prepared, and its dumpers once for each
type of argument. Both ways it is psycopg's own classes, in text, that convert: values are those of its cursors.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.json import Json

from .pipelining import Collected, Later
from .results import checked, is_outdated, sqlstate

_IDLE = pq.TransactionStatus.IDLE
_JSON_OIDS = frozenset({114, 3802})
_STEADY = frozenset({int, str, float, bool, bytes, Decimal, UUID, date})
"""Types of which psycopg writes every value in the same way, whatever type it claims for it."""
_DRIVERS = frozenset({"psycopg", "psycopg_binary", "psycopg_c"})
_names = itertools.count(1)


class _Nothing:
    """The type of no argument."""


class Owner(Protocol):
    """Whose statement it is: it has a psycopg connection, which another may replace."""

    conn: Any


class Prepared:
    """What both kinds share: the statement on its present connection, its arguments out, its rows in."""

    def __init__(self, owner: Owner, sql: str) -> None:
        self._owner = owner
        self._sql = sql
        self._conn: Any = None
        self._name = self._outdated_name = b""
        self._dumpers: dict[type, Callable[[Any], Any]] = {}

    # -- preparation -------------------------------------------------------------------------------------------

    def _text(self, conn: Any) -> tuple[bytes, bytes]:
        """A name that this connection has not seen, and the statement."""
        return f"stormdb_{next(_names)}".encode(), self._sql.encode(conn.info.encoding)

    def _settle_on(self, conn: Any, name: bytes, description: Any) -> None:
        """Use the statement that is prepared on this connection. ``description`` is the server's."""
        self._transformer = Transformer(conn)
        self._parameters = [description.param_type(index) for index in range(description.nparams)]
        columns = [description.ftype(index) for index in range(description.nfields)]
        self._transformer.set_loader_types(columns, pq.Format.TEXT)
        self._point_at = self._transformer.set_pgresult
        self._load_row = self._transformer.load_row
        self._load_first: Any = self._transformer.get_loader(columns[0], pq.Format.TEXT).load if columns else None
        self._dumpers = {}
        self._plain: type[Any] = int if _is_psycopgs(self._transformer.get_dumper(0, PyFormat.TEXT)) else _Nothing
        self._name = name
        self._conn = conn

    def forget_if_outdated(self, result: Any) -> bool:
        """Prepare it anew next time, where the server has lost it or its result's type has changed."""
        if is_outdated(result):
            self._outdated_name = self._name
        elif sqlstate(result) != b"26000":
            return False
        self._conn = None
        return True

    def _take_leftover(self, pgconn: Any) -> bytes:
        """The command that gets rid of an outdated statement; where its failure would do harm, of none."""
        name, self._outdated_name = self._outdated_name, b""
        return b"DEALLOCATE " + name if name and pgconn.transaction_status == _IDLE else b""

    # -- values ------------------------------------------------------------------------------------------------

    def _written(self, arguments: Sequence[Any]) -> list[Any]:
        """Arguments as the server takes them; most are whole numbers."""
        values, plain = [], self._plain
        for value in arguments:
            if type(value) is not plain:
                return self._dumped(arguments)
            values.append(b"%d" % value)
        return values

    def _dumped(self, arguments: Sequence[Any]) -> list[Any]:
        """Arguments of any types as the server takes them."""
        oids = itertools.chain(self._parameters, itertools.repeat(0))  # of too many, the server complains
        return [None if value is None else self._dump(value, oid) for value, oid in zip(arguments, oids, strict=False)]

    def _dump(self, value: Any, oid: int) -> Any:
        if oid in _JSON_OIDS and isinstance(value, dict | list):
            value = Json(value)
        kind = type(value)
        if kind in self._dumpers:
            return self._dumpers[kind](value)
        dumper = self._transformer.get_dumper(value, PyFormat.TEXT)
        if kind in _STEADY and _is_psycopgs(dumper):
            self._dumpers[kind] = b"%d".__mod__ if kind is int else dumper.dump
        return dumper.dump(value)

    def _count(self, result: Any) -> int:
        return result.command_tuples or 0

    def _row(self, result: Any) -> tuple[Any, ...] | None:
        if not result.ntuples:
            return None
        self._point_at(result, set_loaders=False)
        row: tuple[Any, ...] = self._load_row(0, tuple)
        return row

    def _value(self, result: Any) -> Any:
        if not result.ntuples:
            return None
        data = result.get_value(0, 0)
        return None if data is None else self._load_first(data)

    def _rows(self, result: Any) -> list[tuple[Any, ...]]:
        self._point_at(result, set_loaders=False)
        rows: list[tuple[Any, ...]] = self._transformer.load_rows(0, result.ntuples, tuple)
        return rows


def unnamed(send: Callable[[bytes, list[Any]], Any], sql: bytes, name: bytes, values: list[Any]) -> Any:
    """What stands in for a call of a prepared statement where none is prepared."""
    return send(sql, values)


def _is_psycopgs(dumper: Any) -> bool:
    """Whether it is psycopg's own, in Python or C, and not one that was registered by a user."""
    return type(dumper).__module__.partition(".")[0] in _DRIVERS


class Statement(Prepared):
    """A statement of a worker's own connection, prepared at its first use on each connection.

    Within ``worker.pipeline()`` each call returns a ``Later``. Errors are psycopg's. Where the connection prepares
    nothing (``prepare_threshold`` is None, as behind a pooler that lends a session for a transaction), it is sent
    anew each time.
    """

    def execute(self, *arguments: Any) -> int:
        """Run it; the number of rows affected (or returned)."""
        result = self._run(arguments)
        count: int | None = result.command_tuples
        return self._otherwise(result, arguments, self._count) if count is None else count

    def fetchone(self, *arguments: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        result = self._run(arguments)
        return self._row(result) if result.ntuples else self._otherwise(result, arguments, self._row)

    def fetchval(self, *arguments: Any) -> Any:
        """The first column of the first row, or None."""
        conn = self._owner.conn  # here stands ``_run`` again: the call of it would be 3 % of a point select
        if conn is self._conn and conn._autocommit:
            values: list[Any] = []
            for value in arguments:
                if type(value) is not self._plain:
                    values = self._dumped(arguments)
                    break
                values.append(b"%d" % value)
            result = self._exec(self._name, values)
        else:
            result = self._run_unusually(conn, arguments)
        if result.ntuples:
            data = result.get_value(0, 0)
            return None if data is None else self._load_first(data)
        return self._otherwise(result, arguments, self._value)

    def fetchall(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        result = self._run(arguments)
        return self._rows(result) if result.ntuples else self._otherwise(result, arguments, self._rows)

    def _run(self, arguments: tuple[Any, ...]) -> Any:
        """Its result, which is not checked: one without rows goes through ``_otherwise``."""
        conn = self._owner.conn
        if conn is not self._conn or not conn._autocommit:  # the property would be 3 % of the whole
            return self._run_unusually(conn, arguments)
        values: list[Any] = []
        for value in arguments:
            if type(value) is not self._plain:
                values = self._dumped(arguments)
                break
            values.append(b"%d" % value)
        return self._exec(self._name, values)

    def _run_unusually(self, conn: Any, arguments: tuple[Any, ...]) -> Any:
        """Run it on a connection that is new, not in autocommit, or in a pipeline."""
        actual = conn.actual if isinstance(conn, Collected) else conn
        if not actual._autocommit and actual.pgconn.transaction_status == _IDLE:
            actual.execute("")  # lets psycopg begin the transaction, with its characteristics
        if actual is not self._conn:
            self._prepare(actual)
        values = self._written(arguments)
        return self._exec(self._name, values) if actual is conn else conn.enqueue(self._name, values)

    def _prepare(self, conn: Any) -> None:
        pgconn = conn.pgconn
        if leftover := self._take_leftover(pgconn):
            pgconn.exec_(leftover)
        name, sql = self._text(conn)
        if conn.prepare_threshold is None and pgconn.transaction_status == _IDLE:
            pgconn.exec_(b"BEGIN")  # keeps a pooler's session for the two
            try:
                checked(conn, pgconn.prepare(b"", sql))
                self._settle_on(conn, name, checked(conn, pgconn.describe_prepared(b"")))
            finally:
                pgconn.exec_(b"ROLLBACK")
            self._exec = partial(unnamed, pgconn.exec_params, sql)
            return
        checked(conn, pgconn.prepare(name, sql))
        self._settle_on(conn, name, checked(conn, pgconn.describe_prepared(name)))
        self._exec = pgconn.exec_prepared

    def _otherwise(self, result: Any, arguments: tuple[Any, ...], read: Callable[[Any], Any]) -> Any:
        """What a call returns without rows: it waits in a pipeline, is outdated, failed, or has none."""
        if isinstance(result, Later):
            result.statement = self
            result.read = read
            return result
        conn = self._owner.conn
        if self.forget_if_outdated(result) and conn.pgconn.transaction_status == _IDLE:
            result = self._run(arguments)
        return read(checked(conn, result))

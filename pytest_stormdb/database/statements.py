"""Where the server's time went by statement, from pg_stat_statements where that can be read; it is never needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import psycopg
from psycopg import sql

from ..measurement.query_text import shortened

_TOP = 10
_FIND = """
    SELECT n.nspname, current_setting('shared_preload_libraries', true) LIKE '%%pg_stat_statements%%'
    FROM (SELECT 1) AS one
    LEFT JOIN pg_extension e ON e.extname = 'pg_stat_statements'
    LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
"""
_READ = """
    SELECT s.queryid, s.toplevel, s.userid::bigint, s.query, s.calls, s.total_exec_time, s.total_plan_time, s.rows,
           s.shared_blks_hit + s.local_blks_hit, s.shared_blks_read + s.local_blks_read,
           s.temp_blks_written, s.wal_bytes::bigint
    FROM {view} s WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = %s) AND s.queryid IS NOT NULL
"""
HOW_TO_CREATE = "statements: run CREATE EXTENSION pg_stat_statements to see the server's time by statement"
HOW_TO_LOAD = (
    "statements: set shared_preload_libraries = 'pg_stat_statements', restart the server and create the extension"
    " to see its time by statement"
)

Key = tuple[int, bool, int]


@dataclass(frozen=True, slots=True)
class Statement:
    """One kind of statement over a stretch of time; times in ms, ``query`` as the server normalised it, shortened."""

    query: str
    calls: int
    exec_ms: float
    plan_ms: float
    rows: int
    blocks_hit: int
    blocks_read: int
    temp_blocks_written: int
    wal_bytes: int

    @property
    def mean_ms(self) -> float:
        return (self.exec_ms + self.plan_ms) / self.calls if self.calls else 0.0

    def since(self, earlier: Statement) -> Statement:
        names = [field.name for field in fields(self) if field.name != "query"]
        return Statement(self.query, *(getattr(self, name) - getattr(earlier, name) for name in names))


@dataclass(frozen=True, slots=True)
class Statements:
    """All statements of a database so far, or, where there are none to be read, why, in one line."""

    found: Mapping[Key, Statement]
    missing: str = ""

    def since(self, earlier: Statements) -> Statements:
        """What was executed in between. One whose counts fell was forgotten and met again: it began anew."""
        if self.missing or earlier.missing:
            return Statements({}, self.missing or earlier.missing)
        grown = {}
        for key, statement in self.found.items():
            before = earlier.found.get(key)
            is_known = before is not None and before.calls <= statement.calls
            grown[key] = statement.since(before) if is_known and before is not None else statement
        return Statements({key: statement for key, statement in grown.items() if statement.calls > 0})

    @property
    def total_ms(self) -> float:
        """The time of all of them."""
        return sum(statement.exec_ms + statement.plan_ms for statement in self.found.values())

    def top(self) -> tuple[Statement, ...]:
        """The ten that took most time in all."""
        return tuple(sorted(self.found.values(), key=lambda each: -(each.exec_ms + each.plan_ms))[:_TOP])


def read_statements(conn: psycopg.Connection[Any], database: str) -> Statements:
    """The statements of a database, from the extension in the connection's own; never an error, but for a lost one."""
    try:
        schema, is_loaded = conn.execute(_FIND).fetchall()[0]
        if schema is None or not is_loaded:
            return Statements({}, HOW_TO_CREATE if is_loaded else HOW_TO_LOAD)
        query = sql.SQL(_READ).format(view=sql.Identifier(schema, "pg_stat_statements"))
        rows = conn.execute(query, [database]).fetchall()
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return Statements({}, f"statements: pg_stat_statements cannot be read: {str(error).splitlines()[0]}")
    return Statements({(row[0], row[1], row[2]): Statement(shortened(row[3] or "", 80), *row[4:]) for row in rows})

"""What psycopg's cursors cost a worker: how often its workload used them, and what CPU time each use takes here.

Nothing is counted while the load runs. Psycopg prepares a statement that it has executed five times, and the server
counts the executions of each prepared statement (from PostgreSQL 14 on), in the session that made them.
"""

from __future__ import annotations

import inspect
import statistics
import time
from types import SimpleNamespace
from typing import Any

import psycopg

from .async_statement import AsyncStatement
from .statement import Statement

_FEW = 0.5
_BATCHES, _CALLS = 5, 10
STATEMENTS = 2 * _BATCHES * _CALLS
"""So many are executed to find it out."""
_EXECUTIONS = rb"SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements WHERE name LIKE '\_pg3\_%'"


def executions(pgconn: Any) -> int:
    """How often psycopg's cursors ran a prepared statement in this session; 0 where that is not counted."""
    result = pgconn.exec_(_EXECUTIONS)
    value = result.get_value(0, 0) if result.ntuples else None
    return int(value or 0)


async def cursor_cost_ns(conn: Any, iterations: int) -> float:
    """The CPU time, in ns, that cursors took in each iteration beyond what ``worker.prepare`` would have taken.

    It is found by a hundred statements on this connection; where an iteration used no cursor as a rule, it is 0.
    All of it is one transaction to the server, which counts them.
    """
    conn.pgconn.exec_(b"BEGIN")
    try:
        each = executions(conn.pgconn) / max(1, iterations)
        return each * await _saved_ns(conn) if each >= _FEW else 0.0
    finally:
        conn.pgconn.exec_(b"COMMIT")


async def _saved_ns(conn: Any) -> float:
    """What a statement by cursor costs beyond a prepared one."""
    is_async = isinstance(conn, psycopg.AsyncConnection)
    owner = SimpleNamespace(conn=conn)
    short = (AsyncStatement if is_async else Statement)(owner, "SELECT $1::int").fetchval

    async def by_cursor(number: int) -> None:
        cursor = conn.execute("SELECT %s::int", [number])
        if inspect.isawaitable(cursor):
            await (await cursor).fetchone()
        else:
            cursor.fetchone()

    async def by_statement(number: int) -> None:
        value = short(number)
        if inspect.isawaitable(value):
            await value

    return max(0.0, await _cpu_ns(by_cursor) - await _cpu_ns(by_statement))


async def _cpu_ns(call: Any) -> float:
    """CPU time of this thread for one call: of some batches, the median."""
    batches = []
    for _ in range(_BATCHES):
        started_ns = time.thread_time_ns()
        for number in range(_CALLS):
            await call(number)
        batches.append((time.thread_time_ns() - started_ns) / _CALLS)
    return statistics.median(batches)

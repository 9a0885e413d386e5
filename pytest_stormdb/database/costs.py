"""What a worker's own backend did, which PostgreSQL counts from 18 on, and the flush that makes any counter current."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

_FLUSH = b"SELECT pg_stat_force_next_flush() FROM pg_class LIMIT 1"
# A backend that touched no table since it last handed in its counters hands in nothing, not even its transactions.
_IDLE = psycopg.pq.TransactionStatus.IDLE
_WORK = """
    SELECT p.pid,
           (SELECT coalesce(sum(hits), 0) + coalesce(sum(read_bytes), 0) / current_setting('block_size')::int
            FROM pg_stat_get_backend_io(p.pid) WHERE object IN ('relation', 'temp relation'))::bigint,
           (SELECT wal_bytes FROM pg_stat_get_backend_wal(p.pid))::bigint
    FROM {pids} AS p(pid)
"""
_OWN_WORK = _WORK.format(pids="pg_backend_pid()").encode()
FLUSHES_FROM = 150000
COUNTS_BACKENDS_FROM = 180000
OWN_TRANSACTIONS = 2
"""As many of a backend's transactions are ours, in the measured part, when it was asked for its own work."""


@dataclass(frozen=True, slots=True)
class BackendWork:
    """The blocks that a backend touched (hit and read), and the write-ahead log it wrote."""

    pid: int
    blocks: int
    wal_bytes: int


def flush_counters(pgconn: Any) -> None:
    """Have a connection's backend hand in what it counted, from PostgreSQL 15 on; before, it does so by itself.

    Nothing is done for one that is not idle.
    Backends do so at most once a second (14: every half second), so for the next second nothing is added to it.
    """
    if pgconn.transaction_status == _IDLE and pgconn.server_version >= FLUSHES_FROM:
        pgconn.exec_(_FLUSH)


def own_work(pgconn: Any) -> BackendWork | None:
    """What an idle connection's backend did since it began; None before 18, or where the server does not say."""
    if pgconn.server_version < COUNTS_BACKENDS_FROM:
        return None
    flush_counters(pgconn)
    result = pgconn.exec_(_OWN_WORK)
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        return None
    pid, blocks, wal_bytes = (int(result.get_value(0, column) or 0) for column in range(3))
    return BackendWork(pid, blocks, wal_bytes)


def work_of(conn: psycopg.Connection[Any], pids: Iterable[int]) -> dict[int, BackendWork]:
    """What these backends had handed in until now, by pid; nothing before 18, and nothing of those that are gone."""
    if conn.info.server_version < COUNTS_BACKENDS_FROM:
        return {}
    rows = conn.execute(_WORK.format(pids="unnest(%s::int[])"), [list(pids)])
    return {pid: BackendWork(pid, blocks, wal or 0) for pid, blocks, wal in rows}

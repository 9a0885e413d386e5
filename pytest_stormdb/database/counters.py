"""The server's own counters, by the views that its version has (PostgreSQL 14 to 18), under one set of names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from ..measurement.counters import Counters, Values
from .server import is_in_recovery

_DATABASE = """
    SELECT xact_commit AS commits, xact_rollback AS rollbacks, blks_hit AS blocks_hit, blks_read AS blocks_read,
           tup_returned AS rows_returned, tup_fetched AS rows_fetched, tup_inserted AS rows_inserted,
           tup_updated AS rows_updated, tup_deleted AS rows_deleted, temp_files, temp_bytes, deadlocks, conflicts,
           blk_read_time AS read_time_ms, blk_write_time AS write_time_ms{parallel}
    FROM pg_stat_database WHERE datname = %s
"""
_OTHERS = """
    SELECT coalesce(sum(tup_inserted + tup_updated + tup_deleted), 0) AS rows_written,
           coalesce(sum(xact_commit + xact_rollback), 0) AS transactions
    FROM pg_stat_database WHERE datname <> %s AND datid <> 0
"""
_WAL = """
    SELECT wal_records AS records, wal_fpi AS full_page_images, wal_bytes AS bytes, wal_buffers_full AS buffers_full
    FROM pg_stat_wal
"""
_LSN = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS position"
_CHECKPOINTS_14 = """
    SELECT checkpoints_timed AS timed, checkpoints_req AS requested, checkpoint_write_time AS write_time_ms,
           checkpoint_sync_time AS sync_time_ms, buffers_checkpoint AS buffers_written,
           buffers_clean AS buffers_cleaned, buffers_backend AS buffers_by_backends, buffers_alloc AS buffers_allocated
    FROM pg_stat_bgwriter
"""
_CHECKPOINTS_17 = """
    SELECT num_timed AS timed, num_requested AS requested, write_time AS write_time_ms, sync_time AS sync_time_ms,
           buffers_written, buffers_clean AS buffers_cleaned, buffers_alloc AS buffers_allocated
    FROM pg_stat_checkpointer, pg_stat_bgwriter
"""
_IO = """
    SELECT backend_type || ', ' || object || ', ' || context, hits, reads, {read_bytes} AS read_bytes, writes,
           {write_bytes} AS write_bytes, extends, {extend_bytes} AS extend_bytes, fsyncs, evictions,
           read_time AS read_time_ms, write_time AS write_time_ms, fsync_time AS fsync_time_ms
    FROM pg_stat_io WHERE hits > 0 OR reads > 0 OR writes > 0 OR extends > 0 OR fsyncs > 0
"""
_Query: TypeAlias = tuple[str, sql.Composed, list[str]]
_BYTES = ("read_bytes", "write_bytes", "extend_bytes")


def read_counters(conn: psycopg.Connection[Any], database: str) -> Counters:
    """All counters as they stand: groups ``database``, ``others`` (the server's other databases), ``wal``,
    ``checkpoints``, and from 16 ``io, <who>, <what>, <how>``.

    A view that this role or server does not give is missing, not an error; a lost connection is one.
    """
    return _read_all(conn, _queries(conn.info.server_version, database))


def read_position(conn: psycopg.Connection[Any]) -> Counters:
    """The end of the write-ahead log, in group ``position``; unlike counters, it is never late.

    A standby writes none.
    """
    if is_in_recovery(conn):
        return Counters(missing=("write-ahead log: a standby writes none",))
    return _read_all(conn, [("position", sql.SQL(_LSN).format(), [])])


def _read_all(conn: psycopg.Connection[Any], queries: Iterable[_Query]) -> Counters:
    groups: dict[str, Values] = {}
    missing = []
    for group, query, parameters in queries:
        try:
            groups.update(_read(conn, group, query, parameters))
        except psycopg.Error as error:
            if conn.closed or error.sqlstate is None:
                raise
            missing.append(f"{group}: {str(error).splitlines()[0]}")
    return Counters(groups, tuple(missing))


def _queries(version: int, database: str) -> Iterator[_Query]:
    parallel = ", parallel_workers_launched" if version >= 180000 else ""
    yield "database", sql.SQL(_DATABASE).format(parallel=sql.SQL(parallel)), [database]
    yield "others", sql.SQL(_OTHERS).format(), [database]
    yield "wal", sql.SQL(_WAL).format(), []
    yield "checkpoints", sql.SQL(_CHECKPOINTS_17 if version >= 170000 else _CHECKPOINTS_14).format(), []
    if version >= 160000:
        yield "io", sql.SQL(_IO).format(**_byte_columns(version)), []


def _byte_columns(version: int) -> dict[str, sql.Composable]:
    """From 18 on operations may be of any size, and bytes are counted; before, all are of one size."""
    if version >= 180000:
        return {name: sql.SQL(name) for name in _BYTES}
    return {name: sql.SQL(f"{name.removesuffix('_bytes')}s * op_bytes") for name in _BYTES}


def _read(
    conn: psycopg.Connection[Any], group: str, query: sql.Composed, parameters: list[str]
) -> dict[str, dict[str, float]]:
    """The one row of a query under the group's name, or each of many under the name in its first column."""
    cursor = conn.execute(query, parameters)
    names = [column.name for column in cursor.description or ()]
    if group == "io":
        return {f"io, {row[0]}": _numbers(names[1:], row[1:]) for row in cursor}
    return {group: _numbers(names, cursor.fetchall()[0])}


def _numbers(names: list[str], row: tuple[Any, ...]) -> dict[str, float]:
    return {name: _plain(value) for name, value in zip(names, row, strict=True) if value is not None}


def _plain(value: Any) -> float:
    number = float(value)
    return int(value) if number.is_integer() else number

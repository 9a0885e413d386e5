"""The settings that matter for performance, where they differ from what PostgreSQL ships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

_MATTER = (
    "autovacuum", "bgwriter_delay", "checkpoint_completion_target", "checkpoint_timeout", "commit_delay",
    "deadlock_timeout", "default_statistics_target", "default_toast_compression", "effective_cache_size",
    "effective_io_concurrency", "enable_bitmapscan", "enable_hashjoin", "enable_indexonlyscan", "enable_indexscan",
    "enable_mergejoin", "enable_nestloop", "enable_seqscan", "fsync", "full_page_writes", "hash_mem_multiplier",
    "huge_pages", "idle_in_transaction_session_timeout", "io_method", "io_workers", "jit", "lock_timeout",
    "log_min_duration_statement", "log_statement", "maintenance_work_mem", "max_parallel_workers",
    "max_parallel_workers_per_gather", "max_wal_size", "min_wal_size", "plan_cache_mode", "random_page_cost",
    "shared_buffers", "shared_preload_libraries", "ssl", "statement_timeout", "synchronous_commit",
    "synchronous_standby_names", "temp_buffers", "track_functions", "track_io_timing", "wal_buffers",
    "wal_compression", "wal_level", "work_mem",
)  # fmt: skip
_CHANGED = """
    SELECT name, current_setting(name), boot_val, unit, source FROM pg_settings
    WHERE name = ANY(%s) AND setting IS DISTINCT FROM boot_val
      AND source NOT IN ('default', 'override', 'client', 'session')
    ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """A setting that is not the default: ``default`` in the server's unit, ``source`` where the value comes from."""

    name: str
    value: str
    default: str
    source: str


def changed_settings(conn: psycopg.Connection[Any]) -> tuple[ChangedSetting, ...]:
    """What differs from the defaults among the settings that matter, but for what this session set for itself."""
    rows = conn.execute(_CHANGED, [list(_MATTER)]).fetchall()
    return tuple(
        ChangedSetting(name, value, f"{default or ''}{' x ' + unit if unit else ''}", source)
        for name, value, default, unit, source in rows
    )

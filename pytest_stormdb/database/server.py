"""What the target is: its identity, its extensions, and its free connection slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import psycopg

from ..errors import ServerError
from .connect import place, reraised
from .steady import open_steady

Admin: TypeAlias = psycopg.Connection[Any]
"""An autocommit connection that is not load: without limits of the role, with one of ours for each statement."""

_SHOWN_SETTINGS = (
    "shared_buffers", "fsync", "synchronous_commit", "full_page_writes", "max_connections", "work_mem",
    "effective_cache_size", "max_wal_size", "checkpoint_timeout", "wal_level", "autovacuum", "jit",
    "random_page_cost", "max_parallel_workers_per_gather", "data_checksums", "server_encoding", "lc_collate",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The identity of a server: numbers mean nothing without it. ``place`` is the database on it, without secrets."""

    version: str
    embedded: bool
    settings: Mapping[str, str] = field(default_factory=dict)
    place: str = ""


def describe(conn: Admin, *, embedded: bool) -> ServerFacts:
    """Ask a server who it is."""
    rows = conn.execute(
        "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) ORDER BY name",
        [list(_SHOWN_SETTINGS)],
    ).fetchall()
    version = str(conn.execute("SHOW server_version").fetchall()[0][0]).split()[0]
    return ServerFacts(version, embedded, dict(rows), place(conn.info.dsn))


def available_extensions(conn: psycopg.Connection[Any]) -> Mapping[str, str]:
    """The extensions a server could create, each with its version: the installed one's where it is created."""
    rows = conn.execute("SELECT name, coalesce(installed_version, default_version) FROM pg_available_extensions")
    return dict(rows.fetchall())


def check_free_slots(conn: psycopg.Connection[Any], needed: int) -> None:
    """Raise ServerError when the server has fewer free connection slots than a run's workers need."""
    row = conn.execute(
        """
        SELECT current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true), '0')::int,
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
        """
    ).fetchone()
    assert row is not None
    limit, used = row
    if limit - used < needed:
        raise ServerError(
            f"{needed} workers need {needed} connections, but the server has {max(0, limit - used)} free"
            f" ({limit} for clients, {used} in use); take fewer workers or raise max_connections"
        )


def is_in_recovery(conn: psycopg.Connection[Any]) -> bool:
    """Whether the server takes no writes: a standby, or one that has just crashed."""
    row = conn.execute("SELECT pg_is_in_recovery()").fetchone()
    return row is not None and bool(row[0])


def check_writable(conn: psycopg.Connection[Any]) -> None:
    """Raise ServerError where the server is in recovery."""
    if is_in_recovery(conn):
        raise ServerError(
            "the server is in recovery and takes no writes; load its primary, or what is there with isolation='none'"
        )


def end_sessions(conn: psycopg.Connection[Any], name: str) -> int:
    """End the sessions of a run, by their application names, which begin with that one; how many there were.

    Raises ServerError.
    """
    with reraised("cannot end the sessions of lost workers"):
        rows = conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE starts_with(application_name, %s) AND pid <> pg_backend_pid()",
            [name],
        ).fetchall()
    return len(rows)


def admin_connection(dsn: str) -> Admin:
    """Open one. Raises ServerError."""
    return open_steady(dsn, name="stormdb admin")

"""What the target is, and the room that a run gets on it: its own schema, and no more than is free."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from ..errors import ServerError
from .connect import connect, server_error, with_parameters, with_search_path

Admin: TypeAlias = psycopg.Connection[Any]
"""An autocommit connection that is not load."""

_MARK = "made by pytest-stormdb; dropped after the run"
_SHOWN_SETTINGS = (
    "shared_buffers", "fsync", "synchronous_commit", "full_page_writes", "max_connections", "work_mem",
    "effective_cache_size", "max_wal_size", "checkpoint_timeout", "wal_level", "autovacuum", "jit",
    "random_page_cost", "max_parallel_workers_per_gather", "data_checksums", "server_encoding", "lc_collate",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Server:
    """The identity of a server: numbers mean nothing without it."""

    version: str
    version_num: int
    embedded: bool
    settings: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)
    in_recovery: bool = False


def describe(conn: psycopg.Connection[Any], *, embedded: bool) -> Server:
    """Ask a server who it is."""
    rows = conn.execute(
        "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) ORDER BY name",
        [list(_SHOWN_SETTINGS)],
    ).fetchall()
    extensions = conn.execute("SELECT extname, extversion FROM pg_extension ORDER BY extname").fetchall()
    recovery = conn.execute("SELECT pg_is_in_recovery()").fetchone()
    return Server(
        version=str(conn.execute("SHOW server_version").fetchall()[0][0]).split()[0],
        version_num=conn.info.server_version,
        embedded=embedded,
        settings=dict(rows),
        extensions=dict(extensions),
        in_recovery=bool(recovery and recovery[0]),
    )


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


class Schema:
    """The schema a workload lives in: made, marked, and dropped by us, and by nobody else at the same time."""

    def __init__(self, conn: psycopg.Connection[Any], name: str) -> None:
        self.name = name
        self._conn = conn
        self._identifier = sql.Identifier(name)

    def create(self) -> None:
        """Make it anew. Raises ServerError where one of that name is not ours, or in use by another run."""
        lock = self._conn.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [f"stormdb:{self.name}"]).fetchone()
        if lock is None or not lock[0]:
            raise ServerError(f"schema {self.name} is in use by another run on this database; wait for its end")
        found = self._conn.execute(
            "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [self.name]
        ).fetchone()
        if found is not None and found[0] != _MARK:
            raise ServerError(f"schema {self.name} exists and was not made by pytest-stormdb; drop or rename it")
        with _told(f"cannot make schema {self.name}"):
            if found is not None:
                self.drop()
            self._conn.execute(sql.SQL("CREATE SCHEMA {}").format(self._identifier))
            self._conn.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(self._identifier, _MARK))

    def drop(self) -> None:
        """Drop it with everything in it."""
        with _told(f"cannot drop schema {self.name}"):
            self._conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(self._identifier))

    def give_back(self) -> None:
        """Drop it, and let the next run have its name at once: a server notices a hang-up only after a while."""
        self.drop()
        with _told(f"cannot give back schema {self.name}"):
            self._conn.execute("SELECT pg_advisory_unlock(hashtext(%s))", [f"stormdb:{self.name}"])


def schema_name(workload: str, suffix: str = "") -> str:
    """``stormdb_<workload><suffix>`` as an identifier PostgreSQL keeps whole (63 bytes)."""
    plain = "".join(char if char.isalnum() and char.isascii() else "_" for char in workload.lower())
    return f"stormdb_{plain}"[: 63 - len(suffix)] + suffix


def end_sessions(conn: psycopg.Connection[Any], name: str) -> int:
    """End the server's sessions of that application name; how many there were. Raises ServerError."""
    with _told("cannot end the sessions of lost workers"):
        rows = conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND pid <> pg_backend_pid()",
            [name],
        ).fetchall()
    return len(rows)


def workload_dsn(dsn: str, schema: str, name: str) -> str:
    """Where a workload's own connections lead: into its schema, under the run's application name."""
    return with_parameters(with_search_path(dsn, schema), application_name=name)


@contextlib.contextmanager
def _told(what: str) -> Any:
    try:
        yield
    except psycopg.Error as error:
        raise server_error(error, what) from None


def admin_connection(dsn: str) -> Admin:
    """Open one. Raises ServerError."""
    return connect(dsn, name="stormdb admin")

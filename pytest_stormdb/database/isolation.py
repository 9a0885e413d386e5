"""Where a workload's objects live: a schema of its own, made and dropped by us."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from ..errors import ServerError
from .connect import reraised, with_search_path
from .server import admin_connection

_MARK = "made by pytest-stormdb; dropped after the run"


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
        with reraised(f"cannot make schema {self.name}"):
            if found is not None:
                self.drop()
            self._conn.execute(sql.SQL("CREATE SCHEMA {}").format(self._identifier))
            self._conn.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(self._identifier, _MARK))

    def drop(self) -> None:
        """Drop it with everything in it."""
        with reraised(f"cannot drop schema {self.name}"):
            self._conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(self._identifier))

    def give_back(self) -> None:
        """Drop it, and let the next run have its name at once: a server notices a hang-up only after a while."""
        self.drop()
        with reraised(f"cannot give back schema {self.name}"):
            self._conn.execute("SELECT pg_advisory_unlock(hashtext(%s))", [f"stormdb:{self.name}"])


@contextlib.contextmanager
def made_for_arms(dsn: str, name: str) -> Iterator[str]:
    """An empty place of its own for an arm of a comparison, cleared away at the end; where it is."""
    with admin_connection(dsn) as admin:
        schema = Schema(admin, schema_name(name))
        schema.create()
        yield with_search_path(dsn, schema.name)
        schema.give_back()


def schema_name(workload: str, suffix: str = "") -> str:
    """``stormdb_<workload><suffix>`` as an identifier PostgreSQL keeps whole (63 bytes)."""
    plain = "".join(char if char.isalnum() and char.isascii() else "_" for char in workload.lower())
    return f"stormdb_{plain}"[: 63 - len(suffix)] + suffix

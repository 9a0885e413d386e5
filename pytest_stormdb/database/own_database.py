"""A database of a workload's own: made, marked, and dropped by us."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg import sql

from ..errors import ServerError
from ..realtime import monotonic
from .claim import Claim, InUseError
from .connect import Dsn, reraised, with_parameters
from .names import MARK
from .sessions import OtherSession, sessions_in

Admin = psycopg.Connection[Any]
_PATIENCE_S = 4.0
_POLL_S = 0.2
_INVALID = -2  # datconnlimit of a database whose drop was interrupted
_UNTOLD = 1_937_010_546
"""A limit of connections that is none, and nobody else's: so a database is known as ours from the statement on that
makes it. The comment comes in the next one, before which a run may be killed."""


class OwnDatabase:
    """The database a workload lives in. ``dsn`` leads our clients into it, by way of the server or of its pooler."""

    def __init__(self, admin: Admin, dsn: str, name: str) -> None:
        self.name = name
        self.claim = Claim(_into(dsn, name), name, f"database {name}")
        self._admin = admin
        self._identifier = sql.Identifier(name)

    def create(self) -> None:
        """Make it anew. Raises ServerError where one of that name is not ours, or in use by another run."""
        with reraised(f"cannot look for database {self.name}"):
            found = self._admin.execute(
                "SELECT shobj_description(oid, 'pg_database'), datconnlimit FROM pg_database WHERE datname = %s",
                [self.name],
            ).fetchone()
        if found is not None:
            if found[0] != MARK and not (found[0] is None and found[1] == _UNTOLD):
                raise ServerError(f"database {self.name} exists and was not made by pytest-stormdb; drop or rename it")
            self._clear(is_valid=found[1] != _INVALID)
        made = self._make()
        try:
            self.claim.renew()
        except InUseError:
            raise
        except ServerError as error:
            if self._oid() != made:  # another run began at the same time, and has replaced it
                raise _in_use(self.name) from None
            self._drop()
            raise _unreachable(error, self.name) from None

    def drop(self) -> None:
        """Drop it, if it is still ours, and only we and the workload's own clients are in it. Raises ServerError."""
        try:
            self.claim.renew()
        except InUseError:
            raise
        except ServerError as error:
            raise ServerError(f"database {self.name} is left; the next run replaces it: {error}") from None
        strangers = self._strangers()
        if strangers:
            raise ServerError(
                f"database {self.name} is left, since others are in it: {strangers};"
                " the next run replaces it when they are gone"
            )
        self._drop()
        self.claim.release()

    def _clear(self, *, is_valid: bool) -> None:
        """Drop what a run left that was killed. Raises InUseError where it lives."""
        if is_valid:
            self.claim.probe()
            self._await_silence()
            self.claim.renew()
            strangers = self._strangers()
            if strangers:
                raise InUseError(f"database {self.name} is left from an earlier run, and others are in it: {strangers}")
        self._drop()
        self.claim.release()

    def _await_silence(self) -> None:
        """A killed run's sessions may take a while to end; those of one that lost its lock go on. Raises InUseError."""
        deadline_s = monotonic() + _PATIENCE_S
        while any(session.is_busy and session.is_ours for session in self._sessions()):
            if monotonic() > deadline_s:
                raise _in_use(self.name)
            time.sleep(_POLL_S)

    def _strangers(self) -> str:
        """Who else is in it; a server takes a moment to notice that somebody hung up."""
        deadline_s = monotonic() + _PATIENCE_S
        while True:
            found = [str(session) for session in self._sessions() if not session.is_ours]
            if not found or monotonic() > deadline_s:
                return ", ".join(found)
            time.sleep(_POLL_S)

    def _sessions(self) -> list[OtherSession]:
        with reraised(f"cannot see who is in database {self.name}"):
            return sessions_in(self._admin, self.name)

    def _oid(self) -> int | None:
        """Which database has the name now."""
        with reraised(f"cannot look for database {self.name}"):
            row = self._admin.execute("SELECT oid FROM pg_database WHERE datname = %s", [self.name]).fetchone()
        return row and int(row[0])

    def _make(self) -> int | None:
        """Make it; its oid."""
        make = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' CONNECTION LIMIT {}").format(
            self._identifier, _UNTOLD
        )
        try:
            with reraised(f"cannot make database {self.name}"):
                try:
                    self._admin.execute(make)
                except psycopg.errors.InvalidParameterValue:  # a cluster's locale of another encoding
                    self._admin.execute(make + sql.SQL(" LOCALE 'C'"))
                self._admin.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(self._identifier, MARK))
        except ServerError as error:
            if error.sqlstate in ("42P04", "23505", "3D000"):
                raise _in_use(self.name) from None
            raise
        return self._oid()

    def _drop(self) -> None:
        with reraised(f"cannot drop database {self.name}"):
            self._admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(self._identifier))


def _into(dsn: str, name: str) -> Dsn:
    return with_parameters(dsn, dbname=name)


def _in_use(name: str) -> InUseError:
    return InUseError(f"database {name} is in use by another run on this server; wait for its end")


def _unreachable(error: ServerError, name: str) -> ServerError:
    return ServerError(
        f"database {name} was made, and cannot be reached: {error}; a pooler that serves named databases only needs"
        " isolation='schema' or 'none'",
        error.sqlstate,
    )

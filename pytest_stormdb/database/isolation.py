"""Where a workload's objects live: in a database of its own, in a schema of its own, or nowhere of ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from ..errors import PlanError, ServerError
from .carry_over import carry_over
from .claim import Claim
from .connect import Dsn, conninfo_to_dict, redacted, same_place, with_parameters, with_search_path
from .connection import SessionCare
from .own_database import OwnDatabase
from .own_schema import OwnSchema
from .pooler import Pooler, pooler_at
from .server import check_writable
from .steady import open_steady

KINDS = ("database", "schema", "none")
_NAME = "stormdb fixture"
_NO_PRIVILEGE = "42501"
_MISSING = re.compile(
    r"(?P<kind>relation|table|view|type|function|schema|sequence) [\"«„“]?(?P<name>[\w.]+)[^\n]*? does not exist"
)


@dataclass(frozen=True, slots=True)
class Home:
    """Where a workload lives: ``dsn`` leads its clients there, ``admin_dsn`` our own statements.

    ``target`` is the address the run was sent to; ``name`` that of what was made; ``claim`` the right to it.
    """

    isolation: str
    dsn: Dsn
    admin_dsn: Dsn
    target: Dsn
    name: str | None = None
    claim: Claim | None = None
    pooler: Pooler = Pooler.NONE
    notes: tuple[str, ...] = ()

    @classmethod
    def at(cls, dsn: str) -> Home:
        """What is there already, at an address."""
        return cls("none", Dsn(dsn), Dsn(dsn), Dsn(dsn))

    @property
    def outside_dsn(self) -> Dsn:
        """Leads our own statements into the database that the run was sent to, where they do not count as load."""
        found = conninfo_to_dict(self.target).get("dbname")
        return with_parameters(self.admin_dsn, dbname=found) if found else self.admin_dsn

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler stands between the load and the server."""
        return self.pooler is not Pooler.NONE

    @property
    def care(self) -> SessionCare:
        """What may be done to the sessions of workers here."""
        return SessionCare(
            sets=self.isolation != "none" and not self.is_pooled, prepares=self.pooler is not Pooler.TRANSACTION
        )

    @property
    def lost(self) -> str | None:
        """Why this is no longer the workload's own: another run has it."""
        return self.claim.lost if self.claim is not None else None

    def kept(self, stop_run: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """Look after the right to it while a run goes on; ``stop_run`` where it is lost."""
        return self.claim.during(stop_run) if self.claim is not None else contextlib.nullcontext()

    def beside(self, name: str) -> contextlib.AbstractContextManager[Home]:
        """An empty home of another name, of the same kind where this one is a workload's own."""
        kind = None if self.isolation == "none" else self.isolation
        return isolated(self.target, name, wanted=kind, admin_dsn=self.admin_dsn if self.is_past_pooler else None)

    @property
    def is_past_pooler(self) -> bool:
        """Whether our own statements have an address of their own."""
        return not same_place(self.dsn, self.admin_dsn)

    def hint(self, text: str) -> str | None:
        """What to say of a failure over what is missing here, and is there in the target's database."""
        wanted = dict.fromkeys((found["kind"], found["name"]) for found in _MISSING.finditer(text))
        if self.isolation != "database" or not wanted:
            return None
        with contextlib.suppress(ServerError, psycopg.Error), open_steady(self.target, name="stormdb admin") as conn:
            for kind, name in wanted:
                if _is_there(conn, kind, name):
                    return (
                        f"{name} exists in {conn.info.dbname}, but this workload has a database of its own:"
                        f" isolation='none' loads {conn.info.dbname}'s own {_PLURALS.get(kind, 'tables')}"
                    )
        return None


_PLURALS = {"type": "types", "function": "functions", "schema": "schemas", "sequence": "sequences"}
_LOOK = {
    "type": "SELECT to_regtype(%s) IS NOT NULL",
    "function": "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = %s)",
    "schema": "SELECT to_regnamespace(%s) IS NOT NULL",
}


def _is_there(conn: psycopg.Connection[Any], kind: str, name: str) -> bool:
    row = conn.execute(_LOOK.get(kind, "SELECT to_regclass(%s) IS NOT NULL").encode(), [name]).fetchone()
    return bool(row and row[0])


@contextlib.contextmanager
def isolated(
    target: Dsn, name: str, *, wanted: str | None = None, admin_dsn: Dsn | None = None, keep: bool = False
) -> Iterator[Home]:
    """Make a home for a workload called ``name``, and clear it away at the end, unless it is to be kept.

    ``wanted`` is one of KINDS, or None for a database where the role may create one, else a schema. Raises
    ServerError, from the end of the block too; what is left then is named.
    """
    target = with_parameters(target, application_name=_NAME)
    ours = with_parameters(admin_dsn, application_name=_NAME) if admin_dsn is not None else target
    with contextlib.closing(open_steady(ours, name="stormdb admin")) as admin:
        pooler = pooler_at(target)
        kind = wanted or ("database" if _may_create_databases(admin) else "schema")
        if kind == "none":
            yield Home("none", target, ours, target, pooler=pooler)
            return
        check_writable(admin)
        notes = () if wanted else _note_of(kind, admin)
        own = OwnDatabase(admin, ours, name) if kind == "database" else OwnSchema(admin, ours, name)
        try:
            _create(own, kind)
            if isinstance(own, OwnDatabase):
                notes += _carried_over(admin, target, name)
            if isinstance(own, OwnSchema):
                dsn, inner = (with_search_path(each, *own.path()) for each in (target, ours))
            else:
                dsn, inner = (with_parameters(each, dbname=name) for each in (target, ours))
            yield Home(kind, dsn, inner, target, name, own.claim, pooler, notes)
            if not keep:
                own.drop()
        finally:
            own.claim.release()


def _create(own: OwnDatabase | OwnSchema, kind: str) -> None:
    try:
        own.create()
    except ServerError as error:
        if error.sqlstate != _NO_PRIVILEGE:
            raise
        less = "isolation='schema' needs no right to create databases, " if kind == "database" else ""
        raise ServerError(f"{error}; {less}isolation='none' loads what is there", error.sqlstate) from None


def _carried_over(admin: psycopg.Connection[Any], target: Dsn, name: str) -> tuple[str, ...]:
    parts = conninfo_to_dict(target)
    source = str(parts.get("dbname") or admin.info.dbname)
    refused = carry_over(admin, source, name, str(parts.get("user") or admin.info.user))
    if not refused:
        return ()
    return (f"without what is set for database {source} and this role may not set: {', '.join(refused)}",)


def _may_create_databases(admin: psycopg.Connection[Any]) -> bool:
    row = admin.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    return bool(row and row[0])


def _note_of(kind: str, admin: psycopg.Connection[Any]) -> tuple[str, ...]:
    if kind == "database":
        return ()
    return (f"in a schema of its own, since role {admin.info.user} may not create databases (isolation='schema')",)


def checked_kind(given: object, where: str) -> str:
    """One of KINDS. Raises PlanError."""
    if given not in KINDS:
        raise PlanError(f"{where}: isolation={given!r} is none of {', '.join(KINDS)}")
    return str(given)


def how_to_look(home: Home) -> str:
    """How to connect to a home that was kept."""
    return f'{home.name} is kept: psql "{redacted(with_parameters(home.dsn, application_name=None))}"'

"""A schema of a workload's own in the target's database, for roles that may not create databases."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from ..errors import ServerError
from .claim import Claim
from .connect import reraised
from .names import MARK
from .sessions import sessions_in

Admin = psycopg.Connection[Any]
_AT_ONCE = 100
"""Relations dropped in one transaction: each takes some locks, and a server has 64 for each connection."""

_PATIENTLY = sql.SQL("SET LOCAL lock_timeout = '5s'; ")
"""Before a statement, in whose transaction it holds: a fixture may have left one open."""

_HOLDERS = """
    SELECT DISTINCT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)
"""

_EXTENSION_SCHEMAS = """
    SELECT DISTINCT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE n.nspname <> 'pg_catalog' AND has_schema_privilege(n.oid, 'USAGE') AND NOT EXISTS (
        SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                        AND d.deptype = 'e'))
    ORDER BY 1
"""

_OUTSIDE = """
    WITH RECURSIVE gone(classid, objid, is_member) AS (
        SELECT 'pg_namespace'::regclass::oid, oid, false FROM pg_namespace WHERE nspname = %(name)s
        UNION
        SELECT d.classid, d.objid, d.deptype = 'e' FROM pg_depend d
        JOIN gone g ON d.refclassid = g.classid AND d.refobjid = g.objid
    ), touched AS (
        SELECT g.is_member, coalesce(r.ev_class, k.conrelid, t.tgrelid, a.adrelid, p.polrelid,
               CASE WHEN g.classid = 'pg_class'::regclass THEN g.objid END) AS relation,
               CASE WHEN g.classid = 'pg_proc'::regclass THEN g.objid END AS function,
               CASE WHEN g.classid = 'pg_type'::regclass THEN g.objid END AS type
        FROM gone g
        LEFT JOIN pg_rewrite r ON g.classid = 'pg_rewrite'::regclass AND r.oid = g.objid
        LEFT JOIN pg_constraint k ON g.classid = 'pg_constraint'::regclass AND k.oid = g.objid AND k.conrelid <> 0
        LEFT JOIN pg_trigger t ON g.classid = 'pg_trigger'::regclass AND t.oid = g.objid
        LEFT JOIN pg_attrdef a ON g.classid = 'pg_attrdef'::regclass AND a.oid = g.objid
        LEFT JOIN pg_policy p ON g.classid = 'pg_policy'::regclass AND p.oid = g.objid
    )
    SELECT DISTINCT n.nspname || '.' || coalesce(c.relname, f.proname, y.typname) FROM touched
    LEFT JOIN pg_class c ON c.oid = touched.relation
    LEFT JOIN pg_proc f ON f.oid = touched.function
    LEFT JOIN pg_type y ON y.oid = touched.type AND y.typrelid = 0 AND y.typcategory <> 'A'
    JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, f.pronamespace, y.typnamespace)
    WHERE NOT touched.is_member AND n.nspname <> %(name)s AND n.nspname !~ '^pg_toast'
      AND NOT EXISTS (SELECT FROM gone WHERE gone.is_member AND gone.objid IN (c.oid, f.oid, y.oid))
    ORDER BY 1
"""
"""What lies elsewhere and would be dropped with the schema: tables whose columns have a type of an extension in it,
views of its tables, foreign keys to them. Members of an extension in it are its own."""


class OwnSchema:
    """The schema a workload lives in, and the path that leads into it."""

    def __init__(self, admin: Admin, dsn: str, name: str) -> None:
        self.name = name
        self.claim = Claim(dsn, name, f"schema {name}")
        self._admin = admin
        self._identifier = sql.Identifier(name)

    def create(self) -> None:
        """Make it anew. Raises ServerError where one of that name is not ours, or in use by another run."""
        self._refuse_publications()
        self.claim.renew()
        with reraised(f"cannot make schema {self.name}"):
            found = self._admin.execute(
                "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [self.name]
            ).fetchone()
        if found is not None and found[0] != MARK:
            raise ServerError(f"schema {self.name} exists and was not made by pytest-stormdb; drop or rename it")
        if found is not None:
            self._drop()
        with reraised(f"cannot make schema {self.name}"):
            # In one transaction, since who is killed in between leaves what is not known as ours.
            make = sql.SQL("CREATE SCHEMA {0}; COMMENT ON SCHEMA {0} IS {1}")
            self._admin.execute(make.format(self._identifier, MARK))

    def path(self) -> list[str]:
        """The schema itself, then those that hold extensions and no table of a user's."""
        with reraised("cannot look for the schemas of extensions"):
            rows = self._admin.execute(_EXTENSION_SCHEMAS).fetchall()
        return [self.name, *(row[0] for row in rows if row[0] != self.name)]

    def drop(self) -> None:
        """Drop it with what is in it, if it is still ours, and nothing outside would go with it."""
        self.claim.renew()
        self._drop()
        self.claim.release()

    def _drop(self) -> None:
        with reraised(f"cannot drop schema {self.name}"):
            outside = [row[0] for row in self._admin.execute(_OUTSIDE, {"name": self.name}).fetchall()]
            if outside:
                raise ServerError(
                    f"schema {self.name} is left: dropping it would take a part of {', '.join(outside[:5])} along,"
                    " which depends on it"
                )
            try:
                while relations := self._relations():
                    for statement in relations:
                        self._admin.execute(_PATIENTLY + statement)
                self._admin.execute(_PATIENTLY + sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(self._identifier))
            except psycopg.errors.LockNotAvailable:
                raise ServerError(
                    f"schema {self.name} is left, since a transaction in it is open: {self._holders()};"
                    " the next run replaces it when that has ended"
                ) from None

    def _holders(self) -> str:
        """The sessions that have locked something in it."""
        rows = self._admin.execute(_HOLDERS, [self.name]).fetchall()
        pids = {row[0] for row in rows}
        return ", ".join(str(each) for each in sessions_in(self._admin, self._admin.info.dbname) if each.pid in pids)

    def _relations(self) -> list[sql.Composed]:
        """Statements that drop tables until so few are left that one statement drops all."""
        rows = self._admin.execute(
            """
            SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = %s AND relkind IN ('r', 'p') AND NOT EXISTS (
                SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
            ORDER BY relispartition DESC LIMIT %s
            """,
            [self.name, _AT_ONCE + 1],
        ).fetchall()
        if len(rows) <= _AT_ONCE:
            return []
        names = sql.SQL(", ").join(sql.Identifier(self.name, row[0]) for row in rows)
        return [sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(names)]

    def _refuse_publications(self) -> None:
        with reraised("cannot look for publications"):
            found = self._admin.execute("SELECT pubname FROM pg_publication WHERE puballtables ORDER BY 1").fetchone()
        if found is not None:
            raise ServerError(
                f"publication {found[0]} is FOR ALL TABLES: it would send the workload's tables to its subscribers,"
                " which stop at them; give the role CREATEDB for a database of its own, or use isolation='none'"
            )

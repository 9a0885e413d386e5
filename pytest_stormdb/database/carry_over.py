"""The settings of the target's database, which hold in a workload's own one, too."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import sql

from .connect import reraised

_LISTS = (
    "search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries",
)  # fmt: skip
"""Settings whose stored text is a list of identifiers, to be given as several values."""

_OTHER_RIGHTS = ("role", "session_authorization")
"""Who is that in the target has no rights in a new database."""

_FIND = """
    SELECT setrole <> 0, unnest(setconfig) FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = %s)
      AND (setrole = 0 OR setrole = (SELECT oid FROM pg_roles WHERE rolname = %s))
    ORDER BY 1
"""


def carry_over(admin: psycopg.Connection[Any], source: str, own: str, user: str) -> list[str]:
    """Set for database ``own`` what is set for ``source``, and for ``user`` in it; the names of what may not be set.

    A search path without public is left: in an empty database it would lead to no schema at all. Raises ServerError.
    """
    refused = []
    with reraised(f"cannot read the settings of database {source}"):
        rows = admin.execute(_FIND, [source, user]).fetchall()
    for is_for_role, setting in rows:
        name, _, value = setting.partition("=")
        values = _items(value) if name in _LISTS else [value]
        if name in _OTHER_RIGHTS or (name == "search_path" and "public" not in values):
            continue
        whose = sql.SQL("DATABASE {}").format(sql.Identifier(own))
        if is_for_role:
            whose = sql.SQL("ROLE {} IN ").format(sql.Identifier(user)) + whose
        given = sql.SQL(", ").join(sql.Literal(each) for each in values)
        try:
            # a name of an extension's setting has a dot in it, which is not quoted
            named = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
            admin.execute(sql.SQL("ALTER {} SET {} TO {}").format(whose, named, given))
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            refused.append(name)
    return refused


def _items(text: str) -> list[str]:
    """The identifiers of a list as PostgreSQL stores it: ``"$user", public``."""
    found = re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', text)
    return [quoted.replace('""', '"') or plain for quoted, plain in found] or [""]

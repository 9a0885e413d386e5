"""Connections, opened in one way, and their errors, without a password in their text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..errors import ServerError

CONNECT_TIMEOUT_S = 10
_SECRETS = ("password", "sslpassword", "passfile")


def driver() -> dict[str, str | int]:
    """Which psycopg on which libpq is in use."""
    return {"psycopg": psycopg.__version__, "psycopg_impl": psycopg.pq.__impl__, "libpq": psycopg.pq.version()}


class Dsn(str):
    """A connection string that does not show its password when it is printed in a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redacted(self))


def redacted(dsn: str) -> str:
    """The connection string without what is secret in it."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:
        return "(not a connection string)"
    return make_conninfo("", **{name: value for name, value in parts.items() if name not in _SECRETS})


def parse_dsn(dsn: str, where: str) -> Dsn:
    """A libpq connection string or URL; SQLAlchemy's ``postgresql+driver://`` is understood too.

    Raises ServerError, which does not repeat the text, since it may hold a password.
    """
    scheme, separator, rest = dsn.partition("://")
    if separator and scheme.startswith(("postgresql+", "postgres+")):
        dsn = f"postgresql://{rest}"
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error:
        hint = "write it as postgresql://user@host:5432/database or as 'host=... dbname=...'"
        raise ServerError(f"{where}: not a connection string; {hint}") from None
    return Dsn(dsn)


def with_parameters(dsn: str, **parameters: Any) -> Dsn:
    """The connection string with parameters added or replaced."""
    return Dsn(make_conninfo(dsn, **parameters))


def with_search_path(dsn: str, schema: str) -> Dsn:
    """The connection string that leads into a schema first, and into ``public`` after it."""
    options = str(conninfo_to_dict(dsn).get("options") or "")
    escaped = f'"{schema}",public'.replace("\\", r"\\").replace(" ", r"\ ")
    return with_parameters(dsn, options=f"{options} -csearch_path={escaped}".strip())


def connect(dsn: str, *, name: str, timeout_s: int = CONNECT_TIMEOUT_S) -> psycopg.Connection[tuple[Any, ...]]:
    """An autocommit connection whose ``application_name`` is ``name``. Raises ServerError."""
    with _told(dsn):
        return psycopg.connect(dsn, **_arguments(dsn, name, timeout_s))


async def connect_async(
    dsn: str, *, name: str, timeout_s: int = CONNECT_TIMEOUT_S
) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """The same, for asyncio."""
    with _told(dsn):
        return await psycopg.AsyncConnection.connect(dsn, **_arguments(dsn, name, timeout_s))


def _arguments(dsn: str, name: str, timeout_s: int) -> dict[str, Any]:
    given = conninfo_to_dict(dsn)
    defaults: Mapping[str, Any] = {"connect_timeout": timeout_s, "application_name": name}
    return {"autocommit": True} | {key: value for key, value in defaults.items() if not given.get(key)}


@contextlib.contextmanager
def _told(dsn: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise server_error(error, f"cannot connect to {place(dsn)}") from None


def place(dsn: str) -> str:
    """Where a connection string leads, for people: ``user@host:port/database``."""
    parts = conninfo_to_dict(dsn)
    host = parts.get("host") or parts.get("hostaddr") or "the default host"
    port = f":{parts['port']}" if parts.get("port") else ""
    user = f"{parts['user']}@" if parts.get("user") else ""
    database = f"/{parts['dbname']}" if parts.get("dbname") else ""
    return f"{user}{host}{port}{database}"


def address(dsn: str) -> tuple[str, int | None, str]:
    """Host, port and database of a connection string, as far as it names them."""
    parts = conninfo_to_dict(dsn)
    port = str(parts.get("port") or "")
    host = str(parts.get("host") or parts.get("hostaddr") or "")
    return host, int(port) if port.isdecimal() else None, str(parts.get("dbname") or "")


def server_error(error: psycopg.Error, what: str) -> ServerError:
    """A psycopg error in one line, with its SQLSTATE."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = error.diag.message_primary or (lines[-1] if lines else type(error).__name__)
    for prefix in ("FATAL:", "ERROR:"):
        reason = reason.rpartition(prefix)[2].strip()
    return ServerError(f"{what}: {reason}", error.sqlstate)


@contextlib.contextmanager
def reraised(what: str) -> Iterator[None]:
    """Turn an error of psycopg into a ServerError that says ``what`` could not be done."""
    try:
        yield
    except psycopg.Error as error:
        raise server_error(error, what) from None


def same_place(dsn: str, other: str) -> bool:
    """Whether two connection strings lead to the same server."""
    mine, theirs = conninfo_to_dict(dsn), conninfo_to_dict(other)
    return all(mine.get(key) == theirs.get(key) for key in ("host", "hostaddr", "port"))

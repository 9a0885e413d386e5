"""Connections, opened in one way, and their errors, without a password in their text."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from ..errors import ServerError
from .names import PREFIX

C = TypeVar("C", bound=psycopg.Connection[Any])

CONNECT_TIMEOUT_S = 10
_DEFAULT_PORT = 5432
_SECRETS = ("password", "sslpassword", "passfile")
_ESCAPES = "write %40 for @, %2F for /, %3A for :, %25 for %"
_ELSEWHERE_CALLED = {
    "ssl": "write sslmode=require",
    "schema": "write options=-csearch_path=NAME, or set the path of the role",
    "currentSchema": "write options=-csearch_path=NAME, or set the path of the role",
    "database": "write dbname=NAME",
    "username": "write user=NAME",
}
_PATH = "-csearch_path="
_DECORATION = re.compile(r".*connection (failed|is bad): |(FATAL|ERROR): +")
_ADVICE = re.compile(r"\s*Is the server running .*")


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
    dsn = dsn.strip()
    scheme, separator, rest = dsn.partition("://")
    if separator and scheme.startswith(("postgresql+", "postgres+")):
        dsn = f"postgresql://{rest}"
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error as error:
        raise ServerError(f"{where}: {_what_is_wrong(str(error), dsn)}") from None
    if separator and _has_torn_password(parts):
        raise ServerError(f"{where}: not a URL as it stands; in a user's name or password {_ESCAPES}")
    return Dsn(dsn)


def _has_torn_password(parts: Mapping[str, Any]) -> bool:
    """Whether a password's own @ or / ended it early, and its rest is now host, port or database."""
    host, port, name = (str(parts.get(key) or "") for key in ("host", "port", "dbname"))
    return ("@" in host and not host.startswith("@")) or "@" in name or not re.fullmatch(r"[\d,]*", port)


def _what_is_wrong(message: str, dsn: str) -> str:
    """What libpq says of a connection string, without what may be a piece of a password."""
    unknown = re.search(r'(?:query parameter|connection option)\W+"(\w+)"', message)
    if unknown:
        hint = _ELSEWHERE_CALLED.get(unknown[1], "leave it out")
        return f"libpq knows no parameter {unknown[1]!r}; {hint}"
    if "percent-encoded" in message:
        return f"not a URL as it stands; in a user's name or password {_ESCAPES}"
    if 'missing "="' in message and "=" in dsn:
        return "a value with a space in it needs quotes: password='two words'"
    return "not a connection string; write it as postgresql://user@host:5432/database or as 'host=... dbname=...'"


@functools.lru_cache(maxsize=64)
def conninfo_to_dict(dsn: str) -> Mapping[str, Any]:
    """The parameters of a connection string, which each run asks for some twenty times. Raises psycopg.Error."""
    return MappingProxyType(psycopg.conninfo.conninfo_to_dict(dsn))


@functools.lru_cache(maxsize=64)
def with_parameters(dsn: str, **parameters: Any) -> Dsn:
    """The connection string with parameters added or replaced."""
    return Dsn(make_conninfo(dsn, **parameters))


def ports_of(dsn: str) -> set[int]:
    """The ports that a connection string may lead to, the default one among them."""
    given = str(conninfo_to_dict(dsn).get("port") or os.environ.get("PGPORT") or "")
    return {int(port) for port in given.split(",") if port.strip().isdigit()} | {_DEFAULT_PORT}


def with_search_path(dsn: str, *schemas: str) -> Dsn:
    """The connection string whose sessions look into these schemas, in this order, and into no other."""
    options = str(conninfo_to_dict(dsn).get("options") or "")
    path = ",".join(f'"{schema}"' for schema in schemas)
    escaped = path.replace("\\", r"\\").replace(" ", r"\ ")
    return with_parameters(dsn, options=f"{options} {_PATH}{escaped}".strip())


def connect(dsn: str, *, name: str, timeout_s: int = CONNECT_TIMEOUT_S) -> psycopg.Connection[tuple[Any, ...]]:
    """An autocommit connection whose ``application_name`` is ``name``. Raises ServerError."""
    return connect_as(psycopg.Connection, dsn, name=name, timeout_s=timeout_s)


def connect_as(kind: type[C], dsn: str, *, name: str, timeout_s: int = CONNECT_TIMEOUT_S) -> C:
    """The same, of a class of one's own."""
    with _told(dsn):
        conn = kind.connect(dsn, **_arguments(dsn, name, timeout_s))
    wanted = _wanted_schema(dsn)
    if wanted is not None:
        with reraised("cannot ask for the current schema"):
            row = conn.execute("SELECT current_schema()").fetchone()
        if row is None or row[0] != wanted:
            conn.close()
            raise _another_schema(wanted, row and row[0])
    return conn


async def connect_async(
    dsn: str, *, name: str, timeout_s: int = CONNECT_TIMEOUT_S
) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """The same, for asyncio."""
    with _told(dsn):
        conn = await psycopg.AsyncConnection.connect(dsn, **_arguments(dsn, name, timeout_s))
    wanted = _wanted_schema(dsn)
    if wanted is not None:
        with reraised("cannot ask for the current schema"):
            row = await (await conn.execute("SELECT current_schema()")).fetchone()
        if row is None or row[0] != wanted:
            await conn.close()
            raise _another_schema(wanted, row and row[0])
    return conn


def _wanted_schema(dsn: str) -> str | None:
    """The schema that the connection string puts first, where it is one of ours."""
    found = re.search(rf'{_PATH}"({PREFIX}[^"]*)"', str(conninfo_to_dict(dsn).get("options") or ""))
    return found[1] if found else None


def _another_schema(wanted: str, got: object) -> ServerError:
    return ServerError(
        f"the session's schema is {got or 'none'}, not {wanted}: something on the way to the server, such as a pooler,"
        " drops the options of a connection; connect past it, or load what is there with isolation='none'"
    )


def is_pooled(conn: psycopg.Connection[Any]) -> bool:
    """Whether a pooler stands between: the session of the server is then not ours to keep or to change."""
    with reraised("cannot ask for the session's process"):
        row = conn.execute("SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] != conn.info.backend_pid


def _arguments(dsn: str, name: str, timeout_s: int) -> dict[str, Any]:
    """What we ask of every connection: values come back as text, whatever the encoding of the database."""
    given = conninfo_to_dict(dsn)
    defaults: Mapping[str, Any] = {"connect_timeout": timeout_s, "client_encoding": "UTF8"}
    chosen = {key: value for key, value in defaults.items() if not given.get(key)}
    return {"autocommit": True, "application_name": name} | chosen


@contextlib.contextmanager
def _told(dsn: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise _refusal(error, dsn) from None
    except (OSError, UnicodeError) as error:  # a name that cannot be looked up, or cannot be one
        raise ServerError(f"cannot connect to {place(dsn)}: {error}") from None


def _refusal(error: psycopg.Error, dsn: str) -> ServerError:
    """Why there is no connection: the whole reason, and that of each host."""
    lines = [line.strip() for line in _ADVICE.sub("", str(error)).splitlines()]
    several = [line for line in lines if line.startswith("- host:")]
    reasons = [
        line.rpartition("connection failed: ")[2].rpartition("connection is bad: ")[2] for line in several or lines
    ]
    text = "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or type(error).__name__
    left_open = [name for name in ("PGHOST", "PGHOSTADDR") if os.environ.get(name)]
    if left_open and not any(conninfo_to_dict(dsn).get(key) for key in ("host", "hostaddr", "service")):
        text += f"; {' and '.join(left_open)} of the environment is not used: write host= into the connection string"
    return ServerError(f"cannot connect to {place(dsn)}: {text}", error.sqlstate)


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
    return all((mine.get(key) or None) == (theirs.get(key) or None) for key in ("host", "hostaddr", "port"))

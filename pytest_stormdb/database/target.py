"""Which server a run is sent to, and by whose word."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..errors import ServerError
from .connect import Dsn, parse_dsn


@dataclass(frozen=True, slots=True)
class Target:
    """A chosen server and where the choice comes from."""

    dsn: Dsn
    source: str


def joined(dsn: str | None, parts: Mapping[str, str | int]) -> str:
    """A connection string from a configuration file's one, and its parts."""
    return make_conninfo(dsn or "", **{name: str(value) for name, value in parts.items()})


def choose(option: str | None, environ: Mapping[str, str], configured: str | None = None) -> Target | None:
    """The first of option, configuration file, STORMDB_DSN and DATABASE_URL; None means the embedded server.

    DATABASE_URL is set for an application, not for us, so it must lead to this machine. Raises ServerError.
    """
    candidates = (
        ("--stormdb-dsn", option),
        ("the configuration file's database", configured),
        ("STORMDB_DSN", environ.get("STORMDB_DSN")),
        ("DATABASE_URL", environ.get("DATABASE_URL")),
    )
    for source, text in candidates:
        if text:
            dsn = parse_dsn(text, source)
            if source == "DATABASE_URL" and not is_local(dsn):
                raise ServerError(
                    "DATABASE_URL leads to another machine, and load goes only where it is sent on purpose;"
                    " give the address as --stormdb-dsn or STORMDB_DSN if you mean it"
                )
            return Target(dsn, source)
    return None


def is_local(dsn: str) -> bool:
    """Whether every host of a connection string is this machine: a Unix socket or a loopback address."""
    parts = conninfo_to_dict(dsn)
    hosts = [str(parts.get(key) or "") for key in ("host", "hostaddr")]
    return all(_is_loopback(host) for given in hosts for host in given.split(","))


def _is_loopback(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

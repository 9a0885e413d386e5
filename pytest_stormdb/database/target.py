"""Which server a run is sent to, by whose word, and that nothing else sends it elsewhere."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..errors import ServerError
from .connect import Dsn, connect, parse_dsn, with_parameters

_WHERE = ("host", "hostaddr", "port", "dbname")
_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE")
_NEUTRAL = {
    "hostaddr": "", "password": "", "sslmode": "disable", "gssencmode": "disable", "channel_binding": "prefer",
    "target_session_attrs": "any", "options": "",
}  # fmt: skip
"""What libpq would take from the environment, as a server on this machine's own Unix socket wants it."""

_ELSEWHERE = (
    "DATABASE_URL leads to another machine, and load goes only where it is sent on purpose;"
    " give the address as --stormdb-dsn or STORMDB_DSN if you mean it"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A chosen server and where the choice comes from."""

    dsn: Dsn
    source: str

    def check(self) -> None:
        """Raise ServerError where the address of a DATABASE_URL turns out to be another machine's."""
        if self.source != "DATABASE_URL":
            return
        with connect(self.dsn, name="stormdb admin") as conn:
            host, address = conn.info.host, conn.info.hostaddr
        if not host.startswith(("/", "@")) and not _is_loopback(address):
            raise ServerError(_ELSEWHERE)


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
                raise ServerError(_ELSEWHERE)
            return Target(pinned(dsn), source)
    return None


def pinned(dsn: str) -> Dsn:
    """The connection string with the address complete: PGHOST and its like fill in nothing that it leaves open."""
    given = conninfo_to_dict(dsn)
    if "service" not in given and not any(os.environ.get(name) for name in _VARIABLES):
        return Dsn(dsn)
    of_service: Mapping[str, str] = {}
    if "service" in given:
        kept = {name: value for name in ("PGSERVICEFILE", "PGSYSCONFDIR") if (value := os.environ.get(name))}
        with libpq_variables(kept | _service(given)):
            of_service = _defaults()
    return with_parameters(dsn, **{key: of_service.get(key, "") for key in _WHERE if not given.get(key)})


def neutral(dsn: str) -> Dsn:
    """The connection string of the embedded server, complete where the environment says anything to libpq."""
    return with_parameters(dsn, **_NEUTRAL) if any(name.startswith("PG") for name in os.environ) else Dsn(dsn)


def is_local(dsn: str) -> bool:
    """Whether all hosts that libpq would use are this machine: Unix sockets or loopback addresses.

    What the connection string leaves open comes from its service and the environment, as in libpq.
    """
    given = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value}
    variables = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    with libpq_variables(variables | _service(given)):
        used = {**_defaults(), **given}
    return all(_is_loopback(host) for host in (used.get("hostaddr") or used.get("host") or "").split(","))


@contextlib.contextmanager
def libpq_variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Have these of libpq's environment variables, and no others, until the end of the block."""
    found = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    _replace(found, wanted)
    try:
        yield
    finally:
        _replace(wanted, found)


def _replace(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    for name in set(old) - set(new):
        os.environ.pop(name, None)
    os.environ.update(new)


def _service(given: Mapping[str, str | int | None]) -> dict[str, str]:
    names = {"service": "PGSERVICE", "servicefile": "PGSERVICEFILE"}
    return {variable: str(given[key]) for key, variable in names.items() if given.get(key)}


def _defaults() -> dict[str, str]:
    """What libpq fills in from its service file and environment."""
    return {each.keyword.decode(): each.val.decode() for each in pq.Conninfo.get_defaults() if each.val}


def _is_loopback(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

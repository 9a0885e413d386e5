"""A connection string handed over to another program: nothing secret where a list of processes shows it."""

from __future__ import annotations

import os
from typing import NamedTuple

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..errors import ServerError
from .connect import connect, with_parameters


class Handover(NamedTuple):
    """``conninfo`` for the command line, ``environment`` for the process."""

    conninfo: str
    environment: dict[str, str]


def handed_over(dsn: str) -> Handover:
    """The connection string for a program on libpq.

    The program's environment is ours, but for what libpq would add from it, and in the language of the messages.
    """
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["LC_ALL"] = "C"
    password = parts.pop("password", None)
    if password is not None:
        environment["PGPASSWORD"] = password
    return Handover(make_conninfo("", **parts), environment)


def guarded(dsn: str, timeout_ns: int) -> str:
    """The connection string whose sessions end a statement after ``timeout_ns``, and soon when their client is gone.

    A setting that is refused is left out: not every server can watch its clients, and a pooler may take no options.
    """
    settings = {"statement_timeout": max(1, round(timeout_ns / 1e6)), "client_connection_check_interval": 1000}
    for name, milliseconds in settings.items():
        options = str(conninfo_to_dict(dsn).get("options") or "")
        candidate = with_parameters(dsn, options=f"{options} -c{name}={milliseconds}".strip())
        try:
            connect(candidate, name="stormdb set-up").close()
        except ServerError:
            continue
        dsn = candidate
    return dsn

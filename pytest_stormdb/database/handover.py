"""A connection string handed over to another program: nothing secret where a list of processes shows it."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..errors import ServerError
from .connect import connect, with_parameters

_LEFT = "SELECT FROM pg_stat_activity WHERE application_name = %s AND pid <> pg_backend_pid() LIMIT 1"
_LOOK_S = 0.01


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


def await_end_of_sessions(dsn: str, name: str, limit_s: float) -> None:
    """Wait until the server has parted with a program's sessions: only then it has counted all that they did."""
    deadline_s = time.monotonic() + limit_s
    try:
        with connect(dsn, name="stormdb set-up") as connection:
            while time.monotonic() < deadline_s and connection.execute(_LEFT, [name]).fetchone() is not None:
                time.sleep(_LOOK_S)
    except (ServerError, psycopg.Error):  # where there is no server, there are no sessions
        return


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

"""Which processes of this machine are the server's, on behalf of a run: its workers' backends and the server's own."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import ServerError
from ..measurement.process_table import Table
from .server import admin_connection

_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE starts_with(application_name, %s)"
_OWN_WORK = re.compile(
    r"postgres: (?:[^:]+: )?(?:startup|checkpointer|background writer|walwriter|walsummarizer|archiver|logger"
    r"|stats collector|autovacuum|io worker|slotsync|parallel worker for PID (?P<leader>\d+))"
)


class ServerProcesses:
    """The processes of servers that work for sessions of ours, by address and name; all else is foreign.

    A backend of somebody else's session is foreign work, even of the same server. The server is asked for its backends
    once, and again when one of them is gone.
    """

    def __init__(self, sessions: Sequence[tuple[str, str]]) -> None:
        self._sessions = sessions
        self._backends: set[int] = set()
        self._asked = False

    def __call__(self, table: Table) -> set[int] | None:
        """Those in the table; None where none of the run's backends is, because the server is elsewhere."""
        if not self._asked or not self._backends <= table.keys():
            self._asked = True
            self._backends = {pid for dsn, name in self._sessions for pid in _backends(dsn, name)}
        seen = {pid for pid in self._backends if pid in table and table[pid].name.startswith("postgres")}
        if not seen:
            return None
        masters = {table[pid].parent for pid in seen}
        own = {pid for pid, process in table.items() if process.parent in masters and _is_own_work(pid, seen)}
        return seen | masters | own


def _backends(dsn: str, name: str) -> set[int]:
    try:
        with admin_connection(dsn) as admin:
            return {int(pid) for (pid,) in admin.execute(_BACKENDS, [name])}
    except ServerError:
        return set()


def _is_own_work(pid: int, backends: Collection[int]) -> bool:
    """Whether a child of the server works for all of it, or for one of these backends."""
    match = _OWN_WORK.match(_title(pid))
    return match is not None and (match["leader"] is None or int(match["leader"]) in backends)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""

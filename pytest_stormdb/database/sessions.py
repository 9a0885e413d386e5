"""Who is connected to a database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg


@dataclass(frozen=True, slots=True)
class OtherSession:
    """A session of a database: of a run of ours and its fixtures, or somebody else's; and whether it does anything."""

    pid: int
    user: str
    application: str
    is_ours: bool
    is_busy: bool

    def __str__(self) -> str:
        return f"{self.application or 'a session'} (pid {self.pid}, user {self.user})"


def sessions_in(admin: psycopg.Connection[Any], database: str, but: Collection[int] = ()) -> list[OtherSession]:
    """The client sessions of a database, without those of the process ids ``but``.

    Ours carry our name; a fixture's client may carry none, and comes from where we come as who we are. A session
    is busy where it did something in the last three seconds: one that a pooler kept, or a killed run left, is not.
    """
    rows = admin.execute(
        """
        SELECT pid, coalesce(usename, '?'), coalesce(application_name, ''),
               coalesce(application_name LIKE 'stormdb%%' OR (application_name = '' AND usename = current_user
                        AND client_addr IS NOT DISTINCT FROM inet_client_addr()), false),
               coalesce(state NOT LIKE 'idle%%' OR state_change > clock_timestamp() - interval '3 s', true)
        FROM pg_stat_activity
        WHERE datname = %s AND pid <> ALL(%s) AND pid <> pg_backend_pid()
          AND coalesce(backend_type, 'client backend') = 'client backend'
        ORDER BY pid
        """,
        [database, list(but)],
    ).fetchall()
    return [OtherSession(*row) for row in rows]

"""What a worker's clients have running on the server, cancelled or ended there from a connection of ours.

A worker's own connection can be cancelled by itself. Clients that the workload opened from ``worker.dsn`` cannot: each
driver has its way, or none. But their sessions carry the name that the address gives them, and a role may cancel
what it runs itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import psycopg

from ..errors import ServerError
from .connect import connect, with_parameters

_CONNECT_TIMEOUT_S = 2
_LONGEST_MS = 2000


class NamedSessions:
    """The sessions of one application name. Requests are made in threads of their own, one at a time."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = with_parameters(dsn, application_name="stormdb admin", connect_timeout=_CONNECT_TIMEOUT_S)
        self._name = name
        self._asking = threading.Lock()

    def cancel(self, is_due: Callable[[], bool]) -> None:
        """Cancel their statements, unless ``is_due`` says that there is no reason any more. Does not wait."""
        self._ask("pg_cancel_backend", is_due)

    def terminate(self, is_due: Callable[[], bool]) -> None:
        """End those that are in a statement. Does not wait."""
        self._ask("pg_terminate_backend", is_due)

    def wait(self) -> None:
        """Return when no request is on its way any more: what it hits is not what comes next.

        The server sends the signal before it answers, and a backend that is idle ignores it.
        """
        with self._asking:
            pass

    def _ask(self, function: str, is_due: Callable[[], bool]) -> None:
        if not self._asking.acquire(blocking=False):
            return
        if is_due():
            threading.Thread(target=self._request, args=(function,), daemon=True).start()
        else:
            self._asking.release()

    def _request(self, function: str) -> None:
        """A server that cannot be asked is left alone: the worker's end is seen to in other ways."""
        try:
            with (
                contextlib.suppress(ServerError, psycopg.Error, OSError),
                connect(self._dsn, name="stormdb admin", timeout_s=_CONNECT_TIMEOUT_S) as admin,
            ):
                admin.execute("SELECT set_config('statement_timeout', %s, false)", [str(_LONGEST_MS)])
                admin.execute(
                    f"SELECT {function}(pid) FROM pg_stat_activity"  # noqa: S608 - one of two names of ours
                    " WHERE application_name = %s AND pid <> pg_backend_pid()"
                    " AND backend_type = 'client backend' AND state NOT LIKE 'idle%%'",
                    [self._name],
                )
        finally:
            self._asking.release()

"""The sole right to a workload's name on a server, while its run lasts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import psycopg

from ..errors import ServerError
from .connect import connect_as, reraised
from .steady import LimitedConnection

_LOOK_S = 1.0
_TIMEOUT_S = 5
_CERTAIN = 2
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0"
_TRY = "SELECT pg_try_advisory_xact_lock(hashtextextended('stormdb:' || %s, 0))"


class InUseError(ServerError):
    """Another run has the name."""


class Claim:
    """An advisory lock held by an open transaction.

    One held by a session is re-entrant, and a pooler may give two runs the same session. A transaction keeps a
    session to itself behind every pooler; without a snapshot or a number it holds up no vacuum.
    """

    def __init__(self, dsn: str, name: str, what: str) -> None:
        self.lost: str | None = None
        self._dsn = dsn
        self._name = name
        self._what = what
        self._conn: LimitedConnection | None = None

    @property
    def pid(self) -> int | None:
        """The server's process that holds it, as far as the client knows."""
        return self._conn.info.backend_pid if self._conn is not None and not self._conn.closed else None

    def renew(self) -> None:
        """Take it, or see that it is still ours, or take it again. Raises InUseError, or ServerError from afar."""
        if self._is_held():
            return
        self.release()
        conn = connect_as(LimitedConnection, self._dsn, name="stormdb lock", timeout_s=_TIMEOUT_S)
        conn.limit_s, conn.prepare_threshold = _TIMEOUT_S, None
        self._conn = conn
        with reraised(f"cannot lock {self._what}"):
            conn.execute(_BEGIN)
            if conn.info.server_version >= 170000:
                conn.execute("SET LOCAL transaction_timeout = 0")
            row = conn.execute(_TRY, [self._name]).fetchone()
        if row is None or not row[0]:
            self.release()
            raise InUseError(f"{self._what} is in use by another run on this server; wait for its end")

    def probe(self) -> None:
        """See whether anybody has it, and leave it to whom it belongs. Raises InUseError."""
        self.renew()
        self.release()

    def release(self) -> None:
        """Give it back at once: a rollback is answered, while a server notices a hang-up only after a while."""
        conn, self._conn = self._conn, None
        if conn is None:
            return
        with contextlib.suppress(psycopg.Error):
            conn.rollback()
        conn.close()

    @contextlib.contextmanager
    def during(self, stop_run: Callable[[], None]) -> Iterator[None]:
        """Look after it while a run goes on; ``stop_run`` where another has it, and say so in ``lost``."""
        ended = threading.Event()
        thread = threading.Thread(target=self._look_after, args=(stop_run, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _look_after(self, stop_run: Callable[[], None], ended: threading.Event) -> None:
        refusals = 0
        while not ended.wait(_LOOK_S):
            try:
                self.renew()
                refusals = 0
            except InUseError as error:
                refusals += 1  # one may be the probe of a run that is refused in the end
                if refusals == _CERTAIN:
                    self.lost = f"{error}; this one had lost its session"
                    stop_run()
                    return
            except ServerError:
                continue  # a server that is away: the workers wait for it, or end the run

    def _is_held(self) -> bool:
        if self._conn is None:
            return False
        try:
            self._conn.execute("SELECT 1")
        except psycopg.Error:
            return False
        return self._conn.pgconn.transaction_status == psycopg.pq.TransactionStatus.INTRANS

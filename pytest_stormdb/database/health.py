"""Health checks: what must hold on the server before, during and after a run."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from ..errors import StormDBError
from ..realtime import monotonic, time
from .server import check_writable
from .steady import open_steady

_SKEW_S = 1.0
_SOONEST_S = 0.05

Check = Callable[[psycopg.Connection[Any]], object]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A named check of a connection: it fails by raising, or by returning False. ``abort`` ends a run it fails in.

    ``advisory`` ones never fail: what they say is a warning.
    """

    name: str
    check: Check
    timeout_s: float
    interval_s: float
    abort: bool = False
    advisory: bool = False


@dataclass(frozen=True, slots=True)
class HealthResult:
    """What a check said: ``when`` is ``before``, ``during`` or ``after``; ``at_s`` from the start of the run."""

    check: str
    when: str
    ok: bool
    detail: str
    duration_s: float = 0.0
    at_s: float | None = None
    advisory: bool = False
    aborted: bool = False

    @property
    def is_failure(self) -> bool:
        """Whether it speaks against the run: an advisory check only advises."""
        return not self.ok and not self.advisory


def built_in(timeout_s: float, interval_s: float, *, writes: bool = True) -> list[HealthCheck]:
    """The checks every run gets; one that ``writes`` needs a server that is not in recovery."""

    def check(name: str, function: Check, *, advisory: bool = False) -> HealthCheck:
        return HealthCheck(name, function, timeout_s, interval_s, advisory=advisory)

    return [
        check("server reachable", _answers),
        *([check("not in recovery", check_writable)] if writes else []),
        check("clock skew", _clock_skew, advisory=True),
        check("other sessions", _other_sessions, advisory=True),
    ]


def run_checks(checks: Sequence[HealthCheck], dsn: str, when: str, at_s: float | None = None) -> list[HealthResult]:
    """Every check, each on a connection of its own with its own timeout."""
    return [_examine_one(check, dsn, when, at_s) for check in checks]


def _examine_one(check: HealthCheck, dsn: str, when: str, at_s: float | None) -> HealthResult:
    """Ask in a thread of its own, and wait no longer than the check's timeout: what hangs is left behind."""
    answers: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
    started = monotonic()
    threading.Thread(target=lambda: answers.put(_ask(check, dsn)), daemon=True).start()
    try:
        ok, detail = answers.get(timeout=check.timeout_s)
    except queue.Empty:
        ok, detail = False, f"no answer within {check.timeout_s:g} s"
    if check.advisory:
        ok = ok and not detail
    return HealthResult(check.name, when, ok, detail, monotonic() - started, at_s, check.advisory)


def _ask(check: HealthCheck, dsn: str) -> tuple[bool, str]:
    """Whether a check holds, and what it said; whatever it raises is an answer, ``pytest.fail`` too."""
    try:
        with _connection(dsn, check.timeout_s) as conn:
            said = check.check(conn)
    except StormDBError as error:
        return False, str(error)
    except BaseException as error:
        return False, f"{type(error).__name__}: {error}".strip().splitlines()[0]
    if said is False:
        return False, "returned False"
    return True, said if isinstance(said, str) else ""


@contextlib.contextmanager
def _connection(dsn: str, timeout_s: float) -> Iterator[psycopg.Connection[Any]]:
    conn = open_steady(dsn, name="stormdb health", limit_s=timeout_s, timeout_s=max(2, round(timeout_s)))
    try:
        yield conn
    finally:
        conn.close()


def _answers(conn: psycopg.Connection[Any]) -> None:
    conn.execute("SELECT 1")


def _clock_skew(conn: psycopg.Connection[Any]) -> str:
    before = time()
    row = conn.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    after = time()
    assert row is not None
    skew_s = max(before - row[0], row[0] - after, 0.0)
    return f"the server's clock is {skew_s:.1f} s off this machine's" if skew_s > _SKEW_S else ""


def _other_sessions(conn: psycopg.Connection[Any]) -> str:
    row = conn.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
        " AND backend_type = 'client backend' AND application_name NOT LIKE 'stormdb%'"
    ).fetchone()
    others = row[0] if row else 0
    if not others:
        return ""
    return f"{others} other active session{'s' * (others > 1)} on the server: the numbers will be noisy"


class Monitor:
    """Repeats checks while a run goes on, in a thread, each at its own interval."""

    def __init__(self, checks: Sequence[HealthCheck], dsn: str) -> None:
        self.results: list[HealthResult] = []
        self._checks = [check for check in checks if not check.advisory]
        self._dsn = dsn

    @contextlib.contextmanager
    def during(self, stop_run: Callable[[], None]) -> Iterator[None]:
        """Check until the block ends; a failed check that says ``abort`` stops the run."""
        ended = threading.Event()
        threads = [
            threading.Thread(target=self._repeat, args=(check, stop_run, ended), daemon=True) for check in self._checks
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for check, thread in zip(self._checks, threads, strict=True):
                thread.join(check.timeout_s + 5)

    def _repeat(self, check: HealthCheck, stop_run: Callable[[], None], ended: threading.Event) -> None:
        started = monotonic()
        while not ended.wait(max(_SOONEST_S, check.interval_s)):
            result = _examine_one(check, self._dsn, "during", monotonic() - started)
            if not check.abort or result.ok:
                self.results.append(result)
                continue
            self.results.append(replace(result, aborted=True))
            stop_run()
            return

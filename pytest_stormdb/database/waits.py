"""What the workers' backends wait for: they are looked at from a connection of our own, at random instants."""

from __future__ import annotations

import random
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import pq, sql
from psycopg.adapt import Transformer
from psycopg.generators import execute

from ..measurement.attribution import ServerClock, WaitSample, class_of, event_of
from ..measurement.query_text import shortened
from ..realtime import perf_counter_ns
from .results import checked

_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.15
_BLOCKERS_EVERY_NS = 1_000_000_000
_READ_AT_ONCE = 10
"""How many answers are kept until they are read: a second one costs a third of the first, which finds cold caches."""
_BLIND = 3
_OPEN_NS = (1 << 63) - 1
_LOOK = b"""
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, pid, state, wait_event_type, wait_event,
           application_name, coalesce((extract(epoch FROM xact_start) * 1000000)::bigint, 0)
    FROM pg_stat_get_activity(NULL) WHERE starts_with(application_name, $1) OR pid = ANY($2)
"""
_WAIT_TYPE = 3
_LOOK_NAME = b"stormdb_look"
_BLOCKERS = """
    SELECT w.pid, waiting.query, b.pid, a.state, a.query, a.application_name
    FROM unnest(%s::int[]) AS w(pid), unnest(pg_blocking_pids(w.pid)) AS b(pid)
    LEFT JOIN LATERAL pg_stat_get_activity(b.pid) AS a ON true
    LEFT JOIN LATERAL pg_stat_get_activity(w.pid) AS waiting ON true
"""
_FIND_PROFILE = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_wait_sampling'"
_PROFILE = """
    SELECT coalesce(event_type || ':' || event, 'CPU*'), sum(count)::bigint FROM {profile}
    WHERE pid = ANY(%s) AND event_type IS DISTINCT FROM 'Activity' GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that held a lock: its last statement, whether it is one of the run's own, and what waited for it.

    It may have taken the lock long before, and be in its COMMIT: what it holds, the waiting statement tells.
    """

    query: str
    state: str
    is_ours: bool
    waiting: str

    def __str__(self) -> str:
        waiting = f"{self.waiting} is " if self.waiting not in ("", self.query) else ""
        idle = "an open transaction after " if self.state.startswith("idle in") else ""
        holder = self.query or "a session that may not be seen"
        return f"{waiting}blocked by {idle}{holder}{'' if self.is_ours else ' (of another client)'}"


class _Session(NamedTuple):
    worker: int
    pid: int
    state: str | None
    wait_type: str | None
    wait_event: str | None
    begun_us: int


class _Activity:
    """The statement of a look, asked by libpq itself. Beside a load that fills the CPU's caches, most of what a look
    costs is what Python has to fetch into them again: with a cursor of psycopg it took 304 us instead of 236."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        self._transformer = Transformer(conn)
        self._is_prepared = False

    def ask(self, name: str, pids: Iterable[int]) -> pq.abc.PGresult:
        """The sessions whose names begin so, and those of these backends."""
        pgconn, values = self._conn.pgconn, [name.encode(), b"{%s}" % ",".join(map(str, pids)).encode()]
        if self._conn.prepare_threshold is None:
            pgconn.send_query_params(_LOOK, values)
            return self._answer()
        if not self._is_prepared:
            pgconn.send_prepare(_LOOK_NAME, _LOOK)
            self._answer()
            self._is_prepared = True
        pgconn.send_query_prepared(_LOOK_NAME, values)
        return self._answer()

    def _answer(self) -> pq.abc.PGresult:
        result: pq.abc.PGresult = checked(self._conn, self._conn.wait(execute(self._conn.pgconn))[-1])
        return result

    def rows(self, answer: pq.abc.PGresult) -> list[tuple[Any, ...]]:
        """An answer in Python's values."""
        self._transformer.set_pgresult(answer)
        return self._transformer.load_rows(0, answer.ntuples, tuple)


class WaitSampler:
    """Looks at the backends of a run, which are known by ``pids`` (each with its worker) and its application name.

    A session of a worker's own client bears the worker's name, ``name`` and its number, unless ``knows_names`` is
    False, since a pooler keeps sessions under names of others.

    Whoever keeps the spans of iterations is told by ``mark`` which to keep: those that end while a look goes on, when
    it is told a far future, and those that were in flight at the end of the last one, the instant it is told then.
    ``hidden`` counts the looks at backends whose state this role may not see, or that do not track it.
    """

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        name: str,
        pids: Mapping[int, int],
        mark: Callable[[int], None],
        *,
        knows_names: bool = True,
    ) -> None:
        self.blockers: Counter[Blocker] = Counter()
        self.hidden = 0
        self._clock = ServerClock()
        self._blind_looks = 0
        self._conn = conn
        self._activity = _Activity(conn)
        self._name = name
        self._pids = pids
        self._mark = mark
        self._knows_names = knows_names
        self._jitter = random.Random()
        self._unread: list[tuple[int, int, pq.abc.PGresult]] = []
        self._events: list[str] = []
        self._numbers: dict[str, int] = {}
        self._looks = array("q")
        self._blockers_at_ns = 0

    def pause_s(self) -> float:
        """How long to wait until the next look: a fixed pause would beat with a fixed rate."""
        return self._jitter.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S)

    def look(self) -> None:
        """Take one sample of every backend, and now and then ask who blocks those that wait for a lock."""
        self._mark(_OPEN_NS)
        sent_ns = perf_counter_ns()
        try:
            answer = self._activity.ask(self._name, self._pids)
        finally:
            received_ns = perf_counter_ns()
            self._mark(received_ns)
        self._unread.append((sent_ns, received_ns, answer))
        is_to_ask = received_ns >= self._blockers_at_ns and _shows_lock(answer)
        locked = self.read() if is_to_ask or len(self._unread) == _READ_AT_ONCE else []
        if is_to_ask and locked:
            self._blockers_at_ns = received_ns + _BLOCKERS_EVERY_NS
            self._ask_who_blocks(locked)

    def read(self) -> list[int]:
        """Turn what the server answered into samples; the backends that waited for a lock at the last look."""
        unread, self._unread, locked = self._unread, [], list[int]()
        for sent_ns, received_ns, answer in unread:
            rows = self._activity.rows(answer)
            self._blind_looks += not rows
            if rows:
                at_ns = self._clock.instant_ns(sent_ns, received_ns, rows[0][0] * 1000)
                waiting = [self._note(at_ns, session) for session in self._sessions(row[1:] for row in rows)]
                locked = [pid for pid in waiting if pid]
        return locked

    def samples(self) -> Iterator[WaitSample]:
        """All samples, in the order they were taken; of backends that no worker claims, with the pid below zero."""
        looks = iter(self._looks)
        for at_ns, worker, number, begun_us in zip(looks, looks, looks, looks, strict=True):
            yield WaitSample(at_ns, worker, self._events[number], begun_us)

    def place_ns(self, server_ns: int) -> int | None:
        """A reading of the server's clock on ours; None before any backend was seen."""
        return self._clock.place_ns(server_ns) if self._looks or self.hidden else None

    def complaints(self) -> Iterator[str]:
        """Why there are no samples, or fewer than there could be."""
        if self._blind_looks >= _BLIND and not (self._looks or self.hidden):
            yield (
                "waits: no session on the server bears the workers' names: clients were opened neither from worker.dsn"
                " nor from worker.url, or a pooler is in between"
            )
        if self.hidden and not self._looks:  # a session that is about to begin has no state yet, either
            yield "waits: the workers' sessions are hidden: grant this role pg_monitor, and see track_activities"

    def _sessions(self, rows: Iterable[tuple[Any, ...]]) -> Iterable[_Session]:
        """One for each worker, that in a statement where it has several; those that no worker claims are all there."""
        found: dict[int, _Session] = {}
        for pid, state, wait_type, wait_event, application, begun_us in rows:
            worker = self._pids.get(pid, self._worker_by_name(application))
            worker = worker if worker >= 0 else -pid
            if worker not in found or state == "active":
                found[worker] = _Session(worker, pid, state, wait_type, wait_event, begun_us)
        return found.values()

    def _worker_by_name(self, application: str | None) -> int:
        number = (application or "").removeprefix(f"{self._name} ")
        return int(number) if self._knows_names and number.isdecimal() else -1

    def _note(self, at_ns: int, session: _Session) -> int:
        """Keep a sample; the pid where it waits for a lock, else 0. Nothing can be said of a backend without state."""
        if session.state in (None, "disabled"):
            self.hidden += 1
            return 0
        name = event_of(session.state, session.wait_type, session.wait_event)
        number = self._numbers.setdefault(sys.intern(name), len(self._events))
        if number == len(self._events):
            self._events.append(name)
        self._looks.extend((at_ns, session.worker, number, session.begun_us))
        return session.pid if session.wait_type == "Lock" else 0

    def _ask_who_blocks(self, pids: Sequence[int]) -> None:
        """Count who holds locks. PostgreSQL names those before a waiter in the queue, too, who are more."""
        rows = self._conn.execute(_BLOCKERS, [list(pids)]).fetchall()
        blocked = {row[0] for row in rows}
        holders = [row for row in rows if row[2] not in blocked]
        for _, waiting, pid, state, query, application in holders or rows:  # in a deadlock everybody waits
            is_ours = pid in self._pids or (application or "").startswith(self._name)
            self.blockers[Blocker(shortened(query or ""), state or "", is_ours, shortened(waiting or ""))] += 1


def _shows_lock(answer: pq.abc.PGresult) -> bool:
    """Whether a backend waits for a lock."""
    return any(answer.get_value(row, _WAIT_TYPE) == b"Lock" for row in range(answer.ntuples))


def timeline(samples: Sequence[WaitSample], from_ns: int) -> tuple[Mapping[str, int], ...]:
    """How many samples of each class fell into each second from ``from_ns`` on."""
    seconds: dict[int, Counter[str]] = {}
    for sample in samples:
        if sample.at_ns >= from_ns:
            second = (sample.at_ns - from_ns) // 1_000_000_000
            seconds.setdefault(second, Counter())[class_of(sample.event)] += 1
    return tuple(seconds.get(second, Counter()) for second in range(max(seconds, default=-1) + 1))


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """How often more each event was seen; none where the profile was reset in between."""
    growth = {event: count - before.get(event, 0) for event, count in after.items()}
    if min(growth.values(), default=0) < 0:
        return {}
    return {event: count for event, count in growth.items() if count}


def read_profile(conn: psycopg.Connection[Any], pids: Sequence[int]) -> dict[str, int]:
    """What pg_wait_sampling, where the connection's database has it, saw these backends wait for, in its own samples.

    It looks every 10 ms from within the server, but does not say at what instant.
    """
    found = conn.execute(_FIND_PROFILE).fetchone()
    if found is None:
        return {}
    profile = sql.SQL(_PROFILE).format(profile=sql.SQL(found[0] + ".pg_wait_sampling_profile"))
    return dict(conn.execute(profile, [list(pids)]).fetchall())

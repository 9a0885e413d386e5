"""Watches the server while a run goes on: one thread, one connection of its own, nothing on a worker's.

Backends hand in their counters at most once a second. Workers hand theirs in when the measured part begins, so what
is read within the next second is what was counted until then. At the end their connections are closed, which hands in
the rest, and the last reading waits until they are gone. PostgreSQL 14 cannot be told to: there it is read at once, so
that a part of the warm-up may be counted, but nothing of the measured part is missing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import psycopg

from ..errors import ServerError
from ..measurement.counters import Counters
from ..realtime import monotonic, perf_counter_ns
from .activity import NOT_HANDED_IN, WITH_SET_UP, Event, Observation
from .connect import connect, connect_as, conninfo_to_dict
from .costs import COUNTS_BACKENDS_FROM, FLUSHES_FROM, BackendWork, flush_counters, work_of
from .counters import read_counters, read_position
from .pulse import Pulse, events_of, read_pulse
from .statements import read_statements
from .steady import LimitedConnection
from .tables import Table, read_tables, used
from .tuning import changed_settings
from .waits import WaitSampler, grown, read_profile

_SETTLE_NS = (50_000_000, 300_000_000)
"""Once soon, since a run may be short, and once when workers that began in the middle of a call are through, too."""
_SETTLED_NS = 1_000_000_000
_PULSE_NS = 1_000_000_000
_SLICE_S = 0.02
_READY_S = 5.0
_LEAVE_S = 2.0
_LATE_S = 0.6
"""PostgreSQL 14 keeps counters in a process that writes them down every half second."""
_JOIN_S = 20.0
_PATIENCE_S = 5.0
_LEFT = "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE starts_with(application_name, %s)"


class Marks(Protocol):
    """What the observer shares with those who run the load."""

    @property
    def measured_from_ns(self) -> int:
        """When the measured part begins; 0 while that is not known."""

    def mark(self, instant_ns: int) -> None:
        """Tell the workers until when backends were looked at."""


class Observer:
    """Observes one run. ``pids`` are the workers' backends, each with its worker, and may grow while it goes on.

    ``dsn`` leads to a database that the load does not work in, if there is one; ``workload_dsn`` to the one it does;
    where it ``is_pooled``, the names of sessions tell no worker.
    """

    def __init__(
        self,
        dsn: str,
        workload_dsn: str,
        name: str,
        *,
        pids: Mapping[int, int],
        marks: Marks,
        has_warmup: bool,
        are_clients: bool = False,
        is_pooled: bool = False,
    ) -> None:
        """``are_clients``: the sessions are those of pgbench's clients, which do not hand in their counters when the
        measured part begins, as workers do."""
        self._dsn = dsn
        self._workload_dsn = workload_dsn
        self._name = name
        self._pids = pids
        self._marks = marks
        self._has_warmup = has_warmup
        self._hands_in = not are_clients
        self._are_clients = are_clients and not is_pooled
        self._is_pooled = is_pooled
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._seen = Observation(notes=("server activity: nothing was observed",))

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Observe while the block runs, and until the last reading after it."""
        thread = threading.Thread(target=self._observe, daemon=True)
        thread.start()
        self._ready.wait(_READY_S)
        try:
            yield
        except BaseException:  # somebody is in a hurry
            self._ended.set()
            raise
        self._ended.set()
        thread.join(_JOIN_S)

    def result(self) -> Observation:
        """What was seen; a server that did not answer is said in ``notes``, and never an error."""
        return self._seen

    def _observe(self) -> None:
        try:
            with contextlib.closing(connect_as(LimitedConnection, self._dsn, name="stormdb activity")) as conn:
                conn.limit_s = _PATIENCE_S
                if self._is_pooled:  # a setting or a prepared statement of ours would meet the load, or nobody
                    conn.prepare_threshold = None
                self._seen = _Watch(self, conn).run()
        except (psycopg.Error, ServerError) as error:
            reason = str(error).strip().splitlines()[0]
            self._seen = Observation(notes=(f"server activity was not observed to the end: {reason}",))
        finally:
            self._marks.mark(0)
            self._ready.set()


class _Watch:
    """The work of the observing thread."""

    def __init__(self, observer: Observer, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        self._observer = observer
        self._pids, self._ended, self._marks = observer._pids, observer._ended, observer._marks
        knows_names = not observer._is_pooled
        self._sampler = WaitSampler(conn, observer._name, self._pids, self._marks.mark, knows_names=knows_names)
        self._database = str(conninfo_to_dict(observer._workload_dsn).get("dbname") or conn.info.dbname)
        self._counters: Counters | None = None
        self._at_once: tuple[Mapping[str, Table], Counters, Mapping[int, BackendWork]] | None = None
        self._pulses: list[Pulse] = []
        self._notes: list[str] = []
        self._lacks = ""

    def run(self) -> Observation:
        """All of it, from before the start until after the end."""
        settings = changed_settings(self._conn)
        self._before = self._tables()
        before, self._begun = self._read()
        self._observer._ready.set()
        if not self._wait_for_start():
            return Observation(settings=settings, notes=("server activity: the run did not start",))
        position = read_position(self._conn)
        if self._is_late:
            counters, begun = self._read()
            self._at_once = self._tables(), counters, begun
        statements = read_statements(self._conn, self._database)
        profile = read_profile(self._conn, list(self._pids))
        self._watch()
        self._wait_for_leaving()
        growth = self._growth(before).with_(read_position(self._conn).since(position))
        executed = read_statements(self._conn, self._database).since(statements)
        changed = used(self._before, self._tables())
        return Observation(
            from_ns=self._from_ns,
            growth=growth,
            begun=self._begun,
            samples=list(self._sampler.samples()),
            are_clients=self._observer._are_clients,
            blockers=self._sampler.blockers.most_common(5),
            profile=grown(profile, read_profile(self._conn, list(self._pids))),
            statements=executed,
            tables=changed,
            settings=settings,
            events=self._events(changed),
            connections=(max(pulse.connections for pulse in self._pulses), self._pulses[-1].limit),
            notes=(*self._notes, *self._sampler.complaints()),
        )

    # -- while it goes on --------------------------------------------------------------------------------------

    def _wait_for_start(self) -> bool:
        """Until the measured part begins; False when it never does."""
        while not self._ended.is_set():
            self._from_ns = self._marks.measured_from_ns
            left_s = (self._from_ns - perf_counter_ns()) / 1e9
            if self._from_ns and left_s <= 0:
                return True
            self._ended.wait(min(_SLICE_S, left_s) if left_s > 0 else _SLICE_S)
        return bool(self._from_ns and self._from_ns <= perf_counter_ns())

    def _watch(self) -> None:
        """Look at the backends at random instants, at the whole once a second, until the end."""
        self._pulses.append(read_pulse(self._conn, self._database))
        left = list(_SETTLE_NS)
        while not self._ended.wait(self._sampler.pause_s()):
            self._sampler.look()
            now_ns = perf_counter_ns()
            if left and now_ns >= self._from_ns + left[0]:
                del left[0]
                self._settle()
            if now_ns >= self._pulses[-1].at_ns + _PULSE_NS:
                self._pulses.append(read_pulse(self._conn, self._database))
        self._sampler.read()

    def _settle(self) -> None:
        """Read what had been counted when the measured part began, unless it may have grown since."""
        # Tables first: what this session does must not be counted.
        reading = self._at_once or (self._tables(), *self._read())
        if perf_counter_ns() < self._from_ns + _SETTLED_NS:
            self._before, self._counters, self._begun = reading

    # -- readings ----------------------------------------------------------------------------------------------

    def _read(self) -> tuple[Counters, Mapping[int, BackendWork]]:
        return read_counters(self._conn, self._database), work_of(self._conn, self._pids)

    def _tables(self) -> Mapping[str, Table]:
        """The tables of the workload's database; its statistics are seen from within only."""
        try:
            with contextlib.closing(connect(self._observer._workload_dsn, name="stormdb activity")) as conn:
                self._database = conn.info.dbname
                tables = read_tables(conn)
                flush_counters(conn.pgconn)
                return tables
        except (psycopg.Error, ServerError) as error:
            self._notes.append(f"tables: {str(error).splitlines()[0]}")
            return {}

    def _wait_for_leaving(self) -> None:
        """The workers' sessions hand in the last of their counters as they end."""
        deadline_s = monotonic() + _LEAVE_S
        while left := self._conn.execute(_LEFT, [self._observer._name]).fetchall()[0][0]:
            if monotonic() > deadline_s:
                self._lacks = f"counters: {left} sessions of the run have not ended and handed in theirs (a pooler's?)"
                break
            time.sleep(0.005)
        if self._observer._is_pooled and not self._asks_for_own_work:
            self._lacks = "counters: a pooler keeps the run's sessions, which have not ended and handed in theirs"
        if self._is_late:
            time.sleep(_LATE_S)

    @property
    def _asks_for_own_work(self) -> bool:
        """Whether workers ask in the end what their backends did, which hands it in."""
        return self._observer._hands_in and self._conn.info.server_version >= COUNTS_BACKENDS_FROM

    @property
    def _is_late(self) -> bool:
        return self._conn.info.server_version < FLUSHES_FROM

    def _growth(self, before: Counters) -> Counters:
        """What the counters grew by in the measured part."""
        self._pulses.append(read_pulse(self._conn, self._database))
        if self._lacks:
            return Counters(missing=(self._lacks,))
        is_cold = not self._observer._has_warmup
        if is_cold and (self._counters is None or self._is_late):
            self._counters = before
            self._notes.append(WITH_SET_UP)
        if self._counters is None:
            return Counters(missing=("counters: too short or too busy a run to tell its work from the warm-up's",))
        if self._is_late and not is_cold:
            self._notes.append("counters: PostgreSQL 14 updates them late; up to a second of the warm-up is in them")
        if not self._observer._hands_in and not is_cold:
            self._notes.append(NOT_HANDED_IN)
        return read_counters(self._conn, self._database).since(self._counters)

    def _events(self, tables: Sequence[Table]) -> tuple[Event, ...]:
        found = list(events_of(self._pulses, self._from_ns))
        for table in tables:
            for count, at_s, what in (
                (table.autovacuums, table.autovacuum_at_s, "autovacuum"),
                (table.autoanalyzes, table.autoanalyze_at_s, "autoanalyze"),
            ):
                at_ns = self._sampler.place_ns(round((at_s or 0) * 1e9)) if count else None
                if at_ns is not None and at_ns >= self._from_ns:
                    found.append(Event((at_ns - self._from_ns) / 1e9, what, f"of {table.name}"))
        return tuple(sorted(found, key=lambda event: event.at_s))

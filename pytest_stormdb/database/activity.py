"""What the server did during the measured part of a run: the facts, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..measurement.attribution import Span, WaitSample, at_work, attribute
from ..measurement.cause import SPEAK_FROM, sentence
from ..measurement.counters import Counters, ratio
from ..measurement.shares import Profile, profile, slowest
from .costs import BackendWork
from .statements import Statements
from .tables import Table
from .tuning import ChangedSetting
from .waits import Blocker, timeline

COSTS = ("blocks", "rows", "wal_bytes", "temp_bytes")
"""The kinds of work that are counted per operation."""
WITH_SET_UP = (
    "counters: the set-up of the workers' sessions is among them; too short or too busy a run to tell it apart"
)

NOT_HANDED_IN = (
    "counters: pgbench's sessions hand them in once a second; up to a second of the warm-up is in them, or one of the"
    " run is missing"
)
OF_SERVICE = "waits: shares of service time; what transactions waited for a free client of pgbench is their lag"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on the server ``at_s`` after the start of the measured part."""

    at_s: float
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was read and sampled. ``begun`` holds what the workers' backends had done when the measured part began;
    ``profile`` pg_wait_sampling's counts; ``connections`` the most there were, and the limit. ``are_clients``: each
    session that no worker claims is one of pgbench's clients."""

    from_ns: int = 0
    growth: Counters = field(default_factory=Counters)
    begun: Mapping[int, BackendWork] = field(default_factory=dict)
    samples: Sequence[WaitSample] = ()
    are_clients: bool = False
    blockers: Sequence[tuple[Blocker, int]] = ()
    profile: Mapping[str, int] = field(default_factory=dict)
    statements: Statements = field(default_factory=lambda: Statements({}))
    tables: tuple[Table, ...] = ()
    settings: tuple[ChangedSetting, ...] = ()
    events: tuple[Event, ...] = ()
    connections: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersAccount:
    """What the workers say: the spans of iterations that were looked at, the work of their backends at the end (from
    PostgreSQL 18 on, None for one that is unknown), how many transactions of ours are among theirs, and whether
    iterations have a schedule."""

    spans: Mapping[int, Sequence[Span]] = field(default_factory=dict)
    ended: Sequence[BackendWork | None] = ()
    own_transactions: int = 0
    is_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """What response time went to: of all iterations, and of the slowest 5 %, which are not known of pgbench.

    ``timeline`` has the samples of each class in each second, those between iterations too; ``cause`` is one sentence,
    or empty when the evidence is thin.
    """

    samples: int
    everything: Profile
    slowest: Profile
    timeline: tuple[Mapping[str, int], ...]
    blockers: tuple[tuple[Blocker, int], ...]
    profile: Mapping[str, int]
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerActivity:
    """What the server did for ``operations`` successful operations that took ``response_s`` in all.

    ``backends`` are the blocks touched and log bytes written by the workers' own backends, where it counts by backend.
    """

    operations: int
    response_s: float
    growth: Counters
    backends: tuple[int, int] | None
    waits: Waits
    statements: Statements
    tables: tuple[Table, ...]
    settings: tuple[ChangedSetting, ...]
    events: tuple[Event, ...]
    connections: tuple[int, int]
    notes: tuple[str, ...]

    @property
    def hit_ratio(self) -> float | None:
        """The share of blocks found in shared buffers; those that the operating system had cached are not."""
        return ratio(self.growth.get("database", "blocks_hit"), self.growth.get("database", "blocks_read"))

    @property
    def unexplained_share(self) -> float | None:
        """The share of response time that no statement's execution accounts for: network, client, commits, waiting."""
        if self.statements.missing or not self.response_s:
            return None
        return max(0.0, 1 - self.statements.total_ms / 1000 / self.response_s)

    def work(self, kind: str) -> float | None:
        """All work of one of the COSTS; None where it is not known."""
        database = self.growth.groups.get("database", {})
        if kind == "blocks" and self.backends is not None and not database.get("parallel_workers_launched"):
            return self.backends[0]
        if kind == "wal_bytes":
            return self.growth.get("wal", "bytes") if self.backends is None else self.backends[1]
        if not database:
            return None
        names = {
            "blocks": ("blocks_hit", "blocks_read"),
            "rows": ("rows_returned", "rows_inserted", "rows_updated", "rows_deleted"),
            "temp_bytes": ("temp_bytes",),
        }[kind]
        return sum(database[name] for name in names)

    def per_operation(self, kind: str) -> float | None:
        """One of the COSTS per successful operation; None where it is not known, or nothing succeeded."""
        work = self.work(kind)
        return None if work is None or not self.operations else work / self.operations

    @property
    def counts_set_up(self) -> bool:
        """Whether more was counted than the measured part: what the workers' sessions needed to get ready."""
        return WITH_SET_UP in self.notes

    @property
    def shares_wal(self) -> bool:
        """Whether others wrote to the log that is counted: before 18 it is the server's, not the workload's."""
        return self.backends is None and bool(self.growth.get("others", "rows_written"))


def account_for(
    seen: Observation, workers: WorkersAccount, *, operations: int, response_s: float, slow_from_s: float
) -> ServerActivity:
    """Put together what was seen from outside and what the workers say; ``slow_from_s`` is the p95 of responses."""
    waits = _waits(seen, workers, slow_from_s)
    return ServerActivity(
        operations=operations,
        response_s=response_s,
        growth=_without_our_own(seen.growth, workers.own_transactions),
        backends=_backends(seen.begun, workers.ended),
        waits=waits,
        statements=seen.statements,
        tables=seen.tables,
        settings=seen.settings,
        events=seen.events,
        connections=seen.connections,
        notes=tuple(dict.fromkeys((*seen.notes, *seen.growth.missing, *_reserves(seen, workers, waits)))),
    )


def _waits(seen: Observation, workers: WorkersAccount, slow_from_s: float) -> Waits:
    measured = [sample for sample in seen.samples if sample.at_ns >= seen.from_ns]
    if seen.are_clients:
        everything, slow = profile(at_work(measured, is_open=workers.is_open)), Profile()
    else:
        hits = attribute(measured, workers.spans, seen.from_ns)
        everything, slow = profile(hits), profile(slowest(hits, slow_from_s * 1e9))
    blocked = str(seen.blockers[0][0]) if seen.blockers else None
    return Waits(
        samples=len(measured),
        everything=everything,
        slowest=slow,
        timeline=timeline(measured, seen.from_ns),
        blockers=tuple(seen.blockers),
        profile=seen.profile,
        cause=sentence(everything, slow, blocked),
    )


def _reserves(seen: Observation, workers: WorkersAccount, waits: Waits) -> list[str]:
    """What is to be said of the waits that were seen."""
    if seen.are_clients:
        return [OF_SERVICE] if workers.is_open and waits.everything.iterations >= SPEAK_FROM else []
    if not seen.samples or any(sample.worker >= 0 for sample in seen.samples):
        return []
    return ["waits: of no iteration, for nobody knows whose sessions they are (a pooler's)"]


def _backends(begun: Mapping[int, BackendWork], ended: Sequence[BackendWork | None]) -> tuple[int, int] | None:
    """The sum over all workers; None when one of them is unknown, as after a reconnect."""
    blocks = wal_bytes = 0
    for work in ended:
        if work is None or work.pid not in begun:
            return None
        blocks += work.blocks - begun[work.pid].blocks
        wal_bytes += work.wal_bytes - begun[work.pid].wal_bytes
    return (blocks, wal_bytes) if ended else None


def _without_our_own(growth: Counters, transactions: int) -> Counters:
    database = growth.groups.get("database")
    if database is None or not transactions:
        return growth
    own = dict(database) | {"commits": max(0, database["commits"] - transactions)}
    return replace(growth, groups={**growth.groups, "database": own})

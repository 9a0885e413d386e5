"""What others did to this machine during a run: stolen time, other processes, throttling, lost speed. Linux only.

Evidence from outside of the run alone: what the server itself does to its clients, such as a checkpoint that stalls
them, must count. So nobody's waiting is looked at, only who used the CPUs: processes of ours (descendants of this
one), the server's (told apart by whoever knows it), the kernel's own threads, and all others.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest
from typing import NamedTuple

from ..realtime import perf_counter_ns
from ..units import format_ratio
from .process_table import SERVER, Process, ServerProcesses, Table, beginning, descendants, processes
from .speed import SLOWED, lost, work_ns

STOLEN = 0.02
FOREIGN = 0.10
UNSEEN = 0.15
"""The shares of the machine from which on a window is disturbed. What no visible process accounts for is known less
exactly, since the kernel counts it by sampling, so it must be more."""
_LITTLE = 0.05
"""Up to that share of the machine it is not asked who else used it: to look at all processes takes 2 % of a CPU."""

WINDOW_NS = 500_000_000
_WORK_EVERY_NS = 200_000_000
_TELLING_NS = 100_000_000
"""The kernel counts in ticks of 10 ms: a shorter window says nothing, and to look at all processes takes some ms."""
_MACHINE = "/proc/stat"
_THROTTLING = ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat")
_KERNEL = 2
_NAMED = 3


class Machine(NamedTuple):
    """Clock ticks since the machine began: of all CPUs, those at work for a process, those stolen from us."""

    total: int
    busy: int
    stolen: int


def machine() -> Machine | None:
    """The machine's counters; None where there are none."""
    try:
        words = beginning(_MACHINE).split(b"\n", 1)[0].split()[1:9]
        user, nice, system, idle, iowait, irq, softirq, stolen = (int(word) for word in words)
    except (OSError, ValueError):
        return None
    busy = user + nice + system
    return Machine(busy + idle + iowait + irq + softirq + stolen, busy, stolen)


def throttled() -> int:
    """How often the CPU limit of our control group has stopped us so far; 0 where there is none."""
    for path in _THROTTLING:
        with contextlib.suppress(OSError, ValueError):
            pairs = dict(line.split() for line in beginning(path).splitlines())
            return int(pairs.get(b"nr_throttled", 0))
    return 0


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a run (monotonic ns), and what others took of the machine in it, as shares.

    ``foreign`` is what visible processes of others used, by name in ``culprits``, the greatest first; ``unseen`` what
    no process accounts for, None where the server's own cannot be seen, so that it may be theirs. ``slowed`` is the
    share of their speed that the CPUs had lost.
    """

    from_ns: int
    to_ns: int
    stolen: float = 0.0
    foreign: float = 0.0
    unseen: float | None = None
    slowed: float = 0.0
    throttled: bool = False
    culprits: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nobody took enough to slow a call down."""
        unseen = self.unseen or 0.0
        has_room = self.stolen <= STOLEN and self.foreign <= FOREIGN and unseen <= UNSEEN
        return has_room and not self.throttled and self.slowed <= SLOWED


@dataclass(frozen=True, slots=True)
class Noise:
    """What was seen of others during a run. ``sees_machine`` is false where the system tells nothing,
    ``sees_server`` where the server's processes are not visible: on another machine, or in another container."""

    windows: tuple[Window, ...] = ()
    sees_machine: bool = False
    sees_server: bool = False

    def within(self, from_ns: int, to_ns: int) -> list[Window]:
        """The windows that reach into a stretch of time."""
        return [window for window in self.windows if window.from_ns < to_ns and window.to_ns > from_ns]

    @property
    def taken(self) -> float:
        """The share of the machine that others had on average: stolen, or used by other processes, seen or unseen."""
        return _mean(w.stolen + w.foreign + (w.unseen or 0.0) for w in self.windows) if self.windows else 0.0

    def describe(self, windows: Sequence[Window]) -> str:
        """Who disturbed these windows, the worst on average first; empty where nobody did."""
        if not windows:
            return ""
        culprits: Counter[str] = Counter()
        for window in windows:
            culprits.update(window.culprits)
        names = ", ".join(name for name, _ in culprits.most_common(_NAMED))
        found = (
            (_mean(w.stolen for w in windows), STOLEN, "other machines took {} of this one's time"),
            (_mean(w.foreign for w in windows), FOREIGN, f"other processes ({names}) used {{}} of the CPUs"),
            (_mean(w.unseen or 0.0 for w in windows), UNSEEN, "processes out of sight used {} of the CPUs"),
            (_mean(w.slowed for w in windows), SLOWED, "others on the same cores took {} of the CPUs' speed"),
        )
        told = [(share, text.format(format_ratio(share))) for share, limit, text in found if share > limit / 2]
        told += [(0.0, "the control group's CPU limit stopped us")] if any(w.throttled for w in windows) else []
        return ", ".join(text for _, text in sorted(told, reverse=True))


def _mean(shares: Iterable[float]) -> float:
    values = list(shares)
    return sum(values) / len(values)


class _Reading(NamedTuple):
    """Where it is not of all processes, the others stand in the table as they were read last."""

    at_ns: int
    machine: Machine
    table: dict[int, Process]
    throttled: int
    is_of_all: bool


class NoiseWatch:
    """Looks at the machine whenever ``tick`` is called and a window is over.

    ``server`` says which processes are the server's, on our behalf; it is asked once a window. ``cpus`` are those whose
    speed is looked at: a comparison needs none, since what slows a CPU down does so with both arms alike.
    """

    def __init__(self, server: ServerProcesses, cpus: Sequence[int] = ()) -> None:
        self._cpus = cpus
        self._work_ns: list[list[int]] = [[]]
        self._worked_ns = 0
        self._windows: list[Window] = []
        self._sees_server = False
        self._server = server
        self._known: set[int] = set()
        self._watched: set[int] = set()
        self._is_quiet = False
        self._last: _Reading | None = None

    @contextlib.contextmanager
    def during(self) -> Iterator[Callable[[], None]]:
        """Yields what to call from time to time; the last window is closed at the end, if it is long enough to tell."""
        self._last = _read()
        yield self.tick
        if self._windows or self._last is None or perf_counter_ns() - self._last.at_ns >= _TELLING_NS:
            self.look()

    @property
    def noise(self) -> Noise:
        """What was seen so far."""
        slowed = zip(self._windows, lost(self._work_ns[: len(self._windows)]), strict=True)
        windows = tuple(replace(window, slowed=share) for window, share in slowed)
        return Noise(windows, self._last is not None, self._sees_server)

    def tick(self) -> None:
        """Close the window that is over, if one is."""
        now_ns = perf_counter_ns()
        if now_ns - self._worked_ns >= _WORK_EVERY_NS:
            self._work_ns[-1] += work_ns(self._cpus)
            self._worked_ns = now_ns
        if self._last is not None and now_ns - self._last.at_ns >= WINDOW_NS:
            self.look()

    def look(self) -> None:
        """Close the window here and now: with those that work for us, and all others where these leave much open."""
        last = self._last
        if last is None:
            return
        now = _read(last, self._watched) if self._is_quiet else _read()
        if now is not None and not now.is_of_all and self._left_open(last, now) > _LITTLE:
            now = _read()
        if now is not None and now.machine.total > last.machine.total:
            self._windows.append(self._window(last, now))
            self._work_ns.append([])
            self._last, self._is_quiet = now, self._left_open(last, now) <= _LITTLE

    def _left_open(self, last: _Reading, now: _Reading) -> float:
        """The share of the machine that was used by others than those that are watched."""
        used = sum(_ticks(now.table[pid], last.table) for pid in self._watched if pid in now.table)
        return (now.machine.busy - last.machine.busy - used) / max(1, now.machine.total - last.machine.total)

    def _learn(self, last: _Reading, now: _Reading) -> None:
        """Who works for us; to be watched without the many threads of the kernel that have nothing to do."""
        server, kernel = self._server(now.table), descendants(now.table, _KERNEL)
        self._sees_server = server is not None
        self._watched = descendants(now.table, os.getpid()) | set(server or ())
        self._known = self._watched | kernel
        self._watched |= {pid for pid in kernel if pid in now.table and _ticks(now.table[pid], last.table)}

    def _window(self, last: _Reading, now: _Reading) -> Window:
        total, busy = now.machine.total - last.machine.total, now.machine.busy - last.machine.busy
        seen = now.table if now.is_of_all else self._watched & now.table.keys()
        used: dict[int, float] = {pid: _ticks(now.table[pid], last.table) for pid in seen}
        if now.is_of_all:
            used = used if last.is_of_all else _fitted(used, self._watched, busy)
            self._learn(last, now)
        others: dict[str, float] = {}
        for pid, ticks in used.items():
            name = now.table[pid].name
            if ticks and pid not in self._known and (self._sees_server or not name.startswith(SERVER)):
                others[name] = others.get(name, 0) + ticks
        return Window(
            last.at_ns,
            now.at_ns,
            stolen=(now.machine.stolen - last.machine.stolen) / total,
            foreign=min(1.0, sum(others.values()) / total),
            unseen=max(0.0, busy - sum(used.values())) / total if self._sees_server else None,
            throttled=now.throttled > last.throttled,
            culprits={name: others[name] / total for name in nlargest(_NAMED, others, others.__getitem__)},
        )


def _fitted(used: Mapping[int, float], watched: Collection[int], busy: int) -> dict[int, float]:
    """What others used since they were read, some windows ago, cut down to what was left for them in the last one."""
    rest = sum(ticks for pid, ticks in used.items() if pid not in watched)
    left = max(0.0, busy - sum(used.values()) + rest)
    return {pid: ticks if pid in watched or rest <= left else ticks * left / rest for pid, ticks in used.items()}


def _read(earlier: _Reading | None = None, known: Collection[int] = ()) -> _Reading | None:
    """All processes; or only those who are known, and the others as they were before."""
    counters = machine()
    if counters is None:
        return None
    table = processes(known)
    if earlier is not None:
        table = {pid: process for pid, process in earlier.table.items() if pid not in known} | table
    return _Reading(perf_counter_ns(), counters, table, throttled(), earlier is None)


def _ticks(process: Process, earlier: Table) -> int:
    """What a process used since; one that was not there, all it ever used."""
    before = earlier.get(process.pid)
    return max(0, process.ticks - before.ticks) if before is not None else process.ticks

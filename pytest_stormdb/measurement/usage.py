"""What a group of workers used while it was measured, and what kept it from running."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..realtime import perf_counter_ns
from .histogram import Histogram

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


@dataclass(slots=True)
class GroupUsage:
    """What workers that share a process used while the run was measured, and what kept them waiting.

    ``cpu_ns`` is the process's CPU time over ``wall_ns``; ``wait_ns`` the time in which it was ready to run but had no
    CPU, ``preemptions`` how often it lost its CPU, ``yields`` how often it gave its CPU away; ``gc_max_ns`` and
    ``gc_total_ns`` the longest garbage collection and all of them. ``wake_lag`` is how late idle workers of an open
    loop came to an arrival, ``pause_ns`` what the ``workers`` of a closed loop spent between their ``calls``, think
    time not included. ``records`` are the log records and warnings of the workload.
    ``cursor_ns`` is the CPU time of each iteration that psycopg's cursors took beyond a prepared statement's; to find
    it out took ``own_transactions``.
    ``stalled_ns`` is how long the process's threads stood still although a CPU was free, ``stall_max_ns`` the longest.
    ``tracers`` are those who looked at each line or call. ``held_up``: it had to wait until what it tells was read, as
    a pgbench does whose log nobody takes.
    """

    workers: int = 1
    calls: int = 0
    pause_ns: int = 0
    records: int = 0

    cpu_ns: int = 0
    wall_ns: int = 0
    wait_ns: int = 0
    preemptions: int = 0
    yields: int = 0
    cursor_ns: float = 0.0
    own_transactions: int = 0
    gc_max_ns: int = 0
    gc_total_ns: int = 0
    stalled_ns: int = 0
    stall_max_ns: int = 0
    wake_lag: Histogram = field(default_factory=Histogram)
    held_up: bool = False
    tracers: tuple[str, ...] = ()


class SchedulerUsage(NamedTuple):
    """How the kernel scheduled a thread: the time it was ready but had no CPU (ns, Linux only), how often it lost its
    CPU (involuntary context switches), and how often it gave it away (voluntary ones)."""

    wait_ns: int = 0
    preemptions: int = 0
    yields: int = 0

    def since(self, earlier: SchedulerUsage) -> SchedulerUsage:
        """The difference."""
        return SchedulerUsage(*(now - then for now, then in zip(self, earlier, strict=True)))


def scheduler_usage() -> SchedulerUsage:
    """The calling thread's since it began; the process's where the system does not count by thread."""
    try:
        wait_ns = int(_SCHEDSTAT.read_text().split()[1])
    except (OSError, IndexError):
        wait_ns = 0
    try:
        import resource
    except ImportError:
        return SchedulerUsage(wait_ns)
    usage = resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF))
    return SchedulerUsage(wait_ns, usage.ru_nivcsw, usage.ru_nvcsw)


class UsageMeter:
    """Measures what this process uses between ``start`` and ``read``."""

    def __init__(self) -> None:
        self._gc_started_ns = 0
        self._gc_total_ns = 0
        self._gc_max_ns = 0

    def start(self) -> None:
        gc.callbacks.append(self._note_collection)
        self._wall_ns = perf_counter_ns()
        self._cpu_ns = time.process_time_ns()

    def read(self) -> GroupUsage:
        gc.callbacks.remove(self._note_collection)
        return GroupUsage(
            cpu_ns=time.process_time_ns() - self._cpu_ns,
            wall_ns=perf_counter_ns() - self._wall_ns,
            gc_total_ns=self._gc_total_ns,
            gc_max_ns=self._gc_max_ns,
        )

    def _note_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_started_ns = perf_counter_ns()
        else:
            spent_ns = perf_counter_ns() - self._gc_started_ns
            self._gc_total_ns += spent_ns
            self._gc_max_ns = max(self._gc_max_ns, spent_ns)

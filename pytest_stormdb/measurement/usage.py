"""What a group of workers used while it was measured, and what kept it from running."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

from .histogram import Histogram

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


@dataclass(slots=True)
class GroupUsage:
    """How a host of workers fared while the run was measured: its own CPU time and what kept it waiting.

    ``wait_ns`` is the time it was ready to run but had no CPU, ``preemptions`` how often it lost its CPU and
    ``yields`` how often it gave it away, ``wake_lag`` how late idle workers of an open loop came to an arrival,
    ``pause_ns`` what the ``workers`` of a closed loop spent between their ``calls``, thinking not included.
    """

    workers: int = 1
    calls: int = 0
    pause_ns: int = 0

    cpu_ns: int = 0
    wall_ns: int = 0
    wait_ns: int = 0
    preemptions: int = 0
    yields: int = 0
    gc_max_ns: int = 0
    gc_total_ns: int = 0
    wake_lag: Histogram = field(default_factory=Histogram)


class SchedulerUsage(NamedTuple):
    """What a thread had to bear: time it was ready but had no CPU (ns, Linux only), how often it lost its CPU, and
    how often it gave it away."""

    wait_ns: int = 0
    preemptions: int = 0
    yields: int = 0

    def since(self, earlier: SchedulerUsage) -> SchedulerUsage:
        """The difference."""
        return SchedulerUsage(*(now - then for now, then in zip(self, earlier, strict=True)))


def scheduler_usage() -> SchedulerUsage:
    """That of the calling thread since it began; where the system counts by process only, of the process."""
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
    """What the host itself used between ``start`` and ``read``."""

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

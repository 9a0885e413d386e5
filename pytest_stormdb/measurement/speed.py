"""How fast the CPUs are. Another machine at work on the other half of a core makes a CPU slower by a third, and neither
stolen time nor any other counter shows it: only work that takes longer does. Linux only.
"""

from __future__ import annotations

import os
import random
import time
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

SLOWED = 0.10
"""The share of their speed from which on CPUs count as slowed down."""

_WORK = b" ".join(b"%d" % (number * number * 7919) for number in range(300))
_LITTLE_MEMORY = zlib.DEFLATED, -9, 1
"""Some 50 us of work on some kilobytes. With zlib's usual 256 KiB, what it takes depends on what is left of them in the
caches: readings spread by 50 % and not by 2 %. Other Python code runs meanwhile."""
_TRIES = 4
_MOST_CPUS = 4
_FASTEST = 0.1
"""The share of readings that are taken to be undisturbed: the fastest one alone may be luck."""
_CPUS = Path("/sys/devices/system/cpu")
_chance = random.Random()  # the session's own numbers are not ours to draw


@cache
def comparable_cpus() -> tuple[int, ...]:
    """The CPUs that we may use, where only others can slow one down; else none.

    Where two share a core that we can see, our own load on the one slows the other. Where the system saves power, a
    slow CPU may have been idle. And of two kinds of CPUs, one is slower by nature.
    """
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    is_shared = any(_told(cpu, "topology/thread_siblings_list") not in ("", str(cpu)) for cpu in cpus)
    saves_power = any(_told(cpu, "cpufreq/scaling_governor") not in ("", "performance") for cpu in cpus)
    kinds = {_told(cpu, "cpu_capacity") for cpu in cpus}
    return () if is_shared or saves_power or len(kinds) > 1 else tuple(cpus)


def work_ns(cpus: Sequence[int]) -> list[int]:
    """The CPU time that the same work takes on each of these, or on some of them where they are many."""
    if not cpus:
        return []
    ours = os.sched_getaffinity(0)
    try:
        return [_work_on(cpu) for cpu in _chance.sample(cpus, min(len(cpus), _MOST_CPUS))]
    except OSError:  # one was taken away from us
        return []
    finally:
        os.sched_setaffinity(0, ours)


def lost(windows_ns: Sequence[Sequence[int]]) -> list[float]:
    """The share of their speed that the CPUs had lost in each window, given its readings: against the run's fastest."""
    readings = sorted(reading for window in windows_ns for reading in window)
    if not readings:
        return [0.0] * len(windows_ns)
    fastest = readings[int(_FASTEST * len(readings))]
    return [
        sum(max(0.0, 1 - fastest / each) for each in window) / len(window) if window else 0.0 for window in windows_ns
    ]


def _work_on(cpu: int) -> int:
    os.sched_setaffinity(0, {cpu})  # of this thread
    return min(_once_ns() for _ in range(_TRIES))  # the first find cold caches


def _once_ns() -> int:
    before_ns = time.thread_time_ns()
    zlib.compressobj(6, *_LITTLE_MEMORY).compress(_WORK)
    return time.thread_time_ns() - before_ns


def _told(cpu: int, what: str) -> str:
    try:
        return (_CPUS / f"cpu{cpu}" / what).read_text().strip()
    except OSError:
        return ""

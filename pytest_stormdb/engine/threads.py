"""What the threads of another process used, and what kept them from running; on Linux, from /proc."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..measurement.process_table import beginning


class ThreadUsage(NamedTuple):
    """Since the thread began: CPU time and time ready without a CPU, in ns; how often it lost its CPU or gave it."""

    cpu_ns: int = 0
    wait_ns: int = 0
    preemptions: int = 0
    yields: int = 0


def threads_of(pid: int) -> dict[int, ThreadUsage]:
    """The usage of every thread that lives; empty where the system does not say, or the process is gone."""
    found = {}
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - this runs beside a measurement
            found[int(task)] = _usage(f"/proc/{pid}/task/{task}")
    except (OSError, ValueError, IndexError):  # threads end while we look
        pass
    return found


def _usage(task: str) -> ThreadUsage:
    cpu_ns, wait_ns = (int(word) for word in beginning(f"{task}/schedstat").split()[:2])
    switches = [line.split()[1] for line in beginning(f"{task}/status").splitlines() if b"ctxt_switches" in line]
    yields, preemptions = map(int, switches)  # the kernel names the voluntary ones first
    return ThreadUsage(cpu_ns, wait_ns, preemptions, yields)

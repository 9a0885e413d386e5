"""What the threads of another process used, and what kept them from running; on Linux, from /proc."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


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
        for task in Path(f"/proc/{pid}/task").iterdir():
            found[int(task.name)] = _usage(task)
    except (OSError, ValueError, IndexError):  # threads end while we look
        pass
    return found


def _usage(task: Path) -> ThreadUsage:
    cpu_ns, wait_ns = (int(word) for word in (task / "schedstat").read_text().split()[:2])
    lines = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line)
    return ThreadUsage(cpu_ns, wait_ns, int(lines["nonvoluntary_ctxt_switches"]), int(lines["voluntary_ctxt_switches"]))

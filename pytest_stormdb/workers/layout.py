"""Which workers share a process."""

from __future__ import annotations

import os

from ..load.plan import LoadPlan
from ..measurement.machine import cpus

CAN_FORK = hasattr(os, "fork")
MAX_PROCESSES = 64


def layout(plan: LoadPlan, *, is_async: bool) -> list[list[int]]:
    """The ids of the workers of each process: one each up to 64 processes, then evenly; tasks, a process per CPU."""
    most = cpus() if is_async else MAX_PROCESSES
    processes = min(plan.workers, plan.processes or most) if CAN_FORK else 1
    return [list(range(plan.workers))[index::processes] for index in range(processes)]

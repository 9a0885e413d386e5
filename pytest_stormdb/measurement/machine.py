"""The machine that generates the load: its CPUs, and the time that other machines take from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class MachineTime:
    """What the machine's CPUs did so far, in clock ticks; zeros where the system does not say."""

    total: int = 0
    stolen: int = 0

    @classmethod
    def now(cls) -> MachineTime:
        try:
            fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        except (OSError, ValueError, IndexError):
            return cls()
        return cls(sum(fields), fields[7] if len(fields) > 7 else 0)

    def stolen_since(self, earlier: MachineTime) -> float:
        """The share of the machine's time that other machines took."""
        total = self.total - earlier.total
        return (self.stolen - earlier.stolen) / total if total > 0 else 0.0

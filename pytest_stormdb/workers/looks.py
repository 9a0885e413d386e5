"""What those who watch the server and those who load it tell each other: two words of shared memory, and who is who."""

from __future__ import annotations

import mmap

LOOKED = 0
_MEASURED_FROM = 1


class Looks:
    """Shared between processes by fork, between threads as it is. Reading a word takes 40 ns and no lock.

    A worker keeps the span of an iteration when ``words[LOOKED]`` is its start or later: a look at the server went on
    in it. ``backends`` are the workers' sessions by process number, each with its worker; the parent keeps them.
    """

    def __init__(self) -> None:
        self.words = memoryview(mmap.mmap(-1, 16)).cast("Q")
        self.backends: dict[int, int] = {}

    def __reduce__(self) -> tuple[type[Looks], tuple[()]]:
        """On another machine, nobody looks."""
        return Looks, ()

    def mark(self, instant_ns: int) -> None:
        """The last look ended at this instant; one that goes on ends in the far future."""
        self.words[LOOKED] = instant_ns

    @property
    def measured_from_ns(self) -> int:
        """When the measured part begins; 0 while that is not known."""
        return self.words[_MEASURED_FROM]

    def begin(self, measured_from_ns: int) -> None:
        """Say when the measured part begins."""
        self.words[_MEASURED_FROM] = measured_from_ns

"""A clock that tests move by hand."""

from __future__ import annotations


class ManualClock:
    """Stands still but for ``advance`` and sleeps, which take no real time and are noted, in ns."""

    def __init__(self, now_ns: int = 1_000_000_000_000) -> None:
        self.instant_ns = now_ns
        self.slept_ns: list[int] = []

    def now_ns(self) -> int:
        return self.instant_ns

    def advance(self, duration_ns: int) -> None:
        self.instant_ns += duration_ns

    def sleep_until_ns(self, instant_ns: int, spin_ns: int = 0) -> None:
        if instant_ns > self.instant_ns:
            self.slept_ns.append(instant_ns - self.instant_ns)
            self.instant_ns = instant_ns

    async def sleep_until_ns_async(self, instant_ns: int) -> None:
        self.sleep_until_ns(instant_ns)

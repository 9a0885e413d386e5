"""The clock that waiting and deciding go by: monotonic nanoseconds. Tests pass one that they move by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from ..realtime import perf_counter_ns


class Clock(Protocol):
    """A monotonic clock. Its instants mean something to the process that read them, and to no other machine."""

    def now_ns(self) -> int:
        """The present instant, in ns from an arbitrary origin."""

    def sleep_until_ns(self, instant_ns: int, spin_ns: int = 0) -> None:
        """Return at an instant, at once if it is over; the last ``spin_ns`` before it are spent awake."""

    async def sleep_until_ns_async(self, instant_ns: int) -> None:
        """Let other tasks run until an instant."""


class SystemClock:
    """``time.perf_counter_ns``. ``now_ns`` is that function itself, so that calling it costs no call of ours."""

    def __init__(self) -> None:
        self.now_ns: Callable[[], int] = perf_counter_ns

    def sleep_until_ns(self, instant_ns: int, spin_ns: int = 0) -> None:
        delay_ns = instant_ns - perf_counter_ns() - spin_ns
        if delay_ns > 0:
            time.sleep(delay_ns / 1e9)
        while spin_ns and perf_counter_ns() < instant_ns:
            pass

    async def sleep_until_ns_async(self, instant_ns: int) -> None:
        await asyncio.sleep(max(0, instant_ns - perf_counter_ns()) / 1e9)


SYSTEM_CLOCK = SystemClock()


async def sleep_for_ns(clock: Clock, duration_ns: int, *, is_async: bool) -> None:
    """Sleep in the way of the caller: block the thread, or let other tasks run."""
    instant_ns = clock.now_ns() + duration_ns
    if is_async:
        await clock.sleep_until_ns_async(instant_ns)
    else:
        clock.sleep_until_ns(instant_ns)

"""The system's clock sleeps until an instant, not for a duration, and never less."""

from __future__ import annotations

import asyncio
import time
from types import BuiltinFunctionType

import pytest

from pytest_stormdb import realtime
from pytest_stormdb.measurement.clock import SYSTEM_CLOCK, sleep_for_ns


@pytest.mark.parametrize("spin_ns", [0, 100_000, 10_000_000])
def test_a_sleep_ends_at_its_instant_or_later(spin_ns: int) -> None:
    """However much of it is spent awake; an instant that is over is not waited for."""
    until_ns = SYSTEM_CLOCK.now_ns() + 2_000_000
    SYSTEM_CLOCK.sleep_until_ns(until_ns, spin_ns)
    assert SYSTEM_CLOCK.now_ns() >= until_ns
    SYSTEM_CLOCK.sleep_until_ns(until_ns - 3_600_000_000_000, spin_ns)


def test_tasks_sleep_side_by_side() -> None:
    """Asynchronous sleeps end in the order of their instants, blocking ones in the order of the calls."""
    woken: list[str] = []

    async def sleep(name: str, duration_ns: int, *, is_async: bool) -> None:
        await sleep_for_ns(SYSTEM_CLOCK, duration_ns, is_async=is_async)
        woken.append(name)

    async def both(*, is_async: bool) -> None:
        await asyncio.gather(sleep("long", 20_000_000, is_async=is_async), sleep("short", 1_000_000, is_async=is_async))

    asyncio.run(both(is_async=True))
    asyncio.run(both(is_async=False))
    assert woken == ["short", "long", "long", "short"]


def test_reading_it_is_reading_perf_counter() -> None:
    """No call of ours stands between a timestamp and the system's clock."""
    assert SYSTEM_CLOCK.now_ns is realtime.perf_counter_ns
    assert type(realtime.perf_counter_ns) is type(time.perf_counter_ns) is BuiltinFunctionType

"""Rates from the few numbers that workers send along."""

from __future__ import annotations

from pytest_stormdb.workers.messages import IntervalCounts
from pytest_stormdb.workers.rates import Rates

SECOND_NS = 1_000_000_000


def sent(worker: int, interval: int, operations: int, failures: int = 0) -> IntervalCounts:
    return IntervalCounts(worker, interval, 0, b"", operations, failures)


def test_what_workers_send_together_is_one_second() -> None:
    """Two workers that send around the end of a second make one rate, and the second in progress is not shown."""
    rates = Rates()
    for second in (1, 2, 3):
        for worker, offset_ns in ((0, -3_000_000), (1, 4_000_000)):
            rates.add(sent(worker, second - 1, 100, 1), second * SECOND_NS + offset_ns)
    assert rates.per_s(int(3.6 * SECOND_NS)) == (200.0, 200.0, 200.0)
    assert rates.per_s(int(3.4 * SECOND_NS)) == (200.0, 200.0)
    assert (rates.operations, rates.failures) == (600, 6)
    assert {worker: message.interval for worker, message in rates.latest.items()} == {0: 2, 1: 2}


def test_the_warm_up_is_a_rate_and_no_total() -> None:
    """Before the measured part its seconds are shown; afterwards only those that are measured, a silent one as zero."""
    rates = Rates()
    rates.add(sent(0, -1, 70), -SECOND_NS)
    rates.add(sent(0, -1, 80), 0)
    assert rates.per_s(int(0.6 * SECOND_NS)) == (70.0, 80.0)
    rates.add(sent(0, 0, 90), SECOND_NS)
    rates.add(sent(0, 2, 90), 3 * SECOND_NS)
    assert rates.per_s(int(3.6 * SECOND_NS)) == (90.0, 0.0, 90.0)
    assert rates.operations == 180


def test_sixty_seconds_are_kept() -> None:
    """However long a run, memory and the picture hold its last minute."""
    rates = Rates()
    for second in range(1, 200):
        rates.add(sent(0, second - 1, second), second * SECOND_NS)
    shown = rates.per_s(int(199.6 * SECOND_NS))
    assert shown == tuple(float(second) for second in range(140, 200))
    assert len(rates._by_second) <= 61


def test_nothing_sent_is_no_rate() -> None:
    """Before the first message there is nothing to show."""
    assert Rates().per_s(5 * SECOND_NS) == ()

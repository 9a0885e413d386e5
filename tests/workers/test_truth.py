"""An open loop tells what users would have waited: a stall with a known effect, against a simulation of the queue."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from pytest_stormdb.record import RunRecord

from .harness import load

RATE, DURATION_S, WORKERS, STALL_S = 200, 10, 4, 1.0


def shares_a_lock(worker: Any) -> None:
    """Needs a lock that all share; once, after some time, one worker holds it alone for a second."""
    if worker.id == 0 and worker.iteration == 150:
        worker.conn.execute("SELECT pg_advisory_xact_lock(7), pg_sleep(1)")
    else:
        worker.conn.execute("SELECT pg_advisory_xact_lock_shared(7)")


def simulate(service_s: float) -> list[float]:
    """The response times of the same queue: uniform arrivals, four servers, one second in which none can go on."""
    stall_from = 4.0
    free = [0.0] * WORKERS
    responses = []
    for index in range(RATE * DURATION_S):
        arrival = index / RATE
        start = max(arrival, heapq.heappop(free))
        is_stalled = stall_from <= start < stall_from + STALL_S
        end = (stall_from + STALL_S if is_stalled else start) + service_s
        heapq.heappush(free, end)
        responses.append(end - arrival)
    return sorted(responses)


def quantile(values: list[float], q: float) -> float:
    """The value that a share ``q`` of all does not exceed."""
    return values[min(len(values) - 1, max(0, round(q * len(values)) - 1))]


@pytest.fixture
def stalled(dsn: str) -> RunRecord:
    """The open loop, run."""
    return load(shares_a_lock, dsn, workers=WORKERS, rate=f"{RATE}/s", duration=f"{DURATION_S}s")


@pytest.mark.slow
@pytest.mark.flaky(reruns=2, condition=True)
def test_a_stall_is_charged_to_every_iteration_it_delayed(stalled: RunRecord) -> None:
    """The response percentiles match the simulated queue within 10 %, though the typical service time is short."""
    total = stalled.statistics.total
    assert (total.count, total.failures, stalled.dropped) == (RATE * DURATION_S, 0, 0)
    assert total.service.p50 < 0.005
    expected = simulate(total.service.p50)
    for q in (0.93, 0.95, 0.97, 0.99, 0.999):
        assert total.response.percentile(100 * q) == pytest.approx(quantile(expected, q), rel=0.1), q
    # The staller, and the three that ran into it: the delay of all others was the queue's.
    assert total.service.percentile(99.7) < 0.2


@pytest.mark.slow
def test_a_closed_loop_does_not_see_the_stall(dsn: str) -> None:
    """The contrast: the same stall at the same pace, kept by think time, vanishes from the 99th percentile."""
    think = f"{1000 * WORKERS / RATE:g}ms"
    record = load(shares_a_lock, dsn, workers=WORKERS, duration=f"{DURATION_S}s", think_time=think)
    total = record.statistics.total
    assert total.response.max == pytest.approx(STALL_S, rel=0.2)
    assert total.response.p99 < 0.2
    assert total.count < RATE * DURATION_S * 0.97
    assert not any(after < before for before, after in pairwise([total.response.p50, total.response.p99]))


def test_the_simulation_knows_a_queue_without_stall() -> None:
    """Its servers are idle between arrivals, except in the stall: nine tenths wait for nothing."""
    assert quantile(simulate(0.001), 0.85) == pytest.approx(0.001)
    assert quantile(simulate(0.001), 1.0) == pytest.approx(1.001)


def test_the_stall_needs_a_lock(dsn: str) -> None:
    """The shared lock is compatible with itself, and not with the exclusive one."""
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two:
        one.execute("SELECT pg_advisory_xact_lock_shared(7)")
        two.execute("SELECT pg_advisory_xact_lock_shared(7)")
        assert two.execute("SELECT pg_try_advisory_xact_lock(7)").fetchone() == (False,)

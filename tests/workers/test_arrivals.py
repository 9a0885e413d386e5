"""The queue of an open loop: who takes an arrival, what is left, and what a reader can and cannot break."""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_stormdb.load.pacing import make_schedule
from pytest_stormdb.load.plan import LoadPlan, make_plan
from pytest_stormdb.workers.arrivals import (
    NOT_YET,
    ArrivalQueue,
    LocalArrivalQueue,
    PipedArrivalQueue,
    make_arrivals,
)

SECOND = 1_000_000_000
KINDS = (PipedArrivalQueue, LocalArrivalQueue)


def plan_of(**options: Any) -> LoadPlan:
    return make_plan(("test", options))


def queue_of(kind: Callable[..., ArrivalQueue], plan: LoadPlan) -> Any:
    schedule = make_schedule(plan)
    return closing(kind(schedule, schedule.starts_ns()))


def claims(arrivals: ArrivalQueue) -> Iterator[int]:
    """All claims of a lone worker with an attentive parent."""
    arrivals.feed()
    while (start_ns := arrivals.claim()) is not None:
        if start_ns == NOT_YET:
            arrivals.feed()
        else:
            yield start_ns


@settings(max_examples=25)
@given(st.sampled_from(KINDS), st.integers(1, 60_000), st.sampled_from(["uniform", "poisson"]), st.integers(0, 70_000))
def test_the_queue_holds_the_schedule(kind: Callable[..., ArrivalQueue], rate: int, arrivals: str, taken: int) -> None:
    """What is claimed is the schedule from its begin on; what is counted as unclaimed is its rest, to the arrival."""
    plan = plan_of(rate=f"{rate}/s", arrivals=arrivals, duration="1s")
    expected = list(make_schedule(plan).starts_ns())
    with queue_of(kind, plan) as queue:
        assert list(islice(claims(queue), taken)) == expected[:taken]
        assert queue.unclaimed_before(SECOND / 2) == sum(start < SECOND / 2 for start in expected[taken:])


def test_a_multitude_is_counted_by_the_mean() -> None:
    """A million arrivals a second for a week are not counted singly."""
    with queue_of(PipedArrivalQueue, plan_of(rate="1000000/s", duration="168h")) as queue:
        queue.feed()
        assert [queue.claim(), queue.claim()] == [0, 1000]
        assert queue.unclaimed_before(168 * 3600 * SECOND) == 168 * 3600 * 1_000_000 - 2


@pytest.mark.parametrize("warmup", ["0s", "100ms"])
def test_iterations_count_from_the_end_of_the_warm_up(warmup: str) -> None:
    """Two workers of 15 iterations at 100/s make 30 arrivals, the warm-up's ten beside."""
    queue = make_arrivals(plan_of(workers=2, iterations=15, rate="100/s", warmup=warmup))
    with closing(queue):
        assert len(list(claims(queue))) == (40 if warmup == "100ms" else 30)


def test_a_worker_is_told_when_the_parent_is_late() -> None:
    """An empty queue is not the end of it."""
    with queue_of(PipedArrivalQueue, plan_of(rate="10/s", duration="1s")) as queue:
        assert queue.claim() == NOT_YET
        queue.feed()
        assert queue.claim() == 0


def test_every_arrival_goes_to_one_of_many_workers_some_of_which_are_killed(tmp_path: Path) -> None:
    """Of 50,000 arrivals, eight processes claim each once, in order; those two that are killed hold up nobody."""
    size = 50_000
    plan = plan_of(rate=f"{size}/s", duration="1s")
    logs = [tmp_path / str(worker) for worker in range(8)]
    with queue_of(PipedArrivalQueue, plan) as queue:
        pids = [_claiming_child(queue, log) for log in logs]
        queue.feed()
        for pid in pids[:2]:
            time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
        while not queue.is_fed():
            queue.feed()
        for pid in pids:
            os.waitpid(pid, 0)
    claimed = [[start for (start,) in struct.iter_unpack("q", log.read_bytes())] for log in logs]
    assert all(before < after for each in claimed for before, after in pairwise(each))
    everything = [start for each in claimed for start in each]
    missing = set(make_schedule(plan).starts_ns()).difference(everything)
    assert len(everything) == len(set(everything)) == size - len(missing)
    assert len(missing) <= 2  # a killed worker takes along the one that it held


def _claiming_child(queue: ArrivalQueue, log: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        queue.only_claim()
        with log.open("wb", buffering=0) as file:
            while (start_ns := queue.claim()) is not None:
                if start_ns != NOT_YET:
                    file.write(struct.pack("q", start_ns))
    finally:
        os._exit(0)

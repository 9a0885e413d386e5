"""Processes that stand still, and what is made of it."""

from __future__ import annotations

import ctypes
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_stormdb.verdict.threshold import Threshold
from pytest_stormdb.workers.heartbeat import Heartbeat
from pytest_stormdb.workload.contract import WorkerPlaceholder
from pytest_stormdb.workload.resources import WorkerFixture

from .harness import load

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a libc by name, and /proc")


def hold_the_lock(seconds: float) -> None:
    """Sleep without letting go of the interpreter lock."""
    ctypes.PyDLL(None).usleep(round(seconds * 1e6))


def queued_ns() -> int:
    """How long the threads of this process have waited for a CPU, all together."""
    return sum(int((thread / "schedstat").read_text().split()[1]) for thread in Path("/proc/self/task").iterdir())


def test_a_held_lock_is_a_stall_and_a_sleep_is_none() -> None:
    """A lock held for 100 ms is noted, but for the time that threads waited for a CPU; waiting without it is not."""
    heartbeat = Heartbeat()
    heartbeat.start()
    time.sleep(0.1)
    quiet_ns = heartbeat.stalled_ns
    before_ns = queued_ns()
    hold_the_lock(0.1)
    time.sleep(0.05)
    waited_ns = queued_ns() - before_ns
    heartbeat.end()
    assert quiet_ns < 50_000_000
    assert heartbeat.longest_ns <= heartbeat.stalled_ns
    assert heartbeat.longest_ns + waited_ns > 50_000_000


def test_a_stalled_client_never_fails_the_database(dsn: str) -> None:
    """A thread that holds the lock for 50 ms again and again makes calls slow: invalid, or beside others undecided."""

    def stalls(worker: Any) -> None:
        if worker.iteration == 0:
            threading.Thread(target=hog, daemon=True).start()
        worker.conn.execute("SELECT 1")

    def hog() -> None:
        while True:
            hold_the_lock(0.05)
            time.sleep(0.02)

    record = load(stalls, dsn, thresholds=[Threshold.parse("max < 20ms")], workers=2, duration="2s")
    assert record.outcome in ("invalid", "inconclusive")
    if record.noise.taken < 0.1:
        assert "its interpreter lock was held" in record.reasons[0]


def test_a_client_that_computes_never_fails_the_database(dsn: str) -> None:
    """Every CPU burned inside of the workers makes calls slow: invalid, or beside others who do so, undecided."""

    def burns(worker: Any) -> None:
        until = time.perf_counter() + 0.005
        while time.perf_counter() < until:
            pass
        worker.conn.execute("SELECT 1")

    record = load(burns, dsn, thresholds=[Threshold.parse("p95 < 1ms")], workers=4, duration="2s")
    assert record.outcome in ("invalid", "inconclusive")


def names(worker: Any, seen: Any) -> None:
    """Note the threads of this process."""
    if worker.iteration == 0:
        seen.put(sorted(thread.name for thread in threading.enumerate()))


def with_a_thread(worker: Any) -> Iterator[None]:
    """A thread of the workload's own beside the worker."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, name="own", daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.parametrize("own", [False, True], ids=["alone", "with a thread of its own"])
def test_a_worker_alone_in_its_process_is_not_woken(dsn: str, own: bool) -> None:
    """Beside a lone worker, one thread of ours sleeps; where the workload has threads, the watch is there, too."""
    seen: Any = multiprocessing.get_context("fork").SimpleQueue()
    arguments: dict[str, object] = {"seen": seen}
    if own:
        arguments["own"] = WorkerFixture(with_a_thread, {"worker": WorkerPlaceholder()})

    def operation(worker: Any, seen: Any, own: Any = None) -> None:
        names(worker, seen)

    load(operation, dsn, arguments=arguments, workers=1, iterations=3)
    assert len(seen.get()) == (4 if own else 2)

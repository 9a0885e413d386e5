"""The watch over the interpreter lock is there where somebody could be held up."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_stormdb.workload.contract import WorkerPlaceholder
from pytest_stormdb.workload.resources import WorkerFixture

from .harness import load


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

"""What the loop makes of a call: success, failure, results, another try. The clock is moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_stormdb.database.connection import NoConnection
from pytest_stormdb.errors import ServerError
from pytest_stormdb.measurement.sample import OperationResult
from pytest_stormdb.workers.calls import Interrupted
from pytest_stormdb.workers.loop import run_sync
from pytest_stormdb.workers.messages import FirstFailure, Interruption

from .unit import MS, Unit


class ConflictError(Exception):
    """A serialisation failure."""

    sqlstate = "40001"


def both(function: Callable[[Any], Any]) -> list[Callable[..., Any]]:
    """The function as it is, and as a coroutine function."""

    async def asynchronous(worker: Any) -> Any:
        return function(worker)

    return [function, asynchronous]


def conflicts(times: int, seen: list[float]) -> Callable[[Any], None]:
    """A function whose every iteration meets that many conflicts before it succeeds."""
    tries = {"left": times}

    def call(worker: Any) -> None:
        seen.append(worker.rng.random())
        if tries["left"]:
            tries["left"] -= 1
            raise ConflictError("conflict")
        tries["left"] = times

    return call


@pytest.mark.parametrize("index", [0, 1], ids=["thread", "task"])
def test_a_retry_draws_the_same_and_waits_longer_each_time(index: int) -> None:
    """Each iteration succeeds at its third try with the same draws; its time spans the pauses between them."""
    seen: list[float] = []
    unit = Unit(both(conflicts(2, seen))[index], iterations=5, retries=3)
    total = unit.run().whole.total()
    assert (total.count, total.failures, total.retries) == (5, 0, 10)
    assert [len(set(seen[k : k + 3])) for k in range(0, 15, 3)] == [1] * 5
    assert len(set(seen)) == 5
    pauses = unit.clock.slept_ns[1:]
    assert total.service.total_ns == sum(pauses)
    assert max(pauses) <= 2 * MS


@pytest.mark.parametrize("index", [0, 1], ids=["thread", "task"])
def test_retries_run_out(index: int) -> None:
    """With fewer retries than conflicts, the iteration fails once, under the conflict's code."""
    unit = Unit(both(conflicts(99, []))[index], iterations=2, retries=3)
    total = unit.run().whole.total()
    assert total.errors == {"40001": (2, "conflict")}
    assert total.retries == 6


def test_a_stopped_run_retries_nothing() -> None:
    """A conflict after the stop is a failure at once."""
    unit = Unit(lambda worker: None, iterations=1, retries=3)

    def conflict() -> None:
        unit.deadline.stop()
        raise ConflictError("conflict")

    unit.runtime.loop.calls = [conflict]
    total = unit.run().whole.total()
    assert (total.failures, total.retries) == (1, 0)


class Away(NoConnection):
    """A connection that is lost and cannot be had again."""

    def is_clean(self) -> bool:
        return False

    async def repair(self) -> bool:
        raise ServerError("the server stayed away")


def test_a_server_that_stays_away_ends_the_loop() -> None:
    """What the reconnecting within a retry raises is not one more failed iteration."""

    def conflict(worker: Any) -> None:
        raise ConflictError("conflict")

    unit = Unit(conflict, connection=Away(), iterations=3, retries=3)
    with pytest.raises(ServerError, match="stayed away"):
        unit.run()
    assert unit.worker.iteration == 0


def test_the_first_failure_is_shown_and_all_are_counted() -> None:
    """Failures count by type with their own durations; one of them is rendered for people."""

    def fails(worker: Any) -> None:
        unit.clock.advance(5 * MS)
        if worker.iteration % 2:
            raise LookupError(f"iteration {worker.iteration}")

    unit = Unit(fails, iterations=10)
    total = unit.run().whole.total()
    assert (total.count, total.errors) == (5, {"LookupError": (5, "iteration 1")})
    assert (total.service.total_ns, total.failed.total_ns) == (25 * MS, 25 * MS)
    unit.runtime.loop.counting.explain_first_failure()
    (shown,) = [message for message in unit.messages if isinstance(message, FirstFailure)]
    assert (shown.worker, shown.iteration, shown.operation) == (0, 1, "fails")


def test_an_overdue_iteration_is_a_timeout_though_it_ended() -> None:
    """What outlived its timeout does not count as a success."""

    def late(worker: Any) -> None:
        if worker.iteration == 1:
            unit.runtime.loop.overdue = 1

    unit = Unit(late, iterations=3, timeout="2s")
    total = unit.run().whole.total()
    assert total.errors == {"timeout": (1, "cancelled after 2 s: it ended by itself after that")}
    assert total.count == 2


def test_results_count_for_the_operations_they_name() -> None:
    """A batch adds its rows and failures to each operation, and the call's time once to each that succeeded."""

    def batch(worker: Any) -> list[OperationResult]:
        unit.clock.advance(MS)
        gone = OperationResult(operation="sell", success=False, error="gone", metadata={"sku": worker.iteration})
        return [OperationResult(operation="buy", rows_affected=2), OperationResult(operation="buy"), gone]

    unit = Unit(batch, iterations=3)
    tallies = unit.run().whole.tallies
    assert (tallies["buy"].count, tallies["buy"].rows, tallies["buy"].service.count) == (6, 6, 3)
    assert tallies["sell"].errors == {"unsuccessful": (3, "gone")}
    assert tallies["sell"].error_metadata == {"unsuccessful": [{"sku": 0}, {"sku": 1}, {"sku": 2}]}


def test_a_workload_may_end_the_run() -> None:
    """An exception that the workload's host takes for a skip ends the loop, and says so."""

    def skips(worker: Any) -> None:
        raise LookupError("no data")

    unit = Unit(skips, iterations=3, stops=lambda error: ("skip", str(error)))
    with pytest.raises(Interrupted):
        unit.run()
    assert Interruption("skip", "no data") in unit.messages


def test_shared_code_must_not_wait_in_a_thread() -> None:
    """A coroutine that waits for something cannot be run without an event loop, and says so."""

    class Wait:
        def __await__(self) -> Any:
            yield

    async def waits() -> None:
        await Wait()

    with pytest.raises(AssertionError, match="waited where nothing waits"):
        run_sync(waits())

"""The author's contract: resources in order, parts that do not nest, calls bound by what they ask for."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest

from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.measurement.recorder import Recorder
from pytest_stormdb.workload.contract import Operation, UnconnectedWorker, Worker, WorkerPlaceholder, Workload
from pytest_stormdb.workload.resources import Resources, WorkerFixture


def make_worker(
    *, worker_id: int = 0, seed: int = 0, is_async: bool = False, kind: type[Worker] = Worker
) -> tuple[Worker, Recorder]:
    recorder = Recorder()
    worker = kind(id=worker_id, count=4, dsn="host=x", seed=seed, batch_size=1, recorder=recorder, is_async=is_async)
    return worker, recorder


def used(worker: Worker, arguments: Mapping[str, object]) -> dict[str, object]:
    """Fill in the arguments and tear down again."""

    async def live() -> dict[str, object]:
        resources = Resources(worker)
        try:
            return await resources.resolve(arguments)
        finally:
            await resources.close()

    return asyncio.run(live())


class Journal:
    """Generator functions that note their set-up and tear-down."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def fixture(self, name: str, **arguments: object) -> WorkerFixture:
        def resource(**given: object) -> Iterator[str]:
            self.notes.append(f"up {name} {sorted(given)}")
            yield name
            self.notes.append(f"down {name}")

        resource.__name__ = name
        return WorkerFixture(resource, arguments)


def test_resources_come_up_in_order_and_go_down_in_reverse() -> None:
    """What a resource asks for comes first and goes last, once however often it is asked for."""
    journal = Journal()
    worker, _ = make_worker()
    pool = journal.fixture("pool", worker=WorkerPlaceholder())
    cache = journal.fixture("cache", pool=pool)
    values = used(worker, {"cache": cache, "pool": pool, "size": 7, "worker": WorkerPlaceholder()})
    assert values == {"cache": "cache", "pool": "pool", "size": 7, "worker": worker}
    assert journal.notes == ["up pool ['worker']", "up cache ['pool']", "down cache", "down pool"]


def test_a_resource_is_torn_down_when_a_later_one_fails() -> None:
    """A failing set-up leaves nothing up, and a failing tear-down does not keep others up."""
    journal = Journal()
    worker, _ = make_worker()

    def broken() -> Iterator[None]:
        raise LookupError("no such cache")
        yield

    def sticky() -> Iterator[int]:
        yield 1
        raise LookupError("cannot let go")

    with pytest.raises(LookupError, match="no such cache"):
        used(worker, {"pool": journal.fixture("pool"), "broken": WorkerFixture(broken, {})})
    with pytest.raises(LookupError, match="cannot let go"):
        used(worker, {"other": journal.fixture("other"), "sticky": WorkerFixture(sticky, {})})
    assert journal.notes == ["up pool []", "down pool", "up other []", "down other"]


def test_asynchronous_resources_belong_to_asynchronous_workers() -> None:
    """An async generator is awaited in an async worker and refused, by name, in another."""
    ended: list[str] = []

    async def session() -> AsyncIterator[str]:
        yield "session"
        ended.append("session")

    assert used(make_worker(is_async=True)[0], {"session": WorkerFixture(session, {})}) == {"session": "session"}
    assert ended == ["session"]
    with pytest.raises(WorkloadError, match="worker fixture 'session' is async; only an async def workload can use it"):
        used(make_worker()[0], {"session": WorkerFixture(session, {})})


def test_a_resource_yields_exactly_once() -> None:
    """One that returns, and one that yields twice, are refused by name."""

    def returning() -> Any:
        return 5

    def twice() -> Iterator[int]:
        yield 1
        yield 2

    def never() -> Iterator[int]:
        yield from ()

    worker, _ = make_worker()
    with pytest.raises(WorkloadError, match="worker fixture 'returning' must yield its value once"):
        used(worker, {"value": WorkerFixture(returning, {})})
    with pytest.raises(WorkloadError, match="worker fixture 'twice' yields more than once"):
        used(worker, {"value": WorkerFixture(twice, {})})
    with pytest.raises(WorkloadError, match="worker fixture 'never' must yield its value once"):
        used(worker, {"value": WorkerFixture(never, {})})


def test_a_placeholder_is_no_worker() -> None:
    """Who uses the worker in an ordinary fixture is told where it belongs."""
    with pytest.raises(WorkloadError, match=r"worker\.conn is used outside a worker; .*worker_fixture"):
        _ = WorkerPlaceholder().conn


def test_parts_are_timed_and_do_not_nest() -> None:
    """A named part is recorded, a failing one as a failure; a part in a part is refused, and both names are said."""
    worker, recorder = make_worker()
    with worker.operation("pick"):
        pass
    with pytest.raises(KeyError), worker.operation("pick"):
        raise KeyError("gone")
    with (
        pytest.raises(WorkloadError, match="operation 'pay' is nested in 'pick'; end one before the next begins"),
        worker.operation("pick"),
        worker.operation("pay"),
    ):
        pass
    with worker.operation("pay"):
        pass
    tallies = recorder.take().tallies
    assert {name: (t.count, t.failures, t.is_part) for name, t in tallies.items()} == {
        "pick": (1, 2, True),
        "pay": (1, 0, True),
    }
    assert sorted(tallies["pick"].errors) == ["KeyError", "WorkloadError"]


def test_random_streams_depend_on_seed_and_id_alone() -> None:
    """The same seed and id draw the same, any other pair draws something else."""
    draws = {
        (seed, worker_id): make_worker(seed=seed, worker_id=worker_id)[0].rng.random()
        for seed in (0, 1)
        for worker_id in (0, 1, 2)
    }
    assert len(set(draws.values())) == 6
    assert draws[1, 2] == make_worker(seed=1, worker_id=2)[0].rng.random()


def test_a_worker_without_connection_says_so() -> None:
    """``connect=False`` leaves no conn; another wrong name is an ordinary AttributeError."""
    worker, _ = make_worker(kind=UnconnectedWorker)
    with pytest.raises(WorkloadError, match=r"worker\.conn: this workload runs with connect=False"):
        _ = worker.conn
    with pytest.raises(AttributeError, match="no attribute 'con'"):
        _ = worker.con  # type: ignore[attr-defined]
    assert repr(worker) == "<Worker 0 of 4>"


def plain(worker: object, extra: object, default: int = 3) -> list[object]:
    return [worker, extra, default]


def by_position(worker: object, extra: object, /) -> list[object]:
    return [worker, extra]


def by_name(worker: object, *, extra: object) -> list[object]:
    return [worker, extra]


def with_rest(worker: object, extra: object, **rest: object) -> list[object]:
    return [worker, extra, rest]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, ["W", "E", 3]),
        (by_position, ["W", "E"]),
        (by_name, ["W", "E"]),
        (with_rest, ["W", "E", {}]),
        (functools.partial(plain, default=4), ["W", "E", 4]),
    ],
)
def test_a_call_is_bound_however_the_function_takes_it(function: Callable[..., Any], expected: list[object]) -> None:
    """Arguments reach a function by position or by name, as it wants them."""
    call = Operation("op", function, ("worker", "extra")).bind(None, {"extra": "E", "worker": "W", "other": 0})
    assert call() == expected


class Shop:
    """Two operations with a state of their own."""

    def __init__(self) -> None:
        self.calls = 0

    def read(self, worker: object) -> tuple[int, object]:
        self.calls += 1
        return self.calls, worker

    def write(self, worker: object, extra: object) -> tuple[int, object, object]:
        self.calls += 1
        return self.calls, worker, extra


def test_the_operations_of_a_class_share_one_instance_per_worker() -> None:
    """Binding makes an object, and all operations are methods of it."""
    workload = Workload(
        name="shop",
        nodeid="test_shop.py::Shop",
        operations=(Operation("read", Shop.read), Operation("write", Shop.write, ("worker", "extra"))),
        instance=Shop,
    )
    read, write = workload.bind({"worker": "W", "extra": "E"})
    assert (read(), write(), read()) == ((1, "W"), (2, "W", "E"), (3, "W"))
    other, _ = workload.bind({"worker": "V", "extra": "E"})
    assert other() == (1, "V")


@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "task"])
def test_the_same_text_is_the_same_statement(is_async: bool) -> None:
    """A statement prepared in every iteration is one statement; another text is another."""
    worker, _ = make_worker(is_async=is_async)
    assert worker.prepare("SELECT 1") is worker.prepare("SELECT 1")
    assert worker.prepare("SELECT 1") is not worker.prepare("SELECT 2")


def test_values_in_the_text_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that makes a statement of every value is stopped before the server's memory is full of them."""
    monkeypatch.setattr("pytest_stormdb.workload.contract.MOST_STATEMENTS", 3)
    worker, _ = make_worker()
    for number in range(3):
        worker.prepare(f"SELECT {number}")
    assert worker.prepare("SELECT 2") is worker.prepare("SELECT 2")
    with pytest.raises(WorkloadError, match=r"3 different statements prepared: put \$1, not values, into the text"):
        worker.prepare("SELECT 3")

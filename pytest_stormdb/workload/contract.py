"""The author's contract: the worker's handle, operations and their weights, per-worker resources."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ..errors import WorkloadError
from ..measurement.recorder import Recorder
from ..measurement.sample import Sample
from ..measurement.values import as_name, as_number
from ..realtime import perf_counter_ns
from ..units import titled
from .binding import bound
from .draws import Draws
from .outcome import abort_in, failure_of

if TYPE_CHECKING:
    from ..database.async_statement import AsyncStatement
    from ..database.pipelining import AsyncPipeline, Pipeline
    from ..database.statement import Statement
    from .pgbench import Pgbench

MOST_STATEMENTS = 10_000
"""Who prepares more has put values into the text, and would fill the server's memory with it."""

CURRENT_WORKER: ContextVar[Worker | None] = ContextVar("stormdb_worker", default=None)
"""The worker that the running code belongs to, thread or task; log records name it."""


class WorkerMetrics:
    """A workload's own numbers. Reset at the end of the warm-up, summed over all workers.

    Numbers may be NumPy's, Decimals or Fractions. The first 100 names stand for themselves, the rest for "other".
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def count(self, name: str, n: float = 1) -> None:
        """Add ``n`` to a counter."""
        self._add(name, "counter", n)

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge; the last value set stands."""
        self._add(name, "gauge", value)

    def observe(self, name: str, value: float) -> None:
        """Add a value to a distribution, of which count, mean, least and greatest are kept."""
        self._add(name, "observation", value)

    def _add(self, name: str, kind: str, value: float) -> None:
        if type(value) is not int and type(value) is not float:
            value = as_number(value, f"metric {as_name(name)!r}")
        self._recorder.metric(name, kind).add(value)


class Worker:
    """One of the concurrent callers, as a workload sees itself.

    ``id`` is 0-based, ``count`` how many workers there are, ``iteration`` 0-based within this worker. ``rng``
    is seeded by the plan's seed and the id, so that the same plan draws the same numbers. ``conn`` is the worker's
    own autocommit connection (an AsyncConnection in an ``async def`` function), ``dsn`` leads into the
    workload's database for a client of the workload's own. ``current_operation`` names the part, or else the
    operation, that is under way. ``is_unusual`` tells the loop that this iteration takes more than noting its time.
    """

    conn: Any

    def __init__(
        self, *, id: int, count: int, dsn: str, seed: int, batch_size: int, recorder: Recorder, is_async: bool
    ) -> None:
        self.id = id
        self.count = count
        self.dsn = dsn
        self.batch_size = batch_size
        self.iteration = -1
        self.is_unusual = False
        self.rng = Draws(f"{seed}:{id}")
        self.metrics = WorkerMetrics(recorder)
        self._recorder = recorder
        self._is_async = is_async
        self.connect_hooks: list[Callable[[Any], Any]] = []
        self.current_operation: str | None = None
        self._part: str | None = None
        self._pause_ns = 0
        self._statements: dict[str, Statement | AsyncStatement] = {}

    def __repr__(self) -> str:
        return f"<Worker {self.id} of {self.count}>"

    @property
    def url(self) -> str:
        """``dsn`` as a URL, for clients that take no connection string of libpq's."""
        from ..database.alchemy import teach_sqlalchemy
        from ..database.url import url_of

        teach_sqlalchemy()
        return url_of(self.dsn)

    def on_connect(self, function: Callable[[Any], Any]) -> Any:
        """Have ``function(conn)`` set up this worker's connection: at once, and each one that replaces it.

        In an async worker it is awaited, ``await worker.on_connect(function)``, and so is what the function gives.
        """
        self.connect_hooks.append(function)
        result = function(self.conn)
        return _finished(result) if self._is_async else None

    def prepare(self, sql: str) -> Statement | AsyncStatement | Any:
        """A server-side prepared statement with ``$1`` placeholders; awaitable calls in an async worker.

        The same text is the same statement, so this may stand in an iteration. It is prepared at its first use, and
        again after a reconnect, or when the server has forgotten it.
        """
        statement = self._statements.get(sql)
        return self._new_statement(sql) if statement is None else statement

    def _new_statement(self, sql: str) -> Statement | AsyncStatement:
        from ..database.async_statement import AsyncStatement
        from ..database.statement import Statement

        if len(self._statements) == MOST_STATEMENTS:
            raise WorkloadError(f"{MOST_STATEMENTS:,} different statements prepared: put $1, not values, into the text")
        made = self._statements[sql] = AsyncStatement(self, sql) if self._is_async else Statement(self, sql)
        return made

    def pipeline(self) -> Pipeline | AsyncPipeline | Any:
        """A ``with`` block (``async with`` in an async worker) whose prepared statements make one round trip.

        Within it their calls give a ``Later``, whose ``result()`` is there when the block has ended, or after its
        ``sync()``. Without BEGIN all of the block is one transaction.
        """
        from ..database.pipelining import AsyncPipeline, Pipeline

        return AsyncPipeline(self) if self._is_async else Pipeline(self)

    def copy(self, statement: Any, parameters: Any = None) -> Any:
        """A ``with`` block around ``COPY ... FROM STDIN``, with psycopg's ``Copy`` as its target.

        How far it is becomes the counters ``copy.bytes`` and ``copy.rows``, and a log record a second.
        """
        from ..database.copying import copying, copying_async

        return (copying_async if self._is_async else copying)(self, statement, parameters)

    def operation(self, name: str) -> AbstractContextManager[None]:
        """Time a part of the iteration under a name of its own. Parts do not nest."""
        return Part(self, name)

    def pause(self, seconds: float) -> None:
        """Wait that long before this worker's next iteration, outside of what is measured: a user's think time.

        It takes effect when the iteration returns, and replaces nothing: the plan's think time is added. In an
        open loop, where the schedule decides, a pausing worker takes no arrival.
        """
        self._pause_ns = max(0, round(seconds * 1e9))
        self.is_unusual = True

    def take_pause_ns(self) -> int:
        """The pause asked for since it was last taken."""
        pause_ns, self._pause_ns = self._pause_ns, 0
        return pause_ns


async def _finished(value: Any) -> None:
    if inspect.isawaitable(value):
        await value


class UnconnectedWorker(Worker):
    """One of a workload with ``connect=False``. A class of its own, since a ``__getattr__`` of the worker's would make
    each look at any of its attributes several times as slow."""

    @property
    def conn(self) -> Any:
        """There is none. Raises WorkloadError."""
        raise WorkloadError("worker.conn: this workload runs with connect=False; open your own from worker.dsn")


class Part:
    """The ``with`` block of ``worker.operation(name)``: times a part of an iteration.

    Raises WorkloadError where another part is under way.
    """

    __slots__ = ("_name", "_started_ns", "_whole", "_worker")

    def __init__(self, worker: Worker, name: str) -> None:
        self._worker = worker
        self._name = name if isinstance(name, str) else as_name(name)

    def __enter__(self) -> None:
        outer = self._worker._part
        if outer is not None:
            raise WorkloadError(f"operation {self._name!r} is nested in {outer!r}; end one before the next begins")
        self._whole = self._worker.current_operation
        self._worker._part = self._worker.current_operation = self._name
        self._started_ns = perf_counter_ns()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        finished_ns = perf_counter_ns()
        self._worker._part, self._worker.current_operation = None, self._whole
        sample = Sample(self._name, self._started_ns, self._started_ns, finished_ns)
        if error is None:
            self._worker._recorder.record_part(sample)
            return
        reason = abort_in(error)
        failure = failure_of(error) if reason is None else None
        self._worker._recorder.record_part(sample, failure, reason)


@dataclass(frozen=True, slots=True)
class WorkerPlaceholder:
    """Stands for the worker among a workload's arguments until a worker fills it in."""

    def __getattr__(self, name: str) -> Any:
        raise WorkloadError(
            f"worker.{name} is used outside a worker; a fixture that needs it is a pytest_stormdb.worker_fixture"
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """One named thing a workload does; ``weight`` is its share of a mix."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...] = ("worker",)
    weight: float = 1.0

    def bind(self, instance: object | None, values: Mapping[str, object]) -> Callable[[], Any]:
        """The call without arguments that a worker repeats."""
        first = () if instance is None else (instance,)
        return bound(self.function, first, {name: values[name] for name in self.parameters})


Stop = tuple[Literal["skip", "exit", "xfail"], str]


def _plain_text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _never(error: BaseException) -> Stop | None:
    return None


def _nothing() -> None:
    """There is nothing to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A marked function or class, ready to run. ``arguments`` hold fixture values, the worker's placeholder,
    and worker fixtures.

    ``run_name`` tells a run from others of its test. ``explain`` renders a failure for people; ``stops`` says which
    exceptions end the run instead of counting as failures; ``instance`` makes the object whose methods the operations
    are, once in every worker; ``on_fork`` is called in each process of workers, before they are set up. With
    ``pgbench``, the operations are scripts and pgbench calls them.
    """

    name: str
    nodeid: str
    run_name: str | None = None
    version: str | None = None
    integrity: str | None = None
    operations: tuple[Operation, ...]
    arguments: Mapping[str, object] = field(default_factory=lambda: {"worker": WorkerPlaceholder()})
    is_async: bool = False
    instance: Callable[[], object] | None = None
    explain: Callable[[BaseException], str] = _plain_text
    stops: Callable[[BaseException], Stop | None] = _never
    loop_factory: Callable[[], Any] | None = None
    pgbench: Pgbench | None = None
    on_fork: Callable[[], None] = _nothing

    @property
    def title(self) -> str:
        """The test, and which of its runs."""
        return titled(self.nodeid, self.run_name)

    def bind(self, values: Mapping[str, object]) -> list[Callable[[], Any]]:
        """One call for each operation, in their order."""
        instance = self.instance() if self.instance is not None else None
        return [operation.bind(instance, values) for operation in self.operations]

"""Several prepared statements in one round trip, over libpq's pipeline mode.

Within the block, calls of the worker's statements are collected; at its end they are sent together, one Sync behind
them, and all their results are read. So a block that raises has sent nothing of what it collected.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Protocol

from psycopg import errors, generators

from .results import FAILED, GOOD, checked


class _Owner(Protocol):
    conn: Any


class _Statement(Protocol):
    def forget_if_outdated(self, result: Any) -> bool: ...


class Later:
    """What a statement in a pipeline will have come to."""

    __slots__ = ("_value", "name", "read", "statement", "values")

    name: bytes
    values: list[Any]
    statement: _Statement
    read: Callable[[Any], Any]
    ntuples = 0
    command_tuples = None

    def result(self) -> Any:
        """What the call would have returned outside a pipeline. Raises psycopg's error where it failed."""
        try:
            return self._value
        except AttributeError:
            what = "a statement in a pipeline has no result before the block ends or is synced"
            raise errors.InterfaceError(what) from None

    def settle(self, conn: Any, result: Any) -> None:
        """Take the result. Raises psycopg's error where it failed."""
        if result.status not in GOOD:
            self.statement.forget_if_outdated(result)
            checked(conn, result)
        self._value = self.read(result)


class Collected:
    """What stands in for the worker's connection within the block, and collects its statements."""

    def __init__(self, owner: _Owner) -> None:
        self._owner = owner
        self._waiting: list[Later] = []
        self.actual: Any = None

    def enqueue(self, name: bytes, values: list[Any]) -> Later:
        """Have a prepared statement sent with the others."""
        later = Later()  # with an __init__, it would cost twice as much
        later.name = name
        later.values = values
        self._waiting.append(later)
        return later

    def _begin(self) -> None:
        if isinstance(self._owner.conn, Collected):
            raise errors.ProgrammingError("worker.pipeline() is not nested: end one before the next begins")
        self.actual = self._owner.conn
        self._owner.conn = self

    def _end(self) -> None:
        self._owner.conn = self.actual

    def _take(self) -> list[Later]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _settle(self, waiting: list[Later], results: list[Any]) -> None:
        """Give each statement its result. Raises the first error, once all are given."""
        first: BaseException | None = None
        for later, result in zip(waiting, results, strict=False):
            try:
                later.settle(self.actual, result)
            except errors.Error as error:
                first = first or error
        if first is not None:
            raise first


class Pipeline(Collected):
    """The ``with`` block of ``worker.pipeline()``."""

    def __enter__(self) -> Pipeline:
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()
        if error is None:
            self.sync()

    def sync(self) -> None:
        """Send what has been collected and read all results. Raises the first error."""
        if waiting := self._take():
            self._settle(waiting, self.actual.wait(_exchange(self.actual.pgconn, waiting)))

    def __getattr__(self, name: str) -> Any:
        """Whatever else is wanted of the connection comes after what was collected before."""
        self.sync()
        return getattr(self.actual, name)


class AsyncPipeline(Collected):
    """The ``async with`` block of ``worker.pipeline()`` in an async worker."""

    async def __aenter__(self) -> AsyncPipeline:
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._end()
        if error is None:
            await self.sync()

    async def sync(self) -> None:
        """Send what has been collected and read all results. Raises the first error."""
        if waiting := self._take():
            async with self.actual.lock:
                results = await self.actual.wait(_exchange(self.actual.pgconn, waiting))
            self._settle(waiting, results)

    def __getattr__(self, name: str) -> Any:
        if self._waiting:
            raise errors.InterfaceError(f"worker.conn.{name} in a pipeline: `await pipeline.sync()` first")
        return getattr(self.actual, name)


def _exchange(pgconn: Any, waiting: list[Later]) -> Generator[Any, Any, list[Any]]:
    """Send statements and read a result for each, as one of the generators that psycopg's connections wait for.

    A connection that is interrupted in the middle of it is closed: what it would answer next belongs to nobody.
    """
    came: list[Any] = []
    try:
        pgconn.enter_pipeline_mode()
        for later in waiting:
            pgconn.send_query_prepared(later.name, later.values)
        pgconn.pipeline_sync()
        yield from generators.send(pgconn)
        for _ in waiting:
            came.append((yield from generators.fetch(pgconn)) if pgconn.is_busy() else pgconn.get_result())
            pgconn.get_result()  # its end, which needs nothing of the server
        if pgconn.is_busy():
            yield from generators.fetch(pgconn)  # the Sync's
        else:
            pgconn.get_result()
        pgconn.exit_pipeline_mode()
    except BaseException as error:
        pgconn.finish()
        if not (isinstance(error, errors.OperationalError) and any(each.status == FAILED for each in came)):
            raise  # else the server said why it hung up
    return came

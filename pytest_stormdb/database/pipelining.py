"""Several prepared statements in one round trip, over libpq's pipeline mode.

Within the block, calls of the worker's statements are collected; at its end they are sent together, one Sync behind
them, and all their results are read. So a block that raises has sent nothing of what it collected.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Protocol

from psycopg import errors, generators

from .results import FAILED, checked


class _Owner(Protocol):
    conn: Any


class _Statement(Protocol):
    def forget_if_outdated(self, result: Any) -> bool: ...


class Later:
    """What a statement in a pipeline will have come to."""

    __slots__ = ("_is_there", "_read", "_result", "_statement", "_value", "name", "values")

    ntuples = 0
    command_tuples = None

    def __init__(self, name: bytes, values: list[Any]) -> None:
        self.name = name
        self.values = values
        self._is_there = False
        self._result: Any = None

    def expect(self, statement: _Statement, read: Callable[[Any], Any]) -> Later:
        """Say whose result it will be, and how it is read."""
        self._statement = statement
        self._read = read
        return self

    def result(self) -> Any:
        """What the call would have returned outside a pipeline. Raises psycopg's error where it failed."""
        if not self._is_there:
            raise errors.InterfaceError("a statement in a pipeline has no result before the block ends or is synced")
        return self._value

    def settle(self, conn: Any, result: Any) -> None:
        """Take the result. Raises psycopg's error where it failed."""
        if result.status == FAILED:
            self._statement.forget_if_outdated(result)
        self._value = self._read(checked(conn, result))
        self._is_there = True


class Collected:
    """What stands in for the worker's connection within the block, and collects its statements."""

    def __init__(self, owner: _Owner) -> None:
        self._owner = owner
        self._waiting: list[Later] = []
        self.actual: Any = None

    def enqueue(self, name: bytes, values: list[Any]) -> Later:
        """Have a prepared statement sent with the others."""
        later = Later(name, values)
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
        for _ in range(2 * len(waiting) + 1):  # of each statement its result and its end, then the Sync's
            came.append((yield from generators.fetch(pgconn)) if pgconn.is_busy() else pgconn.get_result())
        pgconn.exit_pipeline_mode()
    except BaseException as error:
        pgconn.finish()
        if not (isinstance(error, errors.OperationalError) and any(each.status == FAILED for each in came[::2])):
            raise  # else the server said why it hung up
    return came[::2]

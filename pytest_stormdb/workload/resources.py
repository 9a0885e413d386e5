"""Per-worker resources: what worker fixtures set up in each worker, torn down as it ends."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from ..errors import WorkloadError
from .contract import Worker, WorkerPlaceholder


@dataclass(frozen=True, eq=False, slots=True)
class WorkerFixture:
    """A generator function that every worker runs for itself, and its arguments; it yields the fixture's value."""

    function: Callable[..., Iterator[Any] | AsyncIterator[Any]]
    arguments: Mapping[str, object]


class Resources:
    """What one worker has set up: the values of its worker fixtures, torn down in reverse order."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._values: dict[int, object] = {}
        self._stack = AsyncExitStack()

    async def resolve(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """The arguments with the worker in the place of its placeholder, and values in the place of worker fixtures.

        Waits for nothing where the worker is not asynchronous. Raises what a fixture's set-up raises, and
        WorkloadError where a fixture does not yield exactly once.
        """
        return {name: await self._value(value) for name, value in arguments.items()}

    async def close(self) -> None:
        """Tear everything down, the last first, each even where another failed."""
        await self._stack.aclose()

    async def _value(self, value: object) -> object:
        if isinstance(value, WorkerPlaceholder):
            return self._worker
        if not isinstance(value, WorkerFixture):
            return value
        if id(value) not in self._values:
            self._values[id(value)] = await self._set_up(value)
        return self._values[id(value)]

    async def _set_up(self, fixture: WorkerFixture) -> object:
        generator = fixture.function(**await self.resolve(fixture.arguments))
        name = fixture.function.__name__
        if inspect.isasyncgen(generator):
            if not self._worker._is_async:
                raise WorkloadError(f"worker fixture {name!r} is async; only an async def workload can use it")
            value: object = await anext(generator, _NOTHING)
            self._stack.push_async_callback(_end_async, generator, name)
        elif inspect.isgenerator(generator):
            value = next(generator, _NOTHING)
            self._stack.callback(_end, generator, name)
        else:
            value = _NOTHING
        if value is _NOTHING:
            raise WorkloadError(f"worker fixture {name!r} must yield its value once")
        return value


_NOTHING = object()


def _end(generator: Iterator[Any], name: str) -> None:
    for _ in generator:
        raise WorkloadError(f"worker fixture {name!r} yields more than once")


async def _end_async(generator: AsyncIterator[Any], name: str) -> None:
    async for _ in generator:
        raise WorkloadError(f"worker fixture {name!r} yields more than once")

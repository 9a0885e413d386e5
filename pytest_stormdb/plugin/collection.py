"""Which tests are workloads, what is wrong with them, and how a marked class becomes one test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ReprFileLocation
from _pytest._io import TerminalWriter

from .scripts import is_scripts

if TYPE_CHECKING:
    from ..workload.contract import Operation

_CONNECTIONS = {"psycopg": {"Connection", "AsyncConnection"}, "psycopg2": {"connection"}, "asyncpg": {"Connection"}}


RUNNER = "stormdb"
"""The fixture with which a test runs loads itself."""


def has_runner(item: Any) -> bool:
    """Whether a test runs its load itself."""
    return RUNNER in getattr(item, "fixturenames", ())


def is_workload(item: Any) -> bool:
    """Whether a test is run under load by the plugin; one with the runner in its hand runs the load itself."""
    if has_runner(item):
        return False
    return isinstance(item, pytest.Function) and item.get_closest_marker("stormdb") is not None


class Mix:
    """The weighted operations of a marked class, in the order of their definition."""

    def __init__(self, owner: type) -> None:
        self.owner = owner
        self.marks = _operation_marks(owner)
        self.weights = {name: mark.kwargs.get("weight", 1) for name, mark in self.marks.items()}

    def operations(self) -> list[Operation]:
        """One operation for each marked method."""
        from ..workload.contract import Operation

        methods = [(name, getattr(self.owner, name), weight) for name, weight in self.weights.items()]
        return [Operation(name, method, arguments_of(method)[1:], weight) for name, method, weight in methods]

    def as_function(self) -> Callable[..., Any]:
        """A test function that pytest can collect: it asks for what any of the methods asks for."""

        def mix(**arguments: object) -> None:
            raise AssertionError("a mix is run by the plugin")

        names = {name: None for method in self.weights for name in arguments_of(getattr(self.owner, method))[1:]}
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        mix.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        mix.__name__ = mix.__qualname__ = self.owner.__name__
        mix.__doc__ = self.owner.__doc__
        mix.__test__ = True  # type: ignore[attr-defined]
        mix.__module__ = self.owner.__module__
        mix.__code__ = mix.__code__.replace(
            co_firstlineno=inspect.getsourcelines(self.owner)[1], co_filename=inspect.getfile(self.owner)
        )
        mix.pytestmark = list(getattr(self.owner, "pytestmark", []))  # type: ignore[attr-defined]
        mix.stormdb_mix = self  # type: ignore[attr-defined]
        return mix

    def thresholds(self) -> list[pytest.MarkDecorator]:
        """The methods' own thresholds, each for its operation."""
        return [
            pytest.mark.stormdb_slo(*mark.args, **{"operation": name, **mark.kwargs})
            for name in self.weights
            for mark in _marks(getattr(self.owner, name))
            if mark.name == "stormdb_slo"
        ]


def _operation_marks(owner: type) -> dict[str, pytest.Mark]:
    found: dict[str, pytest.Mark] = {}
    for base in reversed(owner.__mro__):
        for name, member in vars(base).items():
            found.update((name, mark) for mark in _marks(member) if mark.name == "stormdb_operation")
    return found


def has_operations(owner: type) -> bool:
    """Whether a class has methods marked as operations."""
    return bool(_operation_marks(owner))


def _marks(thing: object) -> list[pytest.Mark]:
    marks = getattr(thing, "pytestmark", [])
    return list(marks) if isinstance(marks, list) else [getattr(marks, "mark", marks)]


def health_mark(thing: object) -> pytest.Mark | None:
    """The stormdb_health mark of a function, where it has one."""
    if not inspect.isfunction(thing):
        return None
    return next((mark for mark in _marks(thing) if mark.name == "stormdb_health"), None)


def mix_of(thing: object) -> Mix | None:
    """The mix that a collected object is, or stands for; None where it is none."""
    if inspect.isclass(thing):
        if not any(mark.name == "stormdb" for mark in _marks(thing)):
            return None
        mix = Mix(thing)
        return mix if mix.weights else None
    return getattr(thing, "stormdb_mix", None)


def arguments_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters that have no default."""
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
    return tuple(name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty)


def complaint(item: pytest.Function) -> str | None:
    """What is wrong with a workload, in one sentence; None where nothing is."""
    if is_scripts(item.obj):
        return None
    mix = mix_of(item.obj)
    if mix is not None:
        return _complaint_of_mix(item.name, mix)
    function = item.obj
    if getattr(function, "is_hypothesis_test", False):
        return f"{item.name}: a workload cannot be a hypothesis test; draw from worker.rng instead"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return f"{item.name}: a workload must not yield; it is called once for each iteration"
    if "worker" not in arguments_of(function):
        return f"{item.name} is marked stormdb but has no 'worker' argument; write def {item.originalname}(worker, ...)"
    return None


def complaint_of_other(item: pytest.Item) -> str | None:
    """What is wrong with our marks on what is no workload; None where nothing is."""
    if has_runner(item):
        return None
    if item.get_closest_marker("stormdb") is not None:
        return f"{item.name} is marked stormdb but is no plain test function"
    if item.get_closest_marker("stormdb_slo") is not None:
        return f"{item.name} has thresholds but is no workload; mark it stormdb, or use the stormdb fixture"
    return None


class _Sentence:
    """A complaint as pytest shows a failure: alone, and in the line of the summary."""

    def __init__(self, item: pytest.Item, text: str) -> None:
        self.reprcrash = ReprFileLocation(str(item.path), (item.location[1] or 0) + 1, text)
        self.text = text

    def __str__(self) -> str:
        return self.text

    def toterminal(self, out: TerminalWriter) -> None:
        out.line(self.text, red=True)


def collection_error(item: pytest.Item, sentence: str) -> pytest.CollectReport:
    """The report that a test could not be collected, and why."""
    return pytest.CollectReport(item.nodeid, "failed", _Sentence(item, sentence), [])  # type: ignore[arg-type]


def _complaint_of_mix(name: str, mix: Mix) -> str | None:
    for method, weight in mix.weights.items():
        mark = mix.marks[method]
        unknown = [*map(repr, mark.args), *map(repr, mark.kwargs.keys() - {"weight"})]
        if unknown:
            return f"mark stormdb_operation of {name}.{method}: unknown option {unknown[0]}; there is weight"
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            return f"{name}.{method}: weight={weight!r} is not a number above zero"
        if "worker" not in arguments_of(getattr(mix.owner, method)):
            return (
                f"{name}.{method} is an operation but has no 'worker' argument; write def {method}(self, worker, ...)"
            )
    kinds = {inspect.iscoroutinefunction(getattr(mix.owner, method)) for method in mix.weights}
    if len(kinds) > 1:
        return f"{name} mixes 'def' and 'async def' operations; use one kind"
    return None


def shared_connection(arguments: Mapping[str, object]) -> str | None:
    """The complaint about a fixture that holds a connection, which all workers would share."""
    for name, value in arguments.items():
        for kind in type(value).__mro__:
            if kind.__name__ in _CONNECTIONS.get(kind.__module__.partition(".")[0], ()):
                return (
                    f"fixture {name!r} holds a connection, which the workers cannot share;"
                    " use worker.conn, or make it a pytest_stormdb.worker_fixture"
                )
    return None

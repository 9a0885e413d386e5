"""Which tests are workloads, what is wrong with them, and how a marked class becomes one test."""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ReprFileLocation
from _pytest._io import TerminalWriter

from .marks import has_runner, health_mark, is_fixture, is_mark_of_ours, is_scripts, marks_of
from .reporting import lost_in_workers
from .scripts import take_fixtures

if TYPE_CHECKING:
    from ..workload.contract import Operation

_PYTESTS_MARKS = ("skip", "skipif", "xfail", "parametrize", "usefixtures", "filterwarnings")
_XUNIT = ("setup_method", "teardown_method", "setup_class", "teardown_class", "setup", "teardown")


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
            for mark in marks_of(getattr(self.owner, name))
            if mark.name == "stormdb_slo"
        ]


def _operation_marks(owner: type) -> dict[str, pytest.Mark]:
    found: dict[str, pytest.Mark] = {}
    for base in reversed(owner.__mro__):
        for name, member in vars(base).items():
            found.update((name, mark) for mark in marks_of(member) if mark.name == "stormdb_operation")
    return found


def _complaint_of_class(owner: type, *, is_collected: bool) -> str | None:
    """What is wrong with a class that would be no mix, and whose marks would be ignored; None where nothing is.

    ``is_collected`` says whether pytest looks for tests in it.
    """
    is_marked = any(mark.name == "stormdb" for mark in marks_of(owner))
    if not is_marked and not issubclass(owner, unittest.TestCase):
        return None
    members = {name: member for base in reversed(owner.__mro__) for name, member in vars(base).items()}
    if issubclass(owner, unittest.TestCase):
        marked = [name for name, member in members.items() if any(map(is_mark_of_ours, marks_of(member)))]
        if is_marked or marked:
            what = owner.__name__ if is_marked else f"{owner.__name__}.{marked[0]}"
            return f"{what}: a unittest.TestCase cannot be a workload; write a function, or a plain class"
        return None
    static = [name for name, member in members.items() if _is_static_operation(member)]
    if static:
        return f"{owner.__name__}.{static[0]} is static; an operation is a plain method: def {static[0]}(self, worker)"
    has_tests = _has_operations(owner) or (is_collected and any(name.startswith("test") for name in members))
    if not has_tests and not owner.__subclasses__():
        return f"{owner.__name__} is marked stormdb but has no operations; mark its methods stormdb_operation"
    return None


def _is_static_operation(member: object) -> bool:
    if not isinstance(member, staticmethod | classmethod):
        return False
    return any(mark.name == "stormdb_operation" for mark in (*marks_of(member), *marks_of(member.__func__)))


def _has_operations(owner: type) -> bool:
    """Whether a class has methods marked as operations."""
    return bool(_operation_marks(owner))


def mix_of(thing: object) -> Mix | None:
    """The mix that a collected object is, or stands for; None where it is none."""
    if inspect.isclass(thing):
        if not any(mark.name == "stormdb" for mark in marks_of(thing)):
            return None
        mix = Mix(thing)
        return mix if mix.weights else None
    return getattr(thing, "stormdb_mix", None)


def items_of(collector: Any, name: str, thing: Any) -> Any:
    """The items that a module's or a class's member stands for; None where that is for pytest to say.

    Raises CollectError for what cannot be collected, and whose marks would be ignored.
    """
    if health_mark(thing) is not None:
        return []
    if is_scripts(thing):
        if isinstance(collector, pytest.Class):
            raise collector.CollectError(f"{name}: pgbench scripts are workloads of a module, not of a class")
        take_fixtures(collector, thing)
        return None
    is_collected = collector.istestclass(thing, name)
    wrong = _complaint_of_class(thing, is_collected=is_collected)
    if wrong is not None:
        raise collector.CollectError(wrong)
    mix = mix_of(thing)
    if mix is None and is_collected and _has_operations(thing):
        if collector.get_closest_marker("stormdb") is None:
            raise collector.CollectError(f"{name} has operations but is not marked stormdb")
        mix = Mix(thing)
    if mix is None:
        return None
    function = mix.as_function()
    items = collector.ihook.pytest_pycollect_makeitem(collector=collector, name=name, obj=function)
    for item in items:
        item.obj = function  # pytest looks it up by its name, and would find the class
        for mark in mix.thresholds():
            item.add_marker(mark)
    return items


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
        return _complaint_of_mix(item.name, mix) or lost_in_workers(item.name, arguments_of(item.obj))
    function = item.obj
    if getattr(function, "is_hypothesis_test", False):
        return f"{item.name}: a workload cannot be a hypothesis test; draw from worker.rng instead"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return f"{item.name}: a workload must not yield; it is called once for each iteration"
    lost = lost_in_workers(item.name, arguments_of(function))
    if lost is not None:
        return lost
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
    for base in mix.owner.__mro__[:-1]:
        for member, value in vars(base).items():
            if member in _XUNIT:
                return (
                    f"{name}.{member} is not called: each worker makes an object of its own of the class;"
                    " set up in __init__, in a fixture of the module, or in a pytest_stormdb.worker_fixture"
                )
            if is_fixture(value):
                return f"{name}.{member}: a marked class has no fixtures of its own; move it out of the class"
    for method, weight in mix.weights.items():
        mark = mix.marks[method]
        unknown = [*map(repr, mark.args), *map(repr, mark.kwargs.keys() - {"weight"})]
        if unknown:
            return f"mark stormdb_operation of {name}.{method}: unknown option {unknown[0]}; there is weight"
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            return f"{name}.{method}: weight={weight!r} is not a number above zero"
        function = getattr(mix.owner, method)
        if isinstance(inspect.getattr_static(mix.owner, method), staticmethod | classmethod):
            return f"{name}.{method} is static; an operation is a plain method: def {method}(self, worker, ...)"
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            return f"{name}.{method}: an operation must not yield; it is called once for each iteration"
        marks = [found.name for found in marks_of(function) if found.name in _PYTESTS_MARKS]
        if marks:
            return (
                f"{name}.{method}: mark {marks[0]!r} has no effect on an operation, which is no test of its own;"
                f" mark the class, or take {method} out of the mix"
            )
        if "worker" not in arguments_of(function):
            return (
                f"{name}.{method} is an operation but has no 'worker' argument; write def {method}(self, worker, ...)"
            )
    kinds = {inspect.iscoroutinefunction(getattr(mix.owner, method)) for method in mix.weights}
    if len(kinds) > 1:
        return f"{name} mixes 'def' and 'async def' operations; use one kind"
    return None

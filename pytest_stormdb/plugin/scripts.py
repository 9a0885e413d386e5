"""pgbench scripts as tests: how a description becomes an item with its fixtures, and a file a module with one test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import PlanError, WorkloadError
from .ini_file import packages_of
from .marks import SCRIPT_FILE, SCRIPTS
from .packages import Packages

if TYPE_CHECKING:
    from ..database.isolation import Home
    from ..workload.contract import Operation
    from ..workload.pgbench import Pgbench

_TABLES = pytest.StashKey[tuple[int, tuple[str, ...]]]()
_KIND = inspect.Parameter.KEYWORD_ONLY


def scripts_of(item: pytest.Function) -> Pgbench:
    """The scripts of an item whose fixtures are there."""
    description: Any = item.funcargs[SCRIPTS]
    return description  # type: ignore[no-any-return]


def put_scripts_first(item: Any) -> None:
    """Make the tables before the fixtures that look at them."""
    item.fixturenames.remove(SCRIPTS)
    item.fixturenames.insert(0, SCRIPTS)


def take_fixtures(collector: pytest.Collector, function: Any) -> None:
    """Let a description ask for what it needs: its scripts, and the parameters that marks give it."""
    marks = [*collector.iter_markers("parametrize"), *_marks(function)]
    names = [SCRIPTS, *(name for mark in marks for name in _parametrized(mark))]
    parameters = [inspect.Parameter(name, _KIND) for name in dict.fromkeys(names)]
    function.__signature__ = inspect.Signature(parameters)


def operations_of(description: Pgbench) -> tuple[Operation, ...]:
    """The scripts as operations: pgbench calls them, we never do."""
    from ..workload.contract import Operation

    def script() -> None:
        raise AssertionError("pgbench runs the scripts")

    return tuple(Operation(each.name, script, (), each.weight) for each in description.scripts)


def prepared(node: pytest.Item, function: object, home: Home, parameters: Mapping[str, Any]) -> Pgbench:
    """What a function describes, as it is run for a node: scripts found, variables given, tables made.

    Values of ``parametrize`` are stronger than the description's own, and parameters of the run stronger than those.
    Raises PlanError where tables are to be made and nothing may be, WorkloadError for a script that is not as sealed.
    """
    from ..engine.errands import make_tables
    from ..workload.pgbench import described

    description = described(function)
    assert description is not None
    chosen = node.callspec.params if hasattr(node, "callspec") else {}
    description = description.beside(node.path.parent, partial(_read, packages_of(node.config)))
    description = description.given(chosen, f"parametrize of {node.name}")
    description = description.given(parameters, "parameters")
    if description.initialize is not None:
        if home.isolation == "none":
            what = "pgbench --initialize drops and makes tables, and isolation='none' does neither"
            raise PlanError(f"{what}; give initialize=False")
        module = node.getparent(pytest.Module)
        wanted = description.scale, description.initialize
        if module is None or module.stash.get(_TABLES, None) != wanted:
            make_tables(description, home.dsn)
        if module is not None:
            module.stash[_TABLES] = wanted
    return description


def _read(packages: Packages, path: Path) -> bytes:
    """What a script holds; of a sealed workload, what was verified."""
    try:
        verified = packages.content(path)
    except pytest.Collector.CollectError as error:
        raise WorkloadError(str(error)) from None
    return path.read_bytes() if verified is None else verified


class ScriptFile(pytest.Module):
    """A file ``*.pgbench.sql``: a module that holds one workload, named like the file."""

    def _getobj(self) -> ModuleType:
        from ..workload.pgbench import of_file

        module = ModuleType(self.name)
        module.__file__ = str(self.path)
        setattr(module, _name(self.path), of_file(self.path))
        return module

    def funcnamefilter(self, name: str) -> bool:
        return name == _name(self.path)


def _name(path: Path) -> str:
    return path.name.removesuffix(SCRIPT_FILE)


def _marks(function: Callable[..., Any]) -> Iterator[pytest.Mark]:
    for mark in getattr(function, "pytestmark", []):
        if mark.name == "parametrize":
            yield mark


def _parametrized(mark: pytest.Mark) -> list[str]:
    names = mark.args[0] if mark.args else mark.kwargs.get("argnames", [])
    return [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else list(names)

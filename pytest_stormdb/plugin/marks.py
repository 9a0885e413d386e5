"""What marks and fixtures say of a test or a class: asked of all that is collected, in every suite."""

from __future__ import annotations

import inspect
import unittest
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.fixtures import FixtureFunctionDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable

RUNNER = "stormdb"
"""The fixture with which a test runs loads itself."""

SCRIPTS = "_stormdb_pgbench"
"""The fixture that finds a workload's scripts for pgbench and makes their tables."""

SCRIPT_FILE = ".pgbench.sql"
"""How the name of a file ends that is a workload of one script."""

_TARGET = "stormdb_dsn"
"""The fixture that all need which come to the server."""


def is_fixture(thing: object) -> bool:
    """Whether a member of a module is a fixture."""
    return isinstance(thing, FixtureFunctionDefinition)


def has_runner(item: Any) -> bool:
    """Whether a test runs its load itself."""
    return RUNNER in getattr(item, "fixturenames", ())


def has_scripts(item: pytest.Item) -> bool:
    """Whether an item is pgbench scripts."""
    return SCRIPTS in getattr(item, "fixturenames", ())


def is_scripts(thing: object) -> bool:
    """Whether a function was made by ``pgbench(...)``."""
    return inspect.isfunction(thing) and hasattr(thing, "stormdb_pgbench")


def is_workload(item: Any) -> bool:
    """Whether a test is run under load by the plugin; one with the runner in its hand runs the load itself."""
    if has_runner(item):
        return False
    return isinstance(item, pytest.Function) and item.get_closest_marker("stormdb") is not None


def are_any_ours(items: Iterable[pytest.Item]) -> bool:
    """Whether any test has a mark of ours, rightly or wrongly, or comes to the server by a fixture of ours."""
    nodes: dict[int, pytest.Collector | pytest.Item] = {}
    for item in items:
        names = getattr(item, "fixturenames", ())
        if _TARGET in names or RUNNER in names:
            return True
        node: Any = item
        while node is not None and id(node) not in nodes:
            nodes[id(node)] = node
            node = node.parent
    return any(is_mark_of_ours(mark) for node in nodes.values() for mark in node.own_markers)


def is_part_of_ours(collector: Any, name: str, thing: object) -> bool:
    """Whether what a module or class holds may be more than pytest takes it for: a mix, scripts, a health check."""
    if isinstance(thing, type):
        if any(map(is_mark_of_ours, marks_of(thing))):
            return True
        if not issubclass(thing, unittest.TestCase) and not collector.istestclass(thing, name):
            return False
        members = (member for base in thing.__mro__ for member in vars(base).values())
        return any(is_mark_of_ours(mark) for member in members for mark in marks_of(member))
    # a function first: other things may do anything when they are asked for an attribute
    return inspect.isfunction(thing) and bool(vars(thing)) and (is_scripts(thing) or health_mark(thing) is not None)


def marks_of(thing: object) -> list[pytest.Mark]:
    """The marks that a function or a class has itself."""
    marks = getattr(thing, "pytestmark", [])
    return list(marks) if isinstance(marks, list) else [getattr(marks, "mark", marks)]


def health_mark(thing: object) -> pytest.Mark | None:
    """The stormdb_health mark of a function, where it has one."""
    if not inspect.isfunction(thing):
        return None
    return next((mark for mark in marks_of(thing) if mark.name == "stormdb_health"), None)


def is_mark_of_ours(mark: pytest.Mark) -> bool:
    """Whether a mark is one of the plugin's."""
    return mark.name.startswith("stormdb")

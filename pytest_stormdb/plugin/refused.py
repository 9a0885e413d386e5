"""What stands in the collection for a workload that is refused, and what refuses a file that has changed by then.

Its hooks take part where a packaged workload may be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..units import printable
from .ini_file import packages_of
from .packages import Packages, announcement

_NAME = "stormdb refused"


def take_part(config: pytest.Config) -> Packages:
    """The session's packaged workloads. From when they are first asked for, the hooks of this module take part."""
    if not config.pluginmanager.has_plugin(_NAME):
        config.pluginmanager.register(sys.modules[__name__], _NAME)
    return packages_of(config)


class RefusedWorkload(pytest.Collector):
    """Stands in the place of a folder whose code must not run: one collection error, and no import."""

    reasons: tuple[str, ...] = ()

    def collect(self) -> Iterator[pytest.Item]:
        packages_of(self.config).errors += 1
        name = printable(self.path.name)
        raise self.CollectError("\n".join(f"workload {name}: {printable(reason)}" for reason in self.reasons))


def refusal(path: Path, parent: pytest.Collector) -> RefusedWorkload | None:
    """The stand-in for a folder that is refused; None for any other."""
    package = packages_of(parent.config).at(path)
    if package is None or not package.refusals:
        return None
    nodeid = f"{parent.nodeid.rstrip('.')}/{path.name}".lstrip("/")
    node: RefusedWorkload = RefusedWorkload.from_parent(parent, name=path.name, path=path, nodeid=nodeid)
    node.reasons = package.refusals
    return node


@pytest.hookimpl(tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> None:
    """A file that is no Python, such as a doctest's, is as much part of a sealed workload as a module."""
    if isinstance(collector, pytest.File) and collector.path.suffix != ".py":
        collector.collect = _verified_collect(collector)  # type: ignore[method-assign]


def _verified_collect(collector: pytest.Collector) -> Callable[[], Iterable[Any]]:
    """Collect a file after it was compared once more: what else reads it does not come by way of an import."""
    original = collector.collect

    def collect() -> Iterable[Any]:
        packages_of(collector.config).content(collector.path)
        return original()

    return collect


def pytest_report_header(config: pytest.Config) -> str | None:
    return announcement(packages_of(config))


def pytest_report_collectionfinish(config: pytest.Config) -> str | None:
    return announcement(packages_of(config))

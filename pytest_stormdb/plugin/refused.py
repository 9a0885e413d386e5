"""What stands in the collection for a workload that is refused, and what refuses a file that has changed by then."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..units import printable
from .packages import PACKAGES, Packages


class RefusedWorkload(pytest.Collector):
    """Stands in the place of a folder whose code must not run: one collection error, and no import."""

    reasons: tuple[str, ...] = ()

    def collect(self) -> Iterator[pytest.Item]:
        self.config.stash[PACKAGES].errors += 1
        name = printable(self.path.name)
        raise self.CollectError("\n".join(f"workload {name}: {printable(reason)}" for reason in self.reasons))


def refusal(packages: Packages, path: Path, parent: pytest.Collector) -> RefusedWorkload | None:
    """The stand-in for a folder that is refused; None for any other."""
    package = packages.at(path)
    if package is None or not package.refusals:
        return None
    nodeid = f"{parent.nodeid.rstrip('.')}/{path.name}".lstrip("/")
    node: RefusedWorkload = RefusedWorkload.from_parent(parent, name=path.name, path=path, nodeid=nodeid)
    node.reasons = package.refusals
    return node


def verified_collect(collector: pytest.Collector) -> Callable[[], Iterable[Any]]:
    """Collect a file after it was compared once more: what else reads it does not come by way of an import."""
    original = collector.collect

    def collect() -> Iterable[Any]:
        collector.config.stash[PACKAGES].content(collector.path)
        return original()

    return collect


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that is no Python, such as a doctest's, is as much part of a sealed workload as a module."""
    if isinstance(collector, pytest.File) and collector.path.suffix != ".py":
        collector.collect = verified_collect(collector)  # type: ignore[method-assign]
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    return refusal(parent.config.stash[PACKAGES], path, parent)

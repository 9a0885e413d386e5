"""What holds for one workload: its name, its plan, its thresholds and its health checks, from all their sources."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import PlanError
from .collection import is_workload
from .options import (
    marked_options,
    marked_thresholds,
    plan_of,
    thresholds_of,
)
from .packages import PACKAGES, Package
from .session import SESSION, is_same_name

if TYPE_CHECKING:
    from ..configuration.file import Configuration
    from ..database.health import HealthCheck
    from ..load.plan import LoadPlan
    from ..verdict.threshold import Threshold

_INTERVAL = "30s"
_TIMEOUT = "10s"


def package_of(node: Any) -> Package | None:
    """The packaged workload a node belongs to."""
    return node.config.stash[PACKAGES].around(node.path)  # type: ignore[no-any-return]


def workload_name(node: Any) -> str:
    """A package's name; else the module's, without what makes it a test module."""
    package = package_of(node)
    if package is not None:
        return package.workload.name
    stem: str = node.path.stem
    return stem.removeprefix("test_").removesuffix("_test") or stem


def plan_for(item: pytest.Item, *stronger: tuple[str, Mapping[str, Any]]) -> LoadPlan:
    """The plan of an item; ``stronger`` layers come right after the configuration file's."""
    return plan_of(item.config, [*_configured(item), *stronger, *marked_options(item)])


def thresholds_for(item: pytest.Item) -> list[Threshold]:
    """The thresholds of an item."""
    from ..verdict.threshold import Threshold

    found = configuration_for(item)
    configured = [Threshold.parse(text) for text in found.load.slo] if found is not None else []
    return thresholds_of(item.config, configured, marked_thresholds(item))


def _configured(item: pytest.Item) -> Sequence[tuple[str, Mapping[str, Any]]]:
    found = configuration_for(item)
    return [(str(found.path), found.load.mark_options())] if found is not None else []


def configuration_for(node: Any) -> Configuration | None:
    """The configuration file, where it is for the workload of a node. Raises PlanError if for another version."""
    found = node.config.stash[SESSION].configuration_of(workload_name(node))
    if found is not None and (found.plugin is not None or package_of(node) is not None):
        metadata = package.metadata if (package := package_of(node)) is not None else None
        name = found.plugin or workload_name(node)
        found.check_version(name, metadata.version if metadata is not None else None)
    return found  # type: ignore[no-any-return]


def check_plugin(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Raise PlanError where the configuration file is for a workload that is not there."""
    found = config.stash[SESSION].configuration
    if found is None or found.plugin is None:
        return
    names = {workload_name(item) for item in items if is_workload(item) or package_of(item) is not None}
    names |= {package.workload.name for package in config.stash[PACKAGES].known() if package.refusals}
    if not any(is_same_name(found.plugin, name) for name in names):
        there = f"there is {', '.join(sorted(names))}" if names else "there is none"
        place = found.places.get("plugin", str(found.path))
        raise PlanError(f"{place}: plugin: no workload called {found.plugin!r} was collected; {there}")


def check_server(node: Any, admin: Any) -> None:
    """Raise ServerError where the server takes no writes, or a package needs another version or an extension."""
    from ..database.server import available_extensions
    from ..errors import ServerError
    from ..packages.dependencies import unmet_server

    if admin.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
        raise ServerError("the server is in recovery and takes no writes; load its primary")
    package = package_of(node)
    if package is None or package.metadata is None:
        return
    unmet = unmet_server(package.metadata.dependencies, admin.info.server_version, available_extensions(admin))
    if unmet:
        raise ServerError("\n".join(f"workload {package.workload.name}: {sentence}" for sentence in unmet))


def health_checks_for(item: pytest.Item) -> list[HealthCheck]:
    """The built-in checks and those of the item's module."""
    from ..database.health import HealthCheck, built_in
    from ..units import parse_duration_ns

    found = configuration_for(item)
    section = found.health_checks if found is not None else None
    if section is not None and not section.enabled:
        return []

    def seconds(given: object, configured_ns: int | None, marked: object, default: str, what: str) -> float:
        if given is None and configured_ns is not None:
            return configured_ns / 1e9
        return parse_duration_ns(next(v for v in (given, marked, default) if v is not None), what) / 1e9

    given = item.config.getoption("stormdb_health_interval")
    ini = item.config.getini("stormdb_health_interval") or _INTERVAL
    interval_ns = section.interval_ns if section is not None else None
    timeout_ns = section.timeout_ns if section is not None else None
    checks = built_in(
        timeout_s=seconds(None, timeout_ns, None, _TIMEOUT, "timeout"),
        interval_s=seconds(given, interval_ns, None, ini, "interval"),
    )
    for name, function, options in _marked_checks(item):
        timeout_s = seconds(None, timeout_ns, options.get("timeout"), _TIMEOUT, f"{name}: timeout")
        interval_s = seconds(given, interval_ns, options.get("interval"), ini, f"{name}: interval")
        checks.append(HealthCheck(name, function, timeout_s, interval_s, abort=bool(options.get("abort"))))
    return checks


def _marked_checks(item: pytest.Item) -> list[tuple[str, Any, Mapping[str, Any]]]:
    from ..errors import WorkloadError
    from .collection import arguments_of, health_mark

    module = item.getparent(pytest.Module)
    found = []
    for name, member in vars(module.obj).items() if module is not None else ():
        mark = health_mark(member)
        if mark is None:
            continue
        if set(mark.kwargs) - {"interval", "timeout", "abort"}:
            unknown = min(set(mark.kwargs) - {"interval", "timeout", "abort"})
            raise WorkloadError(
                f"mark stormdb_health of {name}: unknown option {unknown!r}; there is interval, timeout, abort"
            )
        if inspect.iscoroutinefunction(member) or inspect.isgeneratorfunction(member):
            raise WorkloadError(f"health check {name} must be a plain function; write def {name}(conn)")
        if len(arguments_of(member)) != 1:
            raise WorkloadError(f"health check {name} takes one argument, the connection; write def {name}(conn)")
        found.append((name, member, mark.kwargs))
    return found

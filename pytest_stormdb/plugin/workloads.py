"""Which workload a node of the collection belongs to, and what its package and its configuration file ask for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import PlanError, ServerError
from .ini_file import packages_of
from .marks import is_workload
from .options import value_of
from .packages import Package
from .session import SESSION, is_same_name

if TYPE_CHECKING:
    from ..configuration.file import Configuration
    from ..configuration.parameters import Parameters
    from ..database.isolation import Home

_without_traceback = functools.partial(pytest.fail.Exception, pytrace=False)


def package_of(node: Any) -> Package | None:
    """The packaged workload a node belongs to."""
    return packages_of(node.config).around(node.path)


def workload_name(node: Any) -> str:
    """A package's name; else the module's, without what makes it a test module."""
    package = package_of(node)
    if package is not None:
        return package.workload.name
    stem: str = node.path.stem.removesuffix(".pgbench")
    return stem.removeprefix("test_").removesuffix("_test") or stem


def configuration_for(node: Any) -> Configuration | None:
    """The configuration file, where it is for the workload of a node. Raises PlanError if for another version."""
    found = node.config.stash[SESSION].configuration_of(workload_name(node))
    if found is not None and (found.plugin is not None or package_of(node) is not None):
        metadata = package.metadata if (package := package_of(node)) is not None else None
        name = found.plugin or workload_name(node)
        found.check_version(name, metadata.version if metadata is not None else None)
    return found  # type: ignore[no-any-return]


def parameters_for(node: Any) -> Parameters:
    """The parameters of a node's workload, of the command line over those of the file. Raises PlanError."""
    from ..configuration.parameters import Parameters, parse_parameters

    given = parse_parameters(value_of(node.config, "param"))
    configuration = configuration_for(node)
    if configuration is None:
        return Parameters(given, "--stormdb-param", {}, _without_traceback)
    places = {name.removeprefix("parameters."): place for name, place in configuration.places.items()}
    places |= dict.fromkeys(given, "--stormdb-param")
    written = {name.removeprefix("parameters."): text for name, text in configuration.written.items()}
    return Parameters(
        {**configuration.parameters, **given},
        str(configuration.path),
        places,
        _without_traceback,
        {name: text for name, text in written.items() if name in configuration.parameters and name not in given},
    )


def check_plugin(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Raise PlanError where the configuration file is for a workload that is not there."""
    found = config.stash[SESSION].configuration
    if found is None or found.plugin is None:
        return
    names = {workload_name(item) for item in items if is_workload(item) or package_of(item) is not None}
    names |= {package.workload.name for package in packages_of(config).known() if package.refusals}
    if not any(is_same_name(found.plugin, name) for name in names):
        there = f"there is {', '.join(sorted(names))}" if names else "there is none"
        place = found.places.get("plugin", str(found.path))
        raise PlanError(f"{place}: plugin: no workload called {found.plugin!r} was collected; {there}")


def check_server(node: Any, home: Home) -> None:
    """Raise ServerError where the server is not what a package needs: another version, or without an extension."""
    from ..database.server import admin_connection, available_extensions
    from ..packages.dependencies import unmet_server

    package = package_of(node)
    if package is None or package.metadata is None or not package.metadata.dependencies:
        return
    with admin_connection(home.admin_dsn) as admin:
        unmet = unmet_server(package.metadata.dependencies, admin.info.server_version, available_extensions(admin))
    if unmet:
        raise ServerError("\n".join(f"workload {package.workload.name}: {sentence}" for sentence in unmet))

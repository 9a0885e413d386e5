"""pytest's hooks, each a few lines that delegate. What only load tests need is imported when there is one.

A suite without load tests loads this module and the few that it imports at its top. The hooks around the running of
tests are in `running`, and take part where there is a load test.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import secrecy
from .fixtures import (  # noqa: F401 - pytest finds the fixtures here
    _stormdb_home,
    _stormdb_pgbench,
    batch_size,
    stormdb,
    stormdb_connection,
    stormdb_dsn,
    stormdb_parameters,
    stormdb_progress,
    stormdb_url,
    worker,
)
from .lookout import lookout_of
from .marks import SCRIPT_FILE, are_any_ours, has_runner, has_scripts, is_fixture, is_part_of_ours
from .options import MARKED, add_options, is_given
from .secrecy import causes, hide_in_error, learn_given

if TYPE_CHECKING:
    from .packages import Packages

MARKS = (
    f"{MARKED}: run this function, or this class of operations, as a load test",
    "stormdb_slo(*expressions, operation=None, abort=False): thresholds such as 'p99 < 20ms' that fail the test",
    "stormdb_health(interval=None, timeout=None, abort=False): a function (conn) that checks the server's health",
    "stormdb_operation(weight=1): one operation of a class marked stormdb",
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    add_options(parser)
    pluginmanager.register(secrecy, secrecy.NAME)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    learn_given(early_config)
    _look_out(early_config)
    try:
        return (yield)
    except Exception as error:  # pytest prints it without asking anybody
        for cause in causes(error):
            if isinstance(cause, pytest.Collector.CollectError):
                raise pytest.UsageError(str(cause)) from None
        hide_in_error(error)
        raise


def _look_out(config: pytest.Config) -> None:
    """Have packaged workloads verified from the first sign of one on, and refuse what was loaded of one before us."""
    lookout = lookout_of(config)
    wanted = config.known_args_namespace.file_or_dir or config.getini("testpaths") or ["."]
    files = [getattr(plugin, "__file__", None) for plugin in config.pluginmanager.get_plugins()]
    loaded = {os.path.dirname(file) for file in files if file is not None}  # noqa: PTH120 - most are pytest's own
    if not is_given(config) and _are_clear(config, wanted) and all(map(lookout.is_clear, loaded)):
        lookout.open(partial(_packages, config))
        return
    packages = _packages(config)
    packages.refuse_loaded()
    packages.look_around(wanted)


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    if is_given(config) or config.getoption("dist", "no") != "no":  # under xdist, tests run in other processes
        from .running import prepare

        prepare(config)
    if _are_clear(config, config.args):
        lookout_of(config).open(partial(_packages, config))
        return
    from .packages import keep_clean

    packages = _packages(config)
    config.args[:] = packages.start(config.args)
    keep_clean(config, packages)


def _are_clear(config: pytest.Config, arguments: list[str]) -> bool:
    """Whether no packaged workload is near what is to be collected; a name of a module is not looked up for that."""
    base = str(config.invocation_params.dir)
    return not config.known_args_namespace.pyargs and lookout_of(config).is_clear_around(base, arguments)


def _packages(config: pytest.Config) -> Packages:
    """Verify packaged workloads from now on, in the middle of the collection, too."""
    from .refused import take_part

    return take_part(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if lookout_of(parent.config).is_clear(str(path)):
        return None
    from .refused import refusal

    _packages(parent.config)
    return refusal(path, parent)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if not lookout_of(parent.config).is_clear_file(str(file_path)):
        _packages(parent.config)
    if not file_path.name.endswith(SCRIPT_FILE):
        return None
    from .scripts import ScriptFile

    return ScriptFile.from_parent(parent, path=file_path)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Any:
    if not is_part_of_ours(collector, name, obj):
        return None
    from .collection import items_of

    return items_of(collector, name, obj)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let ``-m stormdb`` find every load test, also those that run their load with the fixture."""
    for item in items:
        if not has_runner(item) and not has_scripts(item):
            continue
        if has_scripts(item):
            from .scripts import put_scripts_first

            put_scripts_first(item)
        if item.get_closest_marker("stormdb") is None:
            item.add_marker("stormdb")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """What is wrong with a workload fails the session, and keeps nobody else from running."""
    config = session.config
    refused = _packages(config).errors if lookout_of(config).is_over else 0
    if are_any_ours(session.items):
        from .running import settle

        refused += settle(session)
    if refused and session.testsfailed <= refused:
        config.option.continue_on_collection_errors = True


def __dir__() -> list[str]:
    """What there is here for pytest, which looks at each of a plugin's names three times."""
    return [name for name, value in globals().items() if name.startswith("pytest_") or is_fixture(value)]

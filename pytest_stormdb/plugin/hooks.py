"""pytest's hooks, each a few lines that delegate. What needs psycopg or the engine is imported when a workload runs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from ..errors import PlanError
from . import secrecy
from .collection import (
    Mix,
    collection_error,
    complaint,
    complaint_of_class,
    complaint_of_other,
    has_operations,
    has_runner,
    health_mark,
    is_workload,
    mix_of,
)
from .ending import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401 - pytest finds the hooks here
from .files import check_places
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
from .ini_file import packages_of
from .options import MARKED, add_options, check_early, is_given, value_of
from .packages import PACKAGES, announcement, keep_clean
from .refused import (  # noqa: F401 - pytest finds the hooks here
    pytest_collect_directory,
    pytest_make_collect_report,
)
from .scripts import ENDING, ScriptFile, has_scripts, is_scripts, put_scripts_first, take_fixtures
from .secrecy import causes, hide_in_error, learn_given
from .session import FOLLOWING, SESSION, Session

MARKS = (
    f"{MARKED}: run this function, or this class of operations, as a load test",
    "stormdb_slo(*expressions, operation=None, abort=False): thresholds such as 'p99 < 20ms' that fail the test",
    "stormdb_health(interval=None, timeout=None, abort=False): a function (conn) that checks the server's health",
    "stormdb_operation(weight=1): one operation of a class marked stormdb",
)
_HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    add_options(parser)
    pluginmanager.register(secrecy, secrecy.NAME)


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    if is_given(config):
        check_early(config)
    config.stash[SESSION] = Session(config)
    packages = packages_of(config)
    config.args[:] = packages.start(config.args)
    keep_clean(config, packages)
    check_places(config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> Generator[None, None, None]:
    learn_given(early_config)
    packages = packages_of(early_config)
    packages.refuse_loaded()
    packages.look_around(early_config.known_args_namespace.file_or_dir or early_config.getini("testpaths") or ["."])
    try:
        return (yield)
    except Exception as error:  # pytest prints it without asking anybody
        for cause in causes(error):
            if isinstance(cause, pytest.Collector.CollectError):
                raise pytest.UsageError(str(cause)) from None
        hide_in_error(error)
        raise


def pytest_sessionstart(session: pytest.Session) -> None:
    if value_of(session.config, "benchmark") is True:
        from .benchmark import check_benchmark

        check_benchmark(session.config)


def pytest_report_header(config: pytest.Config) -> str | None:
    return announcement(config.stash[PACKAGES])


def pytest_report_collectionfinish(config: pytest.Config) -> str | None:
    return announcement(config.stash[PACKAGES])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.stash[SESSION].configuration is not None and not hasattr(config, "workerinput"):
        from .workloads import check_plugin

        try:
            check_plugin(config, items)
        except PlanError as error:
            raise pytest.UsageError(f"--stormdb-config: {error}") from None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """What is wrong with a workload fails the session, and keeps nobody else from running."""
    refused = session.config.stash[PACKAGES].errors + _refuse_unsettled(session)
    if refused and session.testsfailed <= refused:
        session.config.option.continue_on_collection_errors = True


def _refuse_unsettled(session: pytest.Session) -> int:
    """Turn load tests whose marks and other sources make no sense into collection errors; how many there were."""
    if not any(is_workload(item) or has_runner(item) for item in session.items):
        return 0
    from .settings import most_workers, problem_of

    problems = {item: problem for item in session.items if (problem := problem_of(item)) is not None}
    session.items[:] = [item for item in session.items if item not in problems]
    for item, problem in problems.items():
        item.ihook.pytest_collectreport(report=collection_error(item, problem))
    state = session.config.stash[SESSION]
    state.most_workers = most_workers(session.items)
    compared = is_workload if state.is_against else has_runner
    state.comparing_tests = sum(map(compared, session.items))
    return len(problems)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SESSION in config.stash:
        config.stash[SESSION].close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    return ScriptFile.from_parent(parent, path=file_path) if file_path.name.endswith(ENDING) else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Any:
    if health_mark(obj) is not None:
        return []
    if is_scripts(obj):
        if isinstance(collector, pytest.Class):
            raise collector.CollectError(f"{name}: pgbench scripts are workloads of a module, not of a class")
        take_fixtures(collector, obj)
        return None
    if isinstance(obj, type):
        wrong = complaint_of_class(obj, is_collected=collector.istestclass(obj, name))
        if wrong is not None:
            raise collector.CollectError(wrong)
    mix = mix_of(obj) if isinstance(obj, type) else None
    if mix is None and isinstance(obj, type) and collector.istestclass(obj, name) and has_operations(obj):
        if collector.get_closest_marker("stormdb") is None:
            raise collector.CollectError(f"{name} has operations but is not marked stormdb")
        mix = Mix(obj)
    if mix is None:
        return None
    function = mix.as_function()
    items = collector.ihook.pytest_pycollect_makeitem(collector=collector, name=name, obj=function)
    for item in items:
        item.obj = function  # pytest looks it up by its name, and would find the class
        for mark in mix.thresholds():
            item.add_marker(mark)
    return items


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let ``-m stormdb`` find every load test, also those that run their load with the fixture."""
    if has_scripts(item):
        put_scripts_first(item)
    if (has_runner(item) or has_scripts(item)) and item.get_closest_marker("stormdb") is None:
        item.add_marker("stormdb")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    arm = session.config.stash[SESSION].other_arm
    if arm is None:
        return None
    arm.run(session)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    item.stash[FOLLOWING] = nextitem.nodeid if nextitem is not None else None
    with item.config.stash[SESSION].environment_for(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    if not isinstance(item, pytest.Function) or not is_workload(item):
        wrong = complaint_of_other(item)
        if wrong is not None:
            pytest.fail(wrong, pytrace=False)
        return (yield)
    wrong = complaint(item)
    if wrong is not None:
        pytest.fail(wrong, pytrace=False)
    yield
    if not item.config.getoption("setuponly") and not item.config.getoption("setupplan"):
        from .execution import FUNCTION, check_ready

        item.stash[FUNCTION] = item.obj
        check_ready(item)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not is_workload(pyfuncitem):
        return None
    session = pyfuncitem.config.stash[SESSION]
    if session.is_against and session.why_unmeasured is None:
        from .against import compare_item

        compare_item(pyfuncitem)
    else:
        from .execution import run_item

        run_item(pyfuncitem)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if has_runner(item):
        from .execution import check_results_in_hand

        check_results_in_hand(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (arm := item.config.stash[SESSION].other_arm) is not None:
        arm.note(report)
    if report.skipped and isinstance(report.longrepr, tuple) and Path(report.longrepr[0]).parent == _HERE:
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, report.longrepr[2])
    home = item.config.stash[SESSION].home
    hint = home.hint(report.longreprtext) if report.failed and home is not None else None
    if hint is not None:
        report.sections.append(("stormdb", hint))
    return report

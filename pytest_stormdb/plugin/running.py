"""The hooks of a session that has load tests, or was asked for anything: tests are run, and reports are made.

Registered by `session_of`, so that a suite without load tests has none of them around its tests. That is late, and
who is registered late is outermost: ``trylast`` leaves what pytest's own plugins do for a phase around ours.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from ..errors import PlanError
from ..load.option import NOT_GIVEN
from .collection import collection_error, complaint, complaint_of_other
from .doubts import count_doubts
from .files import can_write, check_places, wanted_reports
from .marks import has_runner, is_workload
from .options import check_early, value_of
from .session import FOLLOWING, SESSION, Session

_NAME = "stormdb running"
_HERE = Path(__file__).parent
_XDIST_NOTE = "disturb each other under pytest-xdist; run them apart: pytest -n0 -m stormdb"


def session_of(config: pytest.Config) -> Session:
    """What the plugin keeps for the session. From when it is first asked for, the hooks of this module take part."""
    if SESSION not in config.stash:
        config.stash[SESSION] = Session(config)
        config.pluginmanager.register(sys.modules[__name__], _NAME)
    return config.stash[SESSION]


def prepare(config: pytest.Config) -> None:
    """Refuse what is wrong with what the session was asked for, before anything is collected."""
    check_early(config)
    session_of(config)
    check_places(config)


def settle(session: pytest.Session) -> int:
    """Turn load tests whose marks and other sources make no sense into collection errors; how many there were."""
    from .settings import most_workers, problem_of

    state = session_of(session.config)
    problems = {item: problem for item in session.items if (problem := problem_of(item)) is not None}
    session.items[:] = [item for item in session.items if item not in problems]
    for item, problem in problems.items():
        item.ihook.pytest_collectreport(report=collection_error(item, problem))
    state.most_workers = most_workers(session.items)
    compared = is_workload if state.is_against else has_runner
    state.comparing_tests = sum(map(compared, session.items))
    return len(problems)


def pytest_sessionstart(session: pytest.Session) -> None:
    if value_of(session.config, "benchmark") is True:
        from .benchmark import check_benchmark

        check_benchmark(session.config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.stash[SESSION].configuration is not None and not hasattr(config, "workerinput"):
        from .workloads import check_plugin

        try:
            check_plugin(config, items)
        except PlanError as error:
            raise pytest.UsageError(f"--stormdb-config: {error}") from None


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


@pytest.hookimpl(wrapper=True, trylast=True)
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


@pytest.hookimpl(wrapper=True, trylast=True)
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


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A report that cannot be written costs itself, and the exit status, and nothing else."""
    state = session.config.stash[SESSION]
    state.restore_failures()
    state.unwritten += state.exporters_problems
    _look_back(session.config, state)
    wanted = wanted_reports(session.config, has_runs=bool(state.records or state.comparisons))
    if wanted and not hasattr(session.config, "workerinput"):
        from .outputs import write_reports

        state.unwritten += write_reports(state.record, wanted)
    if state.unwritten and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _look_back(config: pytest.Config, state: Session) -> None:
    """Lay the session beside earlier ones, and keep it, where that is wanted."""
    if hasattr(config, "workerinput") or {value_of(config, name) for name in ("save", "compare")} == {NOT_GIVEN}:
        return
    from .trends import beside_earlier

    try:
        state.notes += beside_earlier(config, state.record)
    except (OSError, PlanError) as error:
        state.unwritten.append(f"--stormdb-save: {error}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    state = config.stash[SESSION]
    unmeasured = _unmeasured(terminalreporter)
    count_doubts(terminalreporter)
    for problem in state.unwritten:
        terminalreporter.write_line(f"ERROR: {problem}", red=True)
    measured = bool(state.records or state.comparisons)
    if config.getoption("no_summary", False) or not (measured or unmeasured or state.notes):
        return
    terminalreporter.ensure_newline()
    terminalreporter.section("stormdb")
    if measured:
        from ..reports import lines, terminal

        style = lines.Style(config.get_terminal_writer().fullwidth, ascii_only=not can_write(lines.UNICODE))
        terminal.write(state.record, terminalreporter, style)
    for note in dict.fromkeys(state.notes):
        terminalreporter.write_line(note)
    if unmeasured:
        why = state.why_unmeasured
        note = f"ran once, not measured ({why})" if why else f"ran once, not measured: load tests {_XDIST_NOTE}"
        terminalreporter.write_line(f"{unmeasured} workload{'s' * (unmeasured > 1)} {note}", yellow=True)


def _unmeasured(terminalreporter: Any) -> int:
    """How many workloads ran unmeasured, by their reports: under xdist, other processes ran them."""
    kinds = ("passed", "failed", "skipped", "xfailed", "xpassed")
    reports = [report for kind in kinds for report in terminalreporter.stats.get(kind, ())]
    properties = [dict(report.user_properties) for report in reports if getattr(report, "when", "") == "call"]
    return sum(found.get("stormdb.verdict") == "not measured" for found in properties)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[SESSION].close()

"""The end of a session: its reports are written, and its summary is shown."""

from __future__ import annotations

from typing import Any

import pytest

from ..errors import PlanError
from ..load.option import NOT_GIVEN
from .doubts import count_doubts
from .files import can_write, wanted_reports
from .options import value_of
from .session import SESSION, Session

_XDIST_NOTE = "disturb each other under pytest-xdist; run them apart: pytest -n0 -m stormdb"


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

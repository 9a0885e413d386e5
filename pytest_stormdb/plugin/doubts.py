"""What nobody could tell: an inconclusive or invalid verdict is a warning, and is counted in pytest's last line."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from .options import value_of

_COUNTED = "inconclusive"


class InconclusiveWarning(UserWarning):
    """A threshold or a comparison was not decided; the test passes all the same."""


def doubt(item: pytest.Item, text: str) -> None:
    """Warn of it, or fail the test where the user wants that.

    Not by the filters of Python's warnings: a project that turns warnings into errors does not ask for tests that fail
    when a neighbour is busy; ``--stormdb-inconclusive=fail`` does.
    """
    if value_of(item.config, "inconclusive") == "fail":
        pytest.fail(text, pytrace=False)
    line = (item.location[1] or 0) + 1
    message = warnings.WarningMessage(InconclusiveWarning(text), InconclusiveWarning, str(item.path), line)
    item.ihook.pytest_warning_recorded.call_historic(
        kwargs={"warning_message": message, "nodeid": item.nodeid, "when": "runtest", "location": None}
    )


def count_doubts(terminalreporter: Any) -> None:
    """Let the last line say how many of the passed tests were not decided."""
    found = [
        report
        for report in terminalreporter.stats.get("passed", ())
        if getattr(report, "when", "") == "call"
        and {"inconclusive", "invalid"} & {value for name, value in report.user_properties if name == "stormdb.verdict"}
    ]
    if found:
        terminalreporter.stats[_COUNTED] = found

"""What pytest and its plugins keep for a test in its own process, where a worker's copy of it is lost.

Each is honoured from a worker, or refused in a sentence before the load.
"""

from __future__ import annotations

import contextlib
import sys
import unittest
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.skipping import evaluate_xfail_marks

if TYPE_CHECKING:
    from ..record import ComparisonRecord, RunRecord
    from ..workload.contract import Stop

_KEPT_HERE = {
    "record_property": "count with worker.metrics, which is in every report",
    "record_xml_attribute": "count with worker.metrics, which is in every report",
    "record_testsuite_property": "record it in a fixture of its own",
    "caplog": "what workers log is shown with their test; assert in the workload what it depends on",
    "capsys": "what workers print is shown with their test; assert in the workload what it depends on",
    "recwarn": "what workers warn of is in the warnings summary; use pytest.warns within the workload",
    "benchmark": "the plugin measures each iteration itself",
}
_KEPT_HERE |= dict.fromkeys(("capfd", "capsysbinary", "capfdbinary"), _KEPT_HERE["capsys"])


def lost_in_workers(name: str, arguments: Iterable[str]) -> str | None:
    """The complaint about a fixture that a workload asks for and that only works in pytest's own process."""
    for argument in arguments:
        if argument in _KEPT_HERE:
            return f"{name}: fixture {argument!r} sees nothing of what workers do; {_KEPT_HERE[argument]}"
    return None


def stops(error: BaseException) -> Stop | None:
    """Which exceptions of a workload end its run, as what, and why."""
    if isinstance(error, pytest.xfail.Exception):
        return "xfail", str(error.msg)
    if isinstance(error, pytest.skip.Exception):
        return "skip", str(error.msg)
    if isinstance(error, unittest.SkipTest):
        return "skip", str(error)
    if isinstance(error, pytest.exit.Exception):
        return "exit", str(error.msg)
    return None


def stops_of(item: pytest.Item) -> Callable[[BaseException], Stop | None]:
    """The same for a marked workload, whose mark ``xfail(raises=...)`` is about what its iterations raise."""
    expected = None if item.config.getoption("runxfail") else evaluate_xfail_marks(item)
    if expected is None or expected.raises is None:
        return stops
    kinds, reason = expected.raises, expected.reason

    def stops_or_is_expected(error: BaseException) -> Stop | None:
        is_expected = kinds.matches(error) if hasattr(kinds, "matches") else isinstance(error, kinds)
        return stops(error) or (("xfail", reason) if is_expected else None)

    return stops_or_is_expected


def raise_interruption(item: pytest.Item, record: RunRecord | ComparisonRecord) -> None:
    """End the test, or the session, as a signal or the workload wanted."""
    if record.stopped_by is not None:
        item.session.shouldstop = f"stormdb: stopped by {record.stopped_by}; the results so far are reported"
    if record.exit_reason is not None:
        pytest.exit(record.exit_reason)
    if record.skipped is not None:
        pytest.skip(record.skipped)
    if record.xfailed is not None and not _failed_otherwise(item, record):
        pytest.xfail(record.xfailed)


def _failed_otherwise(item: pytest.Item, record: RunRecord | ComparisonRecord) -> bool:
    """Whether iterations raised what the mark ``xfail(raises=...)`` does not expect, before one raised what it does."""
    from ..record import RunRecord

    is_marked = any("raises" in mark.kwargs for mark in item.iter_markers("xfail"))
    return is_marked and isinstance(record, RunRecord) and bool(record.statistics.total.failures)


def hardened(item: pytest.Item) -> Callable[[], None]:
    """To be called in a process of workers: what would be a soft failure of the test, noted in a process whose notes
    nobody reads, is a failure of the iteration there.
    """

    def harden() -> None:
        subtests = getattr(item, "funcargs", {}).get("subtests")
        if subtests is not None:
            type(subtests).test = _plain_block
        checks = sys.modules.get("pytest_check")
        if checks is not None:
            with contextlib.suppress(AttributeError):
                checks.check.call_on_fail(_fail_check)

    return harden


def _plain_block(subtests: Any, msg: str | None = None, **named: object) -> contextlib.nullcontext[None]:
    """A subtest whose failure is raised."""
    return contextlib.nullcontext()


def _fail_check(message: str) -> None:
    checks: Any = sys.modules["pytest_check.check_log"]
    checks.clear_failures()
    raise AssertionError(message.removeprefix("FAILURE: "))

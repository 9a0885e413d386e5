"""Thresholds on what the server did."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_stormdb.database.activity import WITH_SET_UP, ServerActivity
from pytest_stormdb.errors import PlanError
from pytest_stormdb.measurement.counters import Counters
from pytest_stormdb.measurement.shares import Profile
from pytest_stormdb.verdict.judgement import Evidence, judge
from pytest_stormdb.verdict.threshold import Threshold, Verdict

from ..records import server_activity, snapshot, statistics


def verdict(expression: str, activity: ServerActivity | None) -> Verdict:
    evidence = Evidence(statistics(snapshot(read=200)), activity=activity)
    return judge([Threshold.parse(expression)], evidence)[0]


@pytest.mark.parametrize(
    ("expression", "ruling", "estimate"),
    [
        ("server.hit_ratio > 0.99", "pass", 870 / 875),
        ("server.hit_ratio > 99.9%", "fail", 870 / 875),
        ("server.deadlocks == 0", "fail", 1),
        ("server.temp_bytes_per_op == 0", "pass", 0),
        ("server.blocks_per_op <= 3.5", "pass", 3.5),
        ("server.rows_per_op < 2", "fail", 2.2),
        ("server.wal_bytes_per_op < 21", "pass", 20),
        ("server.checkpoints <= 1", "pass", 1),
        ("server.wait.Lock < 5%", "fail", 0.75),
        ("server.wait.Lock.tuple > 50%", "pass", 0.75),
        ("server.wait.CPU < 30%", "pass", 0.25),
        ("server.wait.IO < 5%", "pass", 0),
    ],
)
def test_figures_are_judged(expression: str, ruling: str, estimate: float) -> None:
    """Counters at once, shares with their interval."""
    found = verdict(expression, server_activity())
    assert found.ruling == ruling
    assert found.estimate == pytest.approx(estimate)


def test_a_share_that_is_not_sure_is_inconclusive() -> None:
    """75 % of 40 looks may be 70 %: a limit within the interval decides nothing when it is missed."""
    found = verdict("server.wait.Lock < 70%", server_activity())
    assert found.ruling == "inconclusive"
    assert found.line.startswith("server.wait.Lock < 70%: measured 75.0% (surely only between 59.6% and 85.9%;")


@pytest.mark.parametrize(
    ("expression", "changes", "reason"),
    [
        ("server.deadlocks == 0", {"growth": Counters({}), "notes": ("database: denied",)}, "database: denied"),
        ("server.blocks_per_op < 5", {"operations": 0}, "no operation succeeded"),
        (
            "server.wal_bytes_per_op < 5",
            {"growth": Counters({"wal": {"bytes": 9}, "others": {"rows_written": 3}})},
            "other databases of the server were written to, and its log is for all",
        ),
    ],
)
def test_what_is_not_known_is_inconclusive(expression: str, changes: dict[str, object], reason: str) -> None:
    """With the reason; nothing passes or fails for want of a figure."""
    found = verdict(expression, dataclasses.replace(server_activity(), **changes))  # type: ignore[arg-type]
    assert (found.ruling, found.estimate, found.reason) == ("inconclusive", None, reason)


def test_costs_that_set_up_is_among_fail_nothing() -> None:
    """They are at most what was counted: that passes, and misses no limit for sure."""
    activity = dataclasses.replace(server_activity(), notes=(WITH_SET_UP,))
    assert verdict("server.blocks_per_op < 4", activity).ruling == "pass"
    assert verdict("server.blocks_per_op < 3", activity).ruling == "inconclusive"


def test_few_looks_decide_nothing() -> None:
    """A run of some tenths of a second has been looked at a few times."""
    activity = server_activity()
    short = dataclasses.replace(activity, waits=dataclasses.replace(activity.waits, everything=Profile(12, 14)))
    assert verdict("server.wait.Lock < 5%", short).reason == "12 iterations were looked at, 30 are needed: a longer run"
    assert verdict("server.wait.Lock < 5%", None).reason == "the server was not observed"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("server.wait.Lok < 5%", "did you mean 'server.wait.Lock'?"),
        ("server.block_per_op < 5", "did you mean 'server.blocks_per_op'?"),
        ("server.nonsense < 5", "unknown metric 'server.nonsense'; known are min "),
        ("server.deadlocks == none", "server.deadlocks: 'none' is not a number"),
        ("server.hit_ratio > much", "server.hit_ratio: 'much' is not a ratio"),
    ],
)
def test_mistakes_are_named(expression: str, said: str) -> None:
    """An unknown metric brings the nearest known one, a wrong value its form."""
    with pytest.raises(PlanError) as caught:
        Threshold.parse(expression)
    assert said in str(caught.value)


def test_the_servers_figures_are_of_the_whole_run() -> None:
    """They cannot be asked for one operation, nor end a run early."""
    for wrong in ({"operation": "read"}, {"abort": True}):
        with pytest.raises(PlanError, match="of the whole run, known at its end"):
            Threshold.parse("server.deadlocks == 0", **wrong)

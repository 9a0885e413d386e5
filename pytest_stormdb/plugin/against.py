"""``--stormdb-against``: a workload compared with itself elsewhere, instead of being judged by numbers alone."""

from __future__ import annotations

import secrets

import pytest

from ..run.alternating import Arm, shortest_ns_of
from ..run.comparing import compare
from ..run.rivalry import leading, leading_alone
from ..verdict.comparison import SESSION_ALPHA, Claim
from .comparison import keep
from .doubts import doubt
from .execution import home_of, longest_ns, workload_of
from .options import value_of
from .session import FOLLOWING, SESSION, as_test_failures
from .settings import settings_of

_BUDGET_NS = 60_000_000_000
_METRIC = "p95"


def compare_item(item: pytest.Function) -> None:
    """Compare a workload with the one of the same name in the other arm; fails the test where it is slower here.

    A revision of the code goes to the server that our own arm goes to. A test that is not there is skipped.
    """
    session = item.config.stash[SESSION]
    home, plan = home_of(item), settings_of(item).plan
    arm = Arm("here", workload_of(item), home)
    with as_test_failures():
        session.start_outputs()
        session.count_set_up()
        rival = session.rival(home.target)
        there = rival.set_up(item.nodeid, item.stash[FOLLOWING])
        if there is None:
            pytest.skip(f"not compared: {rival.name} has no such test")
        claim = Claim(_METRIC, value_of(item.config, "margin"), alpha=SESSION_ALPHA / session.comparing_tests)
        record = compare(
            item.nodeid,
            (rival.name, arm.name),
            leading(rival.line, arm, there, plan),
            leading_alone(rival.line, arm, plan),
            plan,
            claim,
            budget_s=max(_BUDGET_NS, longest_ns(item.config)) / 1e9,
            seed=secrets.randbits(32),
            shortest_ns=shortest_ns_of([arm], plan),
        )
        rival.finish()
    keep(item, record, "--stormdb-against")
    if record.comparison.verdict == "slower":
        pytest.fail(record.sentence, pytrace=False)
    if record.comparison.verdict == "inconclusive":
        doubt(item, record.sentence)

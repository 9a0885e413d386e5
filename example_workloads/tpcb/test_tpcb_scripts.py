"""tpcb by pgbench itself: the same transactions on the same tables, so that both engines stand side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb import pgbench

SUMS = """
    SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
           (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
"""


@pytest.fixture
def all_agree(stormdb_connection: psycopg.Connection[Any]) -> Iterator[None]:
    """The invariant of TPC-B, as in the other module: all four sums move by the same amount."""
    before = stormdb_connection.execute(SUMS).fetchone()
    yield
    after = stormdb_connection.execute(SUMS).fetchone()
    assert before is not None
    assert after is not None
    moved = [now - then for now, then in zip(after, before, strict=True)]
    assert len(set(moved)) == 1, f"the four balance sums moved apart: {moved}"


def scripts(*builtins: str, slo: str) -> Any:
    """pgbench's own scripts and tables, with the load and the thresholds of the other module."""
    workload: Any = pgbench(builtin=builtins, scale=10)
    for mark in (
        pytest.mark.usefixtures("all_agree"),
        pytest.mark.stormdb(workers=10, duration="10s"),
        pytest.mark.stormdb_slo("p90 < 1s", slo, "errors == 0%"),
    ):
        workload = mark(workload)
    return workload


test_tpcb_like = scripts("tpcb-like", slo="throughput > 20/s")
test_select_only = scripts("select-only", slo="throughput > 200/s")
test_mostly_reads = scripts("select-only@9", "tpcb-like@1", slo="throughput > 50/s")

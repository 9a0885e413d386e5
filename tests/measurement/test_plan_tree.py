"""Plans answer what tests ask of them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.plan_tree import Plan

SCAN = {
    "Node Type": "Bitmap Heap Scan", "Relation Name": "orders", "Alias": "orders", "Total Cost": 8.3, "Plan Rows": 10,
    "Actual Rows": 12.0, "Actual Loops": 1, "Shared Hit Blocks": 4, "Shared Read Blocks": 2,
    "Plans": [{
        "Node Type": "Bitmap Index Scan", "Parent Relationship": "Outer", "Index Name": "orders_customer_idx",
        "Index Cond": "(customer = 5)", "Actual Rows": 12.0, "Actual Loops": 1, "Shared Hit Blocks": 2,
    }],
}  # fmt: skip
JOIN = {
    "Node Type": "Nested Loop", "Join Type": "Inner", "Actual Rows": 24.0, "Actual Loops": 1,
    "Shared Hit Blocks": 10, "Shared Read Blocks": 2, "Local Hit Blocks": 1,
    "Plans": [SCAN, {"Node Type": "Seq Scan", "Relation Name": "customer", "Actual Rows": 2.0, "Actual Loops": 12}],
}  # fmt: skip


def plan(root: Any) -> Plan:
    return Plan.parse([{"Plan": root, "Execution Time": 1.5}])


def test_a_plan_tells_its_indexes_scans_blocks_and_rows() -> None:
    """A bitmap scan counts as a use of its index, and a heap scan by bitmap is no sequential scan."""
    found = plan(JOIN)
    assert (found.uses("orders_customer_idx"), found.uses(index="orders_pkey")) == (True, False)
    assert (found.scans("customer"), found.scans("orders")) == (True, False)
    assert (found.blocks, found.rows, found.execution_s) == (13, 24, 0.0015)
    assert [node["Node Type"] for node in found.nodes()] == [
        "Nested Loop", "Bitmap Heap Scan", "Bitmap Index Scan", "Seq Scan",
    ]  # fmt: skip
    assert str(found).splitlines()[2] == (
        "    Bitmap Index Scan using orders_customer_idx  (rows 12, loops 1, blocks 2)"
    )


@given(st.floats(0, 1e9), st.integers(0, 10**9), st.integers(0, 10**6), st.text())
def test_the_fingerprint_is_of_the_shape(cost: float, rows: int, blocks: int, condition: str) -> None:
    """Costs, row counts, blocks and values change nothing in it."""
    other = copy.deepcopy(JOIN)
    for node in plan(other).nodes():
        node |= {"Total Cost": cost, "Plan Rows": rows, "Actual Rows": rows}  # type: ignore[operator]
        node |= {"Shared Hit Blocks": blocks, "Filter": condition}
    assert plan(other).fingerprint == plan(JOIN).fingerprint


@pytest.mark.parametrize(
    ("name", "value"), [("Node Type", "Hash Join"), ("Join Type", "Left"), ("Plans", [SCAN]), ("Sort Key", ["a"])]
)
def test_another_shape_has_another_fingerprint(name: str, value: object) -> None:
    """Another node, join, child or key is another plan."""
    assert plan(JOIN | {name: value}).fingerprint != plan(JOIN).fingerprint


def test_explains_text_is_understood_and_other_text_refused() -> None:
    """JSON as text is as good; what is no plan is a ValueError that says so."""
    assert Plan.parse(json.dumps([{"Plan": SCAN}])) == Plan(SCAN, 0.0)
    for wrong in ("[]", "{}", "[{}]", "5"):
        with pytest.raises(ValueError, match="no plan"):
            Plan.parse(wrong)

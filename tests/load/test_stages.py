"""Stages: how they are written, and what they are called."""

from __future__ import annotations

import pytest

from pytest_stormdb.load.stages import Stage, parse_stages


@pytest.mark.parametrize(
    "value",
    ["10:30s,10->50:1m,5/s", [("30s", 10), ("1m", "10->50")]],
)
def test_stages_are_written_two_ways(value: object) -> None:
    """A list of pairs and a line of text say the same."""
    if isinstance(value, str):
        value = value.removesuffix(",5/s")
    assert parse_stages(value) == (
        Stage("workers", 30 * 10**9, 10, 10),
        Stage("workers", 60 * 10**9, 10, 50),
    )


def test_stages_say_what_they_are() -> None:
    """A stage has a label for the report."""
    stages = parse_stages("1:2s,10:30s,10->50:1m") + parse_stages("100/s:500ms,60/m->90/s:1s")
    assert [stage.label for stage in stages] == [
        "1 worker for 2 s",
        "10 workers for 30 s",
        "10->50 workers for 60 s",
        "100/s for 0.5 s",
        "1->90/s for 1 s",
    ]

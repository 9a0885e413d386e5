"""Blocks, pairs and coins of a comparison's epoch: arithmetic alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.load.alternation import Alternation, block_ns_for
from pytest_stormdb.load.pacing import alternating_starts_ns
from pytest_stormdb.load.plan import make_plan

MS = 1_000_000
EPOCHS = st.builds(
    Alternation, st.integers(250 * MS, 2000 * MS), st.integers(1, 30), st.integers(0, 2**32), st.integers(0, 20)
)


@given(EPOCHS)
def test_every_pair_has_a_block_of_each_arm(epoch: Alternation) -> None:
    """Both arms have one block of each pair, and the turns of both cover the epoch without a gap."""
    turns = sorted([*epoch.turns_of(0), *epoch.turns_of(1)])
    assert [turn.pair for turn in turns] == [block // 2 for block in range(2 * (epoch.pairs + 1))]
    assert turns[0].from_ns == 0
    assert turns[-1].to_ns == epoch.duration_ns
    assert all(before.to_ns == after.from_ns for before, after in pairwise(turns))
    for pair in range(epoch.pairs):
        first, second = epoch.blocks_of(pair)
        assert {first, second} == {2 * pair + 2, 2 * pair + 3}
        assert (epoch.arm_of(first), epoch.arm_of(second)) == (0, 1)


@given(EPOCHS, st.data())
def test_an_instant_belongs_to_the_measured_part_of_its_block_or_to_nothing(
    epoch: Alternation, data: st.DataObject
) -> None:
    """The first pair and each block's beginning are not measured; a phase lasts until the next one begins."""
    offset_ns = data.draw(st.integers(0, epoch.duration_ns - 1))
    block, until_ns = epoch.phase_at(offset_ns)
    number, within_ns = divmod(offset_ns, epoch.block_ns)
    assert block == (number if number >= 2 and within_ns >= epoch.settle_ns else -1)
    assert offset_ns < until_ns <= (number + 1) * epoch.block_ns
    assert epoch.phase_at(until_ns - 1) == (block, until_ns)
    assert epoch.measured_ns + epoch.settle_ns == epoch.block_ns


def test_the_coins_are_fair_and_repeatable() -> None:
    """Either arm comes first about as often; a seed and an epoch repeat their order, others have one of their own."""
    firsts = [Alternation(250 * MS, 200, seed, 0).arm_of(2 * pair) for seed in range(5) for pair in range(200)]
    assert 420 < sum(firsts) < 580
    orders = [
        [Alternation(250 * MS, 40, *which).arm_of(2 * p) for p in range(40)] for which in [(1, 0), (1, 1), (2, 0)]
    ]
    assert orders[0] == [Alternation(500 * MS, 40, 1, 0).arm_of(2 * pair) for pair in range(40)]
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize(
    ("calls_per_s", "p99_s", "quantile", "expected_s"),
    [
        (10_000, 0.001, 0.95, 0.25),  # plenty of calls: the shortest
        (200, 0.001, 0.95, 5 / 10 / 0.9),  # ten calls a second beyond the quantile: half a second for five
        (10_000, 0.05, 0.5, 0.5 / 0.9),  # ten of the slow calls
        (10, 0.001, 0.99, 2.0),  # never more than two seconds
        (0, 0.0, 0.99, 0.25),  # nothing known
        (100, 0.001, None, 0.25),  # a mean needs five calls
    ],
)
def test_blocks_hold_enough_calls(calls_per_s: float, p99_s: float, quantile: float | None, expected_s: float) -> None:
    """Five calls beyond the quantile, ten slow ones, within a quarter of a second and two."""
    assert block_ns_for(calls_per_s, p99_s, quantile) == pytest.approx(expected_s * 1e9, rel=1e-6)


@pytest.mark.parametrize("arrivals", ["uniform", "poisson"])
def test_both_blocks_of_a_pair_have_the_same_arrivals(arrivals: str) -> None:
    """In an open loop, the pattern within a block is that of its pair; pairs have patterns of their own."""
    epoch = Alternation(250 * MS, 6, 7)
    plan = make_plan(("test", {"rate": "400/s", "arrivals": arrivals}))
    patterns: dict[int, list[list[int]]] = {}
    for arm in (0, 1):
        starts = list(alternating_starts_ns(plan, epoch, arm))
        assert starts == sorted(starts)
        for turn in epoch.turns_of(arm):
            pattern = [start - turn.from_ns for start in starts if turn.from_ns <= start < turn.to_ns]
            patterns.setdefault(turn.pair, []).append(pattern)
    assert all(one == other for one, other in patterns.values())
    assert 60 < sum(len(one) for one, _ in patterns.values()) / 7 < 140
    if arrivals == "poisson":
        assert patterns[0] != patterns[1]

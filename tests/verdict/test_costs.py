"""Costs of two arms: counted in each epoch, and judged by all of them."""

from __future__ import annotations

import dataclasses
import math

import pytest

from pytest_stormdb.database.activity import WITH_SET_UP, ServerActivity
from pytest_stormdb.verdict.comparison import Claim
from pytest_stormdb.verdict.costs import CostComparison, Observed, cost_sentence, costs_compared

from ..records import server_activity

BLOCKS = Claim("server.blocks_per_op")


def epochs(*ratios: float) -> CostComparison:
    """Epochs in which the first arm cost 4 blocks, and the second so many times as much."""
    return CostComparison(BLOCKS, tuple((4.0, 4.0 * ratio) for ratio in ratios))


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((1.5, 1.49, 1.51), "slower"),
        ((1.0, 1.01, 0.99), "not slower"),
        ((0.2, 0.2, 0.2), "not slower"),
        ((1.5, 1.5, 1.05), "inconclusive"),
        ((1.5, 1.5), "inconclusive"),
        ((math.inf,) * 3, "slower"),
    ],
)
def test_every_epoch_has_to_say_so(ratios: tuple[float, ...], verdict: str) -> None:
    """Beyond the margin in each of three epochs, or within it in each; one that differs leaves it open."""
    found = epochs(*ratios)
    assert found.verdict == verdict
    assert bool(found.reason) == (verdict == "inconclusive")


def test_an_improvement_is_claimed() -> None:
    """A quarter of the blocks is at least twice as few, and not at least five times."""
    claims = [Claim("server.blocks_per_op", min_improvement=factor) for factor in (2, 5)]
    assert [CostComparison(claim, ((8.0, 2.0),) * 3).verdict for claim in claims] == ["faster", "not faster"]


def test_the_figures() -> None:
    """The ratio of the middle epoch, the least and the greatest of the epochs, and how far those are apart."""
    found = epochs(1.5, 1.5, 1.65)
    assert found.ratio == pytest.approx(1.5)
    assert found.interval == pytest.approx((1.5, 1.65))
    assert found.detectable == pytest.approx(math.sqrt(1.1) - 1)
    few = epochs(1.5)
    assert (few.interval, few.detectable, few.ratio) == ((0.0, math.inf), math.inf, 1.5)
    assert math.isnan(epochs().ratio)


def test_nothing_at_all_is_the_same_as_nothing() -> None:
    """No temporary files in either arm is no change; some instead of none is more than any margin, none less."""
    claim = Claim("server.temp_bytes_per_op")
    found = [CostComparison(claim, (costs,) * 3) for costs in ((0.0, 0.0), (0.0, 8192.0), (8192.0, 0.0))]
    assert [(each.ratio, each.verdict) for each in found] == [
        (1.0, "not slower"), (math.inf, "slower"), (0.0, "not slower")
    ]  # fmt: skip
    assert found[1].interval == (math.inf, math.inf)
    assert found[1].detectable == math.inf


def test_the_sentences_of_costs() -> None:
    """What an operation costs in both arms, the change, and what decided."""
    assert cost_sentence(epochs(1.5, 1.5, 1.5), "old", "new") == (
        "new costs 50 % more blocks per operation than old: 6 against 4 (slower than +10 % in each of 3 epochs)"
    )
    fewer = CostComparison(Claim("server.wal_bytes_per_op", min_improvement=2), ((100.0, 25.0),) * 3)
    assert cost_sentence(fewer, "old", "new") == (
        "new costs 75 % fewer WAL bytes per operation than old: 25 against 100 (faster than 2 x in each of 3 epochs)"
    )
    torn = cost_sentence(epochs(1.5, 1.0, 1.5), "old", "new")
    assert torn.endswith("(inconclusive against +10 %: the epochs contradict each other: in some the change is beyond"
                         " the limit, in others it is not)")  # fmt: skip
    none = cost_sentence(CostComparison(BLOCKS, (), "no operation succeeded"), "old", "new")
    assert none == "new and old were not compared at server.blocks_per_op: no operation succeeded"


def test_what_was_counted_is_compared() -> None:
    """Both arms' counters in each epoch; where one is not known, or holds more than the load, nothing is decided."""
    once = server_activity()
    twice = dataclasses.replace(once, operations=once.operations // 2)
    rounds: list[Observed] = [(once, twice)] * 3
    assert costs_compared(BLOCKS, rounds).ratio == pytest.approx(2.0)
    assert costs_compared(BLOCKS, rounds).verdict == "slower"
    doubtful: list[tuple[ServerActivity | None, str]] = [
        (None, "server.blocks_per_op is not known: the server was not observed"),
        (
            dataclasses.replace(twice, notes=(WITH_SET_UP,)),
            "server.blocks_per_op is not known: too busy a server to tell it from the set-up of the sessions",
        ),
    ]
    for last, reason in doubtful:
        found = costs_compared(BLOCKS, [*rounds[:2], (once, last)])
        assert (found.verdict, found.reason) == ("inconclusive", reason)

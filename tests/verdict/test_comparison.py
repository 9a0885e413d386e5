"""Verdicts of comparisons: three answers, epochs that must agree, and plain sentences."""

from __future__ import annotations

import math
import random

import pytest

from pytest_stormdb.verdict.comparison import Claim, Comparison, Pair, log_ratio, sentence, share_of

P95 = Claim("p95", alpha=0.05)


def pairs(effect: float, count: int = 12, spread: float = 0.02, seed: int = 0, clean: bool = True) -> tuple[Pair, ...]:
    """The pairs of an epoch around a true effect."""
    rng = random.Random(seed)
    return tuple(Pair(math.log1p(effect) + rng.gauss(0, spread), clean) for _ in range(count))


def epochs(*effects: float) -> tuple[tuple[Pair, ...], ...]:
    return tuple(pairs(effect, seed=index) for index, effect in enumerate(effects))


def test_the_published_pairs() -> None:
    """Ten known pairs in three epochs: slower than +10 % at 5 %, undecided against +20 % at 1 %."""
    given = ((0.20, 0.25, 0.15, 0.22), (0.18, 0.30, 0.21), (0.19, 0.24, 0.17))
    known = tuple(tuple(map(Pair, epoch)) for epoch in given)
    assert Comparison(P95, known).verdict == "slower"
    assert Comparison(Claim("p95", margin=0.2, alpha=0.01), known).verdict == "inconclusive"


def test_slower_and_not_slower() -> None:
    """A change of 30 % is slower, none is not slower, one at the margin is neither."""
    assert Comparison(P95, epochs(0.3, 0.3, 0.3)).verdict == "slower"
    assert Comparison(P95, epochs(0.0, 0.0, 0.0)).verdict == "not slower"
    undecided = Comparison(P95, epochs(0.1, 0.1, 0.1))
    assert undecided.verdict == "inconclusive"
    assert "too near to the limit for 36 pairs" in undecided.reason


def test_an_epoch_with_the_other_sign_forbids_slower() -> None:
    """A layout that favours one arm in two epochs, and the other in the third, is not called slower."""
    layout = Comparison(P95, epochs(0.4, 0.4, -0.05))
    assert layout.verdict == "inconclusive"
    assert "the epochs contradict each other" in layout.reason


def test_disturbed_pairs_are_believed_less() -> None:
    """A disturbed epoch has no say in the sign, and its wild pairs do not undo what the clean ones show."""
    wild = pairs(-0.5, spread=0.5, seed=9, clean=False)
    mixed = Comparison(P95, (*epochs(0.3, 0.3, 0.3), wild))
    assert mixed.verdict == "slower"
    assert mixed.ratio == pytest.approx(1.3, rel=0.02)
    assert (
        Comparison(P95, (*epochs(0.3, 0.3, 0.3), tuple(Pair(pair.difference) for pair in wild))).verdict
        == "inconclusive"
    )
    everywhere = tuple(pairs(0.3, spread=0.05, seed=seed, clean=False) for seed in range(8))
    assert Comparison(P95, everywhere).verdict == "slower"


def test_what_neighbours_add_hides_no_difference() -> None:
    """Disturbed pairs, whose ratio is nearer to one, prove neither not slower nor a bound beyond it; slower they do."""
    near = [pairs(0.04, seed=seed, clean=False, count=30) for seed in range(4)]
    beside = Comparison(P95, (*near, pairs(0.2, seed=9, count=3)))
    assert beside.verdict == "inconclusive"
    assert "others disturbed 120 of 123 pairs, which hides differences" in beside.reason
    assert beside.interval[0] > 1.02
    assert beside.interval[1] == math.inf
    quiet = tuple(tuple(Pair(pair.difference) for pair in epoch) for epoch in near)
    assert Comparison(P95, quiet).verdict == "not slower"
    twice = Claim("p95", min_improvement=1.5, alpha=0.05)
    assert Comparison(twice, tuple(near)).verdict == "inconclusive"
    assert Comparison(twice, quiet).verdict == "not faster"


def test_two_epochs_are_too_few() -> None:
    """However clear, nothing is said before three epochs."""
    early = Comparison(P95, epochs(0.5, 0.5))
    assert early.verdict == "inconclusive"
    assert early.reason == "2 epochs of the 3 it takes were finished; give it a larger budget"


def test_a_troubled_generator_forbids_the_pass_only() -> None:
    """What a client adds to both arms hides differences: not slower becomes inconclusive, slower stays."""
    trouble = "it was busy"
    hidden = Comparison(P95, epochs(0.0, 0.0, 0.0), trouble)
    assert hidden.verdict == "inconclusive"
    assert hidden.reason.endswith("which hides differences: it was busy")
    assert Comparison(P95, epochs(0.3, 0.3, 0.3), trouble).verdict == "slower"


def test_an_improvement_is_the_opposite_claim() -> None:
    """At least twice as fast: proven at three times, disproven at one and a half."""
    claim = Claim("p50", min_improvement=2.0, alpha=0.05)
    assert Comparison(claim, epochs(-2 / 3, -2 / 3, -2 / 3)).verdict == "faster"
    assert Comparison(claim, epochs(-1 / 3, -1 / 3, -1 / 3)).verdict == "not faster"


def test_the_figures() -> None:
    """Ratio, interval and detectable change are about what went in; nothing measured gives none."""
    comparison = Comparison(P95, epochs(0.3, 0.3, 0.3))
    low, high = comparison.interval
    assert comparison.ratio == pytest.approx(1.3, rel=0.02)
    assert 1.25 < low < comparison.ratio < high < 1.35
    assert comparison.detectable == pytest.approx(math.sqrt(high / low) - 1)
    empty = Comparison(P95, ())
    assert math.isnan(empty.ratio)
    assert (empty.interval, empty.detectable) == ((0.0, math.inf), math.inf)


def test_the_sentences() -> None:
    """One plain sentence with change, bounds where there are any, certainty and number of pairs."""
    slower = sentence(Comparison(P95, epochs(0.3, 0.3, 0.3)), "old", "new")
    assert slower == "new is 29 % slower than old at p95 [28, 31] (slower than +10 %: certain at 5 %), 36 pairs"
    faster = sentence(Comparison(Claim("p50", min_improvement=2, alpha=0.05), epochs(-0.7, -0.7, -0.7)), "old", "new")
    assert faster == "new is 3.35 x as fast as old at p50 [3.31, 3.38] (faster than 2 x: certain at 5 %), 36 pairs"
    more = sentence(Comparison(Claim("throughput", alpha=0.05), epochs(-0.1, -0.1, -0.1)), "old", "new")
    assert more.startswith("new has 12 % more throughput than old [10, 13] (")
    clear = sentence(Comparison(P95, ((Pair(3.0), Pair(3.0)),) * 3), "old", "new")
    assert clear == "new is 1909 % slower than old at p95 (slower than +10 %: certain at 5 %), 6 pairs"
    none = sentence(Comparison(P95, ()), "old", "new")
    assert none == "new and old were not compared at p95: no pair was measured"


def test_the_log_ratio_of_a_pair() -> None:
    """Slower is positive for durations and for rates; a block without a figure says nothing."""
    assert log_ratio(1.0, 2.0, higher_is_better=False) == pytest.approx(math.log(2))
    assert log_ratio(1.0, 2.0, higher_is_better=True) == pytest.approx(-math.log(2))
    assert log_ratio(math.nan, 2.0, higher_is_better=False) is None
    assert log_ratio(0.0, 2.0, higher_is_better=True) is None


def test_the_shares_never_add_up_to_more() -> None:
    """Tests share the session's budget equally, comparisons of one test its part, however many there are."""
    assert share_of(0.01, 1, 1) == 0.005
    whole = sum(share_of(0.01, 4, position) for _ in range(4) for position in range(1, 1000))
    assert 0.0099 < whole <= 0.01

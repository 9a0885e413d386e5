"""The stake on signs: published vectors, validity under sign flips, and bounds that agree with it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_stormdb.verdict.betting import (
    confidence_sequence,
    fewest_pairs,
    log_evidence,
    peak_log_evidence,
    trimmed_mean,
    weighted,
)

PAIRS = [0.20, 0.25, 0.15, 0.22, 0.18, 0.30, 0.21, 0.19, 0.24, 0.17]


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([0.1] * 10, 5.499853), ([0.05, -0.02] * 10, 0.524087), ([-0.1] * 10, -3.439577), ([], 0.0)],
)
def test_the_vectors(differences: list[float], expected: float) -> None:
    """The stake after known differences is the known one, to six digits."""
    assert log_evidence(differences) == pytest.approx(expected, abs=1e-6)


def test_the_first_pair_that_proves_it() -> None:
    """Against a limit of 10 % at 5 %, the sixth of ten known pairs brings the proof, and none brings the opposite."""
    beyond = [difference - math.log(1.1) for difference in PAIRS]
    proven = [peak_log_evidence(beyond[:count]) >= math.log(20) for count in range(1, 11)]
    assert proven == [False] * 5 + [True] * 5
    assert peak_log_evidence([-x for x in beyond]) < math.log(20)


def test_the_bounds_of_the_vector() -> None:
    """The confidence sequence of ten known pairs at 5 % is the known one."""
    assert confidence_sequence(PAIRS, 0.05) == pytest.approx((0.158719, 0.281572), abs=1e-6)


def test_few_pairs_bound_nothing() -> None:
    """Four pairs prove nothing at 1 %, however alike: the bounds are infinite."""
    assert confidence_sequence([0.1] * 4, 0.01) == (-math.inf, math.inf)


@pytest.mark.parametrize(("alpha", "fewest"), [(0.05, 6), (0.01, 8), (0.001, 12)])
def test_the_fewest_pairs_that_can_decide(alpha: float, fewest: int) -> None:
    """However clear, it takes 6, 8 or 12 pairs to be certain at 5, 1 or 0.1 %."""
    assert fewest_pairs(alpha) == fewest
    needed = math.log(1 / alpha)
    assert peak_log_evidence([9.0] * fewest) >= needed > peak_log_evidence([9.0] * (fewest - 1))


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=5, max_size=24), st.sampled_from([0.05, 0.01]))
def test_flipping_signs_hardly_ever_wins(differences: list[float], alpha: float) -> None:
    """Ten thousand random flips of any differences: the stake reaches 1 / alpha in at most that share of them."""
    rng = random.Random(str(differences))
    wins = 0
    for _ in range(10_000):
        flipped = [x if rng.random() < 0.5 else -x for x in differences]
        wins += peak_log_evidence(flipped) >= math.log(1 / alpha)
    assert wins <= 10_000 * alpha + 4 * math.sqrt(10_000 * alpha)


@given(st.lists(st.floats(-2, 2), max_size=30), st.floats(0, 1))
def test_a_larger_limit_is_harder_to_exceed(differences: list[float], more: float) -> None:
    """Taking more off every difference never adds to the stake."""
    assert log_evidence([x - more for x in differences]) <= log_evidence(differences) + 1e-9


def test_readings_share_the_stake() -> None:
    """Wild pairs that are known to be disturbed cost half of the stake, and no more; alone, they decide as before."""
    clean, wild = [0.3] * 10, [2.0, -2.0, 1.5, -1.5, 2.5, -2.5]
    weights = [1.0] * 10 + [0.03] * 6
    alone = log_evidence(clean)
    assert log_evidence(clean + wild) < alone - 3
    assert log_evidence(*weighted(clean + wild, weights)) > alone - 3
    assert peak_log_evidence(*weighted([0.3] * 12, [0.03] * 12)) > peak_log_evidence([0.3] * 12) - math.log(2) - 1e-9
    assert weighted(clean, [1.0] * 10) == (clean,)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_the_bounds_mirror(differences: list[float]) -> None:
    """Exchanging the arms exchanges the bounds and turns their signs."""
    low, high = confidence_sequence(differences, 0.05)
    assert confidence_sequence([-x for x in differences], 0.05) == pytest.approx((-high, -low), abs=1e-9)
    assert low <= high


def test_the_middle_is_little_moved_by_a_stall() -> None:
    """One huge difference among ten leaves the trimmed mean where it was."""
    assert trimmed_mean([0.1] * 9 + [50.0]) == pytest.approx(0.1)
    assert trimmed_mean([1.0]) == 1.0

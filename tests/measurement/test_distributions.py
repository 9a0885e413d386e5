"""Quantiles and tails against printed tables and exact sums."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.distributions import binomial_tail, t_quantile


@pytest.mark.parametrize(
    ("probability", "freedom", "table"),
    [
        *[(0.99, 1, 31.8205), (0.99, 2, 6.96456), (0.95, 3, 2.35336), (0.99, 4, 3.74695), (0.975, 9, 2.26216)],
        *[(0.995, 30, 2.75), (0.99, 120, 2.35782), (0.999, 19, 3.57940), (0.5, 7, 0.0)],
    ],
)
def test_the_quantiles_are_those_of_the_table(probability: float, freedom: int, table: float) -> None:
    """Odd and even degrees of freedom agree with a printed table to all of its digits."""
    assert t_quantile(probability, freedom) == pytest.approx(table, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(("probability", "freedom"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_what_has_no_quantile_is_refused(probability: float, freedom: int) -> None:
    """A probability below a half, certainty, and no degree of freedom raise ValueError."""
    with pytest.raises(ValueError, match="t_quantile"):
        t_quantile(probability, freedom)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.001, 0.999))
def test_the_tail_is_the_sum_of_its_terms(successes: int, trials: int, probability: float) -> None:
    """The tail equals the sum over all outcomes, each by its binomial coefficient."""
    terms = (
        math.comb(trials, count) * probability**count * (1 - probability) ** (trials - count)
        for count in range(successes, trials + 1)
    )
    assert binomial_tail(successes, trials, probability) == pytest.approx(min(1.0, math.fsum(terms)), abs=1e-9)


def test_the_tail_of_many_trials_is_quick_and_finite() -> None:
    """Ten million trials: nearly nothing far above the mean, nearly everything far below it, nothing impossible."""
    assert binomial_tail(12_000, 10_000_000, 0.001) < 1e-80
    assert binomial_tail(8_000, 10_000_000, 0.001) == pytest.approx(1.0)
    assert binomial_tail(1, 10, 0.0) == 0.0
    assert binomial_tail(10, 10, 1.0) == 1.0
    assert binomial_tail(11, 10, 0.5) == 0.0

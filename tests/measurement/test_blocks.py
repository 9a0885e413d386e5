"""Blocks: their length, the mean of batches of them, and where the warm-up ends."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.blocks import batch_mean, block_ns, warm_from


@pytest.mark.parametrize(
    ("duration_s", "length_ms"), [(1, 100), (10, 100), (16, 200), (20, 250), (60, 500), (80, 1000), (3600, 1000)]
)
def test_blocks_are_a_small_part_of_the_run(duration_s: int, length_ms: int) -> None:
    """A short run has blocks of 0.1 s, a long one of 1 s; some 80 in between."""
    assert block_ns(duration_s * 10**9) == length_ms * 10**6


@given(st.one_of(st.none(), st.integers(1, 10**13)))
def test_blocks_divide_a_second(duration_ns: int | None) -> None:
    """Seconds of the timeline are whole numbers of blocks, whatever the duration."""
    assert 10**9 % block_ns(duration_ns) == 0


def test_the_mean_of_batches_is_weighted_and_bounded() -> None:
    """Forty blocks make ten batches of four; t of nine degrees of freedom times their standard error is the bound."""
    values = [float(index // 4) for index in range(40)]
    mean = batch_mean(values, [1.0] * 40)
    assert mean is not None
    assert (mean.value, mean.batches) == (4.5, 10)
    assert mean.deviation == pytest.approx(3.02765, rel=1e-5)
    assert mean.below(0.99) == pytest.approx(4.5 - 2.82144 * 3.02765 / 10**0.5, rel=1e-5)
    assert mean.above(0.99) == pytest.approx(4.5 + 2.82144 * 3.02765 / 10**0.5, rel=1e-5)


def test_blocks_without_a_call_do_not_count() -> None:
    """Weights of zero leave a block out; three batches are too few to say anything."""
    assert batch_mean([1.0, 9.0, 1.0, 1.0, 1.0], [5, 0, 5, 5, 5]) is not None
    assert batch_mean([1.0, 9.0, 1.0, 1.0], [5, 0, 5, 5]) is None
    assert batch_mean([], []) is None


def test_equal_blocks_leave_no_doubt() -> None:
    """Without any spread the bounds are the mean itself."""
    mean = batch_mean([0.25] * 8, [1.0] * 8)
    assert mean is not None
    assert mean.below(0.99) == mean.above(0.99) == 0.25


def test_the_warm_up_is_found() -> None:
    """A series that starts high and settles is cut where it has settled, to a group of five."""
    rng = random.Random(1)
    values = [(2.0 - 0.1 * index if index < 20 else 0.0) + rng.gauss(0, 0.1) for index in range(200)]
    assert 15 <= warm_from(values) <= 25


def test_a_series_that_never_settles_is_cut_in_half() -> None:
    """A steady decline is told by a cut of half of the series, the most there is."""
    assert warm_from([100.0 - index for index in range(100)]) == 50


def test_few_values_have_no_warm_up() -> None:
    """Below fifty values nothing is cut, whatever they look like."""
    assert warm_from([100.0 - index for index in range(49)]) == 0


def test_steady_noise_is_seldom_cut() -> None:
    """Of 200 steady series, few lose more than a quarter."""
    rng = random.Random(7)
    cuts = [warm_from([rng.gauss(0, 1) for _ in range(100)]) for _ in range(200)]
    assert sum(cut > 25 for cut in cuts) <= 40

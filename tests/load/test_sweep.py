"""Sweeps: their notation, the law fitted to a curve, and the knee."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.errors import PlanError
from pytest_stormdb.load.sweep import parse_sweep
from pytest_stormdb.measurement.scalability import (
    Fit,
    Point,
    Sweep,
    fit_law,
)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("1,2,4,8", (1, 2, 4, 8)),
        (" 3 ", (3,)),
        ("linear:1..32:4", (1, 5, 9, 13, 17, 21, 25, 29, 32)),
        ("linear:2..6:2", (2, 4, 6)),
        ("doubling:1..64", (1, 2, 4, 8, 16, 32, 64)),
        ("doubling:3..20", (3, 6, 12, 20)),
    ],
)
def test_worker_counts_are_written_in_three_ways(text: str, counts: tuple[int, ...]) -> None:
    """A list, a linear and a doubling range each give their counts, the last one included."""
    assert parse_sweep(text) == counts


@pytest.mark.parametrize(
    "text", ["", "0,1", "1,,2", "a", "linear:1..9", "linear:1..9:0", "doubling:0..8", "linear:9..1:1", "1,99999"]
)
def test_what_is_no_sweep_is_refused(text: str) -> None:
    """Anything else is refused with the text and the three ways to write it."""
    with pytest.raises(PlanError) as refused:
        parse_sweep(text)
    assert str(refused.value) == f"sweep: {text!r} is not '1,2,4,8', 'linear:1..32:4' or 'doubling:1..64'"


@pytest.mark.parametrize("text", ["2,1", "1,1,2"])
def test_a_sweep_rises(text: str) -> None:
    """Counts that fall or repeat are refused."""
    with pytest.raises(PlanError, match="does not rise"):
        parse_sweep(text)


@given(
    rate=st.floats(10, 1e5),
    contention=st.floats(0, 0.9),
    coherency=st.floats(0, 0.05),
)
def test_the_law_is_found_again(rate: float, contention: float, coherency: float) -> None:
    """A curve made by the law is fitted by the law it was made by."""
    law = Fit(rate, contention, coherency, 0.0)
    counts = (1, 2, 4, 8, 16, 32)
    found = fit_law([(n, law.throughput_per_s(n)) for n in counts])
    assert found is not None
    assert found.residual < 1e-6
    for n in counts:
        assert found.throughput_per_s(n) == pytest.approx(law.throughput_per_s(n), rel=1e-6)


def test_contention_and_coherency_never_fall_below_zero() -> None:
    """A curve that rises faster than its workers is fitted with neither, not with negative ones."""
    found = fit_law([(n, 100.0 * n**1.1) for n in (1, 2, 4, 8, 16)])
    assert found is not None
    assert (found.contention, found.coherency) == (0.0, 0.0)
    assert found.peak_workers is None
    assert found.residual > 0.05


def test_the_peak_is_where_the_law_is_highest() -> None:
    """The predicted peak is the maximum of the law, by Gunther's formula and by trying its neighbours."""
    law = Fit(1000.0, 0.02, 0.001, 0.0)
    peak = law.peak_workers
    assert peak is not None
    assert peak == pytest.approx(math.sqrt(0.98 / 0.001))
    assert law.throughput_per_s(peak) > max(law.throughput_per_s(peak - 1), law.throughput_per_s(peak + 1))


def curve(*throughputs: float) -> Sweep:
    """A sweep over one, two, three ... workers."""
    points = (Point(n, throughput, 0.001, 0.01) for n, throughput in enumerate(throughputs, 1))
    return Sweep("test_it.py::test_it", tuple(points))


def test_the_knee_is_the_fewest_workers_near_the_best() -> None:
    """Within 5 % of the best throughput, the smallest count wins; just outside it does not."""
    assert curve(50, 94.9, 95, 100, 80).knee.workers == 3
    assert curve(100).knee.workers == 1


def test_fewer_than_five_points_claim_no_law() -> None:
    """Four points have no fit, five have one; a count at which nothing succeeded spoils it."""
    assert curve(1, 2, 3, 4).fit is None
    assert curve(1, 2, 3, 4, 5).fit is not None
    assert curve(1, 2, 3, 4, 0).fit is None

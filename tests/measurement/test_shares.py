"""Shares of time, and intervals that are as wide as the evidence is thin."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.attribution import CPU, Hit
from pytest_stormdb.measurement.shares import Profile, Share, profile, slowest

LOCK = "Lock:tuple"


def hits(*events: tuple[int, int, str]) -> list[Hit]:
    """Hits by iteration, instant and event."""
    return [Hit((0, iteration), at, event, 10 * iteration) for iteration, at, event in events]


def test_shares_count_samples() -> None:
    """Three of four looks are three quarters of the time, by event and by class."""
    found = profile(hits((1, 1, LOCK), (2, 2, "Lock:transactionid"), (3, 3, LOCK), (4, 4, CPU)))
    assert (found.iterations, found.samples) == (4, 4)
    assert [(share.name, share.share) for share in found.classes] == [("Lock", 0.75), (CPU, 0.25)]
    assert [(share.name, share.samples) for share in found.events] == [(LOCK, 2), (CPU, 1), ("Lock:transactionid", 1)]


def test_independent_looks_give_wilsons_interval() -> None:
    """80 of 100 looks, each at an iteration and an instant of its own: 71.1 % to 86.7 %, as in the textbooks."""
    found = profile(hits(*((n, n, LOCK if n < 80 else CPU) for n in range(100)))).share("Lock")
    assert found is not None
    assert [found.low, found.high] == pytest.approx([0.7112, 0.8666], abs=0.002)


def test_looks_at_one_iteration_are_not_many() -> None:
    """A hundred looks at one long iteration count as one."""
    long = profile(hits(*((1, n, LOCK) for n in range(100)))).share(LOCK)
    many = profile(hits(*((n, n, LOCK) for n in range(100)))).share(LOCK)
    assert long is not None
    assert many is not None
    assert (long.share, many.share) == (1.0, 1.0)
    assert long.low < 0.25 < 0.95 < many.low


def test_looks_at_one_instant_are_not_many() -> None:
    """Ten workers that are held up together, once, show little more than one."""
    together = hits(*((n, 0, LOCK) for n in range(10)), *((n, n, CPU) for n in range(10, 20)))
    apart = hits(*((n, n, LOCK) for n in range(10)), *((n, n, CPU) for n in range(10, 20)))
    narrow, wide = profile(apart).share(LOCK), profile(together).share(LOCK)
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low
    assert wide.high > narrow.high


def test_what_was_never_seen_has_share_nought() -> None:
    """Its upper bound falls with the number of iterations hit; without samples nothing is said."""
    few, many = (profile(hits(*((n, n, CPU) for n in range(size)))).share("Lock") for size in (10, 1000))
    assert few is not None
    assert many is not None
    assert (few.share, many.share, few.low) == (0, 0, 0)
    assert many.high < 0.01 < few.high
    assert profile([]) == Profile()
    assert Profile().share("Lock") is None


def test_the_slowest_are_chosen_by_response_time() -> None:
    """Hits on iterations at or above the bound stay."""
    assert [hit.iteration for hit in slowest(hits((1, 1, CPU), (2, 2, CPU), (3, 3, CPU)), 20.0)] == [(0, 2), (0, 3)]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([LOCK, CPU, "IO:WalSync"])), max_size=80)
)
def test_intervals_hold_their_shares(looks: list[tuple[int, int, str]]) -> None:
    """Shares add up to one, and each lies within its bounds, which lie within 0 and 1."""
    found = profile(hits(*looks))
    for shares in (found.events, found.classes):
        assert sum(share.share for share in shares) == pytest.approx(1.0 if looks else 0.0)
        assert sum(share.samples for share in shares) == len(looks)
        for share in shares:
            assert 0 <= share.low <= share.share <= share.high <= 1


def covered(share: Share | None, truth: float) -> bool:
    return share is not None and share.low <= truth <= share.high


def test_intervals_cover_the_truth_when_looks_come_in_clusters() -> None:
    """With iterations that are looked at up to 20 times each, at least 93 % of 400 intervals hold the true share."""
    draws = random.Random(11)
    good = 0
    for _ in range(400):
        looks = []
        for iteration in range(60):
            event = LOCK if draws.random() < 0.6 else CPU
            looks += [(iteration, draws.randrange(10**6), event) for _ in range(draws.randint(1, 20))]
        good += covered(profile(hits(*looks)).share(LOCK), 0.6)
    assert good >= 0.93 * 400

"""Random numbers of a worker."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.workload.draws import Draws


@given(seed=st.text(), pairs=st.lists(st.tuples(st.integers(), st.integers()).map(sorted), max_size=20))
def test_draws_are_pythons_own(seed: str, pairs: list[list[int]]) -> None:
    """Of the same seed, whole numbers and all others are those of ``random.Random``, in the same order."""
    ours, pythons = Draws(seed), random.Random(seed)
    for low, high in pairs:
        assert ours.randint(low, high) == pythons.randint(low, high)
        assert ours.random() == pythons.random()


def test_what_python_refuses_is_refused() -> None:
    """In Python's words."""
    with pytest.raises(ValueError, match="empty range") as pythons:
        random.Random(1).randint(2, 1)
    with pytest.raises(ValueError, match="empty range") as ours:
        Draws(1).randint(2, 1)
    assert str(ours.value) == str(pythons.value)

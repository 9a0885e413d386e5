"""Counters grow between two readings, or were reset and say so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.counters import Counters, ratio

NUMBERS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**12), min_size=1)


def test_growth_is_later_less_earlier() -> None:
    """A counter that is new began at nought."""
    growth = Counters({"wal": {"bytes": 30, "records": 2}}).since(Counters({"wal": {"bytes": 10}}))
    assert growth.groups == {"wal": {"bytes": 20, "records": 2}}
    assert (growth.get("wal", "bytes"), growth.get("wal", "x"), growth.get("io", "reads")) == (20, None, None)


def test_a_reset_is_said() -> None:
    """A counter that fell takes its group with it, and the others stay."""
    growth = Counters({"a": {"x": 1}, "b": {"x": 9}}, ("c: no",)).since(Counters({"a": {"x": 5}, "b": {"x": 4}}))
    assert growth.groups == {"b": {"x": 5}}
    assert growth.missing == ("c: no", "a: the server's counters were reset during the run")


def test_a_ratio_needs_both_parts() -> None:
    """Nothing read is no ratio."""
    assert ratio(3, 1) == 0.75
    assert [ratio(None, 1), ratio(1, None), ratio(0, 0)] == [None, None, None]


@given(NUMBERS, NUMBERS)
def test_growth_added_to_the_earlier_gives_the_later(before: dict[str, int], growth: dict[str, int]) -> None:
    """Subtraction undoes addition."""
    after = {name: before.get(name, 0) + growth.get(name, 0) for name in before | growth}
    found = Counters({"g": after}).since(Counters({"g": before})).groups["g"]
    assert found == {name: growth.get(name, 0) for name in before | growth}

"""Values: each kind reads its texts and refuses all others with a sentence that names them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.errors import PlanError
from pytest_stormdb.load.option import (
    ADDRESS,
    DURATION_RANGE,
    LINES,
    TEXT,
    Kind,
    Option,
    choice,
    number_or,
    whole_number,
)
from pytest_stormdb.load.options import OPTIONS
from pytest_stormdb.load.values import parse_whole


def test_a_duration_range_is_constant_or_a_range() -> None:
    """One duration is both bounds."""
    assert DURATION_RANGE.read("5ms", "it") == (5_000_000, 5_000_000)
    assert DURATION_RANGE.read(0.5, "it") == (500_000_000, 500_000_000)
    assert DURATION_RANGE.read("0..1s", "it") == (0, 1_000_000_000)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_kind_has_its_reader(option: Option) -> None:
    """What nobody could mean is refused with a sentence, by a reader that is imported for it."""
    with pytest.raises(PlanError, match=r"^it: "):
        option.parse(object(), "it")


@given(st.integers(), st.integers(), st.integers())
def test_whole_numbers_keep_to_their_bounds(value: int, low: int, high: int) -> None:
    """A number or its text is itself between the bounds, both included, and refused beyond them."""
    for written in (value, f" {value} "):
        if low <= value <= high:
            assert parse_whole(written, "it", low, high) == value
        else:
            with pytest.raises(PlanError, match=f"^it: {value} is out of range; give a number from {low} to {high}$"):
                parse_whole(written, "it", low, high)


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (ADDRESS, "9464", ("127.0.0.1", 9464)),
        (ADDRESS, "0.0.0.0:1", ("0.0.0.0", 1)),
        (ADDRESS, "::1:80", ("::1", 80)),
        (LINES, ["a", "b"], ("a", "b")),
        (LINES, (), ()),
        (number_or("auto", 1, 4), "auto", None),
        (number_or("auto", 1, 4), "4", 4),
    ],
)
def test_values_are_read(kind: Kind, value: object, found: Any) -> None:
    """What is written in a kind's way is read."""
    assert kind.read(value, "it") == found


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (ADDRESS, "", "it: '' is not [HOST:]PORT"),
        (ADDRESS, "here:65536", "it: 'here:65536' is not [HOST:]PORT"),
        (LINES, "a", "it: 'a' is not a list"),
        (LINES, ["a", ""], "it: '' is no text; give it a value, or leave it out"),
        (TEXT, None, "it: None is no text; give it a value, or leave it out"),
        (choice("a", "b"), "c", "it: 'c' is neither 'a' nor 'b'"),
        (choice("a", "b", "c"), "d", "it: 'd' is none of a, b, c"),
        (whole_number(1), 0, "it: 0 is out of range; give a number of 1 or more"),
        (number_or("auto", 1, 4), 5, "it: 5 is out of range; give a number from 1 to 4"),
    ],
)
def test_others_are_refused(kind: Kind, value: object, sentence: str) -> None:
    """What is not is refused with the value."""
    with pytest.raises(PlanError) as refused:
        kind.read(value, "it")
    assert str(refused.value) == sentence

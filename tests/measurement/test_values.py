"""Values of workloads become numbers and text that every report can hold."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any
from xml.dom import minidom
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.measurement.values import MOST_NAMES, OTHER, as_name, as_number, as_text, bounded, plain


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@given(st.text(st.characters(), max_size=50))
def test_text_fits_into_every_report(text: str) -> None:
    """Whatever the characters, the text is valid UTF-8, valid XML and valid JSON."""
    clean = as_text(text)
    assert json.loads(json.dumps(clean).encode()) == clean
    minidom.parseString(f"<a>{escape(clean)}</a>".encode())
    assert as_text(clean) == clean


def test_text_of_anything() -> None:
    """An exception is its text, control characters are escaped, what has no text is its type, long text is cut."""
    assert as_text(ValueError("not found")) == "not found"
    assert as_text("a\x1b[31mb\ud800") == "a\\x1b[31mb\\ud800"
    assert as_text("one\n\ttwo") == "one\n\ttwo"
    assert as_text(Mute()) == "Mute"
    assert as_text("x" * 501) == "x" * 497 + "..."
    assert as_name(5) == "5"
    assert as_name("two\nlines") == "two\\nlines"
    assert as_name("") == "(no name)"


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (True, 1), (2.5, 2.5), (Decimal("7"), 7), (Decimal("0.5"), 0.5), (Fraction(1, 4), 0.25)],
)
def test_numbers_of_the_standard_library(value: object, number: float) -> None:
    """Each becomes a plain int or float of the same value."""
    assert as_number(value, "m") == number
    assert type(as_number(value, "m")) in (int, float)


def test_numbers_of_numpy() -> None:
    """NumPy's scalars become plain numbers, which JSON takes."""
    numpy = pytest.importorskip("numpy")
    assert as_number(numpy.float32(0.5), "m") == 0.5
    assert as_number(numpy.int64(7), "m") == 7
    assert json.dumps(as_number(numpy.float32(0.5), "m")) == "0.5"


def test_what_is_no_number() -> None:
    """The sentence names where, the value and its type."""
    with pytest.raises(WorkloadError, match=r"^metric 'm': 'many' \(str\) is not a number$"):
        as_number("many", "metric 'm'")
    with pytest.raises(WorkloadError, match=r"^rows_affected: 'None' \(NoneType\) is not a number$"):
        as_number(None, "rows_affected")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(NESTED)
def test_plain_values_are_valid_json(value: Any) -> None:
    """Whatever is nested, the result is JSON in the strict sense."""
    json.loads(json.dumps(plain(value), allow_nan=False).encode())


def test_plain_values() -> None:
    """NaN and infinity are null, sets are lists, objects are their text, numbers of libraries are numbers."""
    given_value = {"a": math.nan, 5: [math.inf, Decimal("1.5")], "c": {1}, "d": ValueError("x"), "e": (None, True)}
    assert plain(given_value) == {"a": None, "5": [None, 1.5], "c": [1], "d": "x", "e": [None, True]}


def test_names_are_bounded() -> None:
    """The first hundred names stand for themselves; what comes after them is one name."""
    known: dict[str, int] = {}
    for number in range(MOST_NAMES + 50):
        name = bounded(f"n{number}", known)
        known[name] = known.get(name, 0) + 1
    assert len(known) == MOST_NAMES + 1
    assert known[OTHER] == 50
    assert bounded("n7", known) == "n7"

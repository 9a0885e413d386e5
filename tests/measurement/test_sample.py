"""What a workload says of its failures is kept as plain values, in bounds, whatever it is."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.sample import Failure
from pytest_stormdb.measurement.tally import MOST_METADATA, Tally
from pytest_stormdb.measurement.values import plain

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text(), inner))


@given(values)
def test_anything_becomes_plain(value: Any) -> None:
    """It is JSON, comes back from it the same, and making it plain again changes nothing."""
    made = plain(value)
    assert json.loads(json.dumps(made, allow_nan=False).encode()) == made
    assert plain(made) == made


@given(
    st.recursive(
        st.none() | st.integers(-(2**63), 2**63) | st.text(st.characters(categories=["L", "N"]), max_size=9),
        lambda inner: st.lists(inner, max_size=9),
        max_leaves=5,
    )
)
def test_small_plain_values_stay_as_they_are(value: Any) -> None:
    """Within the bounds, nothing is changed that is not too deep."""
    if str(value).count("[") <= 4:
        assert plain(value) == value


class UnspeakableError:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_large_deep_and_foreign_values_are_cut() -> None:
    """Twenty items, 500 characters, four levels; other objects become their text, or their type's name."""
    assert plain(list(range(1000))) == list(range(20))
    assert plain("x" * 1000) == "x" * 497 + "..."
    assert plain([[[[["deep"]]]]]) == [[[["['deep']"]]]]
    assert plain({"at": time.gmtime(0)[:3], "it": UnspeakableError(), 5: float("inf")}) == {
        "at": [1970, 1, 1],
        "it": "UnspeakableError",
        "5": None,
    }
    assert plain(10**5000) == "int"


def test_the_first_few_metadata_of_each_code_survive_merging() -> None:
    """Two tallies of four make five, the first ones first; failures without metadata take no place."""
    tallies = [Tally(), Tally()]
    for index, tally in enumerate(tallies):
        tally.fail(Failure("gone", "no metadata"))
        for k in range(4):
            tally.fail(Failure("gone", "", {"k": 10 * index + k}))
    tallies[0].merge(tallies[1])
    assert tallies[0].errors == {"gone": (10, "no metadata")}
    assert [each["k"] for each in tallies[0].error_metadata["gone"]] == [0, 1, 2, 3, 10][:MOST_METADATA]

"""The table of options: one row is all that an option needs."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pytest_stormdb.errors import PlanError
from pytest_stormdb.load import options
from pytest_stormdb.load.layers import resolve
from pytest_stormdb.load.option import COMMAND_LINE, FILE, MARK, NOT_GIVEN, Option, choice
from pytest_stormdb.load.options import EVERYWHERE, OPTIONS, check_options, option_named, options_of_plan
from pytest_stormdb.load.plan import LoadPlan

ISOLATION = Option("isolation", choice("database", "schema"), EVERYWHERE, "where", default="database", scope="item")


@pytest.fixture
def isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with one row more."""
    monkeypatch.setattr(options, "OPTIONS", (*OPTIONS, ISOLATION))


@pytest.mark.usefixtures("isolation")
def test_a_row_makes_an_option() -> None:
    """It is resolved from its strongest source, defaulted, checked, and known to the mark, with no other line."""
    check_options(["isolation"], "mark")
    assert resolve(("mark", {"isolation": "schema"}), ("ini file", {"isolation": "database"}))["isolation"] == "schema"
    assert resolve()["isolation"] == "database"
    with pytest.raises(PlanError, match=r"^mark: isolation: 'mine' is neither 'database' nor 'schema'$"):
        resolve(("mark", {"isolation": "mine"}))
    assert (ISOLATION.flag, ISOLATION.key) == ("--stormdb-isolation", "stormdb_isolation")


def test_names_are_given_once() -> None:
    """No two options share a name, a flag or a name in files."""
    names = [name for option in OPTIONS for name in (option.name, *option.aliases)]
    assert len(set(names)) == len(names)


def test_a_plan_has_a_field_for_each_of_its_options() -> None:
    """The fields of a load plan are the options of the table, with the unit of their values."""
    assert sorted(field.name for field in dataclasses.fields(LoadPlan)) == sorted(o.field for o in options_of_plan())


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_defaults_can_be_read(option: Option) -> None:
    """A default is written as a user would write it, and read as what a user writes."""
    assert (option.parsed_default is NOT_GIVEN) == (option.default is NOT_GIVEN)


WORDS = st.text("0123456789.:->,;=x%s m/hexpk<e²٣∞", max_size=16) | st.text(max_size=8)
"""Texts that look like a duration, a rate, stages or a sweep, with digits that are none of ASCII's, and others."""
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.binary(max_size=3)
VALUES = PLAIN | st.lists(PLAIN | st.tuples(PLAIN, PLAIN), max_size=3) | st.dictionaries(WORDS, PLAIN, max_size=2)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
@given(value=VALUES)
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_is_read_or_refused(option: Option, value: Any) -> None:
    """Whatever a mark, an ini file or a command line says: a value or a sentence, and no other exception."""
    with contextlib.suppress(PlanError):
        option.parse(value, "it")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_options_of_the_session_are_not_said_by_a_test(option: Option) -> None:
    """A mark and the load of a file say what may differ from test to test; thresholds add up and are read apart."""
    if option.scope == "session" and option.name != "slo":
        assert not option.said & (MARK | FILE)
    else:
        assert option.said & (MARK | FILE | COMMAND_LINE)


@pytest.mark.parametrize(
    ("name", "value", "recorded"),
    [
        ("workers", 3, ("workers", 3)),
        ("duration", 1_500_000_000, ("duration_s", 1.5)),
        ("duration", None, ("duration_s", None)),
        ("think_time", (0, 5_000_000), ("think_time_s", [0.0, 0.005])),
        ("rate", 7.5, ("rate_per_s", 7.5)),
    ],
)
def test_what_the_record_holds(name: str, value: Any, recorded: tuple[str, Any]) -> None:
    """Times are recorded in seconds, under names that say so; all else as it is."""
    assert option_named(name).recorded(value) == recorded

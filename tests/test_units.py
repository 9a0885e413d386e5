"""Durations, rates and ratios: what people write, what it means, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.errors import PlanError
from pytest_stormdb.units import (
    format_count,
    format_duration,
    format_rate,
    format_ratio,
    parse_duration_ns,
    parse_rate_per_s,
    parse_ratio,
    printable,
)

NO_DURATION = "is not a duration; write it as '500ms', '30s', '5m' or '1h'"


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("500ms", 500_000_000),
        ("30s", 30_000_000_000),
        ("5m", 300_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("2.s", 2_000_000_000),
        (" 10 ms ", 10_000_000),
        ("7ns", 7),
        ("7us", 7_000),
        ("7µs", 7_000),
        ("0", 0),
        ("0s", 0),
        (2, 2_000_000_000),
        (0.25, 250_000_000),
        ("8760h", 31_536_000_000_000_000),
    ],
)
def test_durations_are_read(text: object, expected_ns: int) -> None:
    """A duration is a number with its unit, or a plain number of seconds."""
    assert parse_duration_ns(text) == expected_ns


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", f"warmup: '' {NO_DURATION}"),
        ("10", f"warmup: '10' {NO_DURATION}"),
        ("-1s", f"warmup: '-1s' {NO_DURATION}"),
        ("10 sec", f"warmup: '10 sec' {NO_DURATION}"),
        ("ten seconds", f"warmup: 'ten seconds' {NO_DURATION}"),
        ("1s 500ms", f"warmup: '1s 500ms' {NO_DURATION}"),
        ("1e3s", f"warmup: '1e3s' {NO_DURATION}"),
        ("infs", f"warmup: 'infs' {NO_DURATION}"),
        (None, f"warmup: None {NO_DURATION}"),
        (True, f"warmup: True {NO_DURATION}"),
        ([1], f"warmup: [1] {NO_DURATION}"),
        (-1, "warmup: -1 is not a duration of zero or more seconds"),
        (-0.5, "warmup: -0.5 is not a duration of zero or more seconds"),
        (math.inf, "warmup: inf is not a duration of zero or more seconds"),
        (math.nan, "warmup: nan is not a duration of zero or more seconds"),
        ("8761h", "warmup: '8761h' is more than a year"),
        (10**10, "warmup: 10000000000 is more than a year"),
        ("9" * 400 + "s", f"warmup: '{'9' * 400}s' is more than a year"),
        (10**400, f"warmup: {10**400} is more than a year"),
    ],
)
def test_bad_durations_are_refused(value: object, message: str) -> None:
    """What is no duration, or an absurd one, is refused by a sentence that names it."""
    with pytest.raises(PlanError) as refused:
        parse_duration_ns(value, "warmup")
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("value", "per_s"),
    [("1000/s", 1000), ("60/m", 1), ("7200/h", 2), ("0.5/s", 0.5), (" 10 / s ", 10), (250, 250), (2.5, 2.5)],
)
def test_rates_are_read(value: object, per_s: float) -> None:
    """A rate is a number per second, minute or hour, or a plain number per second."""
    assert parse_rate_per_s(value) == per_s


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "rate: '' is not a rate; write it as '1000/s' or '60/m'"),
        ("1000", "rate: '1000' is not a rate; write it as '1000/s' or '60/m'"),
        ("-5/s", "rate: '-5/s' is not a rate; write it as '1000/s' or '60/m'"),
        ("5/d", "rate: '5/d' is not a rate; write it as '1000/s' or '60/m'"),
        (True, "rate: True is not a rate; write it as '1000/s' or '60/m'"),
        (None, "rate: None is not a rate; write it as '1000/s' or '60/m'"),
        ("0/s", "rate: '0/s' is not a rate above zero"),
        (0, "rate: 0 is not a rate above zero"),
        (-3, "rate: -3 is not a rate above zero"),
        (math.inf, "rate: inf is more than one in a nanosecond"),
        (math.nan, "rate: nan is not a rate above zero"),
        ("1000000001/s", "rate: '1000000001/s' is more than one in a nanosecond"),
        (10**400, f"rate: {10**400} is more than one in a nanosecond"),
        ("9" * 400 + "/s", f"rate: '{'9' * 400}/s' is more than one in a nanosecond"),
    ],
)
def test_bad_rates_are_refused(value: object, message: str) -> None:
    """What is no rate, or an absurd one, is refused by a sentence that names it."""
    with pytest.raises(PlanError) as refused:
        parse_rate_per_s(value)
    assert str(refused.value) == message


@pytest.mark.parametrize(("text", "ratio"), [("0.1%", 0.001), ("5 %", 0.05), ("0.001", 0.001), ("0", 0), ("100%", 1)])
def test_ratios_are_read(text: str, ratio: float) -> None:
    """A ratio is a percentage or a fraction of one."""
    assert parse_ratio(text) == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["", "%", "-1%", "1e-3", "a few"])
def test_bad_ratios_are_refused(text: str) -> None:
    """What is no ratio is refused by a sentence that names it."""
    with pytest.raises(PlanError) as refused:
        parse_ratio(text, "errors")
    assert str(refused.value) == f"errors: {text!r} is not a ratio; write it as '0.1%' or '0.001'"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (0, "0 s"),
        (2e-9, "2 ns"),
        (1.234e-6, "1.23 us"),
        (45.67e-6, "45.7 us"),
        (999.4e-6, "999 us"),
        (999.6e-6, "1.00 ms"),
        (1.2345e-3, "1.23 ms"),
        (0.25, "250 ms"),
        (0.99951, "1.00 s"),
        (12.34, "12.3 s"),
        (3600, "3,600 s"),
    ],
)
def test_durations_are_shown_with_three_digits(seconds: float | None, text: str) -> None:
    """A duration shows three significant digits and the unit that fits."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(None, "-"), (math.nan, "-"), (0, "0/s"), (0.01234, "0.0123/s"), (12.34, "12.3/s"), (1234.5, "1,234/s")],
)
def test_rates_are_shown_with_three_digits(per_s: float | None, text: str) -> None:
    """A rate shows three significant digits, per second."""
    assert format_rate(per_s) == text


def test_ratios_and_counts_are_shown() -> None:
    """Ratios become percentages, counts get separators."""
    assert format_ratio(0.00123) == "0.12%"
    assert format_ratio(0) == "0%"
    assert format_ratio(1) == "100%"
    assert format_count(1234567) == "1,234,567"


@given(st.integers(0, 10**9), st.sampled_from(["ns", "us", "ms", "s"]))
def test_what_is_written_is_what_is_meant(number: int, unit: str) -> None:
    """Any whole number of a unit is that many of its nanoseconds, exactly, up to a year."""
    factor = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[unit]
    if number * factor <= 365 * 86_400 * 10**9:
        assert parse_duration_ns(f"{number}{unit}") == number * factor


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_plan_error(text: str) -> None:
    """No text makes the parsers raise anything but PlanError, which repeats the text."""
    for parse in (parse_duration_ns, parse_rate_per_s, parse_ratio):
        error: PlanError | None = None
        try:
            assert parse(text) >= 0
        except PlanError as refused:
            error = refused
        assert error is None or repr(text) in str(error)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Ümlaut\n日本", "plain Ümlaut\n日本"),
        ("\x1b[8munsealed", r"\x1b[8munsealed"),
        ("a\rb\tc\x00", r"a\rb\tc\x00"),
        ("\u202everified\u2066", r"\u202everified\u2066"),
    ],
)
def test_words_of_others(text: str, shown: str) -> None:
    """What a terminal obeys or hides is shown as an escape; lines stay lines."""
    assert printable(text) == shown

"""Text in and out: durations, rates and ratios as people write them, and the words of others made safe to show."""

from __future__ import annotations

import math
import re

from .errors import PlanError

_NS_PER_UNIT = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_S_PER_RATE_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0}
_YEAR_S = 365 * 24 * 3600
_MOST_PER_S = 10**9
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_DURATION = rf"{_NUMBER}\s*(ns|us|µs|ms|s|m|h)"  # compiled at their first use: every suite imports this module
_RATE = rf"{_NUMBER}\s*/\s*(s|m|h)"
_RATIO = rf"{_NUMBER}\s*(%?)"


def parse_duration_ns(value: object, what: str = "duration") -> int:
    """``"500ms"``, ``"30s"``, ``"1.5m"``, ``"1h"`` (or a number of seconds) as nanoseconds.

    Raises PlanError for anything else, for what is negative, and for what exceeds a year.
    """
    amount: float
    if isinstance(value, int | float) and not isinstance(value, bool):
        amount, unit_ns = value, _NS_PER_UNIT["s"]
        if not 0 <= value < math.inf:
            raise PlanError(f"{what}: {value!r} is not a duration of zero or more seconds")
    elif isinstance(value, str) and value.strip() == "0":
        return 0
    elif isinstance(value, str) and (match := re.fullmatch(_DURATION, value.strip())):
        amount, unit_ns = float(match[1]), _NS_PER_UNIT[match[2]]
    else:
        raise PlanError(f"{what}: {value!r} is not a duration; write it as '500ms', '30s', '5m' or '1h'")
    if amount > _YEAR_S * _NS_PER_UNIT["s"] / unit_ns:
        raise PlanError(f"{what}: {value!r} is more than a year")
    return round(amount * unit_ns)


def parse_rate_per_s(value: object, what: str = "rate") -> float:
    """``"1000/s"``, ``"60/m"`` (or a number, per second) as a rate per second. Raises PlanError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        rate: float = value
    elif isinstance(value, str) and (match := re.fullmatch(_RATE, value.strip())):
        rate = float(match[1]) / _S_PER_RATE_UNIT[match[2]]
    else:
        raise PlanError(f"{what}: {value!r} is not a rate; write it as '1000/s' or '60/m'")
    if not rate > 0:
        raise PlanError(f"{what}: {value!r} is not a rate above zero")
    if rate > _MOST_PER_S:
        raise PlanError(f"{what}: {value!r} is more than one in a nanosecond")
    return float(rate)


def parse_ratio(value: str, what: str = "ratio") -> float:
    """``"0.1%"`` or ``"0.001"`` as a fraction of one. Raises PlanError otherwise."""
    match = re.fullmatch(_RATIO, value.strip())
    if match is None:
        raise PlanError(f"{what}: {value!r} is not a ratio; write it as '0.1%' or '0.001'")
    return float(match[1]) / (100 if match[2] else 1)


def format_duration(seconds: float | None) -> str:
    """Three significant digits with the unit that fits: ``1.23 ms``, ``45.6 us``; ``-`` for nothing."""
    if seconds is None or math.isnan(seconds):
        return "-"
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if abs(seconds) * factor >= 0.9995:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds else "0 s"


def format_rate(per_s: float | None, unit: str = "s") -> str:
    """``1,234/s``, ``12.3/s``, in another unit of time ``74,040/m``; ``-`` for nothing."""
    if per_s is None or math.isnan(per_s):
        return "-"
    return f"{_three_digits(per_s * _S_PER_RATE_UNIT[unit])}/{unit}"


def format_ratio(ratio: float) -> str:
    """A fraction of one as a percentage: ``0.12%``."""
    return f"{_three_digits(ratio * 100)}%"


def format_count(count: int) -> str:
    """``1,234,567``."""
    return f"{count:,}"


def format_number(value: float) -> str:
    """A number of no unit: whole ones whole, others with four digits."""
    return format_count(int(value)) if float(value).is_integer() else f"{value:.4g}"


def format_bytes(count: float) -> str:
    """Three significant digits with the unit that fits: ``151 B``, ``8.19 kB``, in powers of ten."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= 0.9995 * factor:
            return f"{_three_digits(count / factor)} {unit}"
    return f"{count:.3g} B"


def counted(count: int, one: str, many: str = "") -> str:
    """``1 worker``, ``4 workers``; ``many`` where it is not ``one`` with an s."""
    return f"{format_count(count)} {one if count == 1 else many or f'{one}s'}"


def printable(text: str) -> str:
    """Others' words without what a terminal obeys or hides: control, format and private characters as escapes.

    Lines stay lines.
    """
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def _three_digits(value: float) -> str:
    magnitude = abs(value)
    if magnitude >= 99.95:
        return f"{value:,.0f}"
    if magnitude >= 9.995:
        return f"{value:.1f}"
    if magnitude >= 0.0995:
        return f"{value:.2f}"
    return f"{value:.3g}"


def titled(nodeid: str, name: str | None) -> str:
    """``test_it.py::test_it (fast)``: a test, and which of its runs, where they have names."""
    return f"{nodeid} ({name})" if name else nodeid

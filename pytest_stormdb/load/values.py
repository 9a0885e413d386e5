"""How the value of an option is read: one reader for each kind of value, whatever source it comes from.

Each takes the value and ``what`` it is of, and raises PlanError with a sentence that begins with ``what``.
"""

from __future__ import annotations

import re

from ..errors import PlanError
from ..units import parse_duration_ns, parse_ratio
from .option import span


def parse_whole(value: object, what: str, low: int | None = None, high: int | None = None) -> int:
    """``10`` or ``"10"``. Raises PlanError for what is no whole number or lies beyond its bounds."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,99}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PlanError(f"{what}: {value!r} is not a whole number")
    if (low is not None and value < low) or (high is not None and value > high):
        raise PlanError(f"{what}: {value} is out of range; give a number{span(low, high)}")
    return value


def parse_word(value: object, what: str, *words: str) -> str:
    """One of a few words."""
    if value not in words:
        quoted = [repr(word) for word in words]
        refusal = f"neither {quoted[0]} nor {quoted[1]}" if len(words) == 2 else f"none of {', '.join(words)}"
        raise PlanError(f"{what}: {value!r} is {refusal}")
    return str(value)


def parse_whole_or(value: object, what: str, word: str, low: int, high: int) -> int | None:
    """A whole number, or a word that leaves it open, which is read as None."""
    return None if value == word else parse_whole(value, what, low, high)


def parse_ratio_above_zero(value: object, what: str) -> float:
    ratio = parse_ratio(str(value), what)
    if not ratio > 0:
        raise PlanError(f"{what}: {value!r} is no share above zero")
    return ratio


def parse_positive_duration_ns(value: object, what: str) -> int:
    duration_ns = parse_duration_ns(value, what)
    if duration_ns == 0:
        raise PlanError(f"{what}: {value!r} is too short; give more than zero")
    return duration_ns


def parse_duration_range_ns(value: object, what: str) -> tuple[int, int]:
    """``"10ms"`` or ``"10ms..50ms"`` as its bounds in nanoseconds."""
    if isinstance(value, str) and ".." in value:
        low, _, high = value.partition("..")
        bounds = parse_duration_ns(low, what), parse_duration_ns(high, what)
        if bounds[0] > bounds[1]:
            raise PlanError(f"{what}: {value!r} has its bounds the wrong way round")
        return bounds
    constant_ns = parse_duration_ns(value, what)
    return constant_ns, constant_ns


def parse_flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise PlanError(f"{what}: {value!r} is neither True nor False")
    return value


def parse_text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PlanError(f"{what}: {value!r} is no text; give it a value, or leave it out")
    return value


def parse_lines(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise PlanError(f"{what}: {value!r} is not a list")
    return tuple(parse_text(line, what) for line in value)


def parse_address(value: object, what: str) -> tuple[str, int]:
    """``PORT`` or ``HOST:PORT``; without a host, this machine only."""
    host, _, port = str(value).rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise PlanError(f"{what}: {value!r} is not [HOST:]PORT")
    return host or "127.0.0.1", int(port)


def parse_arm(value: object, what: str) -> tuple[str, str]:
    kind, _, where = str(value).partition(":")
    if kind not in ("dsn", "git") or not where.strip():
        raise PlanError(f"{what}: {value!r} is neither 'dsn:postgresql://...' nor 'git:REVISION'")
    return kind, where.strip()


def parse_kept(value: object, what: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w.-]*", value):
        raise PlanError(f"{what}: {value!r} is no name of letters, digits, dots, dashes and underscores")
    return value

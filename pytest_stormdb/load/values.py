"""How the value of an option is written: one reader for each kind of value, whatever source it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from ..errors import PlanError
from ..units import parse_duration_ns, parse_rate_per_s, parse_ratio

IniType = Literal["string", "int", "bool", "linelist"]


MAX_WORKERS = 10_000
"""More than any PostgreSQL serves; a number above it is a typing error."""


class Kind(NamedTuple):
    """A kind of value. ``read(value, what)`` gives it, or raises PlanError with a sentence that begins with ``what``.

    ``expects`` completes the sentence "must be ...", ``words`` are the only ones allowed where there are such.
    ``unit`` of what is read ends the names of fields that hold it (``ns``, ``per_s``). ``ini`` is pytest's type of an
    ini key. A path is relative to the file that says it, or to where the command was given.

    A NamedTuple, as `Option` is: every suite loads them, and a dataclass with slots takes six times as long to make.
    """

    read: Callable[[object, str], Any]
    expects: str
    unit: str = ""
    ini: IniType = "string"
    words: tuple[str, ...] = ()
    is_path: bool = False


def whole_number(low: int | None = None, high: int | None = None) -> Kind:
    """A whole number between its bounds, both included, as a number or as text."""
    return Kind(partial(parse_whole, low=low, high=high), f"a whole number{_span(low, high)}", ini="int")


def parse_whole(value: object, what: str, low: int | None = None, high: int | None = None) -> int:
    """``10`` or ``"10"``. Raises PlanError for what is no whole number or lies beyond its bounds."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,99}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PlanError(f"{what}: {value!r} is not a whole number")
    if (low is not None and value < low) or (high is not None and value > high):
        raise PlanError(f"{what}: {value} is out of range; give a number{_span(low, high)}")
    return value


def _span(low: int | None, high: int | None) -> str:
    if high is not None:
        return f" from {low} to {high}"
    return f" of {low} or more" if low is not None else ""


def choice(*words: str) -> Kind:
    """One of a few words."""
    quoted = [repr(word) for word in words]
    refusal = f"neither {quoted[0]} nor {quoted[1]}" if len(words) == 2 else f"none of {', '.join(words)}"

    def read(value: object, what: str) -> str:
        if value not in words:
            raise PlanError(f"{what}: {value!r} is {refusal}")
        return str(value)

    return Kind(read, f"one of {', '.join(words)}", words=words)


def number_or(word: str, low: int, high: int) -> Kind:
    """A whole number, or a word that leaves it open, which is read as None."""

    def read(value: object, what: str) -> int | None:
        return None if value == word else parse_whole(value, what, low, high)

    return Kind(read, f"a whole number{_span(low, high)}, or {word}")


def _ratio_above_zero(value: object, what: str) -> float:
    ratio = parse_ratio(str(value), what)
    if not ratio > 0:
        raise PlanError(f"{what}: {value!r} is no share above zero")
    return ratio


def _positive_duration_ns(value: object, what: str) -> int:
    duration_ns = parse_duration_ns(value, what)
    if duration_ns == 0:
        raise PlanError(f"{what}: {value!r} is too short; give more than zero")
    return duration_ns


def _duration_range_ns(value: object, what: str) -> tuple[int, int]:
    """``"10ms"`` or ``"10ms..50ms"`` as its bounds in nanoseconds."""
    if isinstance(value, str) and ".." in value:
        low, _, high = value.partition("..")
        bounds = parse_duration_ns(low, what), parse_duration_ns(high, what)
        if bounds[0] > bounds[1]:
            raise PlanError(f"{what}: {value!r} has its bounds the wrong way round")
        return bounds
    constant_ns = parse_duration_ns(value, what)
    return constant_ns, constant_ns


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise PlanError(f"{what}: {value!r} is neither True nor False")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PlanError(f"{what}: {value!r} is no text; give it a value, or leave it out")
    return value


def _lines(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise PlanError(f"{what}: {value!r} is not a list")
    return tuple(_text(line, what) for line in value)


def _address(value: object, what: str) -> tuple[str, int]:
    """``PORT`` or ``HOST:PORT``; without a host, this machine only."""
    host, _, port = str(value).rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise PlanError(f"{what}: {value!r} is not [HOST:]PORT")
    return host or "127.0.0.1", int(port)


_DURATIONS = "such as '500ms', '30s', '5m' or '1h'"
RATIO = Kind(_ratio_above_zero, "a share such as '10%' or '0.1'")
DURATION = Kind(parse_duration_ns, f"a duration {_DURATIONS}", "ns")
POSITIVE_DURATION = Kind(_positive_duration_ns, f"a duration above zero {_DURATIONS}", "ns")
DURATION_RANGE = Kind(_duration_range_ns, f"a duration {_DURATIONS}, or a range such as '10ms..50ms'", "ns")
RATE = Kind(parse_rate_per_s, "a rate above zero such as '1000/s', '60/m', or a number per second", "per_s")
FLAG = Kind(_flag, "true or false", ini="bool")
TEXT = Kind(_text, "text")
LINES = Kind(_lines, "a list of text", ini="linelist")
PATH = Kind(_text, "a path", is_path=True)
PATHS = Kind(_lines, "a list of paths", ini="linelist", is_path=True)
ADDRESS = Kind(_address, "[HOST:]PORT")

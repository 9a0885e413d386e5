"""Typed readers of YAML values: each returns what a `Value` means, or raises the error of its file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from ..errors import PlanError, StormDBError
from ..load.option import POSITIVE_DURATION, Kind, Option
from .yaml_nodes import Value

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True)
class Section:
    """A mapping whose keys are all known."""

    value: Value
    entries: dict[str, Value]

    @overload
    def read(self, key: str, reader: Callable[[Value], T]) -> T | None: ...
    @overload
    def read(self, key: str, reader: Callable[[Value], T], default: D) -> T | D: ...
    def read(self, key: str, reader: Callable[[Value], T], default: object = None) -> object:
        """What `key` says, or `default` where it is not given."""
        return reader(self.entries[key]) if key in self.entries else default

    def only_one(self, *keys: str) -> None:
        """Refuses two of `keys` at once, since they say the same thing."""
        given = [key for key in keys if key in self.entries]
        if len(given) > 1:
            raise self.entries[given[1]].refuse(f"{given[0]!r} is given too; keep one of them", show=False)

    def refuse(self, problem: str) -> StormDBError:
        return self.value.refuse(problem)


def section(value: Value, known: Iterable[str], elsewhere: Iterable[str] = ()) -> Section:
    """A mapping of `known` keys; `elsewhere` are keys of other sections, for the hint at a misplaced one."""
    entries = mapping(value)
    known = tuple(known)
    for key, entry in entries.items():
        if key not in known:
            at = Value(entry.file, entry.line, value.key, entry.error, None)
            raise at.refuse(f"unknown key {key!r}; {nearest(key, known, elsewhere)}")
    return Section(value, entries)


def nearest(word: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """The hint at what may have been meant: ``did you mean 'workers'?``, or all there is to choose from."""
    known = tuple(known)
    if close := difflib.get_close_matches(word.lower(), known, n=1):
        return f"did you mean {close[0]!r}?"
    by_last_part = {path.rpartition(".")[2]: path for path in elsewhere}
    if close := difflib.get_close_matches(word.lower(), by_last_part, n=1):
        return f"did you mean {by_last_part[close[0]]!r}?"
    return f"known: {', '.join(known)}"


def mapping(value: Value) -> dict[str, Value]:
    """A mapping of anything; what is left empty is an empty one."""
    if value.data is None:
        return {}
    if not isinstance(value.data, dict):
        raise value.refuse("must be a mapping of keys to values", show=False)
    return value.data


def listed(reader: Callable[[Value], T]) -> Callable[[Value], tuple[T, ...]]:
    """A list of what `reader` reads; what is left empty is an empty one."""

    def read(value: Value) -> tuple[T, ...]:
        if value.data is None:
            return ()
        if not isinstance(value.data, list):
            raise value.refuse("must be a list: one '- item' a line, or [item, item]")
        return tuple(reader(item) for item in value.data)

    return read


def text(value: Value) -> str:
    """A scalar as it was written, whatever YAML takes it for: ``1.0`` and ``yes`` are text too."""
    return _text(value, show=True)


def secret(value: Value) -> str:
    """As `text`, but no error ever shows it."""
    return _text(value, show=False)


def _text(value: Value, *, show: bool) -> str:
    if not value.is_scalar:
        raise value.refuse("must be text", show=show)
    if value.data is None:
        raise value.refuse("is empty; give it a value or remove the key", show=False)
    return value.text


def flag(value: Value) -> bool:
    if not isinstance(value.data, bool):
        raise value.refuse("must be true or false")
    return value.data


def whole_number(low: int, high: int = 2**63 - 1) -> Callable[[Value], int]:
    span = f"from {low} to {high}" if high < 2**63 - 1 else f"of {low} or more"

    def read(value: Value) -> int:
        data = value.data
        if isinstance(data, bool) or not isinstance(data, int) or not low <= data <= high:
            raise value.refuse(f"must be a whole number {span}")
        return data

    return read


def choice(*words: str) -> Callable[[Value], str]:
    def read(value: Value) -> str:
        word = text(value)
        if word not in words:
            raise value.refuse(f"is not one of {', '.join(words)}; {nearest(word, words)}")
        return word

    return read


def positive_duration_ns(value: Value) -> int:
    """A duration above zero such as ``30s``, or a number of seconds, in nanoseconds."""
    duration: int = _parsed(value, POSITIVE_DURATION)
    return duration


def option_value(option: Option) -> Callable[[Value], object]:
    """What a file says of an option, checked, and as it was said; later it is read as every source's word is."""
    if option.kind.words:
        return choice(*option.kind.words)
    if option.kind.ini == "linelist":
        return listed(text)

    return checked(option.kind)


def checked(kind: Kind) -> Callable[[Value], object]:
    """A value of a kind, as it was said."""

    def read(value: Value) -> object:
        _parsed(value, kind)
        return value.data

    return read


def _parsed(value: Value, kind: Kind) -> Any:
    """What a scalar means. The error shows it as it was written: what a variable stands for may be a secret."""
    is_text_for_a_number = kind.ini == "int" and isinstance(value.data, str)  # such as 010: eight, or ten?
    try:
        if value.is_scalar and not is_text_for_a_number:
            return kind.read(value.data, value.key)
    except PlanError:
        pass
    raise value.refuse(f"must be {kind.expects}")

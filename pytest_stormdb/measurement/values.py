"""Values that workloads hand in, converted where they enter: to numbers that add up and to text for every report.

A report is JSON, XML, Prometheus' text or a terminal, and none of them takes everything: XML has no control characters,
UTF-8 no lone surrogates, JSON neither NaN nor infinity, and none a NumPy scalar, a Decimal or an exception.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from ..errors import WorkloadError

MOST_CHARS = 500
"""Of a text that explains something, such as an error."""
MOST_NAME_CHARS = 200
MOST_NAMES = 100
"""Operations, metrics, and codes of errors that are told apart; what comes after them counts under one name."""
OTHER = "other"
_MOST_ITEMS = 20
_MOST_LEVELS = 4
_MOST_BITS = 256
"""Of a whole number. What is larger is no count of anything, and may have more digits than Python writes."""

_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]"  # no character of XML, or of no text
    r"|[\u2028\u2029\u202a-\u202e\u2066-\u2069]"  # ends a line, or turns the text around
)


def as_text(value: object, most_chars: int = MOST_CHARS) -> str:
    """Any object as text without what a report cannot hold: such characters are escaped (``\\x1b``).

    Tabs and line feeds stay. What ``str`` cannot do becomes the name of the object's type.
    """
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:
        text = type(value).__name__
    escaped = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text[: most_chars + 1])
    return escaped if len(escaped) <= most_chars else f"{escaped[: most_chars - 3]}..."


def as_name(value: object) -> str:
    """Any object as the name of an operation, a metric or a code: text on one line."""
    return as_text(value, MOST_NAME_CHARS).replace("\n", "\\n").replace("\t", "\\t") or "(no name)"


def as_number(value: object, what: str) -> float:
    """A number of any library (NumPy, Decimal, Fraction) as one that adds up. Raises WorkloadError naming ``what``."""
    if isinstance(value, bool | int) and value.bit_length() <= _MOST_BITS:
        return int(value)
    if isinstance(value, float):
        return float(value)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise WorkloadError(f"{what}: {as_text(value, 100)!r} ({type(value).__name__}) is not a number") from None
    return int(number) if number.is_integer() and not isinstance(value, str) else number


def plain(value: object, levels: int = _MOST_LEVELS) -> object:
    """A value as JSON takes it, and in bounds: mappings, lists, text, whole numbers and finite floats, else None.

    Texts keep 500 characters, containers their first 20 items, down to four levels; what lies deeper becomes text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if levels and isinstance(value, Mapping):
        return {as_name(key): plain(each, levels - 1) for key, each in islice(value.items(), _MOST_ITEMS)}
    if levels and isinstance(value, list | tuple | set | frozenset):
        return [plain(each, levels - 1) for each in islice(value, _MOST_ITEMS)]
    if isinstance(value, str):
        return as_text(value)
    try:
        number = as_number(value, "")
    except WorkloadError:
        return as_text(value)
    return number if math.isfinite(number) else None


def finite(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with None in the place of NaN and infinity, which JSON does not have."""
    return {key: _finite(value) for key, value in document.items()}


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return finite(value)
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def bounded(name: str, known: Collection[str], other: str = OTHER) -> str:
    """The name itself while there is room among those ``known``; else the one for all the rest."""
    return name if name in known or len(known) < MOST_NAMES else other

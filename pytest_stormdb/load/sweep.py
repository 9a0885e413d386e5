"""The worker counts of a sweep, as text."""

from __future__ import annotations

import re

from ..errors import PlanError
from .option import MAX_WORKERS

_LINEAR = re.compile(r"linear:(\d+)\.\.(\d+):(\d+)")
_DOUBLING = re.compile(r"doubling:(\d+)\.\.(\d+)")


def parse_sweep(text: object, what: str = "sweep") -> tuple[int, ...]:
    """``1,2,4,8``, ``linear:1..32:4`` (every fourth, and the last) or ``doubling:1..64``. Raises PlanError."""
    counts = _counts(str(text).strip())
    if not counts or any(not 1 <= count <= MAX_WORKERS for count in counts):
        raise PlanError(f"{what}: {text!r} is not '1,2,4,8', 'linear:1..32:4' or 'doubling:1..64'")
    if list(counts) != sorted(set(counts)):
        raise PlanError(f"{what}: {text!r} does not rise; give each number of workers once, the least first")
    return counts


def _counts(text: str) -> tuple[int, ...]:
    if match := _LINEAR.fullmatch(text):
        first, last, step = (int(group) for group in match.groups())
        counts = tuple(range(first, last + 1, step)) if step else ()
        return counts if not counts or counts[-1] == last else (*counts, last)
    if match := _DOUBLING.fullmatch(text):
        first, last = (int(group) for group in match.groups())
        doubled = _doubled(first, last)
        return doubled if not doubled or doubled[-1] == last else (*doubled, last)
    if re.fullmatch(r"\d{1,6}(\s*,\s*\d{1,6})*", text):
        return tuple(int(part) for part in text.split(","))
    return ()


def _doubled(first: int, last: int) -> tuple[int, ...]:
    return tuple(first << power for power in range(20) if first and first << power <= last)

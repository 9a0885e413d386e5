"""What one iteration was: its three timestamps, and what the workload said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

MAX_EXAMPLE_CHARS = 500


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What a workload may return to say more than "it worked"; the framework measures the duration.

    ``operation`` names the operation this counts for (default: the function that returned it),
    ``rows_affected`` adds to that operation's rows. ``metadata`` of the first few failed results is kept in the run
    record, beside their ``error``. A list of results, from a batch, counts each.
    """

    success: bool = True
    operation: str | None = None
    error: str | None = None
    rows_affected: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Sample(NamedTuple):
    """One timed call. Times are monotonic nanoseconds of one clock shared by all workers of a run."""

    operation: str
    intended_ns: int
    started_ns: int
    finished_ns: int

    @property
    def service_ns(self) -> int:
        return self.finished_ns - self.started_ns

    @property
    def response_ns(self) -> int:
        return self.finished_ns - self.intended_ns

    @property
    def lag_ns(self) -> int:
        return self.started_ns - self.intended_ns


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed: ``code`` is an SQLSTATE, ``timeout``, or the exception's type; ``example`` its text;
    ``metadata`` what the workload said of it."""

    code: str
    example: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def as_plain(value: object, depth: int = 4) -> Any:
    """A value of the workload's as JSON can hold it, and in bounds: anything else becomes its ``repr``.

    Texts keep their first 500 characters, containers their first 20 items, down to four levels.
    """
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, str):
        return value[:MAX_EXAMPLE_CHARS]
    if depth and isinstance(value, Mapping):
        return {str(key)[:MAX_EXAMPLE_CHARS]: as_plain(each, depth - 1) for key, each in islice(value.items(), 20)}
    if depth and isinstance(value, list | tuple):
        return [as_plain(each, depth - 1) for each in value[:20]]
    try:
        return repr(value)[:MAX_EXAMPLE_CHARS]
    except Exception:
        return f"<{type(value).__name__}>"

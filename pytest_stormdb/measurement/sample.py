"""What one iteration was: its three timestamps, and what the workload said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Aborted(Exception):  # noqa: N818 - named for the fact it states: no error, but an outcome
    """Raised by a workload to end an iteration as it may well end: no stock, insufficient funds, an order taken back.

    The transaction is rolled back; the iteration counts as aborted for this reason, neither as success nor as failure.
    """


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

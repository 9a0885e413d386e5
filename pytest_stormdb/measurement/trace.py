"""Single iterations, sampled: when they began and ended, and their parts. Kept apart from all that is counted.

Nothing of it stands between the timestamps of an iteration: it looks at the end when a duration is put away.
"""

from __future__ import annotations

from typing import NamedTuple, Self

from ..realtime import perf_counter_ns

_MOST_SPANS = 64
"""Spans kept of each worker between two sendings, about a second; more are counted and dropped."""
_MOST_PARTS = 32


class Span(NamedTuple):
    """An iteration or a part of one, on the clock of ``perf_counter_ns``; ``error`` is empty for what did not
    fail, ``aborted`` for what did not end in an expected abort, whose reason it is."""

    operation: str
    start_ns: int
    end_ns: int
    error: str = ""
    parts: tuple[Span, ...] = ()
    aborted: str = ""


class Tracer:
    """Keeps every n-th iteration of one worker."""

    def __init__(self, every: int) -> None:
        self.dropped = 0
        self._every = every
        self._until_next = every
        self._spans: list[Span] = []
        self._parts: list[Span] = []

    def iteration(self, operation: str, start_ns: int, end_ns: int, error: str = "", aborted: str = "") -> None:
        """An iteration ended; the parts seen since the last one are its own."""
        self._until_next -= 1
        if not self._until_next:
            self._until_next = self._every
            if len(self._spans) < _MOST_SPANS:
                begins = min([start_ns, *(part.start_ns for part in self._parts)])  # the end is seen a little late
                self._spans.append(Span(operation, begins, end_ns, error, tuple(self._parts), aborted))
            else:
                self.dropped += 1
        self._parts.clear()

    def part(self, span: Span) -> None:
        """A part of the iteration in progress ended."""
        if self._until_next == 1 and len(self._parts) < _MOST_PARTS:
            self._parts.append(span)

    def take(self) -> list[Span]:
        """What was kept since the last call."""
        taken, self._spans = self._spans, []
        return taken


class TracedDurations(list[int]):
    """A buffer of durations that tells a tracer of each one put away. ``list`` is subclassed for its speed."""

    tracer: Tracer
    operation: str

    @classmethod
    def of(cls, tracer: Tracer, operation: str) -> Self:
        made = cls()
        made.tracer, made.operation = tracer, operation
        return made

    def append(self, duration_ns: int) -> None:
        """Called right after the iteration, so that its end is now."""
        super().append(duration_ns)
        end_ns = perf_counter_ns()
        self.tracer.iteration(self.operation, end_ns - duration_ns, end_ns)

"""Which iteration was in flight when a backend was looked at: samples of waits become hits on iterations.

Samples are taken at random instants, so an iteration is hit in proportion to the time it takes: counting hits adds up
response time. Nothing is counted in a worker's loop but the spans of the iterations that a look overlapped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

QUEUE = "Queue"
"""The event of an iteration that waits for a free worker: it is late, and no backend works on it yet."""
CPU = "CPU*"
"""No wait event while active: the backend computes, or waits where PostgreSQL has no instrument."""
_KEPT_LOOKS = 64


class Span(NamedTuple):
    """A successful iteration, in ns of the common clock."""

    intended_ns: int
    started_ns: int
    finished_ns: int


class WaitSample(NamedTuple):
    """What a worker's backend did at an instant: ``event`` as ``Lock:tuple``, ``CPU*``, ``Client:ClientRead``.

    ``worker`` is below zero for each backend that no worker claims. ``begun_us`` is when, by the server's clock, the
    transaction began that it was in; 0 in none.
    """

    at_ns: int
    worker: int
    event: str
    begun_us: int = 0


class Hit(NamedTuple):
    """A sample that fell into an iteration, which is known by its worker and its start."""

    iteration: tuple[int, int]
    at_ns: int
    event: str
    response_ns: int


class ServerClock:
    """Places a server's clock readings on ours: the offset comes from the fastest of the last looks.

    The answer may be late because this process waited for a CPU; the server's own reading is not. The error is at most
    half the fastest round trip, and a result never lies outside the look it belongs to.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[int, int]] = deque(maxlen=_KEPT_LOOKS)

    def instant_ns(self, sent_ns: int, received_ns: int, server_ns: int) -> int:
        """When, by our clock, the server read its own."""
        self._looks.append((received_ns - sent_ns, (sent_ns + received_ns) // 2 - server_ns))
        return min(max(self.place_ns(server_ns), sent_ns), received_ns)

    def place_ns(self, server_ns: int) -> int:
        """Any reading of the server's clock on ours, once there was a look."""
        return server_ns + min(self._looks)[1]


def event_of(state: str | None, wait_type: str | None, wait_event: str | None) -> str:
    """The event of a backend as PostgreSQL shows it; one that is not active has the client's turn."""
    if wait_type is not None:
        return f"{wait_type}:{wait_event}"
    return CPU if state in ("active", "fastpath function call") else "Client:ClientRead"


def class_of(event: str) -> str:
    """``Lock`` of ``Lock:tuple``."""
    return event.partition(":")[0]


def attribute(samples: Iterable[WaitSample], spans: Mapping[int, Sequence[Span]], from_ns: int = 0) -> list[Hit]:
    """The hits of samples on the spans of their workers, a worker's spans in the order of their start.

    Only what is measured counts: samples taken, and iterations meant to start, at ``from_ns`` or later. A sample
    between two iterations hits nothing. A late iteration is hit by each instant at which it waited for a worker.
    """
    measured = {
        worker: [span for span in found if span.intended_ns >= from_ns] for worker, found in spans.items() if found
    }
    starts = {worker: [span.started_ns for span in found] for worker, found in measured.items()}
    hits, instants = [], set()
    for at_ns, worker, event, _ in samples:
        if at_ns < from_ns:
            continue
        instants.add(at_ns)
        index = bisect_right(starts.get(worker, ()), at_ns) - 1
        if index >= 0 and at_ns <= (span := measured[worker][index]).finished_ns:
            hits.append(Hit((worker, span.started_ns), at_ns, event, span.finished_ns - span.intended_ns))
    return hits + _queued(measured, sorted(instants))


def at_work(samples: Iterable[WaitSample], *, is_open: bool) -> list[Hit]:
    """The hits of samples of sessions that are pgbench's: nobody knows its iterations, but each client always has one,
    or with a schedule, as long as it is in a transaction. How long that took is not known."""
    return [
        Hit((sample.worker, sample.begun_us or sample.at_ns), sample.at_ns, sample.event, 0)
        for sample in samples
        if sample.begun_us or not is_open
    ]


def _queued(spans: Mapping[int, Sequence[Span]], instants: Sequence[int]) -> list[Hit]:
    return [
        Hit((worker, span.started_ns), at_ns, QUEUE, span.finished_ns - span.intended_ns)
        for worker, found in spans.items()
        for span in found
        for at_ns in instants[bisect_left(instants, span.intended_ns) : bisect_left(instants, span.started_ns)]
    ]

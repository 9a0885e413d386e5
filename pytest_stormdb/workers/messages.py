"""What workers and their supervisor tell each other: plain data, and nothing else crosses a process boundary."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..database.costs import BackendWork
from ..errors import StormDBError
from ..measurement.usage import GroupUsage


@dataclass(frozen=True, slots=True)
class Start:
    """To workers: everybody is ready; the run starts at this instant of the clock of those who get it."""

    start_ns: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker is connected and has its fixtures."""

    worker: int


@dataclass(frozen=True, slots=True)
class Began:
    """A group that could not start at the instant it was told did so this much later; all its times count from then."""

    late_ns: int


@dataclass(frozen=True, slots=True)
class IntervalCounts:
    """What a worker recorded in an interval (counted from the end of the warm-up) and stage of the run.

    ``packed`` is the pickled Snapshot: unpacking it is for when nobody is being measured. ``operations`` and
    ``failures`` are its totals, of the warm-up too.

    ``spans`` are those of the iterations in which the server was looked at, three ``Q`` of an array for each: intended,
    started, finished.
    """

    worker: int
    interval: int
    stage: int
    packed: bytes
    operations: int = 0
    failures: int = 0
    spans: bytes = b""


@dataclass(frozen=True, slots=True)
class FirstFailure:
    """The first failure of a worker, rendered for people."""

    worker: int
    iteration: int
    operation: str
    text: str


@dataclass(frozen=True, slots=True)
class Interruption:
    """The workload asked to end the run: ``kind`` is ``skip``, ``xfail`` or ``exit``."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker cannot go on: its connection, a worker fixture or its server is beyond repair."""

    worker: int
    error: StormDBError
    text: str = ""


@dataclass(frozen=True, slots=True)
class Printed:
    """Text a worker wrote to ``stdout`` or ``stderr``."""

    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Logged:
    """A log record of a worker, its message already formatted."""

    record: logging.LogRecord


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning raised in a worker."""

    message: Warning
    filename: str
    lineno: int


@dataclass(frozen=True, slots=True)
class Backend:
    """A worker's session on the server, by the number of its process there; a new one after a reconnect."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Scheduled iterations that were not started: from workers with a schedule of their own, to their launcher."""

    count: int


@dataclass(frozen=True, slots=True)
class WorkerDone:
    """A worker's iterations are over, so long after the start of the run, by its own clock.

    ``work`` is what its backend did, where the server says.
    """

    worker: int
    elapsed_ns: int
    work: BackendWork | None = None


@dataclass(frozen=True, slots=True)
class GroupDone:
    """Workers that share a process are torn down, and end in good order. It is the last that they say.

    ``others`` are for a process with several sets of workers that wait for each other.
    """

    usage: GroupUsage
    others: tuple[GroupUsage, ...] = ()


Message = (
    Ready
    | Backend
    | Began
    | IntervalCounts
    | FirstFailure
    | Interruption
    | Broken
    | Printed
    | Logged
    | Warned
    | Skipped
    | WorkerDone
    | GroupDone
)

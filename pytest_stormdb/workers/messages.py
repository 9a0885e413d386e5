"""What workers and the parent tell each other: plain data, and nothing else crosses a process boundary."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..errors import StormDBError
from ..measurement.usage import GroupUsage


@dataclass(frozen=True, slots=True)
class Go:
    """From the parent: everybody is ready; the run starts at this instant of the common clock."""

    start_ns: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker is connected and has its resources."""

    worker: int


@dataclass(frozen=True, slots=True)
class IntervalCounts:
    """What a worker recorded in an interval (counted from the end of the warm-up) and stage of the run.

    ``packed`` is the pickled Snapshot: unpacking it is for when nobody is being measured.
    """

    worker: int
    interval: int
    stage: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class FirstFailure:
    """The first failure of a worker, rendered for people."""

    worker: int
    iteration: int
    operation: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Interruption:
    """The workload asked to end the run: ``kind`` is ``skip`` or ``exit``."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker cannot go on: its connection, a resource or its server is beyond repair."""

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
class WorkerDone:
    """A worker ended in good order, at this instant."""

    worker: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class GroupDone:
    """A host ended in good order."""

    vitals: GroupUsage


Message = (
    Ready | IntervalCounts | FirstFailure | Interruption | Broken | Printed | Logged | Warned | WorkerDone | GroupDone
)

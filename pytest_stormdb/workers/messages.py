"""What workers and the parent tell each other: plain data, and nothing else crosses a process boundary."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from ..errors import StormDBError
from ..histogram import Histogram


@dataclass(frozen=True, slots=True)
class Go:
    """From the parent: everybody is ready; the run starts at this instant of the common clock."""

    start_ns: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker is connected and has its resources."""

    worker: int


@dataclass(frozen=True, slots=True)
class Interval:
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


@dataclass(slots=True)
class Vitals:
    """How a host of workers fared while the run was measured: its own CPU time and what kept it waiting.

    ``wait_ns`` is the time it was ready to run but had no CPU, ``preemptions`` how often it lost its CPU and
    ``yields`` how often it gave it away, ``wake_lag`` how late idle workers of an open loop came to an arrival,
    ``pause_ns`` what the ``workers`` of a closed loop spent between their ``calls``, thinking not included.
    """

    workers: int = 1
    calls: int = 0
    pause_ns: int = 0

    cpu_ns: int = 0
    wall_ns: int = 0
    wait_ns: int = 0
    preemptions: int = 0
    yields: int = 0
    gc_max_ns: int = 0
    gc_total_ns: int = 0
    wake_lag: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class Done:
    """A worker ended in good order, at this instant."""

    worker: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class Farewell:
    """A host ended in good order."""

    vitals: Vitals


Message = Ready | Interval | FirstFailure | Interruption | Broken | Printed | Logged | Warned | Done | Farewell

"""What workers count: a Recorder each, drained into a Snapshot, and snapshots merged by addition."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import WorkloadError
from .sample import Failure, Sample
from .tally import Metric, Tally
from .trace import Span, TracedDurations, Tracer
from .values import OTHER, as_name, bounded

_MOST_LOOKED_AT = 1000
OTHER_PARTS = f"{OTHER} parts"
"""The name that parts count under which come after the first hundred."""


class Buffers:
    """A worker's raw durations of one operation, in ns, until they are drained into a Tally."""

    __slots__ = ("is_part", "lag", "response", "service")

    def __init__(self, *, is_part: bool, service: list[int] | None = None) -> None:
        self.is_part = is_part
        self.service = [] if service is None else service  # of an array, each value is converted
        self.response: list[int] = []
        self.lag: list[int] = []

    def moved(self) -> Buffers:
        """Buffers of their own with all that these hold, which are empty afterwards, and stay where they are."""
        twin = Buffers(is_part=self.is_part, service=self.service[:])
        twin.response, twin.lag = self.response[:], self.lag[:]
        for values in (self.service, self.response, self.lag):
            values.clear()
        return twin

    def drain(self, tally: Tally) -> None:
        """Move everything into the tally's histograms."""
        tally.count += len(self.service)
        tally.is_part = self.is_part
        for values, histogram in (
            (self.service, tally.service),
            (self.response, tally.response),
            (self.lag, tally.lag),
        ):
            if values:
                histogram.record_many(values)
                del values[:]


class Recorder:
    """What one worker saw since it was last emptied. Used by one thread, merged anywhere; never shared."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.looked_at = array("Q")
        self.tallies: dict[str, Tally] = {}
        self.metrics: dict[str, Metric] = {}
        self.reconnects = 0
        self._tracer = tracer
        self._buffers: dict[str, Buffers] = {}
        self._operations: dict[str, None] = {}
        self._parts: dict[str, None] = {}
        self._metrics: dict[str, str] = {}

    def buffers(self, operation: str) -> Buffers:
        """The buffers of an operation; they stay the same for the recorder's whole life.

        Raises WorkloadError where a part bears that name.
        """
        return self._named(_known(operation, self._operations, OTHER), is_part=False)

    def tally(self, operation: str) -> Tally:
        """The tally of an operation or a part, by its name or what stands for it."""
        if operation not in self._parts:
            operation = _known(operation, self._operations, OTHER)
        tally = self.tallies.get(operation)
        if tally is None:
            tally = self.tallies[operation] = Tally()
        return tally

    def record(self, sample: Sample, *, is_open: bool, count: int = 1) -> None:
        """Record one successful call that stands for ``count`` operations."""
        buffers = self.buffers(sample.operation)
        buffers.service.append(sample.service_ns)
        if is_open:
            buffers.response.append(sample.response_ns)
            buffers.lag.append(sample.lag_ns)
        if count != 1:
            self.tally(sample.operation).count += count - 1

    def record_failure(self, sample: Sample, failure: Failure, count: int = 1) -> None:
        """Record a failed call; its duration never enters the latency of successes."""
        self._fail(sample, failure, count)
        if self._tracer is not None:
            self._tracer.iteration(sample.operation, sample.started_ns, sample.finished_ns, failure.code)

    def _fail(self, sample: Sample, failure: Failure, count: int = 1) -> None:
        tally = self.tally(sample.operation)
        tally.failed.record(sample.response_ns)
        tally.fail(failure, count)

    def record_abort(self, sample: Sample, reason: str) -> None:
        """Record a call that ended in an expected abort."""
        self._abort(sample, reason)
        if self._tracer is not None:
            self._tracer.iteration(sample.operation, sample.started_ns, sample.finished_ns, aborted=reason)

    def _abort(self, sample: Sample, reason: str) -> None:
        tally = self.tally(sample.operation)
        tally.aborted.record(sample.response_ns)
        tally.abort(reason)

    def record_part(self, sample: Sample, failure: Failure | None = None, aborted: str | None = None) -> None:
        """Record a named part of an iteration: it has figures of its own, and none in the total.

        Raises WorkloadError where an operation bears that name.
        """
        name = _known(sample.operation, self._parts, OTHER_PARTS)
        buffers = self._named(name, is_part=True)
        if failure is None and aborted is None:
            buffers.service.append(sample.service_ns)
        else:
            self.tally(name).is_part = True
            sample = sample._replace(operation=name)
            if failure is not None:
                self._fail(sample, failure)
            elif aborted is not None:
                self._abort(sample, aborted)
        if self._tracer is not None:
            code = "" if failure is None else failure.code
            self._tracer.part(Span(sample.operation, sample.started_ns, sample.finished_ns, code, (), aborted or ""))

    def keep_span(self, intended_ns: int, started_ns: int, finished_ns: int) -> None:
        """Keep, of an iteration in which the server was looked at, when it was meant to start, started and finished.

        What is too much between two collections is let go, whatever it is: a part of them shows the shares as well.
        """
        if len(self.looked_at) < _MOST_LOOKED_AT * 3:
            self.looked_at.extend((intended_ns, started_ns, finished_ns))

    def take_spans(self) -> bytes:
        """The spans kept since the last call, three numbers each."""
        taken = self.looked_at.tobytes()
        del self.looked_at[:]
        return taken

    def metric(self, name: str, kind: str) -> Metric:
        """The metric of that name. Raises WorkloadError where it exists as another kind."""
        if not isinstance(name, str) or name not in self._metrics:
            name = bounded(as_name(name), self._metrics, _other_metrics(kind))
        known = self._metrics.setdefault(name, kind)
        if known != kind:
            raise WorkloadError(f"metric {name!r} is a {known}, not a {kind}")
        return self.metrics.setdefault(name, Metric(kind))

    def _named(self, name: str, *, is_part: bool) -> Buffers:
        buffers = self._buffers.get(name)
        if buffers is None:
            traced = None if self._tracer is None or is_part else TracedDurations.of(self._tracer, name)
            buffers = self._buffers[name] = Buffers(is_part=is_part, service=traced)
        elif buffers.is_part != is_part:
            kind = "a part" if buffers.is_part else "an operation"
            raise WorkloadError(f"{name!r} is the name of {kind} already; parts and operations need names of their own")
        return buffers

    def pending(self) -> int:
        """How many raw durations wait to be drained."""
        return sum(len(buffers.service) for buffers in self._buffers.values())

    def drain(self) -> None:
        """Sort the raw durations into histograms, so that memory does not grow with time."""
        for operation, buffers in self._buffers.items():
            if buffers.service:
                buffers.drain(self.tally(operation))

    def set_aside(self) -> SetAside:
        """Everything recorded since the last call, to be sorted later; the recorder is empty afterwards."""
        taken = Snapshot(self.tallies, self.metrics, self.reconnects)
        if self._tracer is not None:
            taken.spans = self._tracer.take()
        raw = {name: buffers.moved() for name, buffers in self._buffers.items() if buffers.service}
        self.tallies, self.metrics, self.reconnects = {}, {}, 0
        return SetAside(taken, raw)

    def take(self) -> Snapshot:
        """Everything recorded since the last call; the recorder is empty afterwards."""
        return self.set_aside().sorted()


@dataclass(frozen=True, slots=True)
class SetAside:
    """What a recorder held at an instant: counts, and durations as they came."""

    counts: Snapshot
    raw: dict[str, Buffers]

    def sorted(self) -> Snapshot:
        """The counts, the durations in their histograms among them; for once."""
        for operation, buffers in self.raw.items():
            buffers.drain(self.counts.tallies.setdefault(operation, Tally()))
        return self.counts


def _known(name: object, known: dict[str, None], other: str) -> str:
    """The name in the form that reports hold, counted among those known while there is room."""
    if isinstance(name, str) and name in known:
        return name
    found = bounded(as_name(name), known, other)
    known[found] = None
    return found


def _other_metrics(kind: str) -> str:
    """Metrics add up with their own kind only."""
    return f"{OTHER} ({kind})"


@dataclass(slots=True)
class Snapshot:
    """Counts that can be added: what a recorder took, or the sum of many. ``spans`` are no counts, and not merged."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    reconnects: int = 0
    spans: list[Span] = field(default_factory=list)

    def merge(self, other: Snapshot) -> None:
        """Add what ``other`` counted."""
        self.reconnects += other.reconnects
        for name, tally in other.tallies.items():
            known = bounded(name, self.tallies, OTHER_PARTS if tally.is_part else OTHER)
            self.tallies.setdefault(known, Tally()).merge(tally)
        for name, metric in other.metrics.items():
            known = bounded(name, self.metrics, _other_metrics(metric.kind))
            self.metrics.setdefault(known, Metric(metric.kind)).merge(metric)

    def total(self) -> Tally:
        """All iterations together; parts lie within them and are not counted twice."""
        whole = Tally()
        for tally in self.tallies.values():
            if not tally.is_part:
                whole.merge(tally)
        return whole


class Progress(Protocol):
    """A run that goes on. ``intervals`` are sums by block; ``measured_from_ns``, monotonic, the end of the warm-up."""

    measured_from_ns: int

    @property
    def intervals(self) -> Mapping[int, Snapshot]:
        """What was counted in each block."""

    @property
    def done(self) -> tuple[int, int]:
        """How many operations succeeded, and failed, as far as was told. Costs nothing."""

    def so_far(self) -> Snapshot:
        """All that was counted until now. Adding it up takes CPU time in the middle of a measurement."""


SoFar = Callable[[], Snapshot]
"""Gives all that was counted until now; ``Progress.so_far`` is one."""
Tick = Callable[[SoFar], None]
Look = Callable[[Progress], None]
"""Called several times a second during a run."""

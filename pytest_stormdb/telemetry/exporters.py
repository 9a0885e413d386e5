"""A run in progress, told to the outside at an interval: whom to tell, when, and lines of JSON as the simplest one."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import PlanError
from ..load.plan import LoadPlan
from ..measurement.recorder import Snapshot, SoFar, Tick
from ..measurement.stats import response_of
from ..measurement.values import finite
from ..realtime import monotonic
from ..redaction import redacted
from ..workload.contract import Workload


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is, and where its load goes."""

    workload: Workload
    plan: LoadPlan
    host: str = ""
    port: int | None = None
    database: str = ""


class Exporter(Protocol):
    """Told of a run's counts, from the end of its warm-up on."""

    def begin(self, run: Run) -> None:
        """A run begins; its workers are forked already."""

    def tell(self, snapshot: Snapshot, elapsed_s: float) -> None:
        """Pass the counts on."""

    def end(self) -> None:
        """The run is over; what was told last was all of it."""

    def close(self) -> None:
        """Give back what it holds."""


class JsonFile:
    """Appends one JSON object each time it is told."""

    def __init__(self, path: Path) -> None:
        """Raises PlanError where the file cannot be written."""
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise PlanError(f"metrics.exporters: json: cannot write {path}: {error.strerror}") from None

    def begin(self, run: Run) -> None:
        self._run = run

    def tell(self, snapshot: Snapshot, elapsed_s: float) -> None:
        workload, plan = self._run.workload, self._run.plan
        operations = {}
        for name, tally in sorted(snapshot.tallies.items()):
            latency = response_of(tally, is_open=plan.is_open)
            shown = {"p50_s": latency.shown(50), "p95_s": latency.shown(95), "p99_s": latency.shown(99)}
            operations[name] = {
                "count": tally.count,
                "failures": tally.failures,
                "aborts": sum(tally.aborts.values()),
            } | shown
        line = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "nodeid": workload.nodeid,
            "name": workload.run_name,
            "workload": workload.name,
            "elapsed_s": round(elapsed_s, 3),
            "operations": operations,
            "metrics": {name: metric.value for name, metric in sorted(snapshot.metrics.items())},
        }
        self._file.write(redacted(json.dumps(finite(line), allow_nan=False)) + "\n")
        self._file.flush()

    def end(self) -> None:
        """Each line stands for itself."""

    def close(self) -> None:
        self._file.close()


class Exporters:
    """All exporters of a session."""

    def __init__(self, exporters: Sequence[Exporter], interval_s: float, trace_every: int = 0) -> None:
        """``trace_every``: of so many iterations one is traced, since an exporter wants spans; 0 for none."""
        self.trace_every = trace_every
        self.problems: list[str] = []
        self._exporters = list(exporters)
        self._interval_s = interval_s

    @property
    def are_told(self) -> bool:
        """Whether there is anybody to be told."""
        return bool(self._exporters)

    @contextlib.contextmanager
    def during(self, run: Run) -> Iterator[Tick]:
        """Yields what to call with the way to the counts: it passes them on at the interval, and at the end."""
        self._each(lambda exporter: exporter.begin(run))
        started = told = monotonic()
        last: SoFar = Snapshot

        def tick(so_far: SoFar) -> None:
            nonlocal told, last
            last = so_far
            now = monotonic()
            if now - told >= self._interval_s:
                told = now
                self._tell(so_far, now - started)

        try:
            yield tick
        finally:
            self._tell(last, monotonic() - started)
            self._each(lambda exporter: exporter.end())

    def _tell(self, so_far: SoFar, elapsed_s: float) -> None:
        self._each(lambda exporter: exporter.tell(so_far(), elapsed_s))

    def close(self) -> None:
        """Give everything back."""
        self._each(lambda exporter: exporter.close())

    def _each(self, call: Callable[[Exporter], None]) -> None:
        """Call every exporter. One that fails, as with a full disk, is told no more, and costs nothing but itself."""
        for exporter in list(self._exporters):
            try:
                call(exporter)
            except Exception as error:
                self._exporters.remove(exporter)
                self.problems.append(f"{type(exporter).__name__}: told no more: {error}")

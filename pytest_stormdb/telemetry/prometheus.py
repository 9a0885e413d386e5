"""A session's counts for Prometheus: served while runs go on, and left as a text file at the end.

One collector on a registry of its own reads what was told last. Histograms are classic ones, since what several
machines or runs saw can be added up in them, which quantiles cannot. Needs ``prometheus_client``, the extra
``prometheus``.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from ..errors import PlanError
from ..measurement.recorder import Snapshot
from ..measurement.stats import response_of
from ..measurement.tally import Metric, Tally
from ..redaction import redacted
from .buckets import BOUNDS_S, bucketed
from .exporters import Run

_MOST_NAMES = 100
_OTHER = "other"


@dataclass(slots=True)
class Series:
    """What one operation came to, in the parts that can be added."""

    operations: int = 0
    retries: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    aborts: dict[str, int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    @classmethod
    def of(cls, tally: Tally, *, is_open: bool) -> Series:
        histogram = response_of(tally, is_open=is_open).histogram
        errors = {code: count for code, (count, _) in tally.errors.items()}
        counts = tally.count, tally.retries, errors, dict(tally.aborts)
        return cls(*counts, bucketed(histogram), histogram.total_ns / 1e9)

    def add(self, other: Series) -> None:
        self.operations += other.operations
        self.retries += other.retries
        self.sum_s += other.sum_s
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        for own, others in ((self.errors, other.errors), (self.aborts, other.aborts)):
            for name, count in others.items():
                name = _bounded(name, own)
                own[name] = own.get(name, 0) + count


@dataclass(slots=True)
class Counts:
    """What the runs of one workload came to. Names beyond the first hundred are counted together."""

    operations: dict[str, Series] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    reconnects: int = 0

    @classmethod
    def of(cls, snapshot: Snapshot, *, is_open: bool) -> Counts:
        series = {name: Series.of(tally, is_open=is_open) for name, tally in snapshot.tallies.items()}
        return cls(series, snapshot.metrics, snapshot.reconnects)

    def add(self, other: Counts) -> None:
        self.reconnects += other.reconnects
        for name, series in other.operations.items():
            self.operations.setdefault(_bounded(name, self.operations), Series()).add(series)
        for given, metric in other.metrics.items():
            name = redacted(given)
            if name in self.metrics or len(self.metrics) < _MOST_NAMES:
                self.metrics.setdefault(name, Metric(metric.kind)).merge(metric)


def _bounded(name: str, names: Iterable[str]) -> str:
    name, known = redacted(name), set(names)
    return name if name in known or len(known) < _MOST_NAMES else _OTHER


class SessionCollector(Collector):
    """Every workload of the session: runs that have ended are added up, the one in progress stands beside them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: dict[str, Counts] = {}
        self._running: tuple[str, int, Counts] | None = None

    def tell(self, workload: str, workers: int, counts: Counts) -> None:
        """The run in progress has come to this."""
        with self._lock:
            self._running = workload, workers, counts

    def end(self) -> None:
        """The run in progress is over, and its counts are final."""
        with self._lock:
            if self._running is not None:
                workload, _, counts = self._running
                self._ended.setdefault(workload, Counts()).add(counts)
                self._running = None

    def collect(self) -> Iterator[Family]:
        """All families; called by prometheus_client for each request."""
        with self._lock:
            workers, whole = self._whole()
        yield from _families(workers, whole)

    def _whole(self) -> tuple[dict[str, int], dict[str, Counts]]:
        workers = dict.fromkeys(self._ended, 0)
        running = [] if self._running is None else [(self._running[0], self._running[2])]
        if self._running is not None:
            workers[self._running[0]] = self._running[1]
        whole: dict[str, Counts] = {}
        for workload, counts in [*self._ended.items(), *running]:
            whole.setdefault(workload, Counts()).add(counts)
        return workers, whole


def _families(workers: Mapping[str, int], whole: Mapping[str, Counts]) -> Iterator[Family]:
    alive = GaugeMetricFamily("stormdb_workers", "Concurrent workers; 0 between runs.", labels=["workload"])
    again = CounterMetricFamily("stormdb_reconnects", "Lost connections opened again.", labels=["workload"])
    for workload, counts in whole.items():
        alive.add_metric([workload], workers[workload])
        again.add_metric([workload], counts.reconnects)
    yield from (alive, again)
    yield from _operations(whole)
    yield from _metrics(whole)


def _operations(whole: Mapping[str, Counts]) -> Iterator[Family]:
    labels = ["workload", "operation"]
    name = "stormdb_operation_duration_seconds"
    durations = HistogramMetricFamily(name, "Response time of successful calls.", labels=labels)
    done = CounterMetricFamily("stormdb_operations", "Successful operations.", labels=labels)
    retried = CounterMetricFamily("stormdb_retries", "Iterations tried again.", labels=labels)
    failed = CounterMetricFamily(
        "stormdb_failures", "Failed operations, by SQLSTATE or type.", labels=[*labels, "code"]
    )
    aborted = CounterMetricFamily("stormdb_aborts", "Expected aborts, by reason.", labels=[*labels, "reason"])
    for workload, counts in whole.items():
        for operation, series in sorted(counts.operations.items()):
            ends = zip([*map(repr, BOUNDS_S), "+Inf"], accumulate(series.buckets), strict=True)
            durations.add_metric([workload, operation], [(bound, float(count)) for bound, count in ends], series.sum_s)
            done.add_metric([workload, operation], series.operations)
            retried.add_metric([workload, operation], series.retries)
            for code, count in sorted(series.errors.items()):
                failed.add_metric([workload, operation, code], count)
            for reason, count in sorted(series.aborts.items()):
                aborted.add_metric([workload, operation, reason], count)
    yield from (durations, done, retried, failed, aborted)


def _metrics(whole: Mapping[str, Counts]) -> Iterator[Family]:
    """The workload's own: each kind is a family, since a family has one type."""
    labels = ["workload", "name"]
    counter = CounterMetricFamily("stormdb_counter", "Counters of the workload's own.", labels=labels)
    gauge = GaugeMetricFamily("stormdb_gauge", "Gauges of the workload's own.", labels=labels)
    observed = SummaryMetricFamily("stormdb_observation", "Observations of the workload's own.", labels=labels)
    for workload, counts in whole.items():
        for name, metric in sorted(counts.metrics.items()):
            if metric.kind == "counter":
                counter.add_metric([workload, name], metric.total)
            elif metric.kind == "gauge":
                gauge.add_metric([workload, name], metric.last)
            else:
                observed.add_metric([workload, name], metric.count, metric.total)
    yield from (counter, gauge, observed)


class PrometheusPage:
    """An exporter that serves ``/metrics``, and after each run leaves all counts in a file for node_exporter."""

    def __init__(self, host: str, port: int, textfile: Path | None = None) -> None:
        """Raises PlanError where the address cannot be had."""
        self._collector = SessionCollector()
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        self._textfile = textfile
        try:
            self._server, self._thread = start_http_server(port, host, self._registry)
        except (OSError, OverflowError) as error:
            raise PlanError(f"prometheus: cannot listen on {host}:{port}: {error}") from None

    @property
    def address(self) -> str:
        """The URL of the page."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/metrics"

    def begin(self, run: Run) -> None:
        self._run = run
        self._tell(Snapshot())

    def tell(self, snapshot: Snapshot, elapsed_s: float) -> None:
        self._tell(snapshot)

    def _tell(self, snapshot: Snapshot) -> None:
        plan = self._run.plan
        self._collector.tell(redacted(self._run.workload.name), plan.workers, Counts.of(snapshot, is_open=plan.is_open))

    def end(self) -> None:
        """Warns where the file cannot be written: the run's results are worth more."""
        self._collector.end()
        if self._textfile is not None:
            try:
                write_to_textfile(str(self._textfile), self._registry)
            except OSError as error:
                problem = f"prometheus: cannot write {self._textfile}: {error.strerror}"
                warnings.warn(problem, RuntimeWarning, stacklevel=2)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

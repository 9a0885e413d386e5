"""Metrics and traces by OTLP, where the standard environment variables ask for them. Needs the extra ``otel``.

The SDK lives in the main process only: its threads and locks do not survive a fork, so what it needs is made when a
run has forked its workers, and ended before the next one does. Names are those of the semantic conventions 1.44,
"Database client".
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import export as otlp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from ..measurement.histogram import Histogram
from ..measurement.recorder import Snapshot
from ..measurement.stats import response_of
from ..measurement.tally import Tally
from ..measurement.trace import Span
from ..realtime import monotonic, perf_counter_ns, time_ns
from ..redaction import redacted
from .buckets import BOUNDS_S, bucketed, exponential
from .exporters import Run

_MOST_QUEUED = 64
_MOST_SPANS = 2_048
_FLUSH_S = 5.0
_DEFAULT_RATIO = 0.01
_CUMULATIVE = otlp.AggregationTemporality.CUMULATIVE
_EXPONENTIAL = "base2_exponential_bucket_histogram"
_SCOPE = InstrumentationScope("pytest_stormdb")

Attributes = Mapping[str, str | int]


def sampled_every(environment: Mapping[str, str]) -> int:
    """Of how many iterations one becomes a span: of 100, unless ``OTEL_TRACES_SAMPLER`` says otherwise; 0: none."""
    sampler = environment.get("OTEL_TRACES_SAMPLER", "traceidratio").removeprefix("parentbased_")
    try:
        ratio = float(environment.get("OTEL_TRACES_SAMPLER_ARG", _DEFAULT_RATIO))
    except ValueError:
        ratio = _DEFAULT_RATIO
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(sampler, ratio)
    return 0 if ratio <= 0 else max(1, round(1 / ratio))


class OpenTelemetry:
    """An exporter that sends what each run has come to, and its sampled iterations."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.trace_every = sampled_every(environment)
        self._is_exponential = _EXPONENTIAL in environment.get(
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", ""
        )
        self._sender: _Sender | None = None

    def begin(self, run: Run) -> None:
        """The run has forked its workers."""
        self._sender = _Sender()
        self._run = run
        self._attributes = attributes_of(run)
        self._began_ns = time_ns()
        self._clock_ns = time_ns() - perf_counter_ns()

    def tell(self, snapshot: Snapshot, elapsed_s: float) -> None:
        """Queue the counts and the spans; nothing here waits for the network."""
        assert self._sender is not None
        self._sender.send(list(self._metrics(snapshot)), self._spans(snapshot))

    def end(self) -> None:
        """Flush, for at most five seconds. Warns of what could not be sent."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def close(self) -> None:
        self.end()

    # -- metrics -----------------------------------------------------------------------------------------------

    def _metrics(self, snapshot: Snapshot) -> Iterable[otlp.Metric]:
        now_ns = time_ns()
        durations = []
        failures, aborts = [], []
        for name, tally in sorted(snapshot.tallies.items()):
            own = {**self._attributes, "db.operation.name": redacted(name)}
            response = response_of(tally, is_open=self._run.plan.is_open).histogram
            durations += [self._point(response, own, now_ns)] if response.count else []
            durations += [self._point(tally.failed, own | _failure(tally), now_ns)] if tally.failed.count else []
            for code, (count, _) in tally.errors.items():
                failures.append(otlp.NumberDataPoint({**own, **_error(code)}, self._began_ns, now_ns, count))
            for reason, count in tally.aborts.items():
                aborts.append(otlp.NumberDataPoint({**own, **_abort(reason)}, self._began_ns, now_ns, count))
        kind: type[Any] = otlp.ExponentialHistogram if self._is_exponential else otlp.Histogram
        text = "Duration of database client operations."
        if durations:
            yield otlp.Metric("db.client.operation.duration", text, "s", kind(durations, _CUMULATIVE))
        for name, text, points in (
            ("stormdb.operation.failures", "Failed operations.", failures),
            ("stormdb.operation.aborts", "Expected aborts.", aborts),
        ):
            if points:
                yield otlp.Metric(name, text, "{operation}", otlp.Sum(points, _CUMULATIVE, is_monotonic=True))
        yield from self._own(snapshot, now_ns)

    def _own(self, snapshot: Snapshot, now_ns: int) -> Iterable[otlp.Metric]:
        """The workload's own metrics: the value that stands for each."""
        for name, metric in sorted(snapshot.metrics.items()):
            point = otlp.NumberDataPoint(dict(self._attributes), self._began_ns, now_ns, metric.value)
            data: otlp.Sum | otlp.Gauge = otlp.Gauge([point])
            if metric.kind == "counter":
                data = otlp.Sum([point], _CUMULATIVE, is_monotonic=True)
            yield otlp.Metric(f"stormdb.metrics.{redacted(name)}", "", "", data)

    def _point(self, histogram: Histogram, attributes: Attributes, now_ns: int) -> otlp.DataPointT:
        low_s, high_s = (histogram.min_ns or 0) / 1e9, (histogram.max_ns or 0) / 1e9
        common = dict(attributes), self._began_ns, now_ns, histogram.count, histogram.total_ns / 1e9
        if not self._is_exponential:
            return otlp.HistogramDataPoint(*common, bucketed(histogram), BOUNDS_S, low_s, high_s)
        found = exponential(histogram)
        buckets = otlp.Buckets(found.offset, found.counts)
        none = otlp.Buckets(0, [])
        return otlp.ExponentialHistogramDataPoint(*common, found.scale, found.zeros, buckets, none, 0, low_s, high_s)

    # -- spans -------------------------------------------------------------------------------------------------

    def _spans(self, snapshot: Snapshot) -> Sequence[ReadableSpan]:
        """The spans that came since the last time, made with their own times; they are taken out of the snapshot."""
        spans, snapshot.spans = snapshot.spans, []
        kept = _Kept()
        provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create(), shutdown_on_exit=False)
        provider.add_span_processor(kept)
        tracer = provider.get_tracer(_SCOPE.name)
        for span in spans:
            self._add(tracer, span, None)
        return kept.spans

    def _add(self, tracer: object, span: Span, parent: object) -> None:
        context = set_span_in_context(parent) if parent is not None else None  # type: ignore[arg-type]
        name = redacted(span.operation)
        made = tracer.start_span(  # type: ignore[attr-defined]
            name,
            context=context,
            kind=SpanKind.CLIENT if parent is None else SpanKind.INTERNAL,
            attributes={**self._attributes, "db.operation.name": name} | _error(span.error) | _abort(span.aborted),
            start_time=span.start_ns + self._clock_ns,
        )
        for part in span.parts:
            self._add(tracer, part, made)
        if span.error:
            made.set_status(Status(StatusCode.ERROR, redacted(span.error)))
        made.end(span.end_ns + self._clock_ns)


def attributes_of(run: Run) -> dict[str, str | int]:
    """What holds for all that a run sends."""
    attributes: dict[str, str | int] = {"db.system.name": "postgresql", "stormdb.workload": redacted(run.workload.name)}
    if run.database:
        attributes["db.namespace"] = run.database
    if run.host:
        attributes["server.address"] = run.host
    if run.port is not None:
        attributes["server.port"] = run.port
    return attributes


def _abort(reason: str) -> dict[str, str]:
    """The attribute of an expected abort, which is no failure."""
    return {"stormdb.abort.reason": redacted(reason)} if reason else {}


def _error(code: str) -> dict[str, str]:
    """The attributes of a failure: its type, and PostgreSQL's code where it is one."""
    if not code:
        return {}
    is_sqlstate = len(code) == 5 and code.isalnum() and code.upper() == code
    return {"error.type": redacted(code)} | ({"db.response.status_code": code} if is_sqlstate else {})


def _failure(tally: Tally) -> dict[str, str]:
    """The attributes of all failures of an operation together: their histogram is one."""
    return _error(next(iter(tally.errors))) if len(tally.errors) == 1 else {"error.type": "_OTHER"}


class _Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Sender:
    """A thread that sends, behind a queue that drops and counts what it has no room for."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[list[otlp.Metric], Sequence[ReadableSpan]] | None] = queue.Queue(_MOST_QUEUED)
        self._dropped = 0
        self._failed = 0
        self._resource = Resource.create()
        self._thread = threading.Thread(target=self._work, name="stormdb-otlp", daemon=True)
        self._thread.start()

    def send(self, metrics: list[otlp.Metric], spans: Sequence[ReadableSpan]) -> None:
        try:
            self._queue.put_nowait((metrics, spans[:_MOST_SPANS]))
            self._dropped += max(0, len(spans) - _MOST_SPANS)
        except queue.Full:
            self._dropped += len(spans)

    def close(self) -> None:
        deadline_s = monotonic() + _FLUSH_S
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=_FLUSH_S)
        self._thread.join(max(0.0, deadline_s - monotonic()))
        if self._thread.is_alive() or self._failed:
            problem = "OpenTelemetry: the endpoint took too little or nothing of what was sent"
            warnings.warn(f"{problem} ({self._failed} refusals)", RuntimeWarning, stacklevel=2)
        if self._dropped:
            warnings.warn(f"OpenTelemetry: {self._dropped:,} spans were dropped", RuntimeWarning, stacklevel=2)

    def _work(self) -> None:
        metric_exporter, span_exporter = OTLPMetricExporter(), OTLPSpanExporter()
        while (item := self._queue.get()) is not None:
            metrics, spans = item
            if metrics and not _is_success(metric_exporter.export(self._data(metrics))):
                self._failed += 1
            if spans and not _is_success(span_exporter.export(spans)):
                self._failed += 1
        metric_exporter.shutdown()
        span_exporter.shutdown()

    def _data(self, metrics: list[otlp.Metric]) -> otlp.MetricsData:
        scope = otlp.ScopeMetrics(_SCOPE, metrics, "")
        return otlp.MetricsData([otlp.ResourceMetrics(self._resource, [scope], "")])


def _is_success(result: object) -> bool:
    return getattr(result, "name", "") == "SUCCESS"

"""What an OTLP receiver gets: metrics by the semantic conventions, and spans of sampled iterations."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import perf_counter_ns
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pytest_stormdb import redaction
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.recorder import Recorder, Snapshot
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.measurement.trace import Tracer
from pytest_stormdb.telemetry.exporters import Exporters, Run
from pytest_stormdb.telemetry.opentelemetry import OpenTelemetry, sampled_every
from pytest_stormdb.workload.contract import Operation, Workload

from ..conftest import Suite

WORKLOAD = Workload(name="shop", nodeid="test_shop.py::test_buy", operations=(Operation("buy", lambda worker: None),))
RUN = Run(WORKLOAD, make_plan(("test", {"workers": 1, "duration": "1s"})), "db.example", 5433, "shop")
MS = 1_000_000


class Receiver:
    """A collector that keeps what it gets."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                packed = self.headers.get("Content-Encoding") == "gzip"
                receiver.requests.append((self.path, gzip.decompress(body) if packed else body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def metrics(self) -> dict[str, Any]:
        """The last state of every metric, by its name."""
        found: dict[str, Any] = {}
        for path, body in self.requests:
            if path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    found |= {metric.name: metric for metric in resource.scope_metrics[0].metrics}
        return found

    def spans(self) -> list[Any]:
        found: list[Any] = []
        for path, body in self.requests:
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    found += resource.scope_spans[0].spans
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    made = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.endpoint)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "load test")
    with contextlib.closing(made):
        yield made


def traced() -> Snapshot:
    """Twenty buys, of which every fifth is traced, with a part in each; then a failure, which is traced as the 25th."""
    recorder = Recorder(Tracer(5))
    for _ in range(20):
        now = perf_counter_ns()
        recorder.record_part(Sample("pay", now - MS, now - MS, now), None)
        recorder.record(Sample("buy", now - 2 * MS, now - 2 * MS, now), is_open=False)
    for _ in range(5):
        now = perf_counter_ns()
        recorder.record_failure(Sample("buy", now - MS, now - MS, now), Failure("40001", "no"))
    recorder.metric("carts", "counter").add(7)
    return recorder.take()


def attributes(thing: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in thing.attributes}


def export(telemetry: OpenTelemetry, snapshot: Snapshot, run: Run = RUN) -> None:
    exporters = Exporters([telemetry], interval_s=3600)
    with exporters.during(run) as tick:
        tick(lambda: snapshot)
    exporters.close()


def test_metrics_follow_the_conventions(receiver: Receiver) -> None:
    """One histogram in seconds, successes and failures apart by error.type, and all counts of the run."""
    export(OpenTelemetry(), traced())
    metrics = receiver.metrics()
    duration = metrics["db.client.operation.duration"]
    assert duration.unit == "s"
    points = {
        (attributes(p)["db.operation.name"], attributes(p).get("error.type")): p for p in duration.histogram.data_points
    }
    assert {key: point.count for key, point in points.items()} == {
        ("buy", None): 20,
        ("buy", "40001"): 5,
        ("pay", None): 20,
    }
    assert attributes(points["buy", "40001"]) == {
        "db.system.name": "postgresql",
        "stormdb.workload": "shop",
        "db.namespace": "shop",
        "server.address": "db.example",
        "server.port": 5433,
        "db.operation.name": "buy",
        "error.type": "40001",
        "db.response.status_code": "40001",
    }
    bought = points["buy", None]
    assert sum(bought.bucket_counts) == 20
    assert bought.sum == pytest.approx(0.040)
    assert bought.explicit_bounds[0] == 50e-6
    assert metrics["stormdb.operation.failures"].sum.data_points[0].as_int == 5
    assert metrics["stormdb.metrics.carts"].sum.data_points[0].as_double == 7


def test_exponential_histograms_on_request(receiver: Receiver) -> None:
    """The standard variable chooses them; counts are the same."""
    name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    export(OpenTelemetry({name: "base2_exponential_bucket_histogram"}), traced())
    points = receiver.metrics()["db.client.operation.duration"].exponential_histogram.data_points
    assert sorted(sum(point.positive.bucket_counts) for point in points) == [5, 20, 20]


def test_spans_have_their_own_times_and_parts_as_children(receiver: Receiver) -> None:
    """Of 25 iterations every fifth is a span; a part is the child of its iteration; a failure has its status."""
    before_ns = time.time_ns()
    export(OpenTelemetry(), traced())
    spans = receiver.spans()
    iterations = [span for span in spans if not span.parent_span_id]
    parts = [span for span in spans if span.parent_span_id]
    assert [span.name for span in iterations] == ["buy"] * 5
    assert [span.name for span in parts] == ["pay"] * 4
    assert {span.parent_span_id for span in parts} <= {span.span_id for span in iterations}
    for span in iterations[:4]:
        assert span.end_time_unix_nano - span.start_time_unix_nano == pytest.approx(2 * MS, abs=MS)
        assert abs(span.end_time_unix_nano - before_ns) < 60e9
        assert attributes(span)["db.system.name"] == "postgresql"
    failed = iterations[4]
    assert failed.status.code == 2
    assert attributes(failed)["error.type"] == "40001"


def test_an_expected_abort_is_neither_success_nor_failure(receiver: Receiver) -> None:
    """It is counted by its reason, and its span, like that of a part, has the reason and no error."""
    recorder = Recorder(Tracer(1))
    now = perf_counter_ns()
    recorder.record_part(Sample("pay", now - MS, now - MS, now), aborted="sold out")
    recorder.record_abort(Sample("buy", now - 2 * MS, now - 2 * MS, now), "sold out")
    export(OpenTelemetry(), recorder.take())
    (buy, pay) = sorted(
        receiver.metrics()["stormdb.operation.aborts"].sum.data_points, key=lambda p: str(attributes(p))
    )
    assert (attributes(buy)["stormdb.abort.reason"], buy.as_int, pay.as_int) == ("sold out", 1, 1)
    assert "stormdb.operation.failures" not in receiver.metrics()
    assert [(attributes(span)["stormdb.abort.reason"], span.status.code) for span in receiver.spans()] == [
        ("sold out", 0),
        ("sold out", 0),
    ]


def test_no_secret_is_sent(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of workloads, operations, metrics, errors and reasons are what an author makes them, secrets included."""
    monkeypatch.setattr(redaction, "_known", {})
    monkeypatch.setattr(redaction, "_pattern", None)
    redaction.learn("S3cr3tPassword")
    recorder = Recorder(Tracer(1))
    now, secret = perf_counter_ns(), "to S3cr3tPassword"
    recorder.record_part(Sample(secret, now - MS, now - MS, now), aborted=secret)
    recorder.record_failure(Sample(secret, now - MS, now - MS, now), Failure(secret, secret))
    recorder.metric(secret, "counter").add(1)
    workload = dataclasses.replace(WORKLOAD, name=f"shop[{secret}]")
    export(OpenTelemetry(), recorder.take(), dataclasses.replace(RUN, workload=workload))
    sent = f"{receiver.metrics()} {receiver.spans()}"
    assert "S3cr3t" not in sent
    assert {"stormdb.metrics.to ***"} <= set(receiver.metrics())
    assert {span.name for span in receiver.spans()} == {"to ***"}


def test_what_cannot_be_sent_is_a_warning(receiver: Receiver) -> None:
    """A collector that refuses costs a warning, not the run."""
    receiver.status = 400
    with pytest.warns(RuntimeWarning, match="OpenTelemetry: the endpoint took too little or nothing"):
        export(OpenTelemetry(), traced())


def test_more_spans_than_there_is_room_for_are_counted(receiver: Receiver) -> None:
    """A worker keeps 64 spans between two sendings; a run keeps 2,048 in a batch, and tells how many it dropped."""
    recorder = Recorder(Tracer(1))
    for _ in range(100):
        recorder.record(Sample("buy", 0, 0, MS), is_open=False)
    snapshot = recorder.take()
    assert len(snapshot.spans) == 64
    snapshot.spans *= 40
    with pytest.warns(RuntimeWarning, match="OpenTelemetry: 512 spans were dropped"):
        export(OpenTelemetry(), snapshot)
    assert len(receiver.spans()) == 2048


@pytest.mark.parametrize(
    ("environment", "every"),
    [
        ({}, 100),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, 1),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, 4),
        ({"OTEL_TRACES_SAMPLER_ARG": "many"}, 100),
        ({"OTEL_TRACES_SAMPLER_ARG": "0"}, 0),
    ],
)
def test_sampling_by_the_standard_variables(environment: dict[str, str], every: int) -> None:
    """The sampler and its argument say how many iterations become spans."""
    assert sampled_every(environment) == every


def test_a_run_is_sent(receiver: Receiver, suite: Suite) -> None:
    """With an endpoint in the environment a run's counts arrive, as many as in the record, and spans with parts."""
    suite.write(
        """
        import pytest

        @pytest.mark.stormdb(workers=2, iterations=200)
        def test_it(worker):
            with worker.operation("read"):
                worker.conn.execute("SELECT 1")
        """
    )
    suite.env.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    (run,) = suite.runs()
    points = receiver.metrics()["db.client.operation.duration"].histogram.data_points
    counts = {attributes(point)["db.operation.name"]: point.count for point in points}
    assert counts == {name: operation["count"] for name, operation in run["operations"].items()}
    names = [span.name for span in receiver.spans()]
    assert names.count("test_it") == names.count("read") == 40
    assert attributes(receiver.spans()[0])["server.address"]


def test_without_an_endpoint_nothing_is_imported(suite: Suite) -> None:
    """Off costs nothing: the SDK is not even loaded."""
    suite.env.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    suite.write(
        """
        import sys
        import pytest

        @pytest.mark.stormdb(workers=1, iterations=1)
        def test_it(worker):
            pass

        def test_after():
            assert not [name for name in sys.modules if name.startswith("opentelemetry")]
        """
    )
    suite.run().assert_outcomes(passed=2)

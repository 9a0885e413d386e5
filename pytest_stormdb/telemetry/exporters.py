"""A run in progress, told to the outside at an interval: a page that Prometheus reads, and lines of JSON."""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from ..errors import PlanError
from ..load.plan import LoadPlan
from ..measurement.recorder import Snapshot, SoFar, Tick
from ..measurement.stats import response_of
from ..workload.contract import Workload
from .prometheus import CONTENT_TYPE, exposition

DEFAULT_PORT = 9464
"""The port that Prometheus' registry of exporters gives to OpenTelemetry's, of which this is a small relative."""


class Exporter(Protocol):
    """Told of a run's counts, from the end of its warm-up on."""

    def tell(self, workload: Workload, plan: LoadPlan, snapshot: Snapshot, elapsed_s: float) -> None:
        """Pass the counts on."""

    def close(self) -> None:
        """Give back what it holds."""


class PrometheusPage:
    """An HTTP server with one page, the counts as they were told last."""

    def __init__(self, host: str, port: int) -> None:
        """Raises PlanError where the address cannot be had."""
        self.text = ""
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = page.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Requests are no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise PlanError(f"prometheus: cannot listen on {host}:{port}: {error}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """The URL of the page."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/metrics"

    def tell(self, workload: Workload, plan: LoadPlan, snapshot: Snapshot, elapsed_s: float) -> None:
        self.text = exposition(workload.name, plan.workers, snapshot, is_open=plan.is_open)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class JsonFile:
    """Appends one JSON object each time it is told."""

    def __init__(self, path: Path) -> None:
        """Raises PlanError where the file cannot be written."""
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise PlanError(f"metrics.exporters: json: cannot write {path}: {error.strerror}") from None

    def tell(self, workload: Workload, plan: LoadPlan, snapshot: Snapshot, elapsed_s: float) -> None:
        operations = {}
        for name, tally in sorted(snapshot.tallies.items()):
            latency = response_of(tally, is_open=plan.is_open)
            shown = {"p50_s": latency.shown(50), "p95_s": latency.shown(95), "p99_s": latency.shown(99)}
            operations[name] = {"count": tally.count, "failures": tally.failures} | shown
        line = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "nodeid": workload.nodeid,
            "workload": workload.name,
            "elapsed_s": round(elapsed_s, 3),
            "operations": operations,
            "metrics": {name: metric.value for name, metric in sorted(snapshot.metrics.items())},
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class Exporters:
    """All exporters of a session."""

    def __init__(self, exporters: list[Exporter], interval_s: float) -> None:
        self._exporters = exporters
        self._interval_s = interval_s

    @contextlib.contextmanager
    def during(self, workload: Workload, plan: LoadPlan) -> Iterator[Tick]:
        """Yields what to call with the way to the counts: it passes them on at the interval, and at the end."""
        started = told = time.monotonic()
        last: SoFar = Snapshot

        def tick(so_far: SoFar) -> None:
            nonlocal told, last
            last = so_far
            now = time.monotonic()
            if now - told >= self._interval_s:
                told = now
                self._tell(workload, plan, so_far, now - started)

        try:
            yield tick
        finally:
            self._tell(workload, plan, last, time.monotonic() - started)

    def _tell(self, workload: Workload, plan: LoadPlan, so_far: SoFar, elapsed_s: float) -> None:
        for exporter in self._exporters:
            exporter.tell(workload, plan, so_far(), elapsed_s)

    def close(self) -> None:
        for exporter in self._exporters:
            exporter.close()

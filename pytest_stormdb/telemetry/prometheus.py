"""The counts of a run in progress, in Prometheus' text exposition format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..measurement.recorder import Snapshot, Tally
from ..measurement.stats import response_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_QUANTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
_HELP = {
    "stormdb_operations_total": ("counter", "Successful operations."),
    "stormdb_failures_total": ("counter", "Failed operations, by SQLSTATE or exception type."),
    "stormdb_retries_total": ("counter", "Iterations tried again after a serialisation failure or a deadlock."),
    "stormdb_reconnects_total": ("counter", "Lost connections that were opened again."),
    "stormdb_workers": ("gauge", "Concurrent workers."),
    "stormdb_response_seconds": ("summary", "Response time of successful operations."),
    "stormdb_metric": ("gauge", "The workload's own metrics."),
}


def exposition(workload: str, workers: int, snapshot: Snapshot, *, is_open: bool) -> str:
    """Everything counted since the end of the warm-up. Labels are bounded: workload, operation, code, name."""
    found: dict[str, list[str]] = {name: [] for name in _HELP}
    whole = {"workload": workload}
    found["stormdb_workers"].append(_line("stormdb_workers", whole, workers))
    found["stormdb_reconnects_total"].append(_line("stormdb_reconnects_total", whole, snapshot.reconnects))
    for operation, tally in sorted(snapshot.tallies.items()):
        labels = whole | {"operation": operation}
        found["stormdb_operations_total"].append(_line("stormdb_operations_total", labels, tally.count))
        found["stormdb_retries_total"].append(_line("stormdb_retries_total", labels, tally.retries))
        for code, (count, _) in sorted(tally.errors.items()):
            found["stormdb_failures_total"].append(_line("stormdb_failures_total", labels | {"code": code}, count))
        found["stormdb_response_seconds"] += _summary(labels, tally, is_open=is_open)
    for name, metric in sorted(snapshot.metrics.items()):
        found["stormdb_metric"].append(_line("stormdb_metric", whole | {"name": name}, metric.value))
    return "".join(_family(name, lines) for name, lines in found.items() if lines)


def _family(name: str, lines: list[str]) -> str:
    kind, text = _HELP[name]
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n" + "".join(lines)


def _summary(labels: Mapping[str, str], tally: Tally, *, is_open: bool) -> Iterator[str]:
    latency = response_of(tally, is_open=is_open)
    for percent in _QUANTILES:
        value = latency.shown(percent)
        if value is not None:
            yield _line("stormdb_response_seconds", {**labels, "quantile": f"{percent / 100:g}"}, value)
    yield _line("stormdb_response_seconds_sum", labels, latency.histogram.total_ns / 1e9)
    yield _line("stormdb_response_seconds_count", labels, latency.count)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {value:.17g}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

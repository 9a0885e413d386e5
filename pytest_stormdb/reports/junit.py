"""A run as flat properties of its JUnit test case."""

from __future__ import annotations

import math

from ..measurement.stats import OperationStatistics
from ..record import ComparisonRecord, RunRecord

_LATENCIES = (("p50_ms", 50.0), ("p95_ms", 95.0), ("p99_ms", 99.0), ("max_ms", 100.0))

Property = tuple[str, str | int | float]


def write(record: RunRecord, out: list[tuple[str, object]]) -> None:
    """Add a run to ``out``, the properties of its test case."""
    out.extend(properties(record))


def properties(record: RunRecord) -> list[Property]:
    """Names begin with ``stormdb.`` and the run's name, if it has one; ``-`` where there were too few samples."""
    prefix = f"stormdb.{record.name}" if record.name else "stormdb"
    flat: list[Property] = [
        (f"{prefix}.workers", record.plan.workers),
        *_figures(prefix, record.statistics.total),
        (f"{prefix}.verdict", record.outcome),
    ]
    if record.reasons:
        flat.append((f"{prefix}.reason", record.reasons[0]))
    operations = record.statistics.operations
    if len(operations) > 1:
        for name, figures in sorted(operations.items()):
            flat += _figures(f"{prefix}.{name}", figures)
    for name, metric in sorted(record.statistics.metrics.items()):
        flat.append((f"{prefix}.metrics.{name}", metric.value))
    if record.integrity is not None:
        flat.append((f"{prefix}.integrity", record.integrity))
    return flat


def comparison_properties(record: ComparisonRecord) -> list[Property]:
    """A comparison's verdict and figures; an infinite bound is ``-``."""
    comparison = record.comparison
    low, high = comparison.interval
    return [
        ("stormdb.verdict", "error" if record.broken else comparison.verdict),
        ("stormdb.comparison", record.sentence),
        ("stormdb.comparison.metric", record.claim.metric),
        ("stormdb.comparison.ratio", _finite(comparison.ratio)),
        ("stormdb.comparison.low", _finite(low)),
        ("stormdb.comparison.high", _finite(high)),
        ("stormdb.comparison.pairs", len(comparison.pairs)),
    ]


def _finite(value: float) -> float | str:
    return round(value, 6) if math.isfinite(value) else "-"


def _figures(prefix: str, figures: OperationStatistics) -> list[Property]:
    flat: list[Property] = [
        (f"{prefix}.operations", figures.count),
        (f"{prefix}.failures", figures.failures),
        *([(f"{prefix}.aborts", figures.aborts)] if figures.aborts else []),
        (f"{prefix}.throughput_per_s", round(figures.throughput_per_s, 3)),
    ]
    for name, percent in _LATENCIES:
        seconds = figures.response.shown(percent)
        flat.append((f"{prefix}.{name}", "-" if seconds is None else round(seconds * 1e3, 6)))
    return flat

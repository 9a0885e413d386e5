"""Runs as one JSON document, format ``stormdb-run/1``: plain values, seconds as floats."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..load.options import options_of_plan
from ..load.plan import LoadPlan
from ..measurement.scalability import Sweep
from ..measurement.stats import Latency, OperationStatistics, RunStatistics
from ..measurement.tally import Metric, Tally
from ..measurement.values import finite
from ..record import (
    ComparisonRecord,
    RunRecord,
    SessionRecord,
    StageResult,
    environment,
)
from ..verdict.comparison import Comparison
from ..verdict.costs import CostComparison
from ..verdict.server_figures import COST_METRICS
from ..verdict.threshold import Verdict
from .effects import effects_of
from .server_activity import activity_document, explained_document

if TYPE_CHECKING:
    from ..database.server import ServerFacts

FORMAT = "stormdb-run/1"


def write(document: Mapping[str, Any], out: Path) -> None:
    """Write the document of a session to a file, which has the old content or the new one and never a part."""
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    if out.exists() and not out.is_file():  # a pipe, or a device
        out.write_text(text, encoding="utf-8")
        return
    beside = out.with_name(f"{out.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def document(record: SessionRecord) -> dict[str, Any]:
    """All runs of a session, and the curves they make. Numbers that JSON does not have, NaN and infinity, are None."""
    found = {
        "format": FORMAT,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "server": _server(record.runs[0].server) if record.runs else None,
        "runs": [run_document(run) for run in record.runs],
        "sweeps": [_sweep(sweep) for sweep in record.sweeps],
        "comparisons": [comparison_document(comparison) for comparison in record.comparisons],
    }
    return finite(found)


def run_document(record: RunRecord) -> dict[str, Any]:
    """One run, in the same way."""
    statistics = record.statistics
    found = {
        "nodeid": record.nodeid,
        "name": record.name,
        "workload": {"name": record.workload, "version": record.version, "integrity": record.integrity},
        "plan": _plan(record.plan) | _layout(record),
        "forked": record.forked,
        "engine": record.engine,
        "outcome": record.outcome,
        "reasons": list(record.reasons),
        "elapsed_s": statistics.elapsed_s,
        "server": _server(record.server),
        "totals": _totals(record),
        "operations": {name: _operation(figures) for name, figures in sorted(statistics.operations.items())},
        "stages": [_stage(stage) for stage in record.stages],
        "timeline": [_interval(interval) for interval in statistics.timeline],
        "thresholds": [_verdict(verdict) for verdict in record.verdicts],
        "health": [
            {
                "check": h.check,
                "when": h.when,
                "ok": h.ok,
                "detail": h.detail,
                "duration_s": h.duration_s,
                "at_s": h.at_s,
            }
            for h in record.health
        ],
        "metrics": {name: _metric(metric) for name, metric in sorted(statistics.metrics.items())},
        "explained": explained_document(record.explained) if record.explained else None,
        "server_activity": activity_document(record.server_activity) if record.server_activity else {},
        "noise": _noise(record),
        "validity": {"valid": record.validity.valid, "findings": list(record.validity.findings)},
        "lost": list(record.lost),
    }
    return finite(found)


def comparison_document(record: ComparisonRecord) -> dict[str, Any]:
    """One comparison. Ratios are of the second arm's durations to the first's, of throughput the other way round."""
    comparison, claim = record.comparison, record.claim
    low, high = comparison.interval
    return {
        "nodeid": record.nodeid,
        "metric": claim.metric,
        "margin": claim.margin,
        "min_improvement": claim.min_improvement,
        "alpha": claim.alpha,
        "verdict": None if record.broken else comparison.verdict,
        "reason": record.broken[0] if record.broken else comparison.reason,
        "ratio": comparison.ratio,
        "low": low,
        "high": high,
        "detectable": comparison.detectable,
        "pairs": len(comparison.pairs),
        "clean_pairs": sum(pair.is_clean for pair in comparison.pairs),
        "epochs": len(comparison.epochs),
        "seed": record.seed,
        "block_s": record.block_s,
        "elapsed_s": record.elapsed_s,
        "arms": list(record.arms),
        "sentence": record.sentence,
        "plan": _plan(record.plan),
        "operations": [_operation(record.figures(arm)) for arm in (0, 1)],
        "histograms": [record.figures(arm).response.histogram.encode() for arm in (0, 1)],
        "effects": effects_of(comparison),
        "costs": {metric: _cost(record.at(metric)) for metric in COST_METRICS},
        "server_activity": [
            activity_document(each) if each else {} for each in (record.observed or [(None, None)])[-1]
        ],
    }


def _cost(found: Comparison | CostComparison) -> dict[str, float | None]:
    """What both arms cost per operation, alone; null where that is not known."""
    assert isinstance(found, CostComparison)
    first, second = found.typical or (None, None)
    return {"first": first, "second": second, "ratio": found.ratio}


def _layout(record: RunRecord) -> dict[str, Any]:
    return {"processes": 1 if record.engine else len(record.layout), "layout": list(record.layout)}


def _sweep(sweep: Sweep) -> dict[str, Any]:
    fit = sweep.fit
    law = None if fit is None else dataclasses.asdict(fit) | {"peak_workers": fit.peak_workers}
    points = [dataclasses.asdict(point) for point in sweep.points]
    return {"nodeid": sweep.nodeid, "points": points, "fit": law, "knee_workers": sweep.knee.workers}


def _noise(record: RunRecord) -> dict[str, Any]:
    """What others did to the machine, in windows that count from the end of the warm-up."""
    noise = record.noise
    return {
        "sees_machine": noise.sees_machine,
        "sees_server": noise.sees_server,
        "windows": [
            {
                "from_s": (window.from_ns - record.began_ns) / 1e9,
                "to_s": (window.to_ns - record.began_ns) / 1e9,
                "stolen": window.stolen,
                "foreign": window.foreign,
                "unseen": window.unseen,
                "slowed": window.slowed,
                "throttled": window.throttled,
                "culprits": dict(window.culprits),
                "clean": window.is_clean,
            }
            for window in noise.windows
        ],
    }


def _server(server: ServerFacts) -> dict[str, Any]:
    return {"version": server.version, "embedded": server.embedded, "settings": dict(server.settings)}


def _plan(plan: LoadPlan) -> dict[str, Any]:
    """Every option of the plan but its stages, which have figures of their own."""
    figures = dict(option.recorded(getattr(plan, option.field)) for option in options_of_plan())
    del figures["stages"]
    return figures | {"arrivals": plan.arrivals if plan.is_open else None}


def _totals(record: RunRecord) -> dict[str, Any]:
    total = record.statistics.total
    return {
        "operations": total.count,
        "failures": total.failures,
        "aborts": total.aborts,
        "retries": total.tally.retries,
        "reconnects": record.statistics.reconnects,
        "dropped": record.dropped,
        "throughput_per_s": total.throughput_per_s,
        "response": _latency(total.response),
        "service": _latency(total.service),
        "lag": _latency(total.lag),
    }


def _operation(figures: OperationStatistics) -> dict[str, Any]:
    tally = figures.tally
    return {
        "count": figures.count,
        "failures": figures.failures,
        "aborts": [{"reason": reason, "count": count} for reason, count in tally.aborts.items()],
        "retries": tally.retries,
        "rows": tally.rows,
        "is_part": tally.is_part,
        "throughput_per_s": figures.throughput_per_s,
        "response": _latency(figures.response),
        "service": _latency(figures.service),
        "lag": _latency(figures.lag),
        "failed": _latency(Latency(tally.failed)),
        "aborted": _latency(Latency(tally.aborted)),
        "errors": _errors(tally),
        "overflow": tally.service.overflow,
        "histogram": figures.response.histogram.encode(),
        "service_histogram": _service_histogram(figures),
    }


def _errors(tally: Tally) -> list[dict[str, Any]]:
    """The most frequent first; with metadata where failed results had any."""
    errors = sorted(tally.errors.items(), key=lambda item: -item[1][0])
    return [
        {"code": code, "count": count, "example": example}
        | ({"metadata": tally.error_metadata[code]} if code in tally.error_metadata else {})
        for code, (count, example) in errors
    ]


def _service_histogram(figures: OperationStatistics) -> str | None:
    """Where it is not the response time's."""
    return None if figures.service.histogram is figures.response.histogram else figures.service.histogram.encode()


def _latency(latency: Latency) -> dict[str, float | None]:
    return {
        "mean_s": latency.mean,
        "stddev_s": latency.stddev,
        "min_s": latency.min,
        "p50_s": latency.shown(50),
        "p90_s": latency.shown(90),
        "p95_s": latency.shown(95),
        "p99_s": latency.shown(99),
        "p99_9_s": latency.shown(99.9),
        "max_s": latency.max,
    }


def _interval(interval: Any) -> dict[str, Any]:
    return {
        "at_s": interval.at_s,
        "operations": interval.operations,
        "failures": interval.failures,
        "p50_s": interval.p50_s,
        "p95_s": interval.p95_s,
        "p99_s": interval.p99_s,
    }


def _stage(result: StageResult) -> dict[str, Any]:
    statistics: RunStatistics = result.statistics
    return {
        "label": result.stage.label,
        "kind": result.stage.kind,
        "duration_s": result.stage.duration_ns / 1e9,
        "begin": result.stage.begin,
        "end": result.stage.end,
        "elapsed_s": statistics.elapsed_s,
        "operations": statistics.total.count,
        "failures": statistics.total.failures,
        "throughput_per_s": statistics.total.throughput_per_s,
        "response": _latency(statistics.total.response),
        "service": _latency(statistics.total.service),
        "lag": _latency(statistics.total.lag),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "expression": verdict.threshold.expression,
        "operation": verdict.threshold.operation,
        "verdict": verdict.ruling,
        "estimate": verdict.estimate,
        "low": verdict.low,
        "high": verdict.high,
        "limit": verdict.threshold.limit,
        "reason": verdict.reason,
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "kind": metric.kind,
        "value": metric.value,
        "count": metric.count,
        "total": metric.total,
        "min": metric.low,
        "max": metric.high,
    }

"""``--stormdb-benchmark``: each workload beside the suite's ordinary benchmarks, in pytest-benchmark's storage.

pytest-benchmark stores rounds; a run may have millions of calls. So it gets a thousand durations that have the same
distribution, the extremes among them, and the true counts and percentiles as ``extra_info``. The seam is what
``tests/plugin/test_benchmark.py`` holds: ``config._benchmarksession.benchmarks`` takes ``stats.Metadata``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ..measurement.histogram import Histogram
from ..measurement.stats import OperationStatistics
from ..record import RunRecord
from ..units import titled

_ROUNDS = 1000
_OPTIONS = {"disable_gc": False, "timer": "perf_counter", "min_rounds": 1, "max_time": 0.0, "min_time": 0.0}


def check_benchmark(config: pytest.Config) -> None:
    """Raise UsageError where there is no storage to put anything into."""
    if not hasattr(config, "_benchmarksession"):
        raise pytest.UsageError("--stormdb-benchmark: pytest-benchmark is not installed, or not loaded")


def put_beside(item: pytest.Item, record: RunRecord) -> None:
    """Add a run to pytest-benchmark's session, with each operation where there are several."""
    operations = {name: each for name, each in record.statistics.operations.items() if not each.tally.is_part}
    _add(item, record, "", record.statistics.total)
    for name, figures in operations.items() if len(operations) > 1 else ():
        _add(item, record, f"[{name}]", figures)


def _add(item: pytest.Item, record: RunRecord, suffix: str, figures: OperationStatistics) -> None:
    from pytest_benchmark.stats import Metadata

    if not figures.response.count:
        return
    fixture = SimpleNamespace(
        name=f"{titled(item.name, record.name)}{suffix}",
        fullname=f"{record.title}{suffix}",
        group="stormdb",
        param=None,
        params=None,
        extra_info=_info(record, figures),
        cprofile_stats=None,
        has_error=False,
    )
    stats = Metadata(fixture, 1, dict(_OPTIONS))  # type: ignore[no-untyped-call]
    for duration_s in representative_s(figures.response.histogram):
        stats.stats.update(duration_s)  # type: ignore[no-untyped-call]
    item.config._benchmarksession.benchmarks.append(stats)  # type: ignore[attr-defined]


def representative_s(histogram: Histogram, count: int = _ROUNDS) -> list[float]:
    """So many durations with the same distribution, or all of fewer, in seconds and in ascending order."""
    rounds = min(count, histogram.count)
    if rounds == 1:
        return [histogram.mean_ns / 1e9]
    return [quantile / 1e9 for quantile in histogram.quantiles_ns([index / (rounds - 1) for index in range(rounds)])]


def _info(record: RunRecord, figures: OperationStatistics) -> dict[str, Any]:
    """The true figures, in seconds and per second."""
    latency = figures.response
    return {
        "workers": record.plan.workers,
        "operations": figures.count,
        "failures": figures.failures,
        "throughput_per_s": figures.throughput_per_s,
        "mean_s": latency.mean,
        **{f"p{percent}_s": latency.shown(percent) for percent in (50, 90, 95, 99)},
        "outcome": record.outcome,
    }

"""Thresholds: what can be written, and what is refused, with a finger on the character that is wrong."""

from __future__ import annotations

import pytest

from pytest_stormdb.errors import PlanError
from pytest_stormdb.verdict.threshold import Threshold, Verdict


@pytest.mark.parametrize(
    ("expression", "metric", "comparison", "limit"),
    [
        ("p99 < 20ms", "p99", "<", 0.02),
        ("p99.9<=1s", "p99.9", "<=", 1.0),
        ("  mean  >  5us ", "mean", ">", 5e-6),
        ("service.p95 < 10ms", "service.p95", "<", 0.01),
        ("lag.p99 < 10ms", "lag.p99", "<", 0.01),
        ("max == 0", "max", "==", 0.0),
        ("throughput >= 500/s", "throughput", ">=", 500.0),
        ("throughput > 500", "throughput", ">", 500.0),
        ("throughput > 60/m", "throughput", ">", 1.0),
        ("errors < 0.1%", "errors", "<", 0.001),
        ("errors == 0", "errors", "==", 0.0),
        ("retries <= 5", "retries", "<=", 5.0),
        ("dropped == 0", "dropped", "==", 0.0),
        ("reconnects == 0", "reconnects", "==", 0.0),
        ("server.blocks_per_op < 12", "server.blocks_per_op", "<", 12.0),
        ("metrics.cache.hits > 1.5", "metrics.cache.hits", ">", 1.5),
    ],
)
def test_thresholds_are_read(expression: str, metric: str, comparison: str, limit: float) -> None:
    """METRIC OP VALUE, the value in the metric's own unit, spaces as one likes."""
    threshold = Threshold.parse(expression)
    assert (threshold.metric, threshold.comparison) == (metric, comparison)
    assert threshold.limit == pytest.approx(limit)


FORM = "write it as METRIC OP VALUE, such as 'p99 < 20ms'"
DURATION = "is not a duration; write it as '500ms', '30s', '5m' or '1h'"


@pytest.mark.parametrize(
    ("expression", "at", "message"),
    [
        ("", 0, FORM),
        ("< 20ms", 0, FORM),
        ("p99", 3, FORM),
        ("p99 <", 5, f"{FORM}; a value is missing"),
        ("p99 20ms", 4, f"{FORM}; one of < <= > >= == is missing"),
        ("p99 = 2ms", 4, f"{FORM}; one of < <= > >= == is missing"),
        ("p99 << 2ms", 5, f"p99: '< 2ms' {DURATION}"),
        ("p99 < 20", 6, f"p99: '20' {DURATION}"),
        ("p99 < 20ms and p50 < 1ms", 6, f"p99: '20ms and p50 < 1ms' {DURATION}"),
        ("p100 < 1ms", 0, "unknown metric 'p100'; known are min mean p50 p90 p95 p99 p99.9 max"),
        ("  latency < 1ms", 2, "unknown metric 'latency'; known are min mean p50 p90 p95 p99 p99.9 max"),
        ("throughpt > 1/s", 0, "unknown metric 'throughpt'; did you mean 'throughput'?"),
        ("metrics. < 1", 0, "unknown metric 'metrics.'; known are min mean p50 p90 p95 p99 p99.9 max"),
        ("server.blocks < 1", 0, "unknown metric 'server.blocks'; did you mean 'server.blocks_per_op'?"),
        ("throughput > fast", 13, "throughput: 'fast' is not a rate; write it as '1000/s' or '60/m'"),
        ("throughput > nan", 13, "throughput: 'nan' is not a rate; write it as '1000/s' or '60/m'"),
        ("errors < many", 9, "errors: 'many' is not a ratio; write it as '0.1%' or '0.001'"),
        ("retries < few", 10, "retries: 'few' is not a number"),
        ("metrics.x < inf", 12, "metrics.x: 'inf' is not a number"),
    ],
)
def test_bad_thresholds_are_refused(expression: str, at: int, message: str) -> None:
    """A threshold that cannot be read is refused by a sentence that repeats it, and points at the character."""
    with pytest.raises(PlanError) as refused:
        Threshold.parse(expression)
    sentence, shown, pointer = str(refused.value).split("\n")
    assert sentence.startswith(f"threshold {expression!r}: {message}")
    assert (shown, pointer) == (f"  {expression}", f"  {' ' * at}^")


def test_a_threshold_that_is_no_text_is_refused() -> None:
    """A number where an expression belongs is named, too."""
    with pytest.raises(PlanError, match="threshold 20: write it as METRIC OP VALUE"):
        Threshold.parse(20)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "of", "quantile"),
    [("p99.9", "response", 0.999), ("service.p50", "service", 0.5), ("lag.max", "lag", 1.0), ("min", "response", 0.0)],
)
def test_a_latency_knows_its_distribution_and_its_share(metric: str, of: str, quantile: float) -> None:
    """Whose latency it is, and the share of calls that it bounds; a mean bounds none."""
    threshold = Threshold.parse(f"{metric} < 1s")
    assert threshold.of == of
    assert threshold.quantile == pytest.approx(quantile)
    assert Threshold.parse("mean < 1s").quantile is None


def test_the_line_and_the_range() -> None:
    """Expression and value in one line; how far it moved, where that is known."""
    threshold = Threshold.parse("p95 < 2ms")
    assert Verdict(threshold, "fail", 0.003, reason="why").line == "p95 < 2ms: measured 3.00 ms (why)"
    assert Verdict(threshold, "pass", 0.001).range == ""
    assert Verdict(threshold, "pass", 0.001, 0.0009, 0.0012).range == "900 us to 1.20 ms over ten parts of the run"

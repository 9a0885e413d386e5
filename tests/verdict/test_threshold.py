"""Thresholds: what can be written, what is refused, and how each is judged."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_stormdb.errors import PlanError
from pytest_stormdb.measurement.recorder import Recorder
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.measurement.stats import statistics_of
from pytest_stormdb.verdict.threshold import (
    Evidence,
    Threshold,
    Verdict,
    judge,
)
from pytest_stormdb.verdict.validity import Validity

MS = 1_000_000


def evidence(*, validity: Validity | None = None, failures: int = 0, successes: int = 100) -> Evidence:
    """Response times of 1 to 100 ms within four seconds, half of each of them lag, and some failures."""
    recorder = Recorder()
    for k in range(1, successes + 1):
        recorder.record(Sample("read", 0, k * MS // 2, k * MS), is_open=True)
    for _ in range(failures):
        recorder.record_failure(Sample("write", 0, 0, MS), Failure("40001", "could not serialize"))
    recorder.metric("hits", "counter").add(40)
    recorder.metric("ratio", "gauge").add(0.25)
    recorder.metric("endless", "gauge").add(math.inf)
    recorder.reconnects = 2
    if successes:
        recorder.tally("read").retries = 7
    statistics = statistics_of(recorder.take(), {}, elapsed_s=4, interval_s=1, is_open=True)
    return Evidence(statistics, dropped=3, validity=validity or Validity())


def judged(expression: str, *, operation: str | None = None, **given: Any) -> Verdict:
    (verdict,) = judge([Threshold.parse(expression, operation=operation)], evidence(**given))
    return verdict


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
        ("metrics.cache.hits > 1.5", "metrics.cache.hits", ">", 1.5),
    ],
)
def test_thresholds_are_read(expression: str, metric: str, comparison: str, limit: float) -> None:
    """METRIC OP VALUE, the value in the metric's own unit, spaces as one likes."""
    threshold = Threshold.parse(expression)
    assert (threshold.metric, threshold.comparison) == (metric, comparison)
    assert threshold.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "write it as METRIC OP VALUE, such as 'p99 < 20ms'"),
        ("p99", "write it as METRIC OP VALUE, such as 'p99 < 20ms'"),
        ("p99 <", "write it as METRIC OP VALUE, such as 'p99 < 20ms'"),
        ("p99 << 2ms", "p99: '< 2ms' is not a duration; write it as '500ms', '30s', '5m' or '1h'"),
        ("p99 = 2ms", "write it as METRIC OP VALUE, such as 'p99 < 20ms'"),
        ("p99 < 20", "p99: '20' is not a duration; write it as '500ms', '30s', '5m' or '1h'"),
        ("p99 < 20ms and p50 < 1ms", "p99: '20ms and p50 < 1ms' is not a duration; write it as '500ms', '30s',"),
        ("p100 < 1ms", "unknown metric 'p100'; known are min mean p50 p90 p95 p99 p99.9 max"),
        ("latency < 1ms", "unknown metric 'latency'; known are min mean p50 p90 p95 p99 p99.9 max"),
        ("metrics. < 1", "unknown metric 'metrics.'; known are min mean p50 p90 p95 p99 p99.9 max"),
        ("throughput > fast", "throughput: 'fast' is not a rate; write it as '1000/s' or '60/m'"),
        ("throughput > nan", "throughput: 'nan' is not a rate; write it as '1000/s' or '60/m'"),
        ("errors < many", "errors: 'many' is not a ratio; write it as '0.1%' or '0.001'"),
        ("retries < few", "retries: 'few' is not a number"),
        ("metrics.x < inf", "metrics.x: 'inf' is not a number"),
    ],
)
def test_bad_thresholds_are_refused(expression: str, message: str) -> None:
    """A threshold that cannot be read is refused by a sentence that repeats it."""
    with pytest.raises(PlanError) as refused:
        Threshold.parse(expression)
    assert str(refused.value).startswith(f"threshold {expression!r}: {message}")


def test_a_threshold_that_is_no_text_is_refused() -> None:
    """A number where an expression belongs is named, too."""
    with pytest.raises(PlanError, match="threshold 20: write it as METRIC OP VALUE"):
        Threshold.parse(20)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "ruling", "line"),
    [
        ("max < 101ms", "pass", "max < 101ms: measured 100 ms"),
        ("max < 100ms", "fail", "max < 100ms: measured 100 ms"),
        ("max <= 100ms", "pass", "max <= 100ms: measured 100 ms"),
        ("max == 100ms", "pass", "max == 100ms: measured 100 ms"),
        ("min > 1ms", "fail", "min > 1ms: measured 1.00 ms"),
        ("mean < 40ms", "fail", "mean < 40ms: measured 50.5 ms"),
        ("p50 < 40ms", "fail", "p50 < 40ms: measured 50.0 ms"),
        ("service.max < 51ms", "pass", "service.max < 51ms: measured 50.0 ms"),
        ("lag.max < 51ms", "pass", "lag.max < 51ms: measured 50.0 ms"),
        ("throughput > 24/s", "pass", "throughput > 24/s: measured 25.0/s"),
        ("throughput > 26/s", "fail", "throughput > 26/s: measured 25.0/s"),
        ("throughput > 1000/m", "pass", "throughput > 1000/m: measured 1,500/m"),
        ("retries <= 6", "fail", "retries <= 6: measured 7"),
        ("dropped == 3", "pass", "dropped == 3: measured 3"),
        ("reconnects == 0", "fail", "reconnects == 0: measured 2"),
        ("metrics.hits >= 40", "pass", "metrics.hits >= 40: measured 40"),
        ("metrics.ratio > 0.5", "fail", "metrics.ratio > 0.5: measured 0.25"),
        ("metrics.endless > 1", "pass", "metrics.endless > 1: measured inf"),
        ("metrics.misses < 5", "fail", "metrics.misses < 5: nothing was measured"),
        ("errors == 0", "pass", "errors == 0: measured 0%"),
    ],
)
def test_thresholds_are_judged(expression: str, ruling: str, line: str) -> None:
    """Each metric is judged by its own figure, and the line says expression and measured value."""
    verdict = judged(expression)
    assert (verdict.ruling, verdict.line) == (ruling, line)


def test_failures_count_against_errors_only() -> None:
    """One failure in four operations is 25 %; the latency is that of the successes."""
    verdict = judged("errors < 10%", failures=1, successes=3)
    assert (verdict.ruling, verdict.line) == ("fail", "errors < 10%: measured 25.0%")
    assert judged("max < 4ms", failures=1, successes=3).ruling == "pass"


def test_an_operation_has_its_own_threshold() -> None:
    """A threshold may hold for one operation; one that did not run fails and names those that did."""
    verdict = judged("errors == 0", operation="write", failures=2)
    assert (verdict.ruling, verdict.line) == ("fail", "errors == 0 [write]: measured 100%")
    missing = judged("p50 < 1s", operation="wriet", failures=2)
    assert (missing.ruling, missing.estimate) == ("fail", None)
    assert missing.line == "p50 < 1s [wriet]: no operation 'wriet' ran; there were: read, write"
    assert judged("p50 < 1s", operation="x", successes=0).line == "p50 < 1s [x]: no operation 'x' ran; there were: none"


@pytest.mark.parametrize("expression", ["p99 < 1h", "errors < 100%", "mean > 0"])
def test_nothing_measured_is_no_pass(expression: str) -> None:
    """Without a single operation there is no latency and no error ratio, so nothing holds."""
    verdict = judged(expression, successes=0)
    assert (verdict.ruling, verdict.estimate, verdict.reason) == ("fail", None, "nothing was measured")


def test_a_troubled_generator_makes_a_failure_invalid_and_spoils_no_pass() -> None:
    """Trouble can only make the database look slower: a pass stands, a latency's failure is invalid, errors count."""
    trouble = Validity(("busy", "late"), ("busy",))
    assert judged("max < 101ms", validity=trouble).ruling == "pass"
    verdict = judged("max < 1ms", validity=trouble)
    assert (verdict.ruling, verdict.line) == ("invalid", "max < 1ms: measured 100 ms (busy)")
    assert judged("errors == 0", validity=trouble, failures=1).ruling == "fail"
    assert not trouble.valid
    assert Validity(("a finding alone",)).valid

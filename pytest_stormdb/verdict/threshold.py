"""Thresholds: ``p99 < 20ms`` parsed once, judged once, with the numbers that decided."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..errors import PlanError
from ..measurement.stats import OperationStatistics, RunStatistics
from ..units import (
    format_count,
    format_duration,
    format_rate,
    format_ratio,
    parse_duration_ns,
    parse_rate_per_s,
    parse_ratio,
)
from .validity import Validity

Ruling = Literal["pass", "fail", "inconclusive", "invalid"]

_EXPRESSION = re.compile(r"\s*([\w.]+)\s*(<=|>=|==|<|>)\s*(\S.*?)\s*")
_LATENCY = re.compile(r"(?:(service|lag)\.)?(min|mean|max|p\d{1,2}(?:\.\d+)?)")
_COUNTS = ("retries", "dropped", "reconnects")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
_METRICS = (
    "min mean p50 p90 p95 p99 p99.9 max (also after 'service.' and 'lag.') throughput errors retries dropped"
    " reconnects metrics.NAME"
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """``limit`` is in seconds, per second, or a plain number, as the metric has it."""

    expression: str
    metric: str
    comparison: str
    limit: float
    operation: str | None = None
    abort: bool = False

    @classmethod
    def parse(cls, expression: str, *, operation: str | None = None, abort: bool = False) -> Threshold:
        """``METRIC OP VALUE`` such as ``p99 < 20ms``. Raises PlanError naming what is wrong with it."""
        match = _EXPRESSION.fullmatch(expression) if isinstance(expression, str) else None
        if match is None:
            raise PlanError(f"threshold {expression!r}: write it as METRIC OP VALUE, such as 'p99 < 20ms'")
        metric, comparison, value = match.groups()
        try:
            limit = _parse_limit(metric, value)
        except PlanError as error:
            raise PlanError(f"threshold {expression!r}: {error}") from None
        return cls(f"{metric} {comparison} {value}", metric, comparison, limit, operation, abort)

    @property
    def percentile(self) -> float | None:
        """The percentile of a latency that it is about, from 0 to 100; None for any other figure."""
        latency = _LATENCY.fullmatch(self.metric)
        return float(latency[2][1:]) if latency is not None and latency[2][0] == "p" else None

    def holds(self, estimate: float) -> bool:
        return _OPERATORS[self.comparison](estimate, self.limit)

    def shown(self, value: float) -> str:
        """A value of this threshold's metric, for people."""
        if _LATENCY.fullmatch(self.metric):
            return format_duration(value)
        if self.metric == "throughput":
            unit = self.expression[-1]
            return format_rate(value, unit if unit in "mh" else "s")
        if self.metric == "errors":
            return format_ratio(value)
        return format_count(int(value)) if float(value).is_integer() else f"{value:.4g}"


def _parse_limit(metric: str, value: str) -> float:
    if _LATENCY.fullmatch(metric):
        return parse_duration_ns(value, metric) / 1e9
    if metric == "throughput":
        return parse_rate_per_s(_number_or(value), metric)
    if metric == "errors":
        return parse_ratio(value, metric)
    if metric not in _COUNTS and not re.match(r"metrics\..", metric):
        raise PlanError(f"unknown metric {metric!r}; known are {_METRICS}")
    number = _number_or(value)
    if isinstance(number, str):
        raise PlanError(f"{metric}: {value!r} is not a number")
    return number


def _number_or(value: str) -> float | str:
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a threshold. ``low`` and ``high`` bound the estimate where an interval is known."""

    threshold: Threshold
    ruling: Ruling
    estimate: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def line(self) -> str:
        """Expression and measured value, in one line."""
        where = f" [{self.threshold.operation}]" if self.threshold.operation else ""
        measured = self.reason
        if self.estimate is not None:
            measured = f"measured {self.threshold.shown(self.estimate)}" + (f" ({self.reason})" if self.reason else "")
        return f"{self.threshold.expression}{where}: {measured}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What thresholds are judged by."""

    statistics: RunStatistics
    dropped: int = 0
    validity: Validity = field(default_factory=Validity)


def judge(thresholds: Iterable[Threshold], evidence: Evidence) -> list[Verdict]:
    """A verdict for each threshold. What a troubled generator made fail is ``invalid``, never a failure."""
    return [_judge(threshold, evidence) for threshold in thresholds]


def _judge(threshold: Threshold, evidence: Evidence) -> Verdict:
    operations = evidence.statistics.operations
    if threshold.operation is not None and threshold.operation not in operations:
        known = ", ".join(sorted(operations)) or "none"
        return Verdict(threshold, "fail", None, reason=f"no operation {threshold.operation!r} ran; there were: {known}")
    estimate = _estimate(threshold, evidence)
    if estimate is None or math.isnan(estimate):
        return Verdict(threshold, "fail", None, reason="nothing was measured")
    if threshold.holds(estimate):
        return Verdict(threshold, "pass", estimate)
    if not evidence.validity.valid and threshold.metric != "errors":
        return Verdict(threshold, "invalid", estimate, reason=evidence.validity.reasons[0])
    return Verdict(threshold, "fail", estimate)


def _estimate(threshold: Threshold, evidence: Evidence) -> float | None:
    statistics = evidence.statistics
    figures = statistics.total if threshold.operation is None else statistics.operations[threshold.operation]
    metric = threshold.metric
    if match := _LATENCY.fullmatch(metric):
        return _latency(figures, match[1] or "response", match[2])
    if metric.startswith("metrics."):
        own = statistics.metrics.get(metric.removeprefix("metrics."))
        return None if own is None else own.value
    return {
        "throughput": figures.throughput_per_s,
        "errors": figures.error_ratio,
        "retries": figures.tally.retries,
        "dropped": evidence.dropped,
        "reconnects": statistics.reconnects,
    }[metric]


def _latency(figures: OperationStatistics, kind: str, name: str) -> float:
    latency = {"response": figures.response, "service": figures.service, "lag": figures.lag}[kind]
    return latency.percentile(float(name[1:])) if name[0] == "p" else float(getattr(latency, name))

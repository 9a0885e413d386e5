"""Thresholds: ``p99 < 20ms`` parsed once, and the verdict on it, with the numbers that decided."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from ..errors import PlanError
from ..measurement.stats import LATENCY, quantile_of
from ..units import (
    format_duration,
    format_number,
    format_rate,
    format_ratio,
    parse_duration_ns,
    parse_rate_per_s,
    parse_ratio,
)
from .server_figures import SERVER_METRICS, is_server_metric, is_share

Ruling = Literal["pass", "fail", "inconclusive", "invalid"]
Kind = Literal["latency", "throughput", "errors", "count", "own", "server"]

_TOKENS = re.compile(r"\s*(?P<metric>[^\s<>=]*)\s*(?P<comparison><=|>=|==|<|>)?\s*(?P<value>.*?)\s*", re.DOTALL)
_COUNTS = ("retries", "dropped", "reconnects")
_LATENCIES = ("min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max")
_KNOWN = (*_LATENCIES, "throughput", "errors", *_COUNTS, *SERVER_METRICS)
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
_METRICS = f"{' '.join(_LATENCIES)} (also after 'service.' and 'lag.') {' '.join(_KNOWN[8:])} metrics.NAME"
_FORM = "write it as METRIC OP VALUE, such as 'p99 < 20ms'"


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
        """``METRIC OP VALUE`` such as ``p99 < 20ms``. Raises PlanError that points at what is wrong with it."""
        match = _TOKENS.fullmatch(expression) if isinstance(expression, str) else None
        if match is None:
            raise PlanError(f"threshold {expression!r}: {_FORM}")
        metric, comparison, value = match["metric"], match["comparison"], match["value"]
        if not metric or (not comparison and not value):
            raise _refusal(expression, len(expression.rstrip()) if metric else 0, _FORM)
        kind = _kind_of(metric)
        if kind is None:
            raise _refusal(expression, match.start("metric"), _unknown(metric))
        if not comparison or not value:
            at = match.start("value") if not comparison else len(expression.rstrip())
            raise _refusal(expression, at, f"{_FORM}; {'a value' if comparison else 'one of < <= > >= =='} is missing")
        if kind == "server" and (operation is not None or abort):
            raise _refusal(
                expression, match.start("metric"), "the server's figures are of the whole run, known at its end"
            )
        try:
            limit = _parse_limit(kind, metric, value)
        except PlanError as error:
            raise _refusal(expression, match.start("value"), str(error)) from None
        return cls(f"{metric} {comparison} {value}", metric, comparison, limit, operation, abort)

    @property
    def kind(self) -> Kind:
        """What sort of figure it is about."""
        kind = _kind_of(self.metric)
        assert kind is not None, "parse refused it"
        return kind

    @property
    def of(self) -> str:
        """Of a latency: ``response``, ``service`` or ``lag``."""
        head, dot, _ = self.metric.partition(".")
        return head if dot and head in ("service", "lag") else "response"

    @property
    def quantile(self) -> float | None:
        """Of a latency: the share of calls that it bounds, 0.99 of ``p99``, 1 of ``max``; None of a mean."""
        return quantile_of(self.metric)

    @property
    def is_upper(self) -> bool:
        """Whether it bounds from above."""
        return self.comparison in ("<", "<=")

    @property
    def is_lower(self) -> bool:
        """Whether it bounds from below."""
        return self.comparison in (">", ">=")

    def holds(self, estimate: float) -> bool:
        return _OPERATORS[self.comparison](estimate, self.limit)

    def shown(self, value: float) -> str:
        """A value of this threshold's metric, for people."""
        if self.kind == "latency":
            return format_duration(value)
        if self.kind == "throughput":
            unit = self.expression[-1]
            return format_rate(value, unit if unit in "mh" else "s")
        if self.kind == "errors" or is_share(self.metric):
            return format_ratio(value)
        return format_number(value)


def _kind_of(metric: str) -> Kind | None:
    if LATENCY.fullmatch(metric):
        return "latency"
    if metric == "throughput":
        return "throughput"
    if metric == "errors":
        return "errors"
    if is_server_metric(metric):
        return "server"
    if re.fullmatch(r"metrics\.[\w.]+", metric):
        return "own"
    return "count" if metric in _COUNTS else None


def _unknown(metric: str) -> str:
    near = [name for name in _KNOWN if name.startswith(f"{metric}_")] or get_close_matches(metric, _KNOWN, 1, 0.75)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {_METRICS}"
    return f"unknown metric {metric!r}; {hint}"


def _refusal(expression: str, at: int, why: str) -> PlanError:
    """What is wrong, and a line that points at the character where it is."""
    shown = expression.replace("\n", " ").replace("\t", " ")
    return PlanError(f"threshold {expression!r}: {why}\n  {shown}\n  {' ' * at}^")


def _parse_limit(kind: Kind, metric: str, value: str) -> float:
    if kind == "latency":
        return parse_duration_ns(value, metric) / 1e9
    if kind == "throughput":
        return parse_rate_per_s(_number_or(value), metric)
    if kind == "errors" or is_share(metric):
        return parse_ratio(value, metric)
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
    """What became of a threshold.

    ``low`` and ``high`` are the least and the greatest value over ten parts of the run: how much it moved while it was
    measured, and no statement about any other run. None where there were too few samples.
    """

    threshold: Threshold
    ruling: Ruling
    estimate: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def missed(self) -> str:
        """``p99 38.2 ms is not < 20 ms``; empty where the threshold did not fail, or nothing was measured."""
        if self.ruling != "fail" or self.estimate is None:
            return ""
        metric, comparison, value = self.threshold.expression.split(maxsplit=2)
        limit = re.sub(r"(?<=\d)(?=[a-zµ])", " ", value)
        return f"{metric} {self.threshold.shown(self.estimate)} is not {comparison} {limit}"

    @property
    def line(self) -> str:
        """Expression and measured value, in one line."""
        where = f" [{self.threshold.operation}]" if self.threshold.operation else ""
        measured = self.reason
        if self.estimate is not None:
            measured = f"measured {self.threshold.shown(self.estimate)}" + (f" ({self.reason})" if self.reason else "")
        return f"{self.threshold.expression}{where}: {measured}"

    @property
    def range(self) -> str:
        """How far the value moved over ten parts of the run, for people; empty where that is not known."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.threshold.shown(self.low)} to {self.threshold.shown(self.high)} over ten parts of the run"

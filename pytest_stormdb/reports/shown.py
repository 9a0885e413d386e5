"""Values of a document as people read them: by the unit that a key's name ends in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import PlanError
from ..units import (
    format_bytes,
    format_count,
    format_duration,
    format_number,
    format_rate,
    format_ratio,
    printable,
    titled,
)
from ..verdict.threshold import Threshold

SIGNS = {"passed": "✔", "failed": "✘", "error": "✘", "inconclusive": "?", "invalid": "?"}
RULINGS = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive", "invalid": "invalid"}
SIDES: dict[str | None, str] = {"slower": "failed", "not faster": "failed", "not slower": "passed", "faster": "passed"}
SIDES[None] = "error"  # something broke, and there is nothing to compare
WORST_FIRST = ("error", "failed", "invalid", "inconclusive", "passed")
FIGURES = ("operations", "failures", "throughput", "p50", "p95", "p99", "max")


_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the direction of writing, and halves of characters, which UTF-8 cannot hold."""


def visible(text: str) -> str:
    """A text in which nothing is hidden, and which changes nothing of what stands around it."""
    return _INVISIBLE.sub("\ufffd", text)


def on_one_line(text: str) -> str:
    """The same, its lines joined."""
    return printable(visible(" ".join(text.split())))


def label(key: str) -> str:
    """A key as the name of a row or a column: its unit goes to the values."""
    return key.removesuffix("_s").replace("_per_op", "").replace("_", " ")


def shown(key: str, value: Any) -> str:
    """A value for people; ``-`` for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(key, value)
    if isinstance(value, list | tuple):
        return ", ".join(shown(key, one) for one in value) or "none"
    return str(value)


def _number(key: str, value: float) -> str:
    if key.endswith("_per_s"):
        return format_rate(value)
    if key.endswith("_s"):
        return format_duration(value)
    if key == "share" or key.endswith(("_ratio", "_share")):
        return format_ratio(value)
    if key.endswith(("_bytes", "_bytes_per_op")):
        return format_bytes(value)
    return format_number(value)


def figures(count: int, failures: int, throughput_per_s: float, response: Mapping[str, float | None]) -> list[str]:
    """The cells under ``FIGURES``."""
    latencies = (response.get(key) for key in ("p50_s", "p95_s", "p99_s", "max_s"))
    counts = [format_count(count), format_count(failures), format_rate(throughput_per_s)]
    return [*counts, *(format_duration(value) for value in latencies)]


def run_figures(run: Mapping[str, Any]) -> list[str]:
    """The cells of a whole run."""
    totals = run["totals"]
    return figures(totals["operations"], totals["failures"], totals["throughput_per_s"], totals["response"])


def aborts_of(run: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The expected aborts of a run, the most frequent first, each with its operation."""
    found = [(name, one) for name, each in run["operations"].items() for one in each.get("aborts") or []]
    return sorted(found, key=lambda pair: -pair[1]["count"])


def measured(threshold: Mapping[str, Any]) -> str:
    """What a threshold's metric came to, in the metric's own unit, and how much it moved while the run went on."""
    estimate, low, high = (threshold.get(key) for key in ("estimate", "low", "high"))
    if estimate is None:
        return "-"
    show = _unit_of(threshold["expression"])
    moved = "" if low is None or high is None else f" ({show(low)} to {show(high)} over ten parts of the run)"
    return f"{show(estimate)}{moved}"


def _unit_of(expression: str) -> Any:
    try:
        return Threshold.parse(expression).shown
    except PlanError:  # of another version, which knew a metric that this one does not
        return lambda value: f"{value:.4g}"


def title_of(run: Mapping[str, Any]) -> str:
    """The test of a run, and which of its runs it is."""
    return titled(run["nodeid"], run.get("name"))


def load_of(run: Mapping[str, Any]) -> str:
    """How a run was loaded, in a few words."""
    plan = run["plan"]
    parts = [f"{plan['workers']} worker{'s' * (plan['workers'] != 1)}"]
    if run.get("stages"):
        parts.append(f"{len(run['stages'])} stages")
    if plan.get("rate_per_s") is not None:
        parts.append(f"{format_rate(plan['rate_per_s'])} {plan.get('arrivals') or ''}".rstrip())
    return ", ".join([*parts, f"{run['elapsed_s']:.1f} s"])


def tally_of(document: Mapping[str, Any]) -> str:
    """``1 failed, 2 passed``: the outcomes of all runs and comparisons, the worst first."""
    outcomes = [run["outcome"] for run in document["runs"]]
    outcomes += [SIDES.get(one["verdict"], "inconclusive") for one in document.get("comparisons") or []]
    counted = [f"{outcomes.count(outcome)} {outcome}" for outcome in WORST_FIRST if outcome in outcomes]
    return ", ".join(counted) or "no runs"


def worst_first(runs: list[Any]) -> list[Any]:
    """The runs by outcome, otherwise in their order."""
    return sorted(runs, key=lambda run: WORST_FIRST.index(run["outcome"]))

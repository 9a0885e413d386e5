"""The section of one comparison on the page: both arms in one picture, and how the evidence grew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..measurement.histogram import Histogram
from ..units import format_ratio
from .charts import Chart, chart, percentile_curve, rounded
from .html import Markup, element, table
from .run_page import facts, figure, pill
from .shown import FIGURES, SIDES, figures, label, shown


def comparison_section(comparison: Mapping[str, Any], identity: str, charts: dict[str, Chart]) -> Markup:
    """Verdict, both latency curves, the effect of every pair with the interval after it."""
    verdict = comparison["verdict"]
    pictures = [_curves(comparison), _effects(comparison)]
    drawn = [figure(one, f"{identity}-{index}", charts) for index, one in enumerate(pictures)]
    arms = zip(comparison["arms"], comparison.get("operations") or [], strict=False)
    rows = [
        [name, *figures(one["count"], one["failures"], one["throughput_per_s"], one["response"])] for name, one in arms
    ]
    both = table(["arm", *FIGURES], rows) if rows else None
    heading = element("h2", comparison["nodeid"], " ", pill(SIDES.get(verdict, "inconclusive"), verdict))
    plain = {key: value for key, value in comparison.items() if not isinstance(value, dict) and key not in _DRAWN}
    rest = facts("Comparison", plain)
    told = element("p", sentence(comparison))
    return element("section", heading, told, both, _costs(comparison), *drawn, rest, id=identity)


_DRAWN = ("nodeid", "verdict", "sentence", "operations", "histograms", "effects", "server_activity")


def _costs(comparison: Mapping[str, Any]) -> Markup | None:
    """What an operation cost the server in each arm, where that is known."""
    rows = []
    for metric, cost in (comparison.get("costs") or {}).items():
        if cost["first"] is not None:
            both = shown(metric, cost["first"]), shown(metric, cost["second"])
            rows.append([label(metric.removeprefix("server.")), *both, shown("ratio", cost["ratio"])])
    return table(["server, per operation", *comparison["arms"], "ratio"], rows) if rows else None


def sentence(comparison: Mapping[str, Any]) -> str:
    """What was found, in words."""
    if comparison.get("sentence"):
        return f"{comparison['sentence']}."
    old, new = comparison["arms"]
    ratio, low, high = (comparison.get(key) for key in ("ratio", "low", "high"))
    if ratio is None:
        return f"{new} against {old} at {comparison['metric']}: nothing was measured."
    change = format_ratio(abs(ratio - 1))
    effect = f"{new} is {change} {'higher' if ratio > 1 else 'lower'} than {old} at {comparison['metric']}"
    interval = "" if low is None or high is None else f" [{_percent(low)}, {_percent(high)}]"
    seen = comparison.get("detectable")
    able = f" The smallest change this could have shown: {format_ratio(seen)}." if seen is not None else ""
    return f"{effect}{interval}, {comparison['pairs']} pairs.{able}"


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f}%"


def _curves(comparison: Mapping[str, Any]) -> Chart | None:
    histograms = comparison.get("histograms") or []
    arms = zip(comparison["arms"], histograms, strict=False)
    return percentile_curve({name: Histogram.decode(text) for name, text in arms}, "Latency of both arms")


def _effects(comparison: Mapping[str, Any]) -> Chart | None:
    """``effects``: one for each pair, with its ratio, and the interval after it where there is one."""
    effects = comparison.get("effects") or []
    if not effects:
        return None
    ratios, lows, highs = ([_rounded(one.get(key)) for one in effects] for key in ("ratio", "low", "high"))
    series: list[dict[str, Any]] = [{"name": "pair", "values": ratios, "dots": True, "bare": True}]
    if any(low is not None for low in lows):
        series += [{"name": "low", "values": lows, "band": "low"}, {"name": "high", "values": highs, "band": "high"}]
    margin = comparison.get("margin")
    lines = [{"y": 1.0, "label": "the same"}]
    lines += [] if margin is None else [{"y": rounded(1 + margin), "label": f"margin +{format_ratio(margin)}"}]
    return chart(
        "Effect pair by pair",
        "Each dot is one pair of blocks; the band is the interval of the effect after that many pairs. The verdict"
        " is spoken when the band has left the margin on one side. Of costs, each dot is an epoch, and all decide.",
        {"name": "pair", "unit": "count", "values": list(range(1, len(effects) + 1))},
        {"name": "ratio", "unit": "ratio"} | _range(comparison, ratios),
        series,
        lines=lines,
    )


def _range(comparison: Mapping[str, Any], ratios: Sequence[float | None]) -> dict[str, float]:
    """What is drawn: all pairs, the margin, and the last interval; the first ones may be a hundred times as wide."""
    ends = [comparison.get(key) for key in ("low", "high")]
    shown = [value for value in (*ratios, *ends, 1.0, 1 + (comparison.get("margin") or 0)) if value is not None]
    room = 0.1 * (max(shown) - min(shown))
    return {"min": rounded(min(shown) - room), "max": rounded(max(shown) + room)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else rounded(value)

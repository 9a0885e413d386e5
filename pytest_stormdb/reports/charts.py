"""What the pictures of the page show, as plain values: a chart is its axes, its series over one x, and its marks.

Nothing here knows how a picture is drawn, and the table behind each picture is made from the same values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..measurement.histogram import Histogram
from ..measurement.scalability import Fit

MOST_BUCKETS = 1_000
"""The most points in time that one chart holds."""
_PER_DECADE = 20
_MOST_CURVES = 6
_TAIL = 10
_TOUCHING_S = 0.01
"""Fewer calls than this beyond a percentile say little about it."""
_LATENCIES = ("p50_s", "p95_s", "p99_s")

Chart = dict[str, Any]
Values = Sequence[float | None]


def chart(
    title: str,
    caption: str,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    series: Iterable[Mapping[str, Any]],
    **more: Any,
) -> Chart:
    """``x`` has a name, a unit and its values; ``y`` a name and a unit; each series a name and a value for each x."""
    return {"title": title, "caption": caption, "x": dict(x), "y": dict(y), "series": [dict(s) for s in series], **more}


def percentile_curve(curves: Mapping[str, Histogram], title: str = "Latency distribution") -> Chart | None:
    """The duration that each share of the calls did not exceed, drawn over ``1 / (1 - share)``; None without a call.

    Each further decade of the x axis is another nine: 1 is p0, 10 is p90, 100 is p99.
    """
    filled = {name: curve for name, curve in curves.items() if curve.count}
    if not filled:
        return None
    most = max(curve.count for curve in filled.values())
    xs = _decades(most)
    return chart(
        title,
        "Read it as: so much of the calls took at most that long. Each further mark on the horizontal axis is"
        " another nine. A curve that climbs early is slow for many, one that climbs late is slow for few.",
        {"name": "percentile", "unit": "percentile", "log": True, "values": xs},
        {"name": "latency", "unit": "s", "log": True},
        [{"name": name, "values": _over(curve, xs)} for name, curve in filled.items()],
        areas=[{"from": max(1.0, most / _TAIL), "to": xs[-1], "label": "fewer than ten calls"}] if most > 1 else [],
    )


def _decades(most: int) -> list[float]:
    last = math.floor(_PER_DECADE * math.log10(most))
    steps = [rounded(10 ** (step / _PER_DECADE)) for step in range(last + 1)]
    return steps if steps[-1] == most else [*steps, float(most)]


def _over(curve: Histogram, xs: Sequence[float]) -> list[float | None]:
    within = [x for x in xs if x <= curve.count]
    if within and within[-1] < curve.count and len(within) < len(xs):
        within.append(xs[len(within)])  # the next mark stands for its longest call, so that the curve ends there
    found = curve.quantiles_ns([min(1.0, 1 - 1 / x) if x < curve.count else 1.0 for x in within])
    return [_positive(ns / 1e9) for ns in found] + [None] * (len(xs) - len(within))


def curves_of(run: Mapping[str, Any]) -> dict[str, Histogram]:
    """The response time of all operations, their service time where that differs, and each operation's own."""
    operations = {name: one for name, one in run["operations"].items() if not one.get("is_part")}
    response = _merged(one.get("histogram") for one in operations.values())
    service = _merged(one.get("service_histogram") for one in operations.values())
    curves = {"response": response} | ({"service": service} if service.count else {})
    if 1 < len(operations) <= _MOST_CURVES:
        curves |= {name: _merged([one.get("histogram")]) for name, one in operations.items()}
    return curves


def _merged(texts: Iterable[str | None]) -> Histogram:
    whole = Histogram()
    for text in texts:
        if text:
            whole.merge(Histogram.decode(text))
    return whole


def over_time(run: Mapping[str, Any], most: int = MOST_BUCKETS) -> list[Chart]:
    """Throughput, latency, and failures where there are any, over the run; none for less than two seconds."""
    timeline = run.get("timeline") or []
    if len(timeline) < 2:
        return []
    buckets = bucketed(timeline, run["elapsed_s"], most)
    width_s = buckets[0]["width_s"]
    x = {"name": "time", "unit": "clock", "values": [bucket["at_s"] for bucket in buckets]}
    shaded = disturbed(run)
    more = {"marks": marks_of(run), "time": True, "areas": shaded}
    others = " Where it is shaded, others used the machine." if shaded else ""
    each = "second" if width_s == 1 else f"{width_s:g} s"
    rates = {"name": "operations", "unit": "/s"}

    def series(name: str, key: str, **style: Any) -> dict[str, Any]:
        return {"name": name, "values": [bucket[key] for bucket in buckets], **style}

    def picture(title: str, caption: str, y: Mapping[str, Any], *lines: dict[str, Any]) -> list[Chart]:
        filled = [line for line in lines if any(line["values"])]
        return [chart(title, caption, x, y, filled, **more)] if filled else []

    worst = f" Each point is the worst of its {width_s:g} s." if width_s > timeline[1]["at_s"] else ""
    return [
        *picture(
            "Throughput over time",
            _THROUGHPUT.format(each) + others,
            rates,
            series("throughput", "throughput_per_s", fill=1),
        ),
        *picture(
            "Latency over time",
            _LATENCY.format(each) + worst + others,
            {"name": "latency", "unit": "s", "log": True},
            *(series(key.removesuffix("_s"), key) for key in _LATENCIES),
        ),
        *picture("Failures over time", _FAILURES.format(each), rates, series("failures", "failures_per_s", **_RED)),
    ]


_THROUGHPUT = "Successful operations per second, in each {} of the measured part."
_LATENCY = "Response time of the iterations that were meant to start in each {}; p99 needs 100 of them."
_FAILURES = "Failed operations per second, in each {}."
_RED = {"tone": "bad", "bars": True}


def bucketed(timeline: Sequence[Mapping[str, Any]], elapsed_s: float, most: int) -> list[dict[str, Any]]:
    """At most ``most`` stretches of equal length. Counts are added; a latency is that of the worst second in it."""
    step_s = timeline[1]["at_s"] - timeline[0]["at_s"]
    size = math.ceil(len(timeline) / most)
    found = []
    for begin in range(0, len(timeline), size):
        part = timeline[begin : begin + size]
        width_s = min(len(part) * step_s, max(elapsed_s - part[0]["at_s"], 0.0)) or step_s
        bucket: dict[str, Any] = {
            "at_s": rounded(part[0]["at_s"]),
            "width_s": len(part) * step_s,
            "throughput_per_s": rounded(sum(one["operations"] for one in part) / width_s),
            "failures_per_s": rounded(sum(one["failures"] for one in part) / width_s),
        }
        for key in _LATENCIES:
            bucket[key] = _positive(max((one[key] for one in part if one.get(key) is not None), default=None))
        found.append(bucket)
    return found


def marks_of(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Moments of a run: where a stage begins, what a health check said, what the server did."""
    stages = run.get("stages") or []
    begins = itertools.accumulate((stage["duration_s"] for stage in stages), initial=0.0)
    marks = [{"x": rounded(at), "label": stage["label"]} for at, stage in zip(begins, stages, strict=False)]
    for check in run.get("health") or []:
        if check.get("at_s") is not None and not check["ok"]:
            marks.append({"x": rounded(check["at_s"]), "label": f"health: {check['check']}", "tone": "bad"})
    for event in (run.get("server_activity") or {}).get("events") or []:
        marks.append({"x": rounded(event["at_s"]), "label": event["kind"], "tone": "event"})
    return marks


def waits_over_time(timeline: Sequence[Mapping[str, Any]], most: int = MOST_BUCKETS) -> Chart | None:
    """How often workers were seen waiting, by class of event, one upon the other; None of fewer than two seconds."""
    if len(timeline) < 2:
        return None
    size = math.ceil(len(timeline) / most)
    parts = [timeline[begin : begin + size] for begin in range(0, len(timeline), size)]
    classes = sorted({key for row in timeline for key in row if key != "at_s"})
    totals = {name: [sum(row.get(name, 0) for row in part) for part in parts] for name in classes}
    return chart(
        "Waits over time",
        "How often workers were seen in each class of wait; CPU* is no wait, as far as the server says.",
        {"name": "time", "unit": "clock", "values": [rounded(part[0]["at_s"]) for part in parts]},
        {"name": "looks", "unit": "count"},
        [{"name": name, "values": values, "stack": True} for name, values in totals.items()],
        time=True,
    )


def disturbed(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stretches of a run in which somebody else used the machine, joined where they meet."""
    areas: list[dict[str, Any]] = []
    for window in (run.get("noise") or {}).get("windows") or []:
        begin, end = max(0.0, window["from_s"]), min(run["elapsed_s"], window["to_s"])
        if window["clean"] or begin >= end:
            continue
        if areas and begin - areas[-1]["to"] < _TOUCHING_S:
            areas[-1]["to"] = rounded(end)
        else:
            areas.append({"from": rounded(begin), "to": rounded(end), "label": ""})
    return areas


def scaling(sweep: Mapping[str, Any]) -> list[Chart]:
    """Throughput, measured and by the fitted law, and latency, over the number of workers."""
    points = sweep["points"]
    law = _law(sweep.get("fit"))
    measured = {point["workers"]: point for point in points}
    xs = sorted({*measured, *(_between(list(measured)) if law else ())})
    series = [_measured("throughput", "throughput_per_s", measured, xs)]
    if law:
        series.append({"name": "fitted law", "values": [rounded(law(x)) for x in xs], "dashed": True})
    x = {"name": "workers", "unit": "count", "values": xs}
    curve = chart(
        "Throughput by workers",
        "What each number of workers came to, and the Universal Scalability Law fitted to it where there are enough"
        " points. Where the law bends down, more workers make it slower.",
        x,
        {"name": "operations", "unit": "/s"},
        series,
        marks=[{"x": sweep["knee_workers"], "label": "knee"}],
    )
    latency = chart(
        "Latency by workers",
        "Response time at each number of workers.",
        {**x, "values": sorted(measured)},
        {"name": "latency", "unit": "s", "log": True},
        [_measured(key.removesuffix("_s"), key, measured, sorted(measured)) for key in ("p50_s", "p99_s")],
    )
    return [curve, latency]


def _law(fit: Mapping[str, Any] | None) -> Callable[[float], float] | None:
    if fit is None:
        return None
    return Fit(fit["rate_per_s"], fit["contention"], fit["coherency"], fit["residual"]).throughput_per_s


def _between(workers: Sequence[int]) -> list[int]:
    low, high = min(workers), max(workers)
    return sorted({round(low + (high - low) * step / 60) for step in range(61)})


def _measured(name: str, key: str, points: Mapping[int, Mapping[str, Any]], xs: Sequence[int]) -> dict[str, Any]:
    values = [_positive(points[x][key]) if x in points else None for x in xs]
    return {"name": name, "values": values, "dots": True, "bare": len(xs) > len(points)}


def rounded(value: float) -> float:
    """Six significant digits: more cannot be seen, and would be half of the file."""
    return float(f"{value:.6g}")


def _positive(value: float | None) -> float | None:
    """A logarithmic axis has no place for zero."""
    return rounded(value) if value is not None and value > 0 else None

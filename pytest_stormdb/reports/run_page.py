"""The section of one run on the page. What a document does not hold is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..units import format_duration
from .charts import Chart, curves_of, over_time, percentile_curve
from .html import Markup, element, joined, table
from .server_page import server_sections
from .shown import FIGURES, RULINGS, SIGNS, aborts_of, figures, label, load_of, measured, shown, title_of


def pill(outcome: str, word: str | None = None) -> Markup:
    """A verdict as sign, word and colour."""
    return element("span", f"{SIGNS[outcome]} {word or outcome}", class_=f"pill {outcome}")


def figure(chart: Chart | None, identity: str, charts: dict[str, Chart]) -> Markup | None:
    """A picture's place on the page; the page's script draws it, and its table, from ``charts``."""
    if chart is None:
        return None
    charts[identity] = chart
    names = ", ".join(series["name"] for series in chart["series"])
    said = f"{chart['title']}: {names}, by {chart['x']['name']}. The table below holds the same numbers."
    behind = element("details", element("summary", "Table"), class_="data")
    plot = element("div", class_="plot", role="img", aria_label=said)
    caption = element("p", chart["caption"], class_="note")
    return element(
        "figure", element("figcaption", chart["title"]), plot, caption, behind, class_="chart", data_chart=identity
    )


def facts(title: str, values: Mapping[str, Any]) -> Markup | None:
    """Names and values in two columns, folded up; None where there is nothing."""
    rows = [[label(key), shown(key, value)] for key, value in values.items() if value not in (None, [], {})]
    return element("details", element("summary", title), table(["name", "value"], rows, left=2)) if rows else None


def run_section(run: Mapping[str, Any], identity: str, charts: dict[str, Chart], most: int) -> Markup:
    """Everything about one run; ``most`` is how many points in time its pictures may have."""
    pictures = [percentile_curve(curves_of(run)), *over_time(run, most)]
    drawn = [figure(one, f"{identity}-{index}", charts) for index, one in enumerate(pictures)]
    return element(
        "section",
        element("h2", title_of(run), " ", pill(run["outcome"])),
        element("p", _identity(run)),
        _reasons(run),
        _tiles(run),
        _thresholds(run),
        *drawn,
        _operations(run),
        _errors(run),
        _aborts(run),
        _health(run),
        _generator(run),
        *_server(run, identity, charts, most),
        _metrics(run),
        facts("Plan", run["plan"] | {"forked": run.get("forked")}),
        id=identity,
    )


def _identity(run: Mapping[str, Any]) -> str:
    workload = run.get("workload") or {}
    named = [str(workload[key]) for key in ("name", "version", "integrity") if workload.get(key)]
    warmup_s = run["plan"].get("warmup_s")
    after = [f"after {format_duration(warmup_s)} of warm-up"] if warmup_s else []
    return " · ".join([*named, load_of(run), *after])


def _reasons(run: Mapping[str, Any]) -> Markup | None:
    reasons = [*(run.get("reasons") or []), *(run.get("lost") or [])]
    unique = list(dict.fromkeys(reasons))
    return element("ul", *(element("li", reason) for reason in unique), class_="reasons") if unique else None


def _tiles(run: Mapping[str, Any]) -> Markup:
    totals = run["totals"]
    cells = figures(totals["operations"], totals["failures"], totals["throughput_per_s"], totals["response"])
    pairs = [(name, cell) for name, cell in zip(FIGURES, cells, strict=True) if cell != "-"]
    for name in ("aborts", "retries", "dropped", "reconnects"):
        if totals.get(name):
            pairs.append((name, shown(name, totals[name])))
    tiles = [element("div", element("dt", name), element("dd", cell)) for name, cell in pairs]
    return element("dl", *tiles, class_="tiles")


def _part(title: str, *content: Markup) -> Markup:
    return joined([element("h3", title), *content])


def _thresholds(run: Mapping[str, Any]) -> Markup | None:
    rows = [
        [
            pill(RULINGS.get(one["verdict"], "inconclusive"), one["verdict"]),
            one["expression"],
            one.get("operation") or "all",
            measured(one),
            one.get("reason") or "",
        ]
        for one in run.get("thresholds") or []
    ]
    header = ["verdict", "threshold", "operation", "measured", "reason"]
    return _part("Thresholds", table(header, rows, left=5)) if rows else None


def _operations(run: Mapping[str, Any]) -> Markup | None:
    """Stages, operations, and the parts that iterations name, each with its figures."""
    rows: list[Sequence[str]] = []
    for stage in run.get("stages") or []:
        cells = figures(stage["operations"], stage["failures"], stage["throughput_per_s"], stage["response"])
        rows.append([f"stage: {stage['label']}", *cells])
    ordered = sorted(run["operations"].items(), key=lambda item: bool(item[1].get("is_part")))
    for name, one in ordered:
        cells = figures(one["count"], one["failures"], one["throughput_per_s"], one["response"])
        rows.append([f"part: {name}" if one.get("is_part") else name, *cells])
    return _part("Operations", table(["operation", *FIGURES], rows)) if rows else None


def _errors(run: Mapping[str, Any]) -> Markup | None:
    errors = [(name, error) for name, one in run["operations"].items() for error in one.get("errors") or []]
    rows = [
        [name, error["code"], error.get("example") or "", shown("count", error["count"])]
        for name, error in sorted(errors, key=lambda pair: -pair[1]["count"])
    ]
    return _part("Errors", table(["operation", "code", "first example", "count"], rows, left=3)) if rows else None


def _aborts(run: Mapping[str, Any]) -> Markup | None:
    rows = [[name, one["reason"], shown("count", one["count"])] for name, one in aborts_of(run)]
    return _part("Expected aborts", table(["operation", "reason", "count"], rows, left=2)) if rows else None


def _health(run: Mapping[str, Any]) -> Markup | None:
    """What failed stands open; a list of what was fine is folded up."""
    checks = run.get("health") or []
    rows = [
        [_checked(one), one["check"], one["when"], shown("at_s", one.get("at_s")), one.get("detail") or ""]
        for one in sorted(checks, key=lambda one: bool(one["ok"]))
    ]
    if not rows:
        return None
    listed = table(["", "check", "when", "at", "detail"], rows, left=5)
    if all(one["ok"] for one in checks):
        return element("details", element("summary", f"Health: {len(rows)} checks, all fine"), listed)
    return _part("Health", listed)


def _checked(one: Mapping[str, Any]) -> Markup:
    return pill("passed", "ok") if one["ok"] else pill("failed")


def _generator(run: Mapping[str, Any]) -> Markup | None:
    findings = (run.get("validity") or {}).get("findings") or []
    return _part("Load generator", element("ul", *(element("li", one) for one in findings))) if findings else None


def _metrics(run: Mapping[str, Any]) -> Markup | None:
    metrics = run.get("metrics") or {}
    keys = ("value", "count", "min", "max")
    rows = [[name, one["kind"], *(shown(key, one.get(key)) for key in keys)] for name, one in metrics.items()]
    return _part("Metrics of the workload", table(["metric", "kind", *keys], rows, left=2)) if rows else None


def _server(run: Mapping[str, Any], identity: str, charts: dict[str, Chart], most: int) -> Iterator[Markup | None]:
    for part in server_sections(run, most):
        yield part if isinstance(part, Markup) else figure(part, f"{identity}-waits", charts)

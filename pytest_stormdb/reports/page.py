"""A document as one page for a browser: self-contained, offline, verdicts first, a table behind every picture."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..units import counted, format_ratio
from .charts import MOST_BUCKETS, Chart, scaling
from .comparison_page import comparison_section
from .html import Markup, data, element, joined, table
from .run_page import facts, figure, pill, run_section
from .shown import FIGURES, SIDES, load_of, run_figures, tally_of, title_of, worst_first

_BUCKETS = 30_000
"""Points in time that all runs of a page share, so that a page of many runs stays below 5 MB."""


def write(document: Mapping[str, Any], out: Path) -> None:
    """Write the page of a document to a file."""
    out.write_text(page(document), encoding="utf-8")


def page(document: Mapping[str, Any]) -> str:
    """The page of a document (format ``stormdb-run/1``) as HTML."""
    charts: dict[str, Chart] = {}
    title = f"stormdb: {tally_of(document)}"
    style, script, library = _asset("page.css"), _asset("page.js"), _asset("echarts/echarts.common.min.js")
    body = joined(_sections(document, charts))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script, library)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    scripts = [data("charts", charts), element("script", library), element("script", script)]
    main = element("body", _header(document, title), element("main", body), *scripts)
    return f"<!DOCTYPE html>\n{element('html', head, main, lang='en')}\n"


def _policy(*scripts: str) -> str:
    """Nothing is loaded, and nothing runs but our own scripts."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def _asset(name: str) -> Markup:
    return Markup(resources.files(__package__).joinpath("assets", *name.split("/")).read_text(encoding="utf-8"))


def _header(document: Mapping[str, Any], title: str) -> Markup:
    environment = document.get("environment") or {}
    server = document.get("server") or {}
    where = [f"PostgreSQL {server['version']}"] if server.get("version") else []
    where += [f"{environment['cpus']} CPUs"] if environment.get("cpus") else []
    where += [str(document["created"]).replace("T", " ").replace("+00:00", " UTC")] if document.get("created") else []
    return element("header", element("h1", title), element("p", " · ".join(where)))


def _sections(document: Mapping[str, Any], charts: dict[str, Chart]) -> Iterator[Markup]:
    runs, comparisons = list(document["runs"]), list(document.get("comparisons") or [])
    sweeps = list(document.get("sweeps") or [])
    numbered = worst_first([dict(run) | {"identity": f"run-{index}"} for index, run in enumerate(runs)])
    if runs:
        yield _verdicts(numbered)
    if comparisons:
        yield _compared(comparisons)
    for index, comparison in enumerate(comparisons):
        yield comparison_section(comparison, f"comparison-{index}", charts)
    for index, sweep in enumerate(sweeps):
        yield _sweep_section(sweep, f"sweep-{index}", charts)
    most = max(60, min(MOST_BUCKETS, _BUCKETS // max(1, len(runs))))
    for run in numbered:
        yield run_section(run, run["identity"], charts, most)
    yield _environment(document)


def _verdicts(runs: Sequence[Mapping[str, Any]]) -> Markup:
    """All runs in one table; each leads to its section."""
    rows = [
        [pill(run["outcome"]), _link(title_of(run), run["identity"]), load_of(run), *run_figures(run)] for run in runs
    ]
    reasons = [
        element("li", element("b", title_of(run)), f": {run['reasons'][0]}") for run in runs if run.get("reasons")
    ]
    news = element("ul", *reasons, class_="reasons") if reasons else None
    listed = table(["verdict", "workload", "load", *FIGURES], rows, left=3)
    return element("section", element("h2", "Verdicts"), news, listed, id="verdicts")


def _compared(comparisons: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        [
            pill(SIDES.get(one["verdict"], "inconclusive"), one["verdict"]),
            _link(one["nodeid"], f"comparison-{index}"),
            one["metric"],
            " → ".join(one["arms"]),
            *(f"{one[key]:.3f}" if one.get(key) is not None else "-" for key in ("ratio", "low", "high")),
        ]
        for index, one in enumerate(comparisons)
    ]
    header = ["verdict", "comparison", "metric", "arms", "ratio", "low", "high"]
    return element("section", element("h2", "Comparisons"), table(header, rows, left=4), id="comparisons")


def _link(label: str, identity: str) -> Markup:
    return element("a", label, href=f"#{identity}")


def _sweep_section(sweep: Mapping[str, Any], identity: str, charts: dict[str, Chart]) -> Markup:
    figures = [figure(one, f"{identity}-{index}", charts) for index, one in enumerate(scaling(sweep))]
    heading = element("h2", sweep["nodeid"], " ", element("small", "sweep"))
    return element("section", heading, element("p", _law(sweep)), *figures, id=identity)


def _law(sweep: Mapping[str, Any]) -> str:
    knee = f"The knee is at {counted(sweep['knee_workers'], 'worker')}, the fewest within 5 % of the best throughput."
    fit = sweep.get("fit")
    if fit is None:
        return f"{knee} There are too few points for a law."
    peak = "no peak" if fit.get("peak_workers") is None else f"a peak at {fit['peak_workers']:.0f} workers"
    law = f"contention {format_ratio(fit['contention'])}, coherency {fit['coherency']:.2g}, {peak}"
    return f"{knee} Universal Scalability Law: {law}; the fit is off by {format_ratio(fit['residual'])} (RMS)."


def _environment(document: Mapping[str, Any]) -> Markup:
    """The server and the machine, folded up."""
    server = dict(document.get("server") or {})
    settings = dict(server.pop("settings", None) or {})
    parts = [
        facts("Server", server | settings),
        facts("Load generator", document.get("environment") or {}),
    ]
    note = "Durations have three digits; percentiles are exact to 0.1 %."
    return element("section", element("h2", "Environment"), *parts, element("p", note, class_="note"), id="environment")

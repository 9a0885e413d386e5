"""A document as Markdown: for a comment on a pull request, and for the summary of a GitHub Actions job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .html import text
from .shown import (
    FIGURES,
    RULINGS,
    SIDES,
    aborts_of,
    load_of,
    measured,
    run_figures,
    shown,
    tally_of,
    title_of,
    worst_first,
)

_SIGNS = {"passed": "✅", "failed": "❌", "error": "❌", "inconclusive": "❔", "invalid": "❔"}
_SPECIAL = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[#+-])")
"""What Markdown reads as its own; an underscore within a word it leaves alone."""
_MOST_RUNS = 200
"""A summary may have 1 MiB; the worst runs come first."""
_MOST_REASONS = 5


def write(document: Mapping[str, Any], out: Path) -> None:
    """Write the Markdown of a document to a file."""
    out.write_text(markdown(document), encoding="utf-8")


def append(document: Mapping[str, Any], out: Path) -> None:
    """Add it to a file that others write to as well, such as the one named by ``GITHUB_STEP_SUMMARY``."""
    with out.open("a", encoding="utf-8") as file:
        file.write(f"{markdown(document)}\n")


def markdown(document: Mapping[str, Any]) -> str:
    """A heading that counts the outcomes, a table of all runs, the reasons and thresholds, the surroundings."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    runs = worst_first(list(document["runs"]))
    yield f"## stormdb: {tally_of(document)}"
    if runs:
        yield from _table(["", "workload", "load", *FIGURES], [_run(run) for run in runs[:_MOST_RUNS]], left=3)
    if len(runs) > _MOST_RUNS:
        yield f"\n… and {len(runs) - _MOST_RUNS:,} more, none of them worse than these."
    comparisons = document.get("comparisons") or []
    if comparisons:
        header = ["", "comparison", "metric", "arms", "ratio", "interval", "pairs"]
        yield from _table(header, [_compared(one) for one in comparisons[:_MOST_RUNS]], left=4)
    for run in runs[:_MOST_RUNS]:
        yield from _news(run)
    rows = [row for run in runs[:_MOST_RUNS] for row in _thresholds(run)]
    if rows:
        yield from ["", "<details><summary>Thresholds</summary>"]
        yield from _table(["", "workload", "threshold", "measured", "reason"], rows, left=5)
        yield from ["", "</details>"]
    aborts = [row for run in runs[:_MOST_RUNS] for row in _aborts(run)]
    if aborts:
        yield from ["", "<details><summary>Expected aborts</summary>"]
        yield from _table(["workload", "operation", "reason", "count"], aborts, left=3)
        yield from ["", "</details>"]
    metrics = [row for run in runs[:_MOST_RUNS] for row in _metrics(run)]
    if metrics:
        yield from ["", "<details><summary>Metrics of the workloads</summary>"]
        yield from _table(["workload", "metric", "value"], metrics, left=2)
        yield from ["", "</details>"]
    yield from _surroundings(document)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> Iterator[str]:
    yield ""
    yield _row(header)
    yield _row(["---" if index < left else "---:" for index in range(len(header))])
    yield from (_row(row) for row in rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plain(value: object) -> str:
    """A value as text on one line, which neither Markdown nor HTML reads as theirs."""
    return _SPECIAL.sub(r"\\\1", " ".join(text(value).split())).replace("@", "&#64;")


def _run(run: Mapping[str, Any]) -> list[str]:
    return [_SIGNS[run["outcome"]], plain(title_of(run)), plain(load_of(run)), *run_figures(run)]


def _compared(one: Mapping[str, Any]) -> list[str]:
    ratio, low, high = (one.get(key) for key in ("ratio", "low", "high"))
    interval = "-" if low is None or high is None else f"{low:.3f} … {high:.3f}"
    sign = _SIGNS[SIDES.get(one["verdict"], "inconclusive")]
    named = [plain(one[key]) for key in ("nodeid", "metric")]
    arms = " → ".join(plain(arm) for arm in one["arms"])
    return [sign, *named, arms, "-" if ratio is None else f"{ratio:.3f}", interval, str(one["pairs"])]


def _news(run: Mapping[str, Any]) -> Iterator[str]:
    """Why a run did not pass."""
    reasons = run.get("reasons") or []
    if run["outcome"] == "passed" or not reasons:
        return
    yield from ["", f"**{plain(title_of(run))}** {run['outcome']}:", ""]
    yield from (f"- {plain(reason)}" for reason in reasons[:_MOST_REASONS])
    if len(reasons) > _MOST_REASONS:
        yield f"- … and {len(reasons) - _MOST_REASONS:,} more"


def _thresholds(run: Mapping[str, Any]) -> Iterator[list[str]]:
    for one in run.get("thresholds") or []:
        sign = _SIGNS[RULINGS.get(one["verdict"], "inconclusive")]
        operation = f" [{one['operation']}]" if one.get("operation") else ""
        expression = plain(f"{one['expression']}{operation}")
        yield [sign, plain(title_of(run)), expression, measured(one), plain(one.get("reason") or "")]


def _aborts(run: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, one in aborts_of(run)[:_MOST_REASONS]:
        yield [plain(title_of(run)), plain(name), plain(one["reason"]), shown("count", one["count"])]


def _metrics(run: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, metric in (run.get("metrics") or {}).items():
        yield [plain(title_of(run)), plain(name), shown("value", metric.get("value"))]


def _surroundings(document: Mapping[str, Any]) -> Iterator[str]:
    server, environment = document.get("server") or {}, document.get("environment") or {}
    parts = [f"PostgreSQL {server['version']}"] if server.get("version") else []
    parts += ["embedded on the machine that made the load"] if server.get("embedded") else []
    parts += [f"{environment['cpus']} CPUs"] if environment.get("cpus") else []
    parts += [f"pytest-stormdb {environment['pytest_stormdb']}"] if environment.get("pytest_stormdb") else []
    if parts:
        yield from ["", f"<sub>{plain(' · '.join(parts))}</sub>"]

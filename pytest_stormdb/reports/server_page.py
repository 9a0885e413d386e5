"""What the server did during a run, on the page: the cause first, then waits, statements, events and counters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .charts import Chart, waits_over_time
from .html import Markup, element, joined, table
from .shown import label, shown

_COSTS = ("blocks_per_op", "rows_per_op", "wal_bytes_per_op", "temp_bytes_per_op", "hit_ratio", "unexplained_share")
_NAMES = {"share": "all", "low_share": "at least", "high_share": "at most", "slowest_share": "slowest 5 %"}
_LISTS = {
    "waits": "Waits, as shares of response time",
    "blockers": "Who blocked whom",
    "statements": "Statements by time",
    "events": "What happened meanwhile",
}
_FOLDED = {
    "tables": "Tables",
    "io": "Input and output",
    "settings_changed": "Settings that are not as shipped",
}
_GROUPS = ("database", "wal", "checkpoints", "backends", "others", "pg_wait_sampling")


def server_sections(run: Mapping[str, Any], most: int) -> Iterator[Markup | Chart]:
    """The parts in their order; a chart, of at most so many points in time, stands for its picture."""
    activity = run.get("server_activity") or {}
    if any(activity.values()):
        yield element("h3", "Server")
    if activity.get("cause"):
        yield element("p", f"{activity['cause']}.", class_="cause")
    chart = waits_over_time(activity.get("wait_timeline") or [], most)
    yield from (_part(title, activity[key]) for key, title in _LISTS.items() if key == "waits" and activity.get(key))
    if chart is not None:
        yield chart
    yield from (_part(title, activity[key]) for key, title in _LISTS.items() if key != "waits" and activity.get(key))
    costs = [[label(key), shown(key, activity[key])] for key in _COSTS if activity.get(key) is not None]
    if costs:
        yield element("h4", "For each operation")
        yield table(["cost", "value"], costs)
    yield from (_folded(title, listed(activity[key])) for key, title in _FOLDED.items() if activity.get(key))
    groups = {
        f"{group}: {label(key)}": (key, activity[group][key]) for group in _GROUPS for key in activity.get(group) or {}
    }
    if groups:
        rows = [[name, shown(key, value)] for name, (key, value) in groups.items()]
        yield _folded("Counters", table(["counter", "value"], rows))
    notes = [*(activity.get("notes") or []), *filter(None, [activity.get("statements_missing")])]
    if notes:
        yield element("ul", *(element("li", note) for note in notes), class_="note")
    yield from _plan(run.get("explained") or {})


def _part(title: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    return joined([element("h4", title), listed(rows)])


def _folded(title: str, content: Markup) -> Markup:
    return element("details", element("summary", title), content)


def listed(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Rows of any keys as one table: first the columns of text, then those of numbers."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    numbers = [key for key in keys if all(isinstance(row.get(key), int | float | None) for row in rows)]
    ordered = [key for key in keys if key not in numbers] + numbers
    body = [[shown(key, row.get(key)) for key in ordered] for row in rows]
    return table([_NAMES.get(key) or label(key) for key in ordered], body, left=len(keys) - len(numbers))


def _plan(explained: Mapping[str, Any]) -> Iterator[Markup]:
    """The plan of the slowest operation's main statement, as PostgreSQL gave it."""
    if not explained:
        return
    yield element("h4", f"Plan of {explained['operation']}")
    if explained.get("statement"):
        yield element("pre", explained["statement"])
    if explained.get("note"):
        yield element("p", explained["note"])
    if explained.get("plan"):
        yield _folded("Plan", element("pre", json.dumps(explained["plan"], indent=1)))

"""What the server did during a run: as plain values, and as lines of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..measurement.cause import SPEAK_FROM
from ..measurement.shares import Profile, Share
from ..measurement.stats import TimelinePoint
from ..units import format_bytes, format_count, format_duration, format_ratio

if TYPE_CHECKING:
    from ..database.activity import ServerActivity
    from ..database.explain import Explained
    from ..database.statements import Statement

COSTS = ("blocks", "rows", "wal_bytes", "temp_bytes")
_SHARES_SHOWN = 5
_LEAST_SHOWN = 0.02
_EVENTS_SHOWN = 5
_STATEMENTS_SHOWN = 3


# -- as plain values -------------------------------------------------------------------------------------------------


def activity_document(activity: ServerActivity) -> dict[str, Any]:
    """The ``server_activity`` of a run in JSON: figures, groups of counters, and rows; null for what is unknown."""
    waits, groups = activity.waits, activity.growth.groups
    most, limit = activity.connections
    return {
        "cause": waits.cause or None,
        **{f"{kind}_per_op": activity.per_operation(kind) for kind in COSTS},
        "hit_ratio": activity.hit_ratio,
        "most_connections": most,
        "max_connections": limit,
        "unexplained_share": activity.unexplained_share,
        "samples": waits.samples,
        "iterations_sampled": waits.everything.iterations,
        "slowest_iterations_sampled": waits.slowest.iterations,
        "waits": _share_rows(waits.everything.events, waits.slowest),
        "wait_classes": _share_rows(waits.everything.classes, waits.slowest),
        "wait_timeline": [{"at_s": second, **counts} for second, counts in enumerate(waits.timeline)],
        "blockers": [dataclasses.asdict(blocker) | {"times": times} for blocker, times in waits.blockers],
        "pg_wait_sampling": dict(waits.profile),
        **{group: dict(values) for group, values in groups.items() if not group.startswith("io, ")},
        "io": [
            {"what": group.removeprefix("io, "), **values}
            for group, values in groups.items()
            if group.startswith("io, ") and any(values.values())
        ],
        "backends": dict(zip(("blocks", "wal_bytes"), activity.backends, strict=True)) if activity.backends else {},
        "statements": [_statement(each) for each in activity.statements.top()],
        "statements_missing": activity.statements.missing or None,
        "tables": [dataclasses.asdict(table) for table in activity.tables],
        "settings_changed": [dataclasses.asdict(setting) for setting in activity.settings],
        "events": [dataclasses.asdict(event) for event in activity.events],
        "notes": list(activity.notes),
    }


def _share_rows(shares: Sequence[Share], slow: Profile) -> list[dict[str, Any]]:
    """Shares of response time, of all iterations with bounds, and of the slowest."""
    rows = []
    for share in shares:
        slowest = slow.share(share.name)
        row = {"event": share.name, "share": share.share, "low_share": share.low, "high_share": share.high}
        rows.append(row | {"slowest_share": slowest and slowest.share, "samples": share.samples})
    return rows


def _statement(statement: Statement) -> dict[str, Any]:
    values = dataclasses.asdict(statement)
    return values | {"mean_s": statement.mean_ms / 1000}


def explained_document(explained: Explained) -> dict[str, Any]:
    """The plan of the slowest operation's main statement, as PostgreSQL gives it."""
    plan = explained.plan
    return {
        "operation": explained.operation,
        "statement": explained.statement or None,
        "note": explained.note or None,
        "plan": None if plan is None else dict(plan.root),
        "fingerprint": None if plan is None else plan.fingerprint,
        "blocks": None if plan is None else plan.blocks,
        "rows": None if plan is None else plan.rows,
    }


# -- as text ---------------------------------------------------------------------------------------------------------


def activity_lines(activity: ServerActivity, timeline: Sequence[TimelinePoint]) -> Iterator[str]:
    """A few lines: where the time went, what an operation cost, what happened, and what could not be seen."""
    if activity.waits.cause:
        yield f"server: {activity.waits.cause}"
    yield from _shares(activity.waits.everything, activity.waits.slowest)
    yield from _costs(activity)
    yield from _statements(activity)
    yield from _events(activity, timeline)
    yield from _shown_settings(activity)
    yield from (f"server: {note}" for note in activity.notes)


def explained_lines(explained: Explained) -> Iterator[str]:
    """The plan as a tree."""
    if explained.plan is None:
        yield f"plan of {explained.operation}: {explained.note}"
        return
    took = format_duration(explained.plan.execution_s)
    yield f"plan of {explained.operation}, {took} when executed again: {explained.statement}"
    yield from (f"  {line}" for line in explained.plan.lines)


def _shares(everything: Profile, slow: Profile) -> Iterator[str]:
    """The largest shares, beside those of the slowest iterations; none for a handful of looks."""
    if everything.iterations < SPEAK_FROM:
        return
    shown: dict[str, Share] = {}
    for share in sorted((*everything.events, *slow.events), key=lambda each: -each.share):
        if share.share >= _LEAST_SHOWN:
            shown.setdefault(share.name, share)
    width = max(map(len, ("response time", *shown)))
    yield f"  {'response time':<{width}}     all{'  slowest 5 %' if slow.samples else ''}"
    for name in list(shown)[:_SHARES_SHOWN]:
        of_slow = f"  {_percent(slow.share(name)):>11}" if slow.samples else ""
        yield f"  {name:<{width}}  {_percent(everything.share(name)):>6}{of_slow}"


def _percent(share: Share | None) -> str:
    return "-" if share is None else f"{100 * share.share:.0f} %"


def costs_of(activity: ServerActivity) -> str:
    """What an operation cost, in a few words; empty where nothing is known."""
    blocks, rows, wal, temporary = (activity.per_operation(kind) for kind in COSTS)
    parts = []
    if blocks is not None:
        hit = "" if activity.hit_ratio is None else f" ({format_ratio(activity.hit_ratio)} hit)"
        parts.append(f"{blocks:.3g} blocks{hit}")
    if rows is not None:
        parts.append(f"{rows:.3g} rows")
    if wal is not None:
        parts.append(f"{format_bytes(wal)} of WAL")
    if temporary:
        parts.append(f"{format_bytes(temporary)} of temporary files")
    return ", ".join(parts)


def _costs(activity: ServerActivity) -> Iterator[str]:
    """One line of what an operation cost, and one of what the database counted in all."""
    if costs := costs_of(activity):
        yield f"server, per operation: {costs}"
    counts = activity.growth.groups.get("database")
    if counts is not None:
        kinds = ("commit", "rollback", "deadlock", "temporary file")
        numbers = [int(counts[name]) for name in ("commits", "rollbacks", "deadlocks", "temp_files")]
        told = [f"{format_count(n)} {kind}{'s' * (n > 1)}" for n, kind in zip(numbers, kinds, strict=True) if n]
        most, limit = activity.connections
        yield f"server, in all: {', '.join([*told, f'{most} of {limit} connections'])}"


def _statements(activity: ServerActivity) -> Iterator[str]:
    top: Sequence[Statement] = activity.statements.top()[:_STATEMENTS_SHOWN]
    for statement in top:
        mean = format_duration(statement.mean_ms / 1000)
        yield f"  {mean:>8} x {format_count(statement.calls)}: {statement.query}"
    if top and activity.unexplained_share is not None:
        share = f"{100 * activity.unexplained_share:.0f} %"
        yield f"  {share} of response time is outside of statements: network, client, commits"


def _events(activity: ServerActivity, timeline: Sequence[TimelinePoint]) -> Iterator[str]:
    """What happened, beside the latency of that second."""
    for event in activity.events[:_EVENTS_SHOWN]:
        during = [interval for interval in timeline if interval.at_s <= event.at_s]
        p99 = during[-1].p99_s if during else None
        beside = "" if p99 is None else f", p99 then {format_duration(p99)}"
        yield f"server, at {event.at_s:.1f} s: {event}{beside}"
    left = len(activity.events) - _EVENTS_SHOWN
    if left > 0:
        yield f"server: {left} more events are in the JSON report"


def _shown_settings(activity: ServerActivity) -> Iterator[str]:
    if activity.settings:
        told = ", ".join(f"{setting.name} {setting.value}" for setting in activity.settings)
        yield f"server, not as shipped: {told}"

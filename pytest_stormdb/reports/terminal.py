"""Runs as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from ..measurement.scalability import FIT_FROM, Sweep
from ..measurement.stats import OperationStatistics
from ..record import ComparisonRecord, RunRecord, SessionRecord
from ..units import (
    format_count,
    format_duration,
    format_rate,
    format_ratio,
)
from .server_activity import activity_lines, explained_lines

if TYPE_CHECKING:
    from ..database.server import ServerFacts

_HEADER = ("operation", "count", "failures", "throughput", "p50", "p95", "p99", "max")
_MARKS = {"pass": "ok", "fail": "MISSED", "inconclusive": "inconclusive", "invalid": "INVALID"}


Tone = Literal["plain", "good", "bad", "doubtful", "strong"]


class Line(NamedTuple):
    """A line of the report; ``tone`` says what kind of news it is."""

    text: str
    tone: Tone = "plain"


class Output(Protocol):
    """Where lines go: pytest's terminal writer is one."""

    def write_line(self, line: str, **markup: bool) -> None:
        """Write a line of text, in colour where the terminal has them."""


_MARKUP: Mapping[Tone, Mapping[str, bool]] = {
    "plain": {},
    "good": {"green": True},
    "bad": {"red": True},
    "doubtful": {"yellow": True},
    "strong": {"bold": True},
}


def write(record: SessionRecord, out: Output) -> None:
    """Write what all runs of a session showed."""
    for line in lines(record):
        out.write_line(line.text, **_MARKUP[line.tone])


def lines(record: SessionRecord) -> Iterator[Line]:
    """All runs: a table each, then what was judged, then the curves and the servers' identities."""
    width = max((len(name) for run in record.runs for name in _names(run)), default=0)
    for run in record.runs:
        yield Line(f"{run.nodeid}  ({_load(run)})", "strong")
        yield from _table(run, max(width, len("operation")))
        yield from _judgement(run)
        if run.server_activity is not None:
            timeline = run.statistics.timeline
            yield from (Line(f"  {text}") for text in activity_lines(run.server_activity, timeline))
        if run.explained is not None:
            yield from (Line(f"  {text}") for text in explained_lines(run.explained))
        yield Line("")
    for comparison in record.comparisons:
        yield from _comparison(comparison)
    for sweep in record.sweeps:
        yield from _curve(sweep)
    servers = []
    for run in record.runs:
        if run.server not in servers:
            servers.append(run.server)
    for server in servers:
        yield from _identity(server)


def _comparison(record: ComparisonRecord) -> Iterator[Line]:
    """Both arms as rows of a table, the verdict, and how it was come by."""
    width = max(map(len, (*record.arms, "operation")))
    workers = f"{record.plan.workers} worker{'s' * (record.plan.workers > 1)} each"
    yield Line(f"{record.nodeid}  (comparison, {workers}, {record.elapsed_s:.1f} s)", "strong")
    yield Line(_row(("arm", *_HEADER[1:]), width))
    for arm, name in enumerate(record.arms):
        yield Line(_row(_cells(name, record.figures(arm)), width))
    comparison = record.comparison
    tone: Tone = "doubtful" if comparison.verdict == "inconclusive" else "good"
    if record.broken or comparison.verdict in ("slower", "not faster"):
        tone = "bad"
    yield Line(f"  {record.sentence}", tone)
    disturbed = sum(not pair.is_clean for pair in comparison.pairs)
    told = [f"{len(record.epochs)} epochs", f"blocks of {format_duration(record.block_s)}", f"seed {record.seed}"]
    told += [f"{disturbed} pairs disturbed by others"] if disturbed else []
    told += [f"changes of {format_ratio(comparison.detectable)} could be seen"] if comparison.detectable < 1e6 else []
    yield Line(f"  {', '.join(told)}")
    yield Line("")


def _names(record: RunRecord) -> list[str]:
    operations = record.statistics.operations
    whole = [name for name, figures in operations.items() if not figures.tally.is_part]
    parts = [f"  {name}" for name, figures in operations.items() if figures.tally.is_part]
    stages = [stage.stage.label for stage in record.stages]
    return stages + whole + parts + (["all"] if len(whole) > 1 else [])


def _load(record: RunRecord) -> str:
    plan = record.plan
    parts = [f"{plan.workers} worker{'s' * (plan.workers > 1)}"]
    if plan.stages:
        parts.append(f"{len(plan.stages)} stages")
    if plan.rate_per_s is not None:
        parts.append(f"{format_rate(plan.rate_per_s)} {plan.arrivals}")
    if plan.iterations is not None:
        parts.append(f"{format_count(plan.iterations)} iterations each")
    parts.append(f"{record.statistics.elapsed_s:.1f} s")
    if plan.warmup_ns:
        parts.append(f"after {format_duration(plan.warmup_ns / 1e9)} of warm-up")
    if record.engine is not None:
        threads = len(record.layout)
        parts.append(f"{record.engine}, {threads} thread{'s' * (threads > 1)}")
    elif not record.forked:
        parts.append("threads: this system cannot fork, so the interpreter lock is in the latency")
    elif max(record.layout) > 1:
        parts.append(f"{len(record.layout)} processes")
    return ", ".join(parts)


def _table(record: RunRecord, width: int) -> Iterator[Line]:
    yield Line(_row(_HEADER, width))
    for stage in record.stages:
        yield Line(_row(_cells(stage.stage.label, stage.statistics.total), width))
    operations = record.statistics.operations
    whole = {name: figures for name, figures in operations.items() if not figures.tally.is_part}
    parts = {f"  {name}": figures for name, figures in operations.items() if figures.tally.is_part}
    for name, figures in (whole | parts).items():
        yield Line(_row(_cells(name, figures), width), "bad" if figures.failures else "plain")
    if len(whole) != 1:
        yield Line(_row(_cells("all", record.statistics.total), width))


def _cells(name: str, figures: OperationStatistics) -> tuple[str, ...]:
    latency = figures.response
    return (
        name,
        format_count(figures.count),
        format_count(figures.failures),
        format_rate(figures.throughput_per_s),
        *(format_duration(latency.shown(percent)) for percent in (50, 95, 99, 100)),
    )


def _row(cells: Sequence[str], width: int) -> str:
    name, *numbers = cells
    return f"  {name:<{width}}" + "".join(f"{cell:>11}" for cell in numbers)


def _judgement(record: RunRecord) -> Iterator[Line]:
    for name, figures in record.statistics.operations.items():
        for code, (count, example) in sorted(figures.tally.errors.items(), key=lambda item: -item[1][0])[:5]:
            yield Line(f"  {name}: {format_count(count)} x {code}: {example.splitlines()[0]}", "bad")
    for name, metric in sorted(record.statistics.metrics.items()):
        yield Line(f"  {name}: {metric.value:.4g}")
    if record.statistics.total.tally.retries or record.statistics.reconnects:
        retries = _counted(record.statistics.total.tally.retries, "retry", "retries")
        yield Line(f"  {retries}, {_counted(record.statistics.reconnects, 'reconnect', 'reconnects')}")
    for verdict in record.verdicts:
        tone: Tone = "doubtful"
        if verdict.ruling in ("pass", "fail"):
            tone = "good" if verdict.ruling == "pass" else "bad"
        moved = f" ({verdict.range})" if verdict.range else ""
        yield Line(f"  {_MARKS[verdict.ruling]:<6} {verdict.line}{moved}", tone)
    for check in record.health:
        if not check.ok:
            at = "" if check.at_s is None else f" at {check.at_s:.1f} s"
            yield Line(f"  health, {check.when}{at}: {check.check}: {check.detail}", "bad")
    for finding in record.validity.findings:
        yield Line(f"  generator: {finding}", "doubtful")
    missed = {verdict.line for verdict in record.verdicts}
    for reason in record.reasons:
        if reason not in missed:
            yield Line(f"  {reason}", "bad" if record.outcome in ("failed", "error") else "doubtful")


def _curve(sweep: Sweep) -> Iterator[Line]:
    yield Line(f"{sweep.nodeid}  (sweep)", "strong")
    yield Line(f"  {'workers':>9}{'throughput':>13}{'p50':>11}{'p99':>11}{'failures':>11}")
    best = max(point.throughput_per_s for point in sweep.points) or 1.0
    for point in sweep.points:
        bar = "#" * round(24 * point.throughput_per_s / best)
        latencies = f"{format_duration(point.p50_s):>11}{format_duration(point.p99_s):>11}"
        row = f"  {point.workers:>9}{format_rate(point.throughput_per_s):>13}{latencies}{point.failures:>11,}  {bar}"
        yield Line(row, "good" if point is sweep.knee else "plain")
    yield Line(f"  knee: {sweep.knee.workers} workers, the fewest within 5 % of the best throughput")
    fit = sweep.fit
    if fit is None:
        yield Line(f"  no scalability law is fitted to fewer than {FIT_FROM} points")
    else:
        peak = "no peak" if fit.peak_workers is None else f"peak at {fit.peak_workers:.0f} workers"
        law = f"contention {format_ratio(fit.contention)}, coherency {fit.coherency:.2g}, {peak}"
        yield Line(f"  Universal Scalability Law: {law}; the fit is off by {format_ratio(fit.residual)} (RMS)")
    yield Line("")


def _counted(count: int, one: str, many: str) -> str:
    return f"{format_count(count)} {one if count == 1 else many}"


def _identity(server: ServerFacts) -> Iterator[Line]:
    settings = server.settings
    shown = ", ".join(f"{name} {settings[name]}" for name in ("fsync", "shared_buffers") if name in settings)
    kind = "embedded on this machine, which these numbers measure too" if server.embedded else "not embedded"
    yield Line(f"PostgreSQL {server.version} ({kind}); {shown}")

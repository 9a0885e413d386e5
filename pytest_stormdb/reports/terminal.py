"""Runs as lines of text for a terminal, the worst news first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..measurement.scalability import FIT_FROM, Sweep
from ..measurement.stats import OperationStatistics
from ..record import ComparisonRecord, RunRecord, SessionRecord
from ..units import counted, format_count, format_duration, format_rate, format_ratio
from .columns import columns
from .lines import TONES, Line, Style, Tone
from .news import news, reasons, thresholds
from .server_activity import activity_lines, costs_of, explained_lines
from .shown import SIDES, WORST_FIRST, on_one_line

if TYPE_CHECKING:
    from ..database.server import ServerFacts

T = TypeVar("T")

_HEADER = ("count", "failed", "rate", "p50", "p95", "p99", "max")
_MOST_NEWS = 12
_MOST_BLOCKS = 12
"""Beyond so many tests that passed they are a table: a block each would hide the others."""
_LONGEST_BAR = 24
_MARKUP: Mapping[Tone, Mapping[str, bool]] = {
    "plain": {},
    "good": {"green": True},
    "bad": {"red": True},
    "doubtful": {"yellow": True},
    "strong": {"bold": True},
}


class Output(Protocol):
    """Where lines go: pytest's terminal writer is one."""

    def write_line(self, line: str, **markup: bool) -> None:
        """Write a line of text, in colour where the terminal has them."""


def write(record: SessionRecord, out: Output, style: Style) -> None:
    """Write what all runs of a session showed."""
    for line in lines(record, style):
        out.write_line(line.text, **_MARKUP[line.tone])


def lines(record: SessionRecord, style: Style) -> Iterator[Line]:
    """All runs, the worst first: a block each, or a table of those that differ by parameters; then what is of all."""
    groups = [list(runs) for _, runs in groupby(record.runs, key=lambda run: _function(run.nodeid))]
    quiet = [runs for runs in groups if _is_quiet(runs)]
    if sum(map(len, quiet)) > _MOST_BLOCKS:
        groups = [runs for runs in groups if not _is_quiet(runs)]
    else:
        quiet = []
    for runs in sorted(groups, key=lambda runs: min(WORST_FIRST.index(run.outcome) for run in runs)):
        if len({run.nodeid for run in runs}) > 1:
            yield from _together(runs, style)
        else:  # one run, the runs of a sweep, or those in hand of one test
            for run in runs:
                yield from _block(run, style)
    if quiet:
        yield from _all_passed([run for runs in quiet for run in runs], style)
    for comparison in record.comparisons:
        yield from _comparison(comparison, style)
    for sweep in record.sweeps:
        yield from _curve(sweep, style)
    for server in _unique(run.server for run in record.runs):
        yield from style.wrapped(_identity(server), indent=0)


def _is_quiet(runs: Sequence[RunRecord]) -> bool:
    """Whether runs of one function may be rows among those of others: one test's, which passed, and no sweep."""
    is_one_test = len({run.nodeid for run in runs}) == 1 and len({run.title for run in runs}) == len(runs)
    return is_one_test and all(run.outcome == "passed" for run in runs)


def _block(run: RunRecord, style: Style) -> Iterator[Line]:
    yield Line(f"{style.sign(run.outcome)} {on_one_line(run.title)}", _title_tone([run]))
    yield from style.wrapped(load_of(run))
    yield from _figures(run, style)
    yield from thresholds(run.verdicts, style)
    yield from reasons(run, style)
    yield from news(run, style)
    yield from _server(run, style)
    yield Line("")


def _server(run: RunRecord, style: Style) -> Iterator[Line]:
    """What the server did, and the plan of the slowest statement."""
    if run.server_activity is not None:
        for text in activity_lines(run.server_activity, run.statistics.timeline):
            yield from style.wrapped(text)
    if run.explained is not None:
        yield from (Line(f"  {text}") for text in explained_lines(run.explained))


def _together(runs: Sequence[RunRecord], style: Style) -> Iterator[Line]:
    """Runs of one function as a table, the worst first; of those that passed, their figures and no more."""
    ordered = sorted(runs, key=lambda run: WORST_FIRST.index(run.outcome))
    yield Line(f"{style.sign(ordered[0].outcome)} {on_one_line(_function(runs[0].nodeid))}", _title_tone(runs))
    loads = _unique(load_of(run) for run in runs)
    yield from style.wrapped(f"{len(runs)} runs, {'each with' if len(loads) == 1 else 'such as'} {loads[0]}")
    rows = [(f"{style.sign(run.outcome)} {_parameters(run)}", *_cells(run.statistics.total)) for run in ordered]
    yield from style.rows(("  parameters", *_HEADER), rows, [TONES[run.outcome] for run in ordered])
    told = [line for run in ordered for line in _prefixed(run, style)]
    yield from told[:_MOST_NEWS]
    if len(told) > _MOST_NEWS:
        yield Line(f"  and {len(told) - _MOST_NEWS:,} lines more; the reports in files have them")
    kept = sum(verdict.ruling == "pass" for run in runs for verdict in run.verdicts)
    if kept:
        yield Line(f"  {style.sign('passed')} {counted(kept, 'threshold')} met", "good")
    yield Line("")


def _all_passed(runs: Sequence[RunRecord], style: Style) -> Iterator[Line]:
    """Many tests that passed: a row each."""
    yield Line(f"{style.sign('passed')} {counted(len({run.nodeid for run in runs}), 'test')} that passed", "strong")
    rows = [(on_one_line(run.title), *_cells(run.statistics.total)) for run in runs]
    yield from style.rows(("test", *_HEADER), rows, ["plain"] * len(rows))
    yield Line("")


def _prefixed(run: RunRecord, style: Style) -> Iterator[Line]:
    """The news of one of several runs, each line with its parameters."""
    name = _parameters(run)
    narrower = style._replace(width=style.width - len(name) - 1)
    missed = [verdict for verdict in run.verdicts if verdict.ruling != "pass"]
    for line in (*thresholds(missed, narrower), *reasons(run, narrower), *news(run, narrower)):
        yield Line(f"  {name} {line.text[2:]}", line.tone)


def _figures(run: RunRecord, style: Style) -> Iterator[Line]:
    """Stages, operations, and the parts of iterations, each a row."""
    operations = run.statistics.operations
    whole = {on_one_line(name): one for name, one in operations.items() if not one.tally.is_part}
    parts = {f"  {on_one_line(name)}": one for name, one in operations.items() if one.tally.is_part}
    stages = {stage.stage.label: stage.statistics.total for stage in run.stages}
    everything = {} if len(whole) == 1 else {"all": run.statistics.total}
    named = [*stages.items(), *whole.items(), *parts.items(), *everything.items()]
    tones: list[Tone] = ["bad" if one.failures else "plain" for _, one in named]
    yield from style.rows(("operation", *_HEADER), [(name, *_cells(one)) for name, one in named], tones)


def _cells(figures: OperationStatistics) -> tuple[str, ...]:
    latencies = (format_duration(figures.response.shown(percent)) for percent in (50, 95, 99, 100))
    counts = format_count(figures.count), format_count(figures.failures)
    return (*counts, format_rate(figures.throughput_per_s), *latencies)


def load_of(run: RunRecord) -> str:
    """How a run was loaded, in a few words."""
    plan = run.plan
    parts = [counted(plan.workers, "worker")]
    if plan.stages:
        parts.append(f"{len(plan.stages)} stages")
    if plan.rate_per_s is not None:
        parts.append(f"{format_rate(plan.rate_per_s)} {plan.arrivals}")
    if plan.iterations is not None:
        parts.append(f"{counted(plan.iterations, 'iteration')} each")
    parts.append(f"{run.statistics.elapsed_s:.1f} s")
    if plan.warmup_ns:
        parts.append(f"after {format_duration(plan.warmup_ns / 1e9)} of warm-up")
    if run.engine is not None:
        parts.append(f"{run.engine}, {counted(len(run.layout), 'thread')}")
    elif not run.forked:
        parts.append("threads: this system cannot fork, so the interpreter lock is in the latency")
    elif max(run.layout, default=0) > 1:
        parts.append(f"{len(run.layout)} processes")
    return ", ".join(parts)


def _comparison(record: ComparisonRecord, style: Style) -> Iterator[Line]:
    """Both arms as rows of a table, the verdict, and how it was come by."""
    comparison = record.comparison
    outcome = "error" if record.broken else SIDES.get(comparison.verdict, "inconclusive")
    load = f"{counted(record.plan.workers, 'worker')} each, {record.elapsed_s:.1f} s"
    yield Line(f"{style.sign(outcome)} {on_one_line(record.nodeid)}, comparison", TONES[outcome])
    yield from style.wrapped(load)
    rows = [(on_one_line(name), *_cells(record.figures(arm))) for arm, name in enumerate(record.arms)]
    yield from style.rows(("arm", *_HEADER), rows, ["plain"] * len(rows))
    yield from style.wrapped(f"{style.sign(outcome)} {record.sentence}", TONES[outcome])
    for name, activity in zip(record.arms, (record.observed or [(None, None)])[-1], strict=True):
        if activity is not None and (costs := costs_of(activity)):
            yield from style.wrapped(f"{on_one_line(name)}, server, per operation: {costs}")
    disturbed = sum(not pair.is_clean for pair in comparison.pairs)
    told = [f"{len(comparison.epochs)} epochs"]
    told += [f"blocks of {format_duration(record.block_s)}", f"seed {record.seed}"] if record.block_s else []
    told += [f"{disturbed} pairs disturbed by others"] if disturbed else []
    told += [f"changes of {format_ratio(comparison.detectable)} could be seen"] if comparison.detectable < 1e6 else []
    yield from style.wrapped(", ".join(told))
    yield Line("")


def _curve(sweep: Sweep, style: Style) -> Iterator[Line]:
    yield Line(f"{on_one_line(sweep.nodeid)}, sweep", "strong")
    best = max(point.throughput_per_s for point in sweep.points) or 1.0
    rows = [("workers", "rate", "p50", "p99", "failed")]
    for point in sweep.points:
        latencies = format_duration(point.p50_s), format_duration(point.p99_s)
        rows.append((str(point.workers), format_rate(point.throughput_per_s), *latencies, f"{point.failures:,}"))
    (head,), *texts = columns(rows, style.width, left=0)
    yield Line(head)
    for point, (text,) in zip(sweep.points, texts, strict=True):
        bar = style.bar * round(_LONGEST_BAR * point.throughput_per_s / best)
        yield Line(f"{text}  {bar}".rstrip(), "good" if point is sweep.knee else "plain")
    yield from style.wrapped(f"knee: {counted(sweep.knee.workers, 'worker')}, the fewest within 5 % of the best rate")
    yield from style.wrapped(_law(sweep))
    yield Line("")


def _law(sweep: Sweep) -> str:
    fit = sweep.fit
    if fit is None:
        return f"no scalability law is fitted to fewer than {FIT_FROM} points"
    peak = "no peak" if fit.peak_workers is None else f"peak at {fit.peak_workers:.0f} workers"
    law = f"contention {format_ratio(fit.contention)}, coherency {fit.coherency:.2g}, {peak}"
    return f"Universal Scalability Law: {law}; the fit is off by {format_ratio(fit.residual)} (RMS)"


def _identity(server: ServerFacts) -> str:
    settings = server.settings
    shown = ", ".join(f"{name} {settings[name]}" for name in ("fsync", "shared_buffers") if name in settings)
    kind = "embedded on this machine, which these numbers measure too" if server.embedded else "not embedded"
    where = f", database {server.place.rpartition('/')[2]}" if server.embedded else f" at {server.place}"
    return f"PostgreSQL {server.version}{where if server.place else ''} ({kind}); {shown}"


def _title_tone(runs: Sequence[RunRecord]) -> Tone:
    tone = TONES[min((run.outcome for run in runs), key=WORST_FIRST.index)]
    return "strong" if tone == "good" else tone


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def _parameters(run: RunRecord) -> str:
    _, bracket, rest = run.title.partition("[")
    return on_one_line(f"{bracket}{rest}") or "(none)"


def _unique(values: Iterable[T]) -> list[T]:
    """Each value once, in order; they need not be hashable."""
    found: list[T] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found

"""What one run has to tell beside its figures: errors, thresholds, health, and why it did not pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..measurement.stats import RunStatistics
from ..measurement.values import MOST_NAMES, OTHER
from ..record import RunRecord
from ..units import counted, format_count, format_number
from ..verdict.threshold import Verdict
from .columns import columns
from .lines import TONES, Line, Style
from .shown import RULINGS, WORST_FIRST

_MOST_ERRORS = 5


def news(run: RunRecord, style: Style) -> Iterator[Line]:
    """Errors, the workload's own metrics, retries, health, and what the generator noticed of itself."""
    yield from _errors(run, style)
    yield from _aborts(run, style)
    yield from _overflow(run.statistics, style)
    for name, metric in sorted(run.statistics.metrics.items()):
        yield from style.wrapped(f"{name}: {format_number(metric.value)}")
    retries, reconnects = run.statistics.total.tally.retries, run.statistics.reconnects
    if retries or reconnects:
        yield Line(f"  {counted(retries, 'retry', 'retries')}, {counted(reconnects, 'reconnect')}")
    if run.dropped:
        yield from style.wrapped(f"{counted(run.dropped, 'iteration')} scheduled and not started", "doubtful")
    for check in run.health:
        if not check.ok:
            at = "" if check.at_s is None else f" at {check.at_s:.1f} s"
            yield from style.wrapped(f"health, {check.when}{at}: {check.check}: {check.detail}", "bad")
    for finding in run.validity.findings:
        yield from style.wrapped(f"generator: {finding}", "doubtful")


def _errors(run: RunRecord, style: Style) -> Iterator[Line]:
    for name, figures in run.statistics.operations.items():
        errors = sorted(figures.tally.errors.items(), key=lambda item: -item[1][0])
        for code, (count, example) in errors[:_MOST_ERRORS]:
            first = next(iter(example.splitlines()), "")
            yield from style.wrapped(f"{name}: {format_count(count)} x {code}: {first}", "bad")


def _aborts(run: RunRecord, style: Style) -> Iterator[Line]:
    for name, figures in run.statistics.operations.items():
        for reason, count in sorted(figures.tally.aborts.items(), key=lambda item: -item[1])[:_MOST_ERRORS]:
            yield from style.wrapped(f"{name}: {format_count(count)} aborted: {reason}")


def _overflow(statistics: RunStatistics, style: Style) -> Iterator[Line]:
    """What the rows called "other" are."""
    tallies = [figures.tally for figures in statistics.operations.values()]
    for what, counts in (
        ("operations", [len(statistics.operations)]),
        ("metrics", [len(statistics.metrics)]),
        ("errors", [len(tally.errors) for tally in tallies]),
        ("reasons of aborts", [len(tally.aborts) for tally in tallies]),
    ):
        if max(counts, default=0) > MOST_NAMES:
            text = f'more than {MOST_NAMES} {what} have a name of their own: the first stand, the rest is "{OTHER}"'
            yield from style.wrapped(text, "doubtful")


def thresholds(verdicts: Sequence[Verdict], style: Style) -> Iterator[Line]:
    """Sign, expression, what was measured, and the verdict with its reason; the worst first."""
    ordered = sorted(verdicts, key=lambda verdict: WORST_FIRST.index(RULINGS[verdict.ruling]))
    rows = [(f"{style.sign(RULINGS[one.ruling])} {_expression(one)}", _measured(one)) for one in ordered]
    for one, (*above, text) in zip(ordered, columns(rows, style.width), strict=True):
        tone = TONES[RULINGS[one.ruling]]
        reason = one.reason or ("certain" if one.ruling == "fail" else "")
        yield from (Line(each, tone) for each in above)
        moved = f" ({one.range})" if one.range else ""
        yield from style.wrapped(f"{text[2:]}  {one.ruling}{': ' if reason else ''}{reason}{moved}", tone)


def reasons(run: RunRecord, style: Style) -> Iterator[Line]:
    """Why it did not pass, as far as no threshold has said it."""
    told = tuple(text for verdict in run.verdicts for text in (verdict.line, verdict.missed) if text)
    for reason in run.reasons:
        if not reason.startswith(told):
            yield from style.wrapped(reason, TONES[run.outcome])


def _expression(verdict: Verdict) -> str:
    threshold = verdict.threshold
    return f"{threshold.expression} [{threshold.operation}]" if threshold.operation else threshold.expression


def _measured(verdict: Verdict) -> str:
    return "-" if verdict.estimate is None else verdict.threshold.shown(verdict.estimate)

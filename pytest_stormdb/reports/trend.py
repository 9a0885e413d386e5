"""Runs beside stored ones, in lines of text: what changed, and what such a comparison could have seen at all.

On shared machines a stored latency is nearly blind: of a change of 20 %, ten earlier runs show one in eight. So lines
on it say something, and judge nothing; ``stormdb.compare`` and ``--stormdb-against`` do. What an operation costs the
server repeats to about 1 %, so that a margin judges it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..units import format_duration, format_rate, format_ratio
from ..verdict.costs import ratio_of
from ..verdict.history import ENOUGH, predict
from ..verdict.server_figures import COST_METRICS
from .saved import COSTS, METRICS, differences, figure, fingerprint
from .shown import title_of

Document = Mapping[str, Any]


def trend(now: Document, earlier: Sequence[Document], name: str, margin: float) -> Iterator[str]:
    """Each run of a session against those of its name before: outside of what they predict, or within; its costs
    against the last one's."""
    for run in now["runs"]:
        own = fingerprint(now, run)
        before = [(document, old) for document in earlier for old in _same(document, run)]
        alike = [old for document, old in before if not differences(fingerprint(document, old), own)]
        yield f"{title_of(run)}: {len(alike)} earlier run{'s' * (len(alike) != 1)} like it under {name!r}"
        if not alike and before:
            document, old = before[-1]
            changed = "; ".join(differences(fingerprint(document, old), own)[:4])
            yield f"  not compared with {len(before)} that were made otherwise: {changed}"
        for metric in (*METRICS, *COSTS):
            line = _predicted(metric, figure(run, metric), [figure(old, metric) for old in alike])
            if line:
                yield f"  {line}"
        if alike:
            yield from (change.line for change in cost_changes(alike[-1], run, margin))


@dataclass(frozen=True, slots=True)
class CostChange:
    """What an operation costs the server, then and now."""

    metric: str
    before: float
    after: float
    margin: float

    @property
    def is_more(self) -> bool:
        """Whether it is more by more than the margin."""
        return ratio_of(self.before, self.after) > 1 + self.margin

    @property
    def line(self) -> str:
        """Both, the change, and the verdict on it."""
        ratio = ratio_of(self.before, self.after)
        change = f"{(ratio - 1) * 100:+.1f} %" if math.isfinite(ratio) else "from nothing"
        verdict = f"{'more' if self.is_more else 'not more'} than +{self.margin * 100:.3g} %"
        figures = f"{_shown(self.metric, self.before):>12}{_shown(self.metric, self.after):>12}{change:>14}"
        return f"  {self.metric:<24}{figures}  {verdict}"


def cost_changes(old: Mapping[str, Any], new: Mapping[str, Any], margin: float) -> list[CostChange]:
    """Of those costs that are known of both runs, and are not nothing in both."""
    found = [(metric, figure(old, metric), figure(new, metric)) for metric in COST_METRICS]
    return [CostChange(m, a, b, margin) for m, a, b in found if a is not None and b is not None and (a or b)]


def costs_more(first: Document, second: Document, margin: float) -> bool:
    """Whether an operation of any run of the second costs more than in the first, by more than the margin."""
    both = [(same[-1], run) for run in second["runs"] if (same := _same(first, run))]
    return any(change.is_more for old, run in both for change in cost_changes(old, run, margin))


def _same(document: Document, run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [old for old in document["runs"] if title_of(old) == title_of(run)]


def _predicted(metric: str, value: float | None, earlier: Sequence[float | None]) -> str:
    prediction = predict([each for each in earlier if each])
    if not value or prediction is None:
        return ""
    place = "within" if prediction.low <= value <= prediction.high else "above"
    place = "below" if value < prediction.low else place
    bounds = f"{_shown(metric, prediction.low)} to {_shown(metric, prediction.high)}"
    few = "" if prediction.is_enough else f", from {prediction.runs} of the {ENOUGH} runs it takes to tell"
    seen = format_ratio(prediction.detectable)
    return f"{metric} {_shown(metric, value)}: {place} {bounds}; an increase of {seen} could be seen{few}"


def compared(first: Document, second: Document, margin: float) -> Iterator[str]:
    """Two stored sessions, run by run, with what was not the same; of latencies one run each shows no more than a
    ratio, and costs are judged by the margin."""
    for run in second["runs"]:
        matching = _same(first, run)
        if not matching:
            yield f"{title_of(run)}: only in the second"
            continue
        old = matching[-1]
        changed = differences(fingerprint(first, old), fingerprint(second, run))
        yield f"{title_of(run)}" + (f"  (unlike: {'; '.join(changed)})" if changed else "")
        for metric in METRICS:
            before, after = figure(old, metric), figure(run, metric)
            if before and after:
                change = f"{(after / before - 1) * 100:+.1f} %"
                yield f"  {metric:<24}{_shown(metric, before):>12}{_shown(metric, after):>12}{change:>14}"
        yield from (change.line for change in cost_changes(old, run, margin))
    for old in first["runs"]:
        if not _same(second, old):
            yield f"{title_of(old)}: only in the first"
    yield "One run each: on a shared machine an unchanged p95 differs by more than 10 % in two of five pairs."


def _shown(metric: str, value: float) -> str:
    if metric == "throughput":
        return format_rate(value)
    if metric.startswith("server."):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return format_duration(value)

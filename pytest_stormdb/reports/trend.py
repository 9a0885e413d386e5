"""Runs beside stored ones, in lines of text: what changed, and what such a comparison could have seen at all.

On shared machines a stored number is nearly blind: of a change of 20 %, ten earlier runs show one in eight. So these
lines say something, and judge nothing; ``stormdb.compare`` and ``--stormdb-against`` do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..units import format_duration, format_rate, format_ratio
from ..verdict.history import ENOUGH, predict
from .saved import COSTS, METRICS, differences, figure, fingerprint
from .shown import title_of

Document = Mapping[str, Any]


def trend(now: Document, earlier: Sequence[Document], name: str) -> Iterator[str]:
    """Each run of a session against those of its name before: outside of what they predict, or within."""
    for run in now["runs"]:
        own = fingerprint(now, run)
        before = [(document, old) for document in earlier for old in _same(document, run)]
        alike = [old for document, old in before if not differences(fingerprint(document, old), own)]
        yield f"{title_of(run)}: {len(alike)} earlier runs like it under {name!r}"
        if not alike and before:
            document, old = before[-1]
            changed = "; ".join(differences(fingerprint(document, old), own)[:4])
            yield f"  not compared with {len(before)} that were made otherwise: {changed}"
        for metric in (*METRICS, *COSTS):
            line = _predicted(metric, figure(run, metric), [figure(old, metric) for old in alike])
            if line:
                yield f"  {line}"


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


def compared(first: Document, second: Document) -> Iterator[str]:
    """Two stored sessions, run by run, with what was not the same; one run each shows no more than a ratio."""
    for run in second["runs"]:
        matching = _same(first, run)
        if not matching:
            yield f"{title_of(run)}: only in the second"
            continue
        old = matching[-1]
        changed = differences(fingerprint(first, old), fingerprint(second, run))
        yield f"{title_of(run)}" + (f"  (unlike: {'; '.join(changed)})" if changed else "")
        for metric in (*METRICS, *COSTS):
            before, after = figure(old, metric), figure(run, metric)
            if before and after:
                change = f"{(after / before - 1) * 100:+.1f} %"
                yield f"  {metric:<24}{_shown(metric, before):>12}{_shown(metric, after):>12}{change:>12}"
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

"""What a run came to: its outcome, and the reasons in plain sentences."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..database.health import HealthResult
from ..load.plan import LoadPlan
from ..measurement.stats import RunStatistics
from ..record import RunOutcome
from ..telemetry.logs import context
from ..verdict.threshold import Threshold, Verdict
from ..workers.collected import Collected
from ..workload.contract import Workload

_log = logging.getLogger("stormdb")


def conclude(
    collected: Collected,
    statistics: RunStatistics,
    verdicts: Sequence[Verdict],
    thresholds: Sequence[Threshold],
    health: Sequence[HealthResult] = (),
    aborted: str | None = None,
    subject: str = "",
) -> tuple[RunOutcome, list[str]]:
    """What a run came to, and the reasons in one line each, the weightiest first.

    ``subject`` is what was judged and how it was loaded, in a few words.
    """
    total = statistics.total
    reasons = [str(broken.error) for broken in collected.broken] + [str(lost) for lost in collected.lost]
    if collected.signal is not None:
        reasons.append(f"stopped by {collected.signal} after {statistics.elapsed_s:.1f} s")
    if reasons:
        return "error", list(dict.fromkeys(reasons))
    reasons = [
        f"health check {result.check} failed after the run: {result.detail}"
        for result in health
        if result.is_failure and result.when == "after"
    ]
    reasons += [
        f"health check {result.check} failed after {result.at_s:.1f} s and ended the run: {result.detail}"
        for result in health
        if result.is_failure and result.aborted
    ]
    missed = [_missed(verdict, statistics, subject) for verdict in verdicts if verdict.ruling == "fail"]
    early = [aborted] if aborted is not None else []
    doubtful = any(verdict.ruling in ("invalid", "inconclusive") for verdict in verdicts)
    reasons += [*early, *missed] if missed or not doubtful else []
    if not total.count:
        dropped = f", {collected.dropped:,} were scheduled and not started" if collected.dropped else ""
        aborted = f", {total.aborts:,} aborted" if total.aborts else ""
        reasons.append(f"no iteration succeeded ({total.failures:,} failed{aborted}{dropped})")
    if total.failures and not any(threshold.metric == "errors" for threshold in thresholds):
        reasons.append(
            f"{total.failures:,} of {total.count + total.failures:,} iterations failed: {_errors(statistics)}"
        )
    if reasons:
        return "failed", reasons
    for ruling, result in (("invalid", "invalid"), ("inconclusive", "inconclusive")):
        lines = [verdict.line for verdict in verdicts if verdict.ruling == ruling]
        if lines:
            return result, early + lines  # type: ignore[return-value]
    return "passed", []


def subject_of(nodeid: str, plan: LoadPlan) -> str:
    """``test_transfer, 10 workers``."""
    return f"{nodeid.rpartition('::')[2]}, {plan.workers} worker{'s' * (plan.workers != 1)}"


def _missed(verdict: Verdict, statistics: RunStatistics, subject: str) -> str:
    """A missed threshold in a line that says it all, for it may be the only one that somebody sees."""
    if not verdict.missed:
        return verdict.line
    name = verdict.threshold.operation
    count = (statistics.total if name is None else statistics.operations[name]).count
    where = ([subject] if subject else []) + ([f"operation {name}"] if name else [])
    return f"{verdict.missed}: certain ({', '.join([*where, f'{count:,} operations'])})"


def log_conclusion(
    workload: Workload, result: RunOutcome, verdicts: Sequence[Verdict], health: Sequence[HealthResult]
) -> None:
    origin = context(workload.name)
    for check in health:
        if check.is_failure:
            _log.warning("health check %s failed %s the run: %s", check.check, check.when, check.detail, extra=origin)
    for verdict in verdicts:
        _log.info("threshold %s: %s", verdict.ruling, verdict.line, extra=origin)
    _log.info("run %s", result, extra=origin)


def _errors(statistics: RunStatistics) -> str:
    errors = sorted(statistics.total.tally.errors.items(), key=lambda item: -item[1][0])
    return ", ".join(f"{count:,} x {code}" for code, (count, _) in errors[:3])


def explanation(collected: Collected) -> str:
    broken = next((broken.text for broken in collected.broken if broken.text), "")
    if broken or collected.first_failure is None:
        return broken
    first = collected.first_failure
    return f"first failure: worker {first.worker}, iteration {first.iteration}, {first.operation}\n{first.text}"


def interruption(collected: Collected, kind: str) -> str | None:
    found = collected.interruption
    return found.reason if found is not None and found.kind == kind else None

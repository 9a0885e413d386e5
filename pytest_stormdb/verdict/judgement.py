"""Thresholds judged: what passes, what fails beyond doubt, and what nobody can tell on this machine at this time.

Noise only ever adds latency. So a run that meets its limit as a whole passes, however noisy it was; one that does not
fails only if the blocks in which nobody disturbed it show by themselves, beyond doubt, that the limit is missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..measurement.blocks import batch_mean, warm_from
from ..measurement.distributions import binomial_tail
from ..measurement.noise import Noise, Window
from ..measurement.stats import Block, Latency, OperationStatistics, RunStatistics
from ..units import format_count, format_duration, format_ratio
from .server_figures import ServerFigure, server_figure
from .threshold import Threshold, Verdict
from .validity import Validity

if TYPE_CHECKING:
    from ..database.activity import ServerActivity

CONFIDENCE = 0.99
BEYOND = 10
"""A percentile needs so many samples beyond it to be judged."""

_FAR = 10.0
"""No neighbour makes nine of ten calls so many times slower than a limit that the database alone would meet: divided by
what the neighbours left of the machine, where they are seen."""
_LEAST_LEFT = 0.01
_FASTEST = 10.0
_FLOOR = 0.25
_COLD = 1.05
"""A beginning that is slower than the rest by less than this is no warm-up, but chance."""
_TENTHS = 10


@dataclass(frozen=True, slots=True)
class Evidence:
    """What thresholds are judged by. ``began_ns`` is the monotonic instant at which the measured part began,
    ``activity`` is what the server did."""

    statistics: RunStatistics
    dropped: int = 0
    validity: Validity = field(default_factory=Validity)
    noise: Noise = field(default_factory=Noise)
    began_ns: int = 0
    activity: ServerActivity | None = None

    def figures(self, threshold: Threshold) -> OperationStatistics:
        """Those that a threshold is about. Raises KeyError where its operation did not run."""
        statistics = self.statistics
        return statistics.total if threshold.operation is None else statistics.operations[threshold.operation]

    def disturbances(self, block: Block) -> list[Window]:
        """Who disturbed a block, or the moment before it, whose backlog it may have inherited."""
        from_ns = self.began_ns + round((block.at_s - block.duration_s) * 1e9)
        to_ns = self.began_ns + round((block.at_s + block.duration_s) * 1e9)
        return [window for window in self.noise.within(from_ns, to_ns) if not window.is_clean]


def judge(thresholds: Iterable[Threshold], evidence: Evidence) -> list[Verdict]:
    """A verdict for each threshold. What a troubled generator made fail is ``invalid``, never a failure."""
    return [_judge(threshold, evidence) for threshold in thresholds]


def _judge(threshold: Threshold, evidence: Evidence) -> Verdict:
    operations = evidence.statistics.operations
    if threshold.operation is not None and threshold.operation not in operations:
        known = ", ".join(sorted(operations)) or "none"
        return Verdict(threshold, "fail", None, reason=f"no operation {threshold.operation!r} ran; there were: {known}")
    if threshold.kind == "server":
        return _judge_server(threshold, server_figure(threshold.metric, evidence.activity))
    estimate = _estimate(threshold, evidence)
    if estimate is None or math.isnan(estimate):
        return Verdict(threshold, "fail", None, reason="nothing was measured")
    low, high = _range(threshold, evidence)

    def verdict(ruling: str, reason: str = "") -> Verdict:
        return Verdict(threshold, ruling, estimate, low, high, reason)  # type: ignore[arg-type]

    if missing := _missing_samples(threshold, evidence):
        return verdict("inconclusive", missing)
    if threshold.holds(estimate):
        return verdict("pass")
    if not evidence.validity.valid and threshold.metric != "errors":
        return verdict("invalid", evidence.validity.reasons[0])
    doubt = _doubt(threshold, evidence)
    return verdict("inconclusive", doubt) if doubt else verdict("fail")


def _judge_server(threshold: Threshold, figure: ServerFigure) -> Verdict:
    """Counters decide at once; a share that was sampled fails only when its whole interval does."""
    if figure.value is None:
        return Verdict(threshold, "inconclusive", None, reason=figure.missing)
    if threshold.holds(figure.value):
        return Verdict(threshold, "pass", figure.value)
    low, high = figure.low, figure.high
    if low is not None and high is not None and (threshold.holds(low) or threshold.holds(high)):
        between = f"surely only between {threshold.shown(low)} and {threshold.shown(high)}; a longer run decides it"
        return Verdict(threshold, "inconclusive", figure.value, reason=between)
    return Verdict(threshold, "fail", figure.value)


# -- figures ---------------------------------------------------------------------------------------------------------


def _estimate(threshold: Threshold, evidence: Evidence) -> float | None:
    statistics, metric = evidence.statistics, threshold.metric
    figures = evidence.figures(threshold)
    if threshold.kind in ("latency", "throughput", "errors"):
        return figures.value_of(metric)
    if threshold.kind == "own":
        own = statistics.metrics.get(metric.removeprefix("metrics."))
        return None if own is None else own.value
    return {
        "retries": figures.tally.retries,
        "dropped": evidence.dropped,
        "reconnects": statistics.reconnects,
    }[metric]


def _distribution(figures: OperationStatistics, threshold: Threshold) -> Latency:
    return {"response": figures.response, "service": figures.service, "lag": figures.lag}[threshold.of]


def _range(threshold: Threshold, evidence: Evidence) -> tuple[float | None, float | None]:
    """The least and the greatest value over ten parts of the run: how much it moved, and no more than that."""
    blocks = evidence.statistics.blocks
    if threshold.kind not in ("latency", "throughput") or len(blocks) < _TENTHS:
        return None, None
    size = len(blocks) // _TENTHS
    values = []
    for start in range(0, size * _TENTHS, size):
        figures = Block.joined(blocks[start : start + size]).figures(threshold.operation)
        if threshold.kind == "throughput" or _distribution(figures, threshold).count * _share_beyond(threshold) >= 1:
            values.append(figures.value_of(threshold.metric))
    return (min(values), max(values)) if len(values) == _TENTHS else (None, None)


def _share_beyond(threshold: Threshold) -> float:
    """The share of calls that a percentile leaves beyond it; all of them count for what is no percentile."""
    quantile = threshold.quantile
    return 1 - quantile if quantile is not None and 0 < quantile < 1 else 1.0


def _missing_samples(threshold: Threshold, evidence: Evidence) -> str:
    """Why a percentile cannot be judged, and how long the run would have to be."""
    if threshold.kind != "latency" or _share_beyond(threshold) == 1.0:
        return ""
    count = _distribution(evidence.figures(threshold), threshold).count
    needed = math.ceil(round(BEYOND / _share_beyond(threshold), 6))
    if count >= needed:
        return ""
    longer = format_duration(evidence.statistics.elapsed_s * needed / count)
    return f"{threshold.metric} needs {format_count(needed)} calls, not {format_count(count)}: a run of {longer}"


# -- doubt -----------------------------------------------------------------------------------------------------------


def _doubt(threshold: Threshold, evidence: Evidence) -> str:
    """Why a limit that was not met may yet be met by the database alone; empty where there is no doubt."""
    if threshold.kind == "errors" and threshold.is_upper:
        return _chance(threshold, evidence.figures(threshold))
    is_bound = threshold.is_upper if threshold.kind == "latency" else threshold.is_lower
    if threshold.kind not in ("latency", "throughput") or not is_bound:
        return ""
    if _is_far(threshold, evidence.figures(threshold), _FAR / max(_LEAST_LEFT, 1 - evidence.noise.taken)):
        return ""
    blocks = evidence.statistics.blocks
    clean = [block for block in blocks if not evidence.disturbances(block)]
    warm = _warmed_up(clean, threshold)
    if len(clean) >= len(blocks) / 2 and _is_missed(warm, threshold, evidence.noise):
        return ""
    return _explained(threshold, evidence, clean, warm)


def _chance(threshold: Threshold, figures: OperationStatistics) -> str:
    """Failures are facts, but few of them tell little about how often they happen."""
    total = figures.count + figures.failures
    if binomial_tail(figures.failures, total, threshold.limit) <= 1 - CONFIDENCE:
        return ""
    failed = f"{format_count(figures.failures)} of {format_count(total)} operations failed"
    return f"{failed}, which happens by chance at {format_ratio(threshold.limit)}; a longer run decides it"


def _is_far(threshold: Threshold, figures: OperationStatistics, factor: float) -> bool:
    """Whether the limit is missed by so much that no noise explains it."""
    if threshold.kind == "throughput":
        return figures.throughput_per_s * factor < threshold.limit
    return _distribution(figures, threshold).percentile(_FASTEST) > factor * threshold.limit


def _warmed_up(blocks: Sequence[Block], threshold: Threshold) -> Sequence[Block]:
    """Without those at the beginning that were slower because caches were cold."""
    medians = [latency.p50 for block in blocks if (latency := _of(block, threshold)).count]
    cut = warm_from([math.log(median) for median in medians if median > 0])
    if not cut or len(medians) < len(blocks):
        return blocks
    is_warm_up = sum(medians[:cut]) / cut > _COLD * sum(medians[cut:]) / (len(medians) - cut)
    return blocks[cut:] if is_warm_up else blocks


def _of(block: Block, threshold: Threshold) -> Latency:
    return _distribution(block.figures(threshold.operation), threshold)


def _is_missed(clean: Sequence[Block], threshold: Threshold, noise: Noise) -> bool:
    """Whether these blocks alone show that the limit is missed: by batch means, and where nobody sees what the
    server's machine did, by the blocks that met the limit being too few for a database that meets it."""
    if not _is_missed_on_average(clean, threshold):
        return False
    return noise.sees_server or _is_hardly_ever_met(clean, threshold)


def _is_missed_on_average(clean: Sequence[Block], threshold: Threshold) -> bool:
    if threshold.kind == "throughput":
        rates = [block.figures(threshold.operation).throughput_per_s for block in clean]
        mean = batch_mean(rates, [block.duration_s for block in clean])
        return mean is not None and mean.above(CONFIDENCE) < threshold.limit
    latencies = [_of(block, threshold) for block in clean]
    counts = [latency.count for latency in latencies]
    quantile = threshold.quantile
    if quantile is None or quantile == 0:
        worth: Callable[[Latency], float] = lambda latency: latency.mean if quantile is None else latency.min  # noqa: E731
        mean = batch_mean([worth(latency) for latency in latencies], counts)
        return mean is not None and mean.below(CONFIDENCE) > threshold.limit
    mean = batch_mean([_beyond(latency, threshold.limit) for latency in latencies], counts)
    return mean is not None and mean.below(CONFIDENCE) > 1 - quantile


def _beyond(latency: Latency, limit_s: float) -> float:
    """The share of calls that took longer than the limit."""
    if not latency.count:
        return 0.0
    return 1 - latency.histogram.count_at_most(round(limit_s * 1e9)) / latency.count


def _is_hardly_ever_met(clean: Sequence[Block], threshold: Threshold) -> bool:
    """Whether fewer than a quarter of the blocks meet the limit: even a busy machine leaves more of them alone."""
    if threshold.kind == "throughput":
        met = [block.figures(threshold.operation).throughput_per_s >= threshold.limit for block in clean]
    else:
        figures = [block.figures(threshold.operation) for block in clean]
        met = [threshold.holds(each.value_of(threshold.metric)) for each in figures if each.count]
    return 1 - binomial_tail(sum(met) + 1, len(met), _FLOOR) <= 1 - CONFIDENCE


# -- explanation -----------------------------------------------------------------------------------------------------


def _explained(threshold: Threshold, evidence: Evidence, clean: Sequence[Block], warm: Sequence[Block]) -> str:
    """The noise that was found, or what else stands in the way, and what would decide it."""
    blocks = evidence.statistics.blocks
    if windows := {window.from_ns: window for block in blocks for window in evidence.disturbances(block)}:
        lost_s, whole_s = _seconds(blocks) - _seconds(clean), _seconds(blocks)
        who = evidence.noise.describe(list(windows.values()))
        undisturbed = f"; undisturbed, it was {_shown(threshold, warm)}" if len(clean) >= len(blocks) / 2 else ""
        remedy = "a quieter machine or --stormdb-until-decided decides it"
        return f"disturbed for {lost_s:.1f} of {whole_s:.1f} s: {who}{undisturbed}; {remedy}"
    if batch_mean([0.0] * len(warm), [1.0] * len(warm)) is None:
        return f"{evidence.statistics.elapsed_s:.2g} s are too short to tell it from noise; some seconds decide it"
    if len(warm) < len(clean):
        return f"warmed up, it was {_shown(threshold, warm)}; a longer warm-up decides it"
    return "too near to the limit to be sure; a longer run decides it"


def _seconds(blocks: Sequence[Block]) -> float:
    return sum(block.duration_s for block in blocks)


def _shown(threshold: Threshold, blocks: Sequence[Block]) -> str:
    figures = Block.joined(blocks).figures(threshold.operation)
    return threshold.shown(figures.value_of(threshold.metric))

"""A comparison on one page: epochs of both arms until the answer is certain, or the budget is spent."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from ..load.alternation import Alternation
from ..load.plan import LoadPlan
from ..measurement.stats import OperationStatistics
from ..measurement.tally import Tally
from ..realtime import monotonic
from ..record import ComparisonRecord
from ..telemetry.logs import context
from ..verdict.betting import fewest_pairs
from ..verdict.comparison import FEWEST_EPOCHS, Claim, Comparison, compared
from ..verdict.costs import Observed
from ..verdict.server_figures import is_cost
from .alternating import Alone, Epoch, Play, Runs, block_ns_of, epoch_alone

_log = logging.getLogger("stormdb")

_EPOCHS = 10
_EARLY_NS = 6_000_000_000
"""The longest of the first three epochs: what is clear is then known within half a minute, whatever the budget. By
simulation that spares a quarter of the time, and finds as much."""
_TRIAL_NS = 500_000_000
_COUNTED_NS = (1_000_000_000, 5_000_000_000)
_AROUND_NS = 1_500_000_000
"""What it takes to start workers and to wait until they are gone."""


def compare(
    nodeid: str,
    names: tuple[str, str],
    play: Play,
    alone: Alone,
    plan: LoadPlan,
    claim: Claim,
    *,
    budget_s: float,
    seed: int,
    shortest_ns: int = 0,
    told: Callable[[Comparison], None] = lambda comparison: None,
) -> ComparisonRecord:
    """Compare two arms. It ends when the claim is decided, when something broke, or when the budget is spent; three
    epochs are played in any case. ``seed`` is that of the coins, the plan's that of the workloads' draws.
    ``told`` hears after each epoch what the pairs say so far.

    First each arm runs alone: what the server did for it is in the record, and how long blocks have to be is known
    then. Where costs are compared, that is repeated in each of three epochs, and there are no blocks.
    """
    began_s = monotonic()
    _log.info("comparison of %s and %s started", *names, extra=context(nodeid))
    rounds = _rounds(alone, claim, budget_s)
    epochs, block_ns = [epoch_alone(rounds[-1])], 0
    if not (is_cost(claim.metric) or _is_over(epochs[0])):
        block_ns = block_ns_of(epochs[0], claim.metric, shortest_ns)
        epochs = _played(play, claim, block_ns, budget_s, began_s, seed, told)
    record = ComparisonRecord(
        nodeid=nodeid,
        plan=plan,
        claim=claim,
        arms=names,
        epochs=tuple(epoch.pairs for epoch in epochs),
        observed=tuple(observed_in(each) for each in rounds),
        alone=tuple(_figures_alone(rounds, arm) for arm in (0, 1)),
        seed=seed,
        block_s=block_ns / 1e9,
        elapsed_s=monotonic() - began_s,
        trouble=_trouble(epochs),
        broken=_broken(epochs, names),
        explanation=epochs[-1].explanation,
        stopped_by=epochs[-1].signal,
        skipped=epochs[-1].skipped,
        xfailed=epochs[-1].xfailed,
        exit_reason=epochs[-1].exit_reason,
    )
    _log.info("%s", record.sentence, extra=context(nodeid))
    return record


def _played(
    play: Play,
    claim: Claim,
    block_ns: int,
    budget_s: float,
    began_s: float,
    seed: int,
    told: Callable[[Comparison], None],
) -> list[Epoch]:
    """Epochs in which the arms take turns, until the comparison is over."""
    epochs: list[Epoch] = []
    while not (epochs and _is_over(epochs[-1])):
        pairs = pairs_of(len(epochs), block_ns, budget_s, claim.alpha)
        alternation = Alternation(block_ns, pairs, seed, len(epochs))
        is_late = monotonic() - began_s + alternation.duration_ns / 1e9 > budget_s
        if len(epochs) >= FEWEST_EPOCHS and (is_late or _comparison(claim, epochs).verdict != "inconclusive"):
            break
        epochs.append(play(alternation))
        told(_comparison(claim, epochs))
    return epochs


def _rounds(alone: Alone, claim: Claim, budget_s: float) -> list[Runs]:
    """What the arms did alone: once, or as often as costs need it."""
    if not is_cost(claim.metric):
        return [alone(_TRIAL_NS, 0)]
    share_ns = round(budget_s * 1e9 / (2 * FEWEST_EPOCHS)) - _AROUND_NS
    shortest_ns, longest_ns = _COUNTED_NS
    duration_ns = min(longest_ns, max(shortest_ns, share_ns))
    rounds: list[Runs] = []
    while len(rounds) < FEWEST_EPOCHS and not (rounds and _is_over(epoch_alone(rounds[-1]))):
        rounds.append(alone(duration_ns, len(rounds)))
    return rounds


def observed_in(records: Runs) -> Observed:
    """What the server did for each arm."""
    first, second = (None if record is None else record.server_activity for record in records)
    return first, second


def _figures_alone(rounds: Sequence[Runs], arm: int) -> OperationStatistics:
    """Those of all of an arm's runs together."""
    whole, elapsed_s, is_open = Tally(), 0.0, False
    for record in (each[arm] for each in rounds):
        if record is not None:
            whole.merge(record.statistics.total.tally)
            elapsed_s += record.statistics.elapsed_s
            is_open = record.plan.is_open
    return OperationStatistics(whole, elapsed_s, is_open)


def pairs_of(epoch: int, block_ns: int, budget_s: float, alpha: float) -> int:
    """How many pairs an epoch measures: a tenth of the budget's worth, less of a large one in the first three, and at
    least so many that three epochs decide what is clear."""
    longest_ns = budget_s * 1e9 / _EPOCHS
    if epoch < FEWEST_EPOCHS:
        longest_ns = min(longest_ns, _EARLY_NS)
    return max(math.ceil((fewest_pairs(alpha) + 1) / FEWEST_EPOCHS), round(longest_ns / (2 * block_ns)) - 1)


def _comparison(claim: Claim, epochs: Sequence[Epoch]) -> Comparison:
    return compared(claim, [epoch.pairs for epoch in epochs], _trouble(epochs))


def _trouble(epochs: Sequence[Epoch]) -> str:
    """The trouble that the generator had in most of the epochs: one bad moment says nothing of the others."""
    troubled = [epoch.trouble[0] for epoch in epochs if epoch.trouble]
    return troubled[0] if len(troubled) > len(epochs) / 2 else ""


def _is_over(epoch: Epoch) -> bool:
    """Whether there is no point in another epoch."""
    ended = epoch.signal or epoch.skipped or epoch.xfailed or epoch.exit_reason
    return bool(epoch.broken or ended) or any(figures.failures or not figures.count for figures in epoch.totals)


def _broken(epochs: Sequence[Epoch], names: tuple[str, str]) -> tuple[str, ...]:
    """Why there is nothing to compare, if so: what broke, arms that failed, arms in which nothing happened."""
    last = epochs[-1]
    found = list(last.broken)
    if last.signal is not None:
        return (*found, f"stopped by {last.signal}")
    for name, figures in zip(names, last.totals, strict=True):
        total = figures.count + figures.failures
        if figures.failures:
            codes = ", ".join(f"{count:,} x {code}" for code, (count, _) in sorted(figures.tally.errors.items()))
            found.append(f"{name}: {figures.failures:,} of {total:,} iterations failed: {codes}")
        elif not figures.count and not found and not (last.skipped or last.xfailed or last.exit_reason):
            found.append(f"{name}: no iteration ended within the blocks of a comparison; give it a quicker one")
    return tuple(found)

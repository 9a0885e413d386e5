"""From what was collected to the figures of a run and of its stages."""

from __future__ import annotations

from collections.abc import Mapping

from ..database.activity import Observation, ServerActivity, WorkersAccount, account_for
from ..database.costs import OWN_TRANSACTIONS
from ..load.plan import LoadPlan
from ..measurement.blocks import block_ns
from ..measurement.recorder import Snapshot
from ..measurement.shares import SLOWEST
from ..measurement.stats import RunStatistics, statistics_of
from ..record import StageResult
from ..workers.collected import Collected


def statistics_of_run(collected: Collected, plan: LoadPlan) -> RunStatistics:
    """The figures of the whole measured part."""
    return _statistics(collected.whole, collected.intervals, collected.elapsed_ns, plan)


def results_of_stages(collected: Collected, plan: LoadPlan) -> tuple[StageResult, ...]:
    """The figures of each stage that was planned; the last one's time goes on to the end of the run."""
    left_ns = collected.elapsed_ns
    results = []
    for index, stage in enumerate(plan.stages):
        is_last = index == len(plan.stages) - 1
        elapsed_ns = left_ns if is_last else min(stage.duration_ns, left_ns)
        left_ns -= elapsed_ns
        statistics = _statistics(collected.stages.get(index, Snapshot()), {}, elapsed_ns, plan)
        results.append(StageResult(stage, statistics))
    return tuple(results)


def activity_of_run(seen: Observation, collected: Collected, statistics: RunStatistics) -> ServerActivity:
    """What the server did for the iterations of the measured part."""
    response = statistics.total.response
    asked = OWN_TRANSACTIONS * sum(work is not None for work in collected.works)
    account = WorkersAccount(
        spans=collected.spans(),
        ended=collected.works,
        own_transactions=asked + sum(usage.own_transactions for usage in collected.usage),
        is_open=statistics.total.is_open,
    )
    return account_for(
        seen,
        account,
        operations=statistics.total.count,
        response_s=response.histogram.total_ns / 1e9,
        slow_from_s=response.percentile(100 * (1 - SLOWEST)),
    )


def _statistics(whole: Snapshot, intervals: Mapping[int, Snapshot], elapsed_ns: int, plan: LoadPlan) -> RunStatistics:
    return statistics_of(
        whole, intervals, elapsed_s=elapsed_ns / 1e9, interval_s=block_ns(plan.duration_ns) / 1e9, is_open=plan.is_open
    )

"""Was the generator fit to measure? What its processes used becomes findings, and reasons not to blame the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..load.plan import LoadPlan
from ..measurement.machine import cpus
from ..measurement.noise import FOREIGN
from ..measurement.stats import RunStatistics
from ..measurement.usage import GroupUsage
from ..units import format_duration, format_rate, format_ratio

# The measurements behind the limits: two CPUs with a server on them and a load average of 6; two seconds each with one
# and four workers, alone in a process and two in one. "Computing" is a loop of 0.5 ms, "SELECT 1" the fastest
# statement, "sleeping" waits 10 ms on the server.
_OWN_WORK = 0.9
"""CPU and queueing time by measured time. Sleeping 0.02..0.05, computing 1.02, SELECT 1 0.99: hence the waits too."""
_SLOW_ENOUGH_S = 20e-6
"""An empty function takes 0.1 to 2 us, SELECT 1 from 30 us on."""
_LONG_ENOUGH_S = 0.5
"""The kernel counts CPU time in ticks of up to 10 ms: 2 % of this."""
_TIME_SLICE_S = 0.0005
"""Computing lost its CPU 1,100 to 1,750 times in a second of CPU time, SELECT 1 36,000 to 46,000 times."""
_YIELDS_PER_S = 5
"""Computing gave its CPU away 1.7 to 3.5 times a second, SELECT 1 at 50/s 75 times, sleeping 96 times."""
_CROWDED = 0.8
"""Clients of SELECT 1 beside their server leave it 40 % of the machine (0.58..0.61); computing takes 0.76 and more."""
_PAUSE_SHOWN_S = 50e-6
"""Between two iterations pass 1 to 3 us, with two workers in a process 45 to 52 us, held up by others 109 us."""
_PAUSE_SHARE = 0.1
"""A finding, which spoils nothing: below a tenth of the service time a pause does not change the load."""
_LATE_S = 0.005
"""Idle workers woke 0.1 to 0.3 ms (p99) late on an idle machine, 2 to 4 ms here, 5 to 8 ms beside computing ones."""
_STOLEN = 0.1
"""Machines of hosted CI lose 2 to 20 %; from a tenth on, p95 moves by more than the usual margin of 10 %."""
_STALLED = 0.01
"""Of the time: a p99 bounds a hundredth of the calls. None on this machine; 0.5 to 0.7 with a thread that holds the
lock for 50 ms of every 70."""
_RATE_MISSED = 0.05
"""A finding, which spoils nothing: what is below is the last iteration of each worker."""
_LOGGED_SHARE = 0.1
"""A finding, which spoils nothing: a record that is only counted takes 15 to 30 us (two busy CPUs)."""
_FEW_RECORDS = 100
_CURSOR_SHARE = 1 / 3
"""A finding, which spoils nothing: from a third on, the driver is a good part of what is measured."""
_UNTIMED = 0.1
"""A finding, which spoils nothing: of a SELECT 1 over a Unix socket 93 % and more of the transactions, of pgbench's own
scripts none."""
_GC_SHOWN_S = 0.001
"""A finding, which spoils nothing: in all these runs no collection took longer than 0.01 ms."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether the generator was fit to measure. ``findings`` is all that was noticed, ``reasons`` what spoils it."""

    findings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return not self.reasons


def assess_generator(
    plan: LoadPlan,
    statistics: RunStatistics,
    groups: Sequence[GroupUsage],
    *,
    stolen: float,
    dropped: int,
    taken: float = 0.0,
) -> Validity:
    """All findings about the generator, and which of them make slow numbers its own doing rather than the server's.

    ``stolen`` and ``taken`` are the shares of this machine that other machines and other processes had. Where the
    client's time is judged as well, what it spent itself is no reason.
    """
    own = [*_busy(statistics, groups, taken), *_stalled(groups, taken), *_late(groups)]
    others = [*_held_up(groups), *_stolen(stolen)]
    reasons = others if plan.judge == "client" else own + others
    findings = own + others
    findings += _untimed(statistics)
    findings += _rate_missed(plan, statistics, dropped)
    findings += _paused(statistics, groups)
    findings += _collections(groups)
    findings += _logged(groups)
    findings += _cursors(statistics, groups)
    findings += _traced(groups)
    return Validity(tuple(findings), tuple(reasons))


def _busy(statistics: RunStatistics, groups: Sequence[GroupUsage], taken: float) -> list[str]:
    """The measured time was the workload's own computing, or its queueing for CPUs that the generator filled.

    A worker that asks a server loses its CPU at least once an iteration, however fast the answer: it waits, or
    the server's process, woken by the question, takes the CPU from it. One that computes gives its CPU away a few
    times a second, for us, and loses it at the end of time slices: so much is no sign of a server. Calls of a few
    microseconds are left out: they reach none, and delay nobody.
    """
    tally = statistics.total.tally
    timed_s = (tally.service.total_ns + tally.failed.total_ns) / 1e9
    calls = tally.service.count + tally.failed.count
    wall_s = max((group.wall_ns for group in groups), default=0) / 1e9
    if wall_s < _LONG_ENOUGH_S or not calls or timed_s / calls < _SLOW_ENOUGH_S:
        return []
    measured = min(1.0, statistics.elapsed_s / wall_s)  # the rest of the wall time was warm-up
    cpu_s = sum(group.cpu_ns for group in groups) / 1e9
    busy = (cpu_s + sum(group.wait_ns for group in groups) / 1e9) * measured / timed_s
    machine = cpu_s / (wall_s * cpus())
    asks_nobody = _waits(groups, cpu_s, wall_s) * measured < calls / 2
    if busy > _OWN_WORK and asks_nobody:
        return ["the workload's own code, not the server, took the measured time: it hardly ever waited"]
    if busy > _OWN_WORK and machine > _CROWDED:
        return [f"the load generator used {format_ratio(min(1.0, machine))} of the machine's CPU time"]
    return _shared_out(groups, are_own_waits=asks_nobody or taken <= FOREIGN)


def _waits(groups: Sequence[GroupUsage], cpu_s: float, wall_s: float) -> float:
    """How often workers waited for a server, at least."""
    yields = sum(group.yields for group in groups)
    preemptions = sum(group.preemptions for group in groups)
    workers = sum(group.workers for group in groups)
    own_yields = workers * _YIELDS_PER_S * (1 + wall_s)
    return max(0.0, yields - own_yields) + max(0.0, preemptions - cpu_s / _TIME_SLICE_S)


def _shared_out(groups: Sequence[GroupUsage], *, are_own_waits: bool) -> list[str]:
    """Workers that share a process wait for each other: for the interpreter, or for the event loop.

    Workers that ask a server, beside processes of others, wait for those when they wait for a CPU.
    """
    for group in groups:
        waited_ns = group.wait_ns if are_own_waits else 0
        share = (group.cpu_ns + waited_ns) / group.wall_ns if group.wall_ns else 0.0
        if group.workers > 1 and share > _OWN_WORK:
            return [f"{group.workers} workers waited for each other: the process that they share was always busy"]
    return []


def _paused(statistics: RunStatistics, groups: Sequence[GroupUsage]) -> list[str]:
    """The workers of a closed loop started late: the load was less than it could have been."""
    calls = sum(group.calls for group in groups)
    if not calls or statistics.reconnects:
        return []
    pause_s = sum(group.pause_ns for group in groups) / 1e9 / calls
    service_s = statistics.total.tally.service.total_ns / 1e9 / calls
    if pause_s < _PAUSE_SHOWN_S or pause_s < _PAUSE_SHARE * service_s:
        return []
    return [f"workers started {format_duration(pause_s)} (mean) after they could have: their process was held up"]


def _cursors(statistics: RunStatistics, groups: Sequence[GroupUsage]) -> list[str]:
    """What is measured is to a good part psycopg's own work on this machine, and need not be.

    Of the median iteration: the mean is that of the few that waited for something else.
    """
    service, cursor_ns = statistics.total.tally.service, sum(group.cursor_ns for group in groups)
    median_ns = service.quantile_ns(0.5) if service.count else 0
    if cursor_ns <= _CURSOR_SHARE * median_ns:
        return []
    share = format_ratio(min(1.0, cursor_ns / median_ns)) if median_ns else "all"
    each = format_duration(cursor_ns / 1e9)
    return [
        f"psycopg's cursors took {each} of CPU time per iteration, {share} of the median: worker.prepare spares that"
    ]


def _stalled(groups: Sequence[GroupUsage], taken: float) -> list[str]:
    """Something of the workload's own held the interpreter lock of a process, and with it its workers.

    Beside processes of others, who holds the lock may wait for a CPU: nothing is said then.
    """
    worst = max(groups, key=lambda group: group.stalled_ns / group.wall_ns if group.wall_ns else 0.0, default=None)
    if taken > FOREIGN or worst is None or worst.stalled_ns <= _STALLED * worst.wall_ns:
        return []
    share = format_ratio(min(1.0, worst.stalled_ns / worst.wall_ns))
    longest = format_duration(worst.stall_max_ns / 1e9)
    return [f"a process of workers stood still for {share} of the time, up to {longest}: its interpreter lock was held"]


def _late(groups: Sequence[GroupUsage]) -> list[str]:
    """Idle workers of an open loop woke too late for their arrivals."""
    lags = [group.wake_lag for group in groups if group.wake_lag.count]
    if not lags:
        return []
    whole = lags[0].copy()
    for lag in lags[1:]:
        whole.merge(lag)
    p99_s = whole.quantile_ns(0.99) / 1e9
    if p99_s <= _LATE_S:
        return []
    return [f"idle workers started up to {format_duration(p99_s)} (p99) after the schedule"]


def _held_up(groups: Sequence[GroupUsage]) -> list[str]:
    """pgbench stops in the middle of its load where nobody reads its log."""
    return ["pgbench waited for its log to be read"] if any(group.held_up for group in groups) else []


def _stolen(stolen: float) -> list[str]:
    return [f"other machines took {format_ratio(stolen)} of this machine's time"] if stolen > _STOLEN else []


def _untimed(statistics: RunStatistics) -> list[str]:
    """pgbench takes the time once before it looks for an answer, and again only if it has to wait for one."""
    service = statistics.total.tally.service
    share = service.count_at_most(0) / service.count if service.count else 0.0
    if share <= _UNTIMED:
        return []
    seen = f"pgbench gave {format_ratio(share)} of the transactions no time: their answer was there when it looked"
    return [f"{seen}, so that percentiles are too low; the throughput is right"]


def _rate_missed(plan: LoadPlan, statistics: RunStatistics, dropped: int) -> list[str]:
    """Fewer than 95 % of the scheduled iterations were started before the end: the rate was not achieved."""
    done = statistics.total.count + statistics.total.failures
    if plan.rate_per_s is not None and plan.iterations is not None:
        return _fell_behind(plan.rate_per_s, statistics, done)
    if not plan.is_open or dropped <= _RATE_MISSED * (done + dropped):
        return []
    share = f"{dropped:,} of {done + dropped:,} scheduled iterations were dropped"
    if plan.rate_per_s is None:
        return [f"rate not reached: {share}"]
    achieved = plan.rate_per_s * done / (done + dropped)
    return [f"rate not reached: {format_rate(achieved)} of {format_rate(plan.rate_per_s)}; {share}"]


def _fell_behind(rate_per_s: float, statistics: RunStatistics, done: int) -> list[str]:
    """A number of iterations has no end that could drop any: they lagged, and took longer than planned."""
    elapsed_s = statistics.elapsed_s
    lagged = statistics.total.lag.max > _RATE_MISSED * elapsed_s
    if not lagged or done >= (1 - _RATE_MISSED) * rate_per_s * elapsed_s:
        return []
    return [f"rate not reached: {format_rate(done / elapsed_s)} of {format_rate(rate_per_s)}"]


def _collections(groups: Sequence[GroupUsage]) -> list[str]:
    longest_s = max((group.gc_max_ns for group in groups), default=0) / 1e9
    if longest_s <= _GC_SHOWN_S:
        return []
    return [f"a garbage collection in a worker took {format_duration(longest_s)}"]


def _logged(groups: Sequence[GroupUsage]) -> list[str]:
    """Log records and warnings of every few iterations: making them is part of what is measured."""
    records, calls = sum(group.records for group in groups), sum(group.calls for group in groups)
    if records <= _LOGGED_SHARE * calls or records <= _FEW_RECORDS:
        return []
    return [f"the workload logged or warned {records:,} times in {calls:,} calls, which takes part of their time"]


def _traced(groups: Sequence[GroupUsage]) -> list[str]:
    """Coverage, debuggers and profilers are called at each line or call of the client's: that spoils nothing, since
    they were asked for."""
    names = list(dict.fromkeys(name for group in groups for name in group.tracers))
    if not names:
        return []
    return [f"the workers' code was traced by {' and '.join(names)}, which takes part of the measured time"]

"""The launcher of pgbench scripts: a process beside pgbench starts it, counts its log, and speaks for its clients."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..database.handover import Handover, guarded, handed_over
from ..engine.command import Stretch, clients_per_thread, command_line, stretches, thread_count
from ..engine.driving import Drive, Ending, Timing
from ..engine.log import Blocks, Layout
from ..engine.process import Running
from ..engine.program import find_pgbench
from ..engine.report import error_in
from ..errors import StormDBError, WorkerLost, WorkloadError
from ..load.alternation import Alternation
from ..load.plan import LoadPlan
from ..measurement.blocks import block_ns
from ..measurement.machine import cpus
from ..measurement.recorder import Snapshot
from ..measurement.usage import GroupUsage
from ..workload.pgbench import Pgbench
from .deadline import DEADLINE
from .group import Channel
from .launcher import Launcher
from .local import ForkLauncher, PipedGroup, pick_launcher
from .messages import Began, Broken, GroupDone, IntervalCounts, Message, Ready, Skipped, WorkerDone
from .process import Serve
from .runtime import Control, Job

_LIFE_NS = 1_000_000_000
_FULL = 0.99
"""pgbench writes 4 KiB at a time: a pipe of 1 MiB that has no room for that holds 99.6 %."""


def thread_layout(plan: LoadPlan) -> tuple[int, ...]:
    """How many clients each of pgbench's threads has, where a run has most of them."""
    return clients_per_thread(plan.workers, thread_count(plan.workers, cpus(), plan.processes))


def launcher_of(job: Job) -> Launcher:
    """The launcher for what a job runs: pgbench for its scripts, workers of ours for everything else."""
    return pick_launcher(job) if job.workload.pgbench is None else ScriptLauncher(job)


def serve_scripts(
    job: Job, control: Control, ids: Sequence[int], channel: Channel, check: Callable[[], None] = lambda: None
) -> None:
    """Say ready, wait for the start, run pgbench as often as the plan needs it, and tell the supervisor of it."""
    assert job.workload.pgbench is not None
    handover = handed_over(guarded(job.dsn, job.plan.timeout_ns))
    for worker in ids:
        channel.send(Ready(worker))
    run = _ScriptRun(job, job.workload.pgbench, control, channel, handover)
    try:
        start_ns = channel.wait_for_start()
        if start_ns is not None:
            run.run(start_ns)
            for worker in ids:
                channel.send(WorkerDone(worker, run.elapsed_ns))
    finally:
        usages = run.usages or [GroupUsage()]
        channel.send(GroupDone(usages[0], tuple(usages[1:])))


class ScriptLauncher(ForkLauncher):
    """pgbench, and one forked process beside it. What pgbench skips of its schedule is this launcher's to count."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._skipped = 0

    def receive(self, timeout_s: float) -> Sequence[tuple[PipedGroup, Message | None]]:
        received = super().receive(timeout_s)
        self._skipped += sum(message.count for _, message in received if isinstance(message, Skipped))
        return [(group, message) for group, message in received if not isinstance(message, Skipped)]

    def unstarted_before(self, offset_ns: int) -> int:
        return self._skipped

    def _serve(self) -> Serve:
        return serve_scripts

    def _layout(self) -> Sequence[Sequence[int]]:
        return [range(self._job.plan.workers)]


class _ScriptRun:
    """One run, in the process beside pgbench. ``elapsed_ns`` is the time from its start to its last transaction,
    ``usages`` what pgbench's threads used."""

    def __init__(self, job: Job, description: Pgbench, control: Control, channel: Channel, handover: Handover) -> None:
        self.elapsed_ns = 0
        self.usages: list[GroupUsage] = []
        self._job = job
        self._plan = job.plan
        self._description = description
        self._deadline = control.deadline
        self._clock = control.clock
        self._channel = channel
        self._handover = handover
        self._has_begun = False

    def run(self, start_ns: int) -> None:
        """Run stretch after stretch, or where arms take turns, block after block."""
        self._start_ns = start_ns
        if self._job.alternation is not None:
            self._run_turns(self._job.alternation)
        else:
            self._run_stretches()

    def _run_stretches(self) -> None:
        """Until one fails or the run is stopped. What lies between two of them counts as no time at all."""
        blocks = Blocks(block_ns(self._plan.duration_ns) // 1_000)
        measured_ns = 0
        for number, stretch in enumerate(stretches(self._plan)):
            if self._deadline.stopped:
                return
            timing = Timing(
                blocks=blocks,
                ends_ns=self._end_of(stretch),
                warmup_ns=stretch.warmup_ns,
                measured_before_ns=measured_ns,
                counts_at_once=self._job.is_watched,
                rate_per_s=stretch.rate_per_s,
                timeout_ns=self._plan.timeout_ns,
            )
            ending = self._drive(stretch, number, timing)
            if stretch.is_measured:
                lasted_ns = max(0, ending.ended_ns - ending.started_ns - stretch.warmup_ns)
                self.elapsed_ns = self._plan.warmup_ns + measured_ns + lasted_ns
                measured_ns += stretch.duration_ns or 0
                self.usages += _usages(ending, stretch, self._plan)
            if not self._is_well(ending):
                return

    def _end_of(self, stretch: Stretch) -> Callable[[int], int | None]:
        """When a stretch that began then is to end; the only one of a run goes on for as long as that is extended."""

        def end_ns(started_ns: int) -> int | None:
            if stretch.duration_ns is None:
                return None
            duration_ns = stretch.duration_ns
            if not self._plan.stages and stretch.is_measured and not self._deadline.stopped:
                extended_ns = self._deadline.words[DEADLINE] - self._start_ns - self._plan.warmup_ns
                duration_ns = max(duration_ns, min(extended_ns, self._job.longest_ns))
            return started_ns + stretch.warmup_ns + duration_ns

        return end_ns

    def _run_turns(self, alternation: Alternation) -> None:
        """A pgbench in each block of this arm; what it does while it starts belongs to nobody."""
        first_block = 2
        blocks = Blocks(alternation.block_ns // 1_000, alternation.settle_ns // 1_000, first_block)
        stretch = Stretch(self._plan.workers, self._plan.rate_per_s, duration_ns=alternation.block_ns)
        for turn in alternation.turns_of(self._job.arm):
            self._wait_until(self._start_ns + turn.from_ns)
            if self._deadline.stopped:
                return
            end_ns = self._start_ns + turn.to_ns
            timing = Timing(
                blocks=blocks,
                ends_ns=partial(_always, end_ns),
                measured_from_ns=self._start_ns,
                rate_per_s=stretch.rate_per_s,
                timeout_ns=self._plan.timeout_ns,
            )
            ending = self._drive(stretch, turn.pair, timing)
            self.elapsed_ns = ending.ended_ns - self._start_ns
            _add_up(self.usages, _usages(ending, stretch, self._plan))
            if not self._is_well(ending):
                return

    def _wait_until(self, instant_ns: int) -> None:
        """Wait for a turn; from time to time, show that we live."""
        while (now_ns := self._clock.now_ns()) < instant_ns and not self._deadline.stopped:
            self._tell({}, -1)
            self._clock.sleep_until_ns(min(instant_ns, now_ns + _LIFE_NS))

    def _is_well(self, ending: Ending) -> bool:
        self._channel.send(Skipped(ending.skipped))
        error = _error(ending, self._description, self._plan)
        if error is not None:
            self._channel.send(Broken(0, error))
        return error is None

    def _drive(self, stretch: Stretch, number: int, timing: Timing) -> Ending:
        threads = thread_count(stretch.clients, cpus(), self._plan.processes)

        def command(log: Path) -> list[str]:
            self._description = self._description.copied_to(log.parent)
            options = command_line(
                find_pgbench(), self._description, self._plan, stretch, threads=threads, log=log, number=number
            )
            return [*options, self._handover.conninfo]

        running = Running(command, self._handover.environment, threads)
        try:
            drive = Drive(running, self._columns(stretch), timing, threads)

            def emit(taken: dict[int, Snapshot]) -> None:
                self._say_begun(drive.measured_from_ns if stretch.is_measured else None)
                self._tell(taken if stretch.is_measured else {}, stretch.stage)

            return drive.run(lambda: self._deadline.stopped, emit)
        finally:
            running.close()

    def _say_begun(self, measured_from_ns: int | None) -> None:
        """Say once when the measurement really began: pgbench connects when it starts."""
        if measured_from_ns is not None and not self._has_begun:
            self._has_begun = True
            self._channel.send(Began(measured_from_ns - self._start_ns - self._plan.warmup_ns))

    def _columns(self, stretch: Stretch) -> Layout:
        limit_ns = self._description.latency_limit_ns
        return Layout(
            self._description.names,
            has_lag=stretch.rate_per_s is not None,
            has_retries=self._plan.retries > 0,
            latency_limit_us=None if limit_ns is None else limit_ns / 1e3,
        )

    def _tell(self, taken: dict[int, Snapshot], stage: int) -> None:
        """Send what was counted; where nothing was, a sign of life."""
        for block, snapshot in sorted(taken.items()) or [(-1, Snapshot())]:
            packed = pickle.dumps(snapshot, pickle.HIGHEST_PROTOCOL)
            operations = sum(tally.count for tally in snapshot.tallies.values())
            failures = sum(tally.failures for tally in snapshot.tallies.values())
            self._channel.send(IntervalCounts(0, block, stage, packed, operations, failures))


def _always(end_ns: int, started_ns: int) -> int:
    return end_ns


def _error(ending: Ending, description: Pgbench, plan: LoadPlan) -> StormDBError | None:
    """Why a stretch did not go as planned; None where it did, or where its end was asked for."""
    if ending.has_errors or ending.status > 0:
        return error_in(ending.errors, description)
    if ending.cancelled:
        if plan.iterations is not None:
            return None
        return WorkloadError(f"pgbench: transactions in flight did not end within {plan.timeout_ns / 1e9:g} s")
    if ending.status < 0:
        return WorkerLost(f"pgbench was killed by {signal.Signals(-ending.status).name}")
    if ending.counts is None or ending.lines != ending.counts.total:
        return WorkloadError(f"pgbench counted {ending.counts}, but its log has {ending.lines:,} lines")
    return None


def _usages(ending: Ending, stretch: Stretch, plan: LoadPlan) -> list[GroupUsage]:
    """Each thread is a set of clients that wait for each other."""
    clients = clients_per_thread(stretch.clients, thread_count(stretch.clients, cpus(), plan.processes))
    wall_ns = ending.ended_ns - ending.started_ns
    return [
        GroupUsage(
            workers=count,
            cpu_ns=usage.cpu_ns,
            wall_ns=wall_ns,
            wait_ns=usage.wait_ns,
            preemptions=usage.preemptions,
            yields=usage.yields,
            held_up=ending.filled >= _FULL,
        )
        for count, (_, usage) in zip(clients, sorted(ending.usage.items()), strict=False)
    ]


def _add_up(usages: list[GroupUsage], more: list[GroupUsage]) -> None:
    """Add what the threads of another pgbench of the same clients used."""
    if len(usages) < len(more):
        usages += [GroupUsage(workers=each.workers) for each in more[len(usages) :]]
    for usage, each in zip(usages, more, strict=False):
        usage.cpu_ns += each.cpu_ns
        usage.wall_ns += each.wall_ns
        usage.wait_ns += each.wait_ns
        usage.preemptions += each.preemptions
        usage.yields += each.yields
        usage.held_up = usage.held_up or each.held_up

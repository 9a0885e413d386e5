"""A run seen from the parent: launch, start together, collect, stop, and find out which workers were lost and why."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import WorkerLost
from ..load.plan import LoadPlan
from ..measurement.clock import SYSTEM_CLOCK, Clock
from ..measurement.recorder import Look
from .collected import Collected
from .forwarding import replay
from .launcher import Launcher, WorkerGroup
from .lifecycle import Lifecycle, State
from .messages import (
    Backend,
    Began,
    Broken,
    FirstFailure,
    GroupDone,
    Interruption,
    IntervalCounts,
    Message,
    Ready,
    WorkerDone,
)

_LOOK_NS = 100_000_000
_READY_NS = 30_000_000_000
"""How long a group may take to connect one worker and to set up its fixtures."""
_SILENCE_NS = 6_000_000_000
"""Beyond the timeout of an iteration, how long a group may say nothing before it counts as hung."""
_LAST_BREATH_S = 0.5
"""How long a group whose messages have ended gets to show how it ended."""
_LEAVE_NS = 2_000_000_000
"""How long a group that has nothing more to do gets to end."""
_HEAD_START_NS = 20_000_000
_HEAD_START_PER_WORKER_NS = 2_000_000


class Steering(Protocol):
    """The way to end a run early, or later."""

    def stop(self) -> None:
        """Let no iteration start any more; those in flight are awaited."""

    def extend(self, duration_ns: int) -> None:
        """Measure for so long in all."""


Alongside = Callable[[Steering], contextlib.AbstractContextManager[Look]]
"""What goes on beside a run, from its start to its end: it is given the way to steer the run, and gives its tick."""


@dataclass(slots=True)
class _Supervised:
    """A group as the supervisor knows it."""

    group: WorkerGroup
    heard_ns: int
    ready: int = 0
    lifecycle: Lifecycle = field(default_factory=Lifecycle)

    @property
    def state(self) -> State:
        return self.lifecycle.state

    @property
    def name(self) -> str:
        ids = self.group.ids
        return f"worker {ids[0]}" if len(ids) == 1 else f"workers {ids[0]}..{ids[-1]}"


class Supervisor:
    """The workers of one run. ``run`` may be called once."""

    def __init__(
        self,
        launcher: Launcher,
        plan: LoadPlan,
        alongside: Alongside,
        clock: Clock = SYSTEM_CLOCK,
        watch: Callable[[Collected], None] = lambda collected: None,
        backends: dict[int, int] | None = None,
    ) -> None:
        """``watch`` looks at what was collected several times a second, from the forks to the end. ``backends`` is told
        the server's processes, each with its worker."""
        self._launcher = launcher
        self._plan = plan
        self._alongside = alongside
        self._watch = watch
        self._clock = clock
        self._tick: Look = lambda progress: None
        self._supervised: dict[WorkerGroup, _Supervised] = {}
        self._looked_ns = 0
        self._measured_from_ns: int | None = None
        self._duration_ns = plan.duration_ns
        self._elapsed_ns = 0
        self._backends = {} if backends is None else backends
        self._collected = Collected(by_stage=bool(plan.stages))

    def run(self) -> Collected:
        """Launch, start, collect. Whatever happens, no worker outlives this call."""
        try:
            with _signals(self._on_signal):
                self._launch()
                self._collect(_READY_NS, self._is_decided)
                if self._all_ready():
                    with self._alongside(self) as self._tick:
                        self._start()
                        self._tick(self._collected)  # a run may be over before the next look
                        self._collect(self._plan.timeout_ns + _SILENCE_NS)
                else:
                    self._dismiss()
                    self._collect(_LEAVE_NS)
                self._conclude()
        finally:
            self._launcher.close()
        return self._collected

    def stop(self) -> None:
        """Let no iteration start any more; those in flight are awaited."""
        if self._collected.stopped_ns is None:
            self._collected.stopped_ns = self._clock.now_ns()
        self._launcher.stop()

    def extend(self, duration_ns: int) -> None:
        """Measure for so long in all; a run that was stopped stays so."""
        self._duration_ns = duration_ns
        self._launcher.extend(duration_ns)

    # -- start -------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        for group in self._launcher.launch():
            self._supervised[group] = _Supervised(group, self._clock.now_ns())
        self._collected.layout = tuple(len(group.ids) for group in self._supervised)

    def _is_decided(self) -> bool:
        """Whether the run can start, or never will."""
        return self._all_ready() or self._collected.stopped_ns is not None

    def _all_ready(self) -> bool:
        are_ready = all(each.state is State.READY for each in self._supervised.values())
        return are_ready and self._collected.stopped_ns is None

    def _start(self) -> None:
        delay_ns = max(_HEAD_START_NS, self._plan.workers * _HEAD_START_PER_WORKER_NS)
        self._enter(State.RUNNING)
        from_ns = self._clock.now_ns() + delay_ns + self._plan.warmup_ns
        self._measured_from_ns = self._collected.measured_from_ns = from_ns
        self._launcher.start(delay_ns)

    def _shift(self, late_ns: int) -> None:
        """The measured part begins later than it was meant to."""
        if self._measured_from_ns is not None:
            self._measured_from_ns += late_ns
            self._collected.measured_from_ns = self._measured_from_ns

    def _dismiss(self) -> None:
        """There will be no start: what is set up is torn down."""
        self._enter(State.DISMISSED)
        self._launcher.dismiss()

    def _enter(self, state: State) -> None:
        for each in self._supervised.values():
            each.heard_ns = self._clock.now_ns()
            each.lifecycle.enter(state)

    # -- collect -----------------------------------------------------------------------------------------------

    def _collect(self, silence_ns: int, until: Callable[[], bool] = lambda: False) -> None:
        """Take what the groups send until they are gone, or something else is the case."""
        while not all(each.lifecycle.is_over for each in self._supervised.values()) and not until():
            for group, message in self._launcher.receive(_LOOK_NS / 1e9):
                self._take(self._supervised[group], message)
            if self._clock.now_ns() - self._looked_ns >= _LOOK_NS:
                self._looked_ns = self._clock.now_ns()
                for each in self._supervised.values():
                    self._look_after(each, silence_ns)
                self._tick(self._collected)
                self._watch(self._collected)

    def _look_after(self, each: _Supervised, silence_ns: int) -> None:
        """A group that has gone, or that hangs, sends no more; a process that it started may keep its pipe open.

        Whether it has gone is asked before whether it has sent: what it said last is then there to be heard.
        """
        if each.lifecycle.is_over:
            return
        has_exited, silent_ns = each.group.has_exited(), self._clock.now_ns() - each.heard_ns
        is_through = has_exited or (each.state is State.DONE and silent_ns > _LEAVE_NS)
        is_hung = silent_ns > silence_ns and each.state is not State.READY
        if not (is_through or is_hung) or each.group.has_messages():
            return
        what = None if is_through else f"{each.name} hung: it said nothing for {silence_ns / 1e9:.0f} s and was ended"
        self._part_with(each, what)

    def _part_with(self, each: _Supervised, cause: str | None = None) -> None:
        """End a group. One that is gone before it was expected to go ends the run: the load is not the planned one."""
        ending = each.group.end(0.0 if cause or each.state is State.DONE else _LAST_BREATH_S)
        if not each.lifecycle.enter(State.ENDED):
            each.lifecycle.enter(State.LOST)
            self._collected.lost.append(WorkerLost(cause or f"{each.name} {ending}"))
            self.stop()

    def _take(self, each: _Supervised, message: Message | None) -> None:
        collected = self._collected
        each.heard_ns = self._clock.now_ns()
        match message:
            case None:
                self._part_with(each)
            case IntervalCounts():
                collected.add(message)
                collected.rates.add(message, each.heard_ns - collected.measured_from_ns)
            case Backend():
                self._backends[message.pid] = message.worker
            case Ready():
                each.ready += 1
                if each.ready == len(each.group.ids):
                    each.lifecycle.enter(State.READY)
            case Began():
                self._shift(message.late_ns)
            case WorkerDone():
                collected.works.append(message.work)
                self._elapsed_ns = max(self._elapsed_ns, message.elapsed_ns)
            case GroupDone():
                each.lifecycle.enter(State.DONE)
                collected.usage += [message.usage, *message.others]
            case FirstFailure():
                collected.first_failure = collected.first_failure or message
            case Interruption():
                collected.interruption = collected.interruption or message
                self.stop()
            case Broken():
                each.lifecycle.enter(State.FAILED)
                collected.broken.append(message)
                self.stop()
            case _:
                replay(message)

    # -- end ---------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Settle how long it took, and what the schedule still held."""
        collected, plan, from_ns = self._collected, self._plan, self._measured_from_ns
        if from_ns is None:
            return
        planned_ns = self._duration_ns or 0
        if collected.stopped_ns is not None and (
            self._duration_ns is None or collected.stopped_ns - from_ns < planned_ns
        ):
            planned_ns = collected.stopped_ns - from_ns
        elapsed_ns = self._elapsed_ns - plan.warmup_ns if self._elapsed_ns else self._clock.now_ns() - from_ns
        collected.close(elapsed_ns, planned_ns)
        if plan.is_open and plan.iterations is None:
            collected.dropped = self._launcher.unstarted_before(planned_ns + plan.warmup_ns)

    def _on_signal(self, number: int) -> None:
        if self._collected.signal is not None:
            raise KeyboardInterrupt
        self._collected.signal = signal.Signals(number).name
        self.stop()


@contextlib.contextmanager
def _signals(handle: Callable[[int], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM for a while, where that is possible, and hear how children end if that was ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda received, frame: handle(received)) for number in numbers}
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

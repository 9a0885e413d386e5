"""How a supervisor starts, hears and ends groups of workers: a launcher plays them, a clock is moved by hand."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytest_stormdb.errors import ServerError, WorkerLost
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.recorder import Look, Progress, Snapshot
from pytest_stormdb.measurement.tally import Tally
from pytest_stormdb.measurement.usage import GroupUsage
from pytest_stormdb.workers.collected import Collected
from pytest_stormdb.workers.messages import Broken, GroupDone, IntervalCounts, Message, Ready, WorkerDone
from pytest_stormdb.workers.supervisor import Steering, Supervisor

from ..clock import ManualClock
from .unit import MS, SECOND

Said = Sequence[tuple[int, Message | None]]
"""What a group says, and after how many ns since the launch."""


class PlayedGroup:
    """A group that says what it is told to say; from ``exits_ns`` on, it has gone."""

    def __init__(self, ids: Sequence[int], said: Said, exits_ns: int | None = None) -> None:
        self.ids = ids
        self.said = list(said)
        self.exits_ns = exits_ns
        self.clock = ManualClock()
        self.patience_s: float | None = None
        self.on_exit: Callable[[], None] = lambda: None

    def has_exited(self) -> bool:
        gone = self.exits_ns is not None and self.clock.now_ns() >= self.exits_ns
        if gone:
            self.on_exit()
        return gone

    def has_messages(self) -> bool:
        return bool(self.said) and self.said[0][0] <= self.clock.now_ns()

    def end(self, patience_s: float) -> str:
        self.patience_s = patience_s
        self.said.clear()
        return "was killed by SIGKILL"


class PlayedLauncher:
    """Groups of another kind than any there is: no process, no pipe, no clock in common."""

    def __init__(self, *groups: PlayedGroup) -> None:
        self.clock = ManualClock(0)
        self.groups = groups
        self.notes: list[str] = []
        for group in groups:
            group.clock = self.clock

    def launch(self) -> Sequence[PlayedGroup]:
        return self.groups

    def receive(self, timeout_s: float) -> Sequence[tuple[PlayedGroup, Message | None]]:
        self.clock.advance(round(timeout_s * 1e9))
        return [(group, group.said.pop(0)[1]) for group in self.groups if group.has_messages()]

    def start(self, delay_ns: int) -> None:
        self.notes.append(f"start in {delay_ns // MS} ms")

    def extend(self, duration_ns: int) -> None:
        self.notes.append(f"extend to {duration_ns // MS} ms")

    def dismiss(self) -> None:
        self.notes.append("dismiss")

    def stop(self) -> None:
        if "stop" not in self.notes:
            self.notes.append("stop")

    def unstarted_before(self, offset_ns: int) -> int:
        return offset_ns // SECOND

    def close(self) -> None:
        self.notes.append("close")


@contextlib.contextmanager
def alone(run: Steering) -> Iterator[Look]:
    """Nothing goes on beside the run."""
    yield lambda progress: None


def supervise(launcher: PlayedLauncher, **options: Any) -> Collected:
    plan = make_plan(("test", {"workers": sum(len(group.ids) for group in launcher.groups), **options}))
    return Supervisor(launcher, plan, alone, launcher.clock).run()


def counts(interval: int, count: int) -> IntervalCounts:
    return IntervalCounts(0, interval, 0, pickle.dumps(Snapshot({"it": Tally(count=count)})))


def whole(worker: int, *, until_ns: int = 3 * SECOND) -> Said:
    """A worker's life, well ended."""
    signs = [(at_ns, counts(at_ns // SECOND - 1, 10)) for at_ns in range(SECOND, until_ns, SECOND)]
    ends: Said = [(until_ns, WorkerDone(worker, 2500 * MS)), (until_ns, GroupDone(GroupUsage())), (until_ns, None)]
    return [(0, Ready(worker)), *signs, *ends]


def test_a_run_takes_as_long_as_workers_say_by_their_own_clocks() -> None:
    """Two groups start together, and their counts, usage and times are added up without a clock in common."""
    launcher = PlayedLauncher(PlayedGroup([0], whole(0)), PlayedGroup([1], whole(1)))
    collected = supervise(launcher, duration="2s", warmup="500ms")
    assert launcher.notes == ["start in 20 ms", "close"]
    assert (collected.elapsed_ns, collected.layout, len(collected.usage)) == (2 * SECOND, (1, 1), 2)
    assert collected.so_far().total().count == 40
    assert (collected.lost, collected.broken) == ([], [])


def test_many_workers_get_a_longer_head_start() -> None:
    """Two milliseconds for each, so that the last one knows before it begins."""
    ready: Said = [(0, Ready(worker)) for worker in range(100)]
    launcher = PlayedLauncher(PlayedGroup(range(100), [*ready, *whole(0, until_ns=60 * SECOND)[1:]]))
    supervise(launcher, duration="2s")
    assert launcher.notes[0] == "start in 200 ms"


def test_a_group_that_says_farewell_and_exits_between_two_looks_is_not_lost() -> None:
    """Between asking for messages and asking whether it has gone, there is time for both."""
    group = PlayedGroup([0], whole(0)[:-3], exits_ns=2 * SECOND)

    def farewell() -> None:
        if not group.patience_s and not group.said:
            group.said += [(0, GroupDone(GroupUsage())), (0, None)]
            group.on_exit = lambda: None

    group.on_exit = farewell
    collected = supervise(PlayedLauncher(group), duration="2s")
    assert collected.lost == []
    assert len(collected.usage) == 1


def test_a_group_that_goes_without_a_word_ends_the_run() -> None:
    """It is lost, by name and by how it ended; what it counted is kept; the others are stopped."""
    launcher = PlayedLauncher(PlayedGroup([0], [*whole(0)[:3], (2 * SECOND, None)]), PlayedGroup([1, 2], twice()))
    collected = supervise(launcher, duration="60s")
    assert [str(lost) for lost in collected.lost] == ["worker 0 was killed by SIGKILL"]
    assert isinstance(collected.lost[0], WorkerLost)
    assert launcher.notes == ["start in 20 ms", "stop", "close"]
    assert collected.so_far().total().count > 0
    assert launcher.groups[0].patience_s == 0.5


def twice() -> Said:
    return [(0, Ready(1)), (0, Ready(2)), *whole(0)[1:]]


def test_a_silent_group_is_ended_after_the_timeout_and_six_seconds() -> None:
    """It hung, by name; a sign of life before that keeps it."""
    said: Said = [(0, Ready(0)), (0, Ready(1)), (9 * SECOND, counts(9, 1))]
    launcher = PlayedLauncher(PlayedGroup([0, 1], said))
    collected = supervise(launcher, duration="60s", timeout="5s")
    assert [str(lost) for lost in collected.lost] == ["workers 0..1 hung: it said nothing for 11 s and was ended"]
    assert 20 * SECOND < launcher.clock.now_ns() < 21 * SECOND


def test_a_worker_that_cannot_be_set_up_dismisses_the_others() -> None:
    """There is no start; those that are ready tear down, and none of them counts as lost."""
    broken = Broken(0, ServerError("no room"))
    first = PlayedGroup([0], [(0, broken), (0, GroupDone(GroupUsage())), (0, None)])
    second = PlayedGroup([1], [(0, Ready(1)), (SECOND, GroupDone(GroupUsage())), (SECOND, None)])
    launcher = PlayedLauncher(first, second)
    collected = supervise(launcher)
    assert launcher.notes == ["stop", "dismiss", "close"]
    assert (collected.broken, collected.lost, collected.elapsed_ns) == ([broken], [], 0)


def test_a_group_that_is_ready_may_wait_for_a_slow_one() -> None:
    """Fixtures that take twenty seconds in one worker are no silence of the other."""
    slow = [(at_ns + 20 * SECOND, message) for at_ns, message in whole(1)]
    ready: Said = [(0, Ready(0)), *[(at_ns + 20 * SECOND, message) for at_ns, message in whole(0)[1:]]]
    collected = supervise(PlayedLauncher(PlayedGroup([0], ready), PlayedGroup([1], slow)), duration="2s", timeout="1s")
    assert (collected.lost, len(collected.usage)) == ([], 2)


def test_a_group_whose_grandchild_holds_its_pipe_is_let_go() -> None:
    """It said farewell, and two seconds later is ended though its messages have no end."""
    launcher = PlayedLauncher(PlayedGroup([0], whole(0)[:-1]))
    collected = supervise(launcher, duration="2s")
    assert collected.lost == []
    assert launcher.groups[0].patience_s == 0.0
    assert launcher.clock.now_ns() < 6 * SECOND


def test_a_launcher_is_closed_whatever_happens() -> None:
    """An error of what goes on beside the run comes through, and no worker outlives it."""
    launcher = PlayedLauncher(PlayedGroup([0], whole(0)))

    @contextlib.contextmanager
    def failing(run: Steering) -> Iterator[Look]:
        raise ServerError("cannot watch")
        yield

    plan = make_plan(("test", {"workers": 1}))
    with contextlib.suppress(ServerError):
        Supervisor(launcher, plan, failing, launcher.clock).run()
    assert launcher.notes == ["close"]


def test_a_run_may_be_extended() -> None:
    """What is beside the run may let it go on: the launcher is told, and the run counts as long as that."""
    launcher = PlayedLauncher(PlayedGroup([0], whole(0, until_ns=2 * SECOND)))

    @contextlib.contextmanager
    def extending(run: Steering) -> Iterator[Look]:
        said = False

        def tick(progress: Progress) -> None:
            nonlocal said
            if not said:
                said = True
                run.extend(5 * SECOND)

        yield tick

    plan = make_plan(("test", {"workers": 1, "duration": "1s"}))
    collected = Supervisor(launcher, plan, extending, launcher.clock).run()
    assert launcher.notes == ["start in 20 ms", "extend to 5000 ms", "close"]
    assert collected.elapsed_ns == 5 * SECOND
    assert collected.measured_from_ns > 0

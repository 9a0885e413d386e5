"""Which iterations are late, and what is done to them, by a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_stormdb.database.connection import NoConnection
from pytest_stormdb.workers.lifecycle import State
from pytest_stormdb.workers.timeouts import TaskTimeouts, ThreadTimeouts, WatchedLoop, interruptible, poll_s

from .unit import MS, SECOND, Unit


class NotingSessions:
    """Notes what is asked of the server."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def cancel(self, is_due: Callable[[], bool]) -> None:
        self._notes.append(f"cancel by name {is_due()}")

    def terminate(self, is_due: Callable[[], bool]) -> None:
        self._notes.append(f"terminate by name {is_due()}")

    def wait(self) -> None:
        pass


class Noting(NoConnection):
    """Notes what is done to it; with a statement running or without one."""

    def __init__(self, *, active: bool) -> None:
        self.notes: list[str] = []
        self.sessions: Any = NotingSessions(self.notes)
        self._active = active

    def is_active(self) -> bool:
        return self._active

    def cancel(self, is_due: Callable[[], bool]) -> None:
        self.notes.append(f"cancel {is_due()}")

    def shut_down(self) -> bool:
        self.notes.append("shut down")
        return self._active


def running(*, active: bool = True) -> tuple[Unit, WatchedLoop, Noting]:
    """A worker in its fourth iteration, and whoever watches it."""
    unit, connection = Unit(lambda worker: None), Noting(active=active)
    unit.runtime.turns.is_waiting = False
    unit.worker.iteration = 3
    for state in (State.READY, State.RUNNING):
        unit.runtime.lifecycle.enter(state)
    watched = WatchedLoop(
        unit.runtime.loop, connection, connection.sessions, unit.runtime.lifecycle, unit.clock.now_ns()
    )
    return unit, watched, connection


def test_an_iteration_is_as_old_as_since_it_was_first_seen() -> None:
    """It is late once its timeout is over; the next one, and a worker that waits, begin anew."""
    unit, watched, _ = running()
    now = unit.clock.now_ns()
    assert watched.late_ns(now, SECOND) == -SECOND
    assert watched.late_ns(now + SECOND + 1, SECOND) == 1
    unit.worker.iteration = 4
    assert watched.late_ns(now + SECOND + 2, SECOND) == -SECOND
    unit.runtime.turns.is_waiting = True
    assert watched.late_ns(now + 10 * SECOND, SECOND) == -SECOND


def test_a_late_statement_is_cancelled_then_cut_off() -> None:
    """First the server is asked; two seconds later, its connection is shut down; the worker is never given up."""
    unit, watched, connection = running()
    timeouts = ThreadTimeouts([watched], SECOND, lambda each: pytest.fail("given up"))
    for at_ms in (0, 999, 1000, 2999, 3500, 60_000):
        timeouts.check(unit.clock.now_ns() + at_ms * MS)
    assert connection.notes == ["cancel True", "cancel True", "shut down", "shut down"]


def test_what_waits_elsewhere_is_cancelled_by_name_and_then_ended() -> None:
    """Where the worker's own connection is idle, its other sessions are asked for: each half a second at most."""
    unit, watched, connection = running(active=False)
    timeouts = ThreadTimeouts([watched], SECOND, lambda each: pytest.fail("given up"))
    for at_ms in (0, 999, 1000, 1010, 1499, 1500, 2100, 2200, 3000, 3010):
        timeouts.check(unit.clock.now_ns() + at_ms * MS)
    assert connection.notes == ["cancel by name True"] * 2 + ["terminate by name True", "shut down"]


def test_an_interrupt_is_given_time_to_be_seen() -> None:
    """A lone worker that waits in a C library is interrupted no oftener than that library looks for signals."""
    unit, watched, connection = running(active=False)
    timeouts = ThreadTimeouts([watched], SECOND, lambda each: pytest.fail("given up"))
    unit.runtime.turns.is_waiting = False
    with interruptible(unit.runtime.loop):
        for at_ms in range(0, 7000, 10):
            timeouts.check(unit.clock.now_ns() + at_ms * MS)
    assert connection.notes.count("shut down") == 8


def test_whoever_overran_is_said_to_have() -> None:
    """The loop learns which iteration is overdue, and the worker runs on."""
    unit, watched, _ = running()
    timeouts = ThreadTimeouts([watched], SECOND, lambda each: pytest.fail("given up"))
    for at_ms in (0, 1000):
        timeouts.check(unit.clock.now_ns() + at_ms * MS)
    assert unit.runtime.loop.overdue == 3
    assert unit.runtime.lifecycle.state is State.RUNNING


def test_a_thread_that_waits_for_no_server_is_given_up_once() -> None:
    """Four seconds beyond its timeout it is stuck, is reported, and is left alone from then on."""
    unit, watched, connection = running(active=False)
    reported: list[WatchedLoop] = []
    timeouts = ThreadTimeouts([watched], SECOND, reported.append)
    for at_ms in (0, 5000, 5001, 5002, 60_000):
        timeouts.check(unit.clock.now_ns() + at_ms * MS)
    assert reported == [watched]
    assert unit.runtime.lifecycle.state is State.STUCK
    assert connection.notes == ["shut down"]


def test_a_stuck_worker_that_comes_back_is_not_heard() -> None:
    """What it says after it was given up is no WorkerDone."""
    unit, watched, _ = running(active=False)
    timeouts = ThreadTimeouts([watched], SECOND, lambda each: None)
    for at_ms in (0, 5001):
        timeouts.check(unit.clock.now_ns() + at_ms * MS)
    unit.runtime.turns.turns(unit.clock.now_ns()).send(None)
    unit.runtime.finish(unit.clock.now_ns())
    assert [type(message).__name__ for message in unit.messages] == ["IntervalCounts"]


def test_a_task_is_cancelled_and_again_after_a_while() -> None:
    """A late task is cancelled once, and once more each two seconds while the same iteration goes on."""

    class Task:
        cancelled = 0

        def cancel(self) -> None:
            self.cancelled += 1

    unit, watched, _ = running()
    task: Any = Task()
    watched.task = task
    timeouts = TaskTimeouts([watched], SECOND)
    counts = []
    for at_ms in (0, 999, 1000, 1001, 2999, 3001, 5002):
        timeouts.check(unit.clock.now_ns() + at_ms * MS)
        counts.append(task.cancelled)
    assert counts == [0, 0, 1, 1, 1, 2, 3]
    unit.worker.iteration = 4
    timeouts.check(unit.clock.now_ns() + 5003 * MS)
    assert task.cancelled == 3


def test_a_timeout_is_kept_to_a_twentieth() -> None:
    """Between a hundredth and half a second."""
    assert [poll_s(timeout_ns) for timeout_ns in (MS, SECOND, 30 * SECOND)] == [0.01, 0.05, 0.5]

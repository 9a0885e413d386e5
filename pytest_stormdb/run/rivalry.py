"""One comparison, two pytest sessions: each plays an arm, and they agree on when an epoch starts, and on nothing else.

What follows from the start is arithmetic (``load.alternation``) on a clock that the processes of a machine share.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from ..database.processes import ServerProcesses
from ..errors import ServerError, StormDBError
from ..load.alternation import Alternation
from ..load.plan import LoadPlan
from ..measurement.noise import Noise, NoiseWatch
from ..record import RunRecord
from ..workers.agreed import AgreedLauncher
from ..workers.collected import Collected
from ..workers.scripts import launcher_of
from ..workers.supervisor import Supervisor
from .alternating import (
    Alone,
    Arm,
    Epoch,
    Runs,
    beside,
    each_alone,
    epoch_of,
    job_of,
    plan_of_epoch,
    run_alone,
    session_name,
)

_PATIENCE_S = 60.0
_HEAD_START_NS = 50_000_000

Line: TypeAlias = "Connection[Any, Any]"


class Disagreement(StormDBError):  # noqa: N818 - named for the fact it states
    """The other arm cannot take part in this epoch."""


def receive(line: Line, patience_s: float = _PATIENCE_S) -> tuple[Any, ...]:
    """What the other session says next. Raises Disagreement where it is gone, or silent for too long."""
    try:
        if not line.poll(patience_s):
            raise Disagreement(f"the other arm said nothing for {patience_s:.0f} s")
        message: tuple[Any, ...] = line.recv()
    except (EOFError, OSError):
        raise Disagreement("the other arm's session ended") from None
    return message


def send(line: Line, *message: Any) -> None:
    """Tell the other session. Raises Disagreement where it is gone."""
    try:
        line.send(message)
    except OSError:
        raise Disagreement("the other arm's session ended") from None


def leading(line: Line, arm: Arm, other_dsn: str, plan: LoadPlan) -> Callable[[Alternation], Epoch]:
    """How the session that compares plays an epoch: its own workers are the second arm, the other's the first."""

    def play(alternation: Alternation) -> Epoch:
        load = plan_of_epoch(plan, alternation)
        name, other_name = session_name(), session_name()
        send(line, "epoch", load, alternation, other_name)
        watch = NoiseWatch(ServerProcesses([(arm.dsn, name), (other_dsn, other_name)]))
        early: list[Collected] = []

        def agree(instant_ns: int) -> int:
            kind, value = receive(line)
            if kind == "collected":
                early.append(value)
                raise Disagreement("the other arm's workers are not ready")
            agreed_ns = max(instant_ns, int(value)) + _HEAD_START_NS
            send(line, "start", agreed_ns)
            return agreed_ns

        launcher = AgreedLauncher(launcher_of(job_of(arm, load, alternation, 1, name)), agree)
        try:
            own = Supervisor(launcher, load, beside(watch)).run()
        except Disagreement:
            if not early:
                raise
            return epoch_of([early[0]], load, alternation, Noise())
        if not own.measured_from_ns:
            send(line, "start", None)
        patience_s = alternation.duration_ns / 1e9 + plan.timeout_ns / 1e9 + _PATIENCE_S
        other = _collected(line, patience_s)
        return epoch_of([own, other], load, alternation, watch.noise)

    return play


def _collected(line: Line, patience_s: float) -> Collected:
    """What the other arm measured; what it said before that is over."""
    while True:
        kind, *values = receive(line, patience_s)
        if kind == "collected":
            found: Collected = values[0]
            return found


def leading_alone(line: Line, arm: Arm, plan: LoadPlan) -> Alone:
    """How the session that compares runs both arms one after the other, its own the second."""

    def run_one(duration_ns: int, number: int) -> RunRecord:
        if number == 1:
            return run_alone(arm, plan, duration_ns)
        send(line, "alone", plan, duration_ns)
        kind, found = receive(line, duration_ns / 1e9 + plan.timeout_ns / 1e9 + _PATIENCE_S)
        if kind != "ran":
            raise Disagreement(str(found))
        record: RunRecord = found
        return record

    def alone(duration_ns: int, number: int) -> Runs:
        return each_alone(number, partial(run_one, duration_ns))

    return alone


def follow_alone(line: Line, arm: Arm, plan: LoadPlan, duration_ns: int) -> None:
    """Run the first arm while the session that compares rests, and send it what was measured."""
    try:
        send(line, "ran", run_alone(arm, plan, duration_ns))
    except ServerError as error:
        send(line, "failed", str(error))


def follow(line: Line, arm: Arm, load: LoadPlan, alternation: Alternation, name: str) -> None:
    """Play the first arm of an epoch for the session that compares, and send it what was measured."""

    def agree(instant_ns: int) -> int:
        send(line, "launched", instant_ns)
        kind, agreed_ns = receive(line)
        if kind != "start" or agreed_ns is None:
            raise Disagreement("the other arm's workers are not ready")
        return int(agreed_ns)

    launcher = AgreedLauncher(launcher_of(job_of(arm, load, alternation, 0, name)), agree)
    watch = NoiseWatch(lambda table: None)
    try:
        collected = Supervisor(launcher, load, beside(watch)).run()
    except Disagreement:
        collected = Collected()
    send(line, "collected", collected)

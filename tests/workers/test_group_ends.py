"""What a host says last is heard, however soon it leaves."""

from __future__ import annotations

import contextlib
import time
from multiprocessing.connection import Pipe
from typing import Any

import pytest

from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.usage import GroupUsage
from pytest_stormdb.workers import supervisor as crew
from pytest_stormdb.workers.deadline import Deadline
from pytest_stormdb.workers.group import Job
from pytest_stormdb.workers.messages import GroupDone


def test_a_host_that_says_farewell_and_exits_between_two_looks_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between asking for messages and asking for the exit status there is time for both."""
    ours, theirs = Pipe()
    workload: Any = None
    job = Job(workload, make_plan(("test", {})), "", "test", Deadline(), None)

    def has_exited(pid: int) -> bool:
        theirs.send(GroupDone(GroupUsage()))
        theirs.close()
        return True

    monkeypatch.setattr(crew, "has_exited", has_exited)
    monkeypatch.setattr(crew, "end_processes", lambda pids, patience_s: [0])
    team = crew.Supervisor(job, contextlib.nullcontext)  # type: ignore[arg-type]
    host = crew._Host([0], ours, 1, time.monotonic())

    team._look_after(host, limit_s=10.0)
    while not ours.closed:
        team._receive(host)

    assert team._outcome.lost == []
    assert len(team._outcome.vitals) == 1

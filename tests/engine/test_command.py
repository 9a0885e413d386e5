"""A load plan in pgbench's words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.engine.command import (
    Stretch,
    check_plan,
    clients_per_thread,
    command_line,
    initialization,
    stretches,
    thread_count,
)
from pytest_stormdb.engine.program import Program
from pytest_stormdb.errors import PlanError
from pytest_stormdb.load.plan import LoadPlan, make_plan
from pytest_stormdb.workload.pgbench import Pgbench, described, pgbench

NEW, OLD = (Program(Path(f"/bin/pgbench{version}"), version, "a test") for version in ("18.4", "14.9"))


def plan_of(**options: Any) -> LoadPlan:
    return make_plan(("test", options))


def describe(*scripts: Any, **options: Any) -> Pgbench:
    found = described(pgbench(*scripts, **options))
    assert found is not None
    return found.beside(Path("/")) if not scripts else found


def commanded(description: Pgbench, program: Program = NEW, number: int = 0, **options: Any) -> list[str]:
    plan = plan_of(**options)
    stretch = stretches(plan)[number]
    return command_line(program, description, plan, stretch, threads=2, log=Path("/tmp/x/log"), number=number)


def test_a_closed_loop() -> None:
    """Workers, mode, seed, log and scripts; the time has a reserve, since the end is ours to give."""
    description = describe("a.sql@9", "b.sql", scale=3, variables={"n": 5})
    assert commanded(description, workers=8, duration="2500ms", seed=7) == [
        "/bin/pgbench18.4", "--no-vacuum", "--protocol=prepared", "--client=8", "--jobs=2", "--random-seed=7",
        "--log", "--log-prefix=/tmp/x/log", "--time=63", "--failures-detailed", "--max-tries=1",
        "--file=a.sql@9", "--file=b.sql@1", "--scale=3", "--define=n=5",
    ]  # fmt: skip


def test_an_open_loop_with_everything() -> None:
    """Rate, latency limit, retries, a connection per transaction; a builtin counts its branches and gets no scale."""
    description = describe(
        builtin=["select-only@9", "tpcb-like"], mode="simple", latency_limit="50ms", connect_per_transaction=True
    )
    command = commanded(description, workers=200, duration="10s", warmup="1s", rate="90/m", retries=4, seed=-1)
    assert command[2:] == [
        "--protocol=simple", "--client=200", "--jobs=2", f"--random-seed={2**63 - 1}", "--log",
        "--log-prefix=/tmp/x/log", "--time=14", "--rate=1.5", "--latency-limit=50.0", "--failures-detailed",
        "--max-tries=5", "--connect", "--builtin=select-only@9", "--builtin=tpcb-like@1",
    ]  # fmt: skip


def test_an_old_pgbench_is_not_given_what_it_does_not_know() -> None:
    """Version 14 counts no failures by kind and does not retry."""
    assert not {"--failures-detailed", "--max-tries=1"} & set(commanded(describe("a.sql"), OLD))


def test_iterations_warm_up_in_a_run_of_their_own() -> None:
    """pgbench counts transactions or time, not one after the other."""
    plan = plan_of(workers=3, iterations=50, warmup="2s")
    assert stretches(plan) == [
        Stretch(3, None, duration_ns=2 * 10**9, is_measured=False),
        Stretch(3, None, iterations=50),
    ]
    assert "--transactions=50" in commanded(describe("a.sql"), number=1, workers=3, iterations=50, warmup="2s")
    assert stretches(plan_of(iterations=50)) == [Stretch(1, None, iterations=50)]


def test_stages_are_runs_one_after_the_other() -> None:
    """Each with its own clients or rate, the warm-up before the first; their seeds differ."""
    assert stretches(plan_of(stages="2:10s,8:5s", warmup="1s")) == [
        Stretch(2, None, 10**9, 10 * 10**9, stage=0),
        Stretch(8, None, 0, 5 * 10**9, stage=1),
    ]
    plan = plan_of(stages="100/s:10s,200/s:5s", workers=4)
    assert [(each.clients, each.rate_per_s) for each in stretches(plan)] == [(4, 100.0), (4, 200.0)]
    assert "--random-seed=1" in commanded(describe("a.sql"), number=1, stages="2:10s,8:5s")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"stages": "10->50:30s"}, "stages: pgbench cannot go from 10->50 workers for 30 s; give steps"),
        ({"stages": "10/s->50/s:30s"}, "stages: pgbench cannot go from 10->50/s for 30 s"),
        ({"think_time": "10ms"}, r"think_time: pgbench has none of its own; write \sleep in the script"),
        ({"rate": "10/s", "arrivals": "uniform"}, "arrivals: pgbench's are Poisson; 'uniform' cannot be had"),
        ({"batch_size": 10}, "batch_size: a pgbench script is one transaction"),
        ({"connect": False}, "connect: pgbench opens its own connections; connect_per_transaction=True"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(options: dict[str, Any], complaint: str) -> None:
    """Each refusal names the option, and the way out."""
    with pytest.raises(PlanError, match=re.escape(complaint)):
        check_plan(plan_of(**options), describe("a.sql"), NEW)


def test_what_can_be_had_is_not_refused() -> None:
    """Constant stages, Poisson arrivals, retries from version 15 on."""
    for options in ({"stages": "1:1s,2:1s"}, {"rate": "5/s", "arrivals": "poisson"}, {"retries": 3}):
        check_plan(plan_of(**options), describe("a.sql"), NEW)
    with pytest.raises(PlanError, match=r"retries: pgbench 14\.9 cannot retry; 15 or later can"):
        check_plan(plan_of(retries=3), describe("a.sql"), OLD)


@given(st.integers(1, 300), st.integers(1, 64), st.none() | st.integers(1, 16))
def test_clients_are_dealt_to_threads(clients: int, cpus: int, most: int | None) -> None:
    """Every client has a thread, no thread is without one, and they differ by one at most."""
    threads = thread_count(clients, cpus, most)
    dealt = clients_per_thread(clients, threads)
    assert threads == min(clients, most or cpus)
    assert (len(dealt), sum(dealt)) == (threads, clients)
    assert max(dealt) - min(dealt) <= 1


def test_initialization() -> None:
    """The tables are made to scale, with the options that the description adds."""
    assert initialization(NEW, describe("a.sql")) is None
    assert initialization(NEW, describe(builtin="tpcb-like", scale=20, initialize=["--fillfactor=90"])) == [
        "/bin/pgbench18.4", "--initialize", "--quiet", "--scale=20", "--fillfactor=90"
    ]  # fmt: skip

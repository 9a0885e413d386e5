"""What a worker's loop and its recording cost per iteration, beyond the call itself.

Run by hand: ``python tests/benchmarks/bench_overhead.py``. A closed loop of one worker calls an empty function; the
same call in a bare ``for`` loop is timed in the same run, in turns. Prints nanoseconds of CPU time per iteration, the
best of many rounds, since whatever else the machine does can only add to them. The promise is 1,000 ns at most.
"""

from __future__ import annotations

import gc
import math
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.workers.deadline import Deadline
from pytest_stormdb.workers.runtime import Control, Job, WorkerRuntime
from pytest_stormdb.workload.contract import Operation, Workload

ITERATIONS = 20_000
ROUNDS = 150
PROMISED_NS = 1_000


def nothing(worker: object) -> None:
    """An empty workload."""


def call_bare(call: Callable[[], Any]) -> float:
    """Nanoseconds per bare call."""
    started_ns = time.thread_time_ns()
    for _ in range(ITERATIONS):
        call()
    return (time.thread_time_ns() - started_ns) / ITERATIONS


def call_in_the_loop() -> float:
    """Nanoseconds per iteration of a worker's loop: its turns, two timestamps, the sample, draining, sending."""
    workload = Workload(name="bench", nodeid="bench", operations=(Operation("nothing", nothing),))
    plan = make_plan(("bench", {"iterations": ITERATIONS, "connect": False}))
    deadline = Deadline()
    runtime = WorkerRuntime(Job(workload, plan, "", "bench"), Control(deadline), 0, lambda message: None)
    runtime.loop.calls = workload.bind({"worker": runtime.worker})
    started_ns = time.thread_time_ns()
    runtime.loop.run(time.perf_counter_ns())
    runtime.turns.finish()
    elapsed_ns = time.thread_time_ns() - started_ns
    deadline.close()
    return elapsed_ns / ITERATIONS


def main() -> int:
    """Measure both in turns and print what the loop adds."""
    bare_ns = loop_ns = math.inf
    call = Operation("nothing", nothing).bind(None, {"worker": object()})
    gc.collect()
    gc.freeze()
    for _ in range(ROUNDS):
        bare_ns = min(bare_ns, call_bare(call))
        loop_ns = min(loop_ns, call_in_the_loop())
    overhead_ns = loop_ns - bare_ns
    print(f"Python {platform.python_version()} {platform.machine()}, best of {ROUNDS} rounds of {ITERATIONS:,}")
    print(f"bare call {bare_ns:.0f} ns, in the loop {loop_ns:.0f} ns, overhead {overhead_ns:.0f} ns per iteration")
    print(f"promised: at most {PROMISED_NS:,} ns: {'kept' if overhead_ns <= PROMISED_NS else 'BROKEN'}")
    return int(overhead_ns > PROMISED_NS)


if __name__ == "__main__":
    sys.exit(main())

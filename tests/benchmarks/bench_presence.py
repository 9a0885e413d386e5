"""What our presence costs a pgbench that runs: within one run, our processes are stopped and go on, in turns.

Run by hand on Linux: ``python -m tests.benchmarks.bench_presence [SECONDS]``. Two runs of pgbench differ by much more
than two percent where others use the machine, however many there are. Two halves of a second that follow each other
differ less, and a minute has sixty pairs of them. Stopped, we neither read pgbench's log nor look at the server; what
pgbench logs waits in its pipe, and is counted when we go on, so the halves with us bear the counting of both. The order
within a pair is drawn. When each transaction ended, pgbench's log says itself.

Prints the throughput with us as a share of that without, the mean of the pairs' logarithms with its standard error;
and, of a stretch before that in which nobody is stopped, our CPU time as a share of pgbench's. Its log, without which
no transaction would be counted, pgbench writes in both; what that costs, `bench_scripts` shows.
"""

from __future__ import annotations

import math
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.engine.log import LogCounter
from pytest_stormdb.engine.program import find_pgbench
from pytest_stormdb.workload.pgbench import described, pgbench

from .bench_scripts import QUIET, SCALE, by_us

BEGIN_S, CALM_S, END_S = 3.0, 20.0, 3.0
BIN_US = 10_000
WINDOW_S = {"tpcb-like": 0.5, "select-only": 0.25}
"""Of the fastest script, a pipe holds half a second."""
Window = tuple[bool, float, float]


def keep_log(path: Path) -> None:
    """Have the driver write down what it counts, in memory, as it comes."""
    count, rests = LogCounter.feed, dict[int, bytes]()

    def feed(counter: LogCounter, data: bytes, from_us: int, thread: int = 0) -> None:
        lines = rests.get(thread, b"") + data
        end = lines.rfind(b"\n") + 1
        rests[thread] = lines[end:]
        with path.open("ab") as file:
            file.write(lines[:end])
        count(counter, data, from_us, thread)

    LogCounter.feed = feed  # type: ignore[assignment,method-assign]


def processes(pid: int) -> dict[int, str]:
    """A process and all that it started, by id, each with its name."""
    found = {pid: Path(f"/proc/{pid}/comm").read_text().strip()}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found |= processes(child)
    return found


def cpu_s(pids: list[int]) -> float:
    """CPU time that processes have had, by the scheduler's own count."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def switch(ours: list[int], window_s: float, until_s: float) -> list[Window]:
    """Let our processes run and stand still in turns; whether they ran, and from when to when, by the wall clock."""
    windows: list[Window] = []
    while time.time() < until_s:
        for runs in random.sample((True, False), 2):
            for pid in ours:
                os.kill(pid, signal.SIGCONT if runs else signal.SIGSTOP)
            begun_s = time.time()
            time.sleep(window_s)
            windows.append((runs, begun_s + 0.02, time.time()))  # what is under way when we are stopped ends first
    for pid in ours:
        os.kill(pid, signal.SIGCONT)
    return windows


def rates(log: Path, windows: list[Window]) -> list[float]:
    """Transactions per second that ended within each window."""
    ends: Counter[int] = Counter()
    with log.open("rb") as file:
        for line in file:
            _, _, _, _, seconds, microseconds, *_ = line.split()
            ends[(int(seconds) * 1_000_000 + int(microseconds)) // BIN_US] += 1
    bins = [(math.ceil(begun_s * 1e6 / BIN_US), int(ended_s * 1e6 / BIN_US)) for _, begun_s, ended_s in windows]
    return [sum(ends[each] for each in range(*span)) / (span[1] - span[0]) * 1e6 / BIN_US for span in bins]


def compare(name: str, dsn: str, seconds: int, log: Path) -> None:
    """One run of a built-in script, and what it shows."""
    description = described(pgbench(builtin=name))
    assert description is not None
    run: Any = get_context("fork").Process(target=by_us, args=(description, dsn, seconds))
    ends_s = time.time() + seconds
    run.start()
    time.sleep(BEGIN_S)
    found = processes(run.pid)
    theirs = [pid for pid, command in found.items() if command == "pgbench"]
    ours = [pid for pid in found if pid not in theirs]
    before_s = cpu_s(ours), cpu_s(theirs)
    time.sleep(CALM_S)
    own_s, its_s = cpu_s(ours) - before_s[0], cpu_s(theirs) - before_s[1]
    windows = switch(ours, WINDOW_S[name], ends_s - END_S)
    run.join()
    per_s = rates(log, windows)
    log.unlink()
    pairs = [sorted(zip(windows[at : at + 2], per_s[at : at + 2], strict=True)) for at in range(0, len(windows), 2)]
    ratios = [math.log(with_us / without) for (_, without), (_, with_us) in pairs]
    error = statistics.stdev(ratios) / math.sqrt(len(ratios))
    print(
        f"{name:13} {statistics.fmean(per_s):10,.0f}/s  with us x {math.exp(statistics.fmean(ratios)):.4f} +-"
        f" {error:.4f} of {len(ratios)} pairs; our CPU time is {own_s / its_s:.1%} of pgbench's,"
        f" {own_s / CALM_S / (os.cpu_count() or 1):.2%} of the machine's",
        flush=True,
    )


def main(seconds: int = 150) -> None:
    """Both scripts, one after the other."""
    log = Path("/dev/shm") / f"presence-{os.getpid()}"
    keep_log(log)
    with EmbeddedServer.start(settings=QUIET) as server:
        subprocess.run(
            [str(find_pgbench().path), "-i", "-q", f"-s{SCALE}", server.dsn], check=True, capture_output=True
        )
        for name in WINDOW_S:
            compare(name, server.dsn, seconds, log)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

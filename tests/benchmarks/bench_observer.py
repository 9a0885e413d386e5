"""What watching the server costs.

    python -m tests.benchmarks.bench_observer [ROUNDS]

Two answers for each workload. First, how much CPU time the observer takes, of its thread and of its session on the
server, as a share of all CPUs: where these are the bottleneck, throughput can fall by so much and no more. Second, in
the same run: pairs of blocks of 0.25 s, of which a coin silences one, and the ratio of their throughputs,
watched to unwatched: the median of the pairs, and the interval that holds it with 95 % confidence (order statistics).
"""

from __future__ import annotations

import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg

from pytest_stormdb.database import observer
from pytest_stormdb.database.waits import WaitSampler
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.measurement.stats import Block, RunStatistics
from pytest_stormdb.workload.contract import Worker

from ..workers.harness import load

BLOCK_S = 0.25
ROUND_S = 30


def point_select(worker: Worker) -> None:
    worker.conn.execute("SELECT n FROM account WHERE id = %s", [worker.rng.randint(1, 10_000)]).fetchone()


def prepared_select(worker: Worker) -> None:
    worker.prepare("SELECT n FROM account WHERE id = $1").fetchval(worker.rng.randint(1, 10_000))


def update(worker: Worker) -> None:
    worker.conn.execute("UPDATE account SET n = n + 1 WHERE id = %s", [worker.rng.randint(1, 10_000)])


class Measured:
    """An observer that keeps silent in some blocks, and whose CPU time is counted."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._look, self._run = WaitSampler.look, observer._Watch.run
        self.from_ns = 0
        self.cpu_s = self.elapsed_s = 0.0

    def is_silent(self, block: int) -> bool:
        """One block of each pair is."""
        return (random.Random(f"{self._seed}:{block // 2}").random() < 0.5) == bool(block % 2)

    @contextmanager
    def patched(self) -> Iterator[None]:
        measured = self

        def look(sampler: WaitSampler) -> None:
            at_s = (time.perf_counter_ns() - measured.from_ns) / 1e9
            if not measured.is_silent(int(at_s / BLOCK_S)):
                measured._look(sampler)

        def run(watch: Any) -> Any:
            began_s, thread_s = time.perf_counter(), time.thread_time()
            watch_wait = watch._watch

            def note_start() -> None:
                measured.from_ns = watch._from_ns
                watch_wait()

            watch._watch = note_start
            seen = measured._run(watch)
            measured.elapsed_s = time.perf_counter() - began_s
            measured.cpu_s = time.thread_time() - thread_s + on_cpu_s(watch._conn.info.backend_pid)
            return seen

        with mock.patch.object(WaitSampler, "look", look), mock.patch.object(observer._Watch, "run", run):
            yield


def on_cpu_s(pid: int) -> float:
    """How long a process was on a CPU, by the kernel's scheduler."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def ratios(found: RunStatistics, measured: Measured) -> list[float]:
    """Throughput watched over throughput silent, of each pair of blocks."""
    halves: dict[int, list[Block]] = {}
    for block in found.blocks:
        halves.setdefault(int((block.at_s + block.duration_s / 2) / BLOCK_S), []).append(block)
    per_s = {index: Block.joined(parts).figures().throughput_per_s for index, parts in halves.items()}
    pairs = [(index, index + 1) for index in range(0, max(per_s) - 1, 2)]
    return [
        per_s[second] / per_s[first] if measured.is_silent(first) else per_s[first] / per_s[second]
        for first, second in pairs
    ]


def bounds_of_median(values: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the median lies with 95 % confidence."""
    ordered, n = sorted(values), len(values)
    skipped = max(0, math.floor(n / 2 - 0.98 * math.sqrt(n)) - 1)
    return ordered[skipped], ordered[n - 1 - skipped]


def measure(function: Callable[[Worker], None], dsn: str, workers: int, rounds: int) -> None:
    found, cpu_s, elapsed_s = [], 0.0, 0.0
    for number in range(rounds):
        measured = Measured(number)
        with measured.patched():
            record = load(function, dsn, workers=workers, duration=f"{ROUND_S}s", warmup="1s")
        found += ratios(record.statistics, measured)
        cpu_s += measured.cpu_s
        elapsed_s += measured.elapsed_s
    low, high = bounds_of_median(found)
    share = 2 * cpu_s / elapsed_s / (os.cpu_count() or 1)  # at most: it was silent for half of the time
    print(
        f"{function.__name__}, {workers} workers: {100 * share:.2f} % of the CPUs; ratio"
        f" {statistics.median(found):.4f} [{low:.4f}, {high:.4f}] of {len(found)} pairs",
        flush=True,
    )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with EmbeddedServer.start(max_connections=100) as server:
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE account (id int PRIMARY KEY, n int)")
            conn.execute("INSERT INTO account SELECT i, 0 FROM generate_series(1, 10000) i")
        for function, workers in ((point_select, 1), (point_select, 8), (prepared_select, 2), (update, 8)):
            measure(function, server.dsn, workers, rounds)


if __name__ == "__main__":
    main()

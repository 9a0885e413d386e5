"""What watching the server costs: pairs of short runs with and without the observer, in an order drawn by a coin.

    python -m tests.benchmarks.bench_observer [PAIRS]

Prints the ratio of throughputs (watched to unwatched) of each workload: its median over the pairs, and the interval
that holds the median of all such pairs with 95 % confidence (order statistics).
"""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

import psycopg

from pytest_stormdb.database.observer import Observer
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.workload.contract import Worker

from ..workers.harness import load

DURATION = "2s"


def point_select(worker: Worker) -> None:
    worker.conn.execute("SELECT n FROM account WHERE id = %s", [worker.rng.randint(1, 10_000)]).fetchone()


def prepared_select(worker: Worker) -> None:
    worker.prepare("SELECT n FROM account WHERE id = $1").fetchval(worker.rng.randint(1, 10_000))


def update(worker: Worker) -> None:
    worker.conn.execute("UPDATE account SET n = n + 1 WHERE id = %s", [worker.rng.randint(1, 10_000)])


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """No observer: its ``during`` does nothing."""
    with mock.patch.object(Observer, "during", return_value=contextlib.nullcontext()):
        yield


def ratios(function: Callable[[Worker], None], dsn: str, workers: int, pairs: int) -> list[float]:
    """Throughput watched over throughput unwatched, of each pair."""
    coin, found = random.Random(5), []
    for _ in range(pairs):
        per_s = {}
        for is_watched in random.Random(coin.random()).sample([True, False], 2):
            with contextlib.nullcontext() if is_watched else unwatched():
                record = load(function, dsn, workers=workers, duration=DURATION, warmup="300ms")
            per_s[is_watched] = record.statistics.total.throughput_per_s
        found.append(per_s[True] / per_s[False])
    return found


def bounds_of_median(values: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the median lies with 95 % confidence."""
    ordered, n = sorted(values), len(values)
    skipped = max(0, math.floor(n / 2 - 0.98 * math.sqrt(n)) - 1)
    return ordered[skipped], ordered[n - 1 - skipped]


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with EmbeddedServer.start(max_connections=100) as server:
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE account (id int PRIMARY KEY, n int)")
            conn.execute("INSERT INTO account SELECT i, 0 FROM generate_series(1, 10000) i")
        for function, workers in ((point_select, 1), (point_select, 8), (prepared_select, 2), (update, 8)):
            found = ratios(function, server.dsn, workers, pairs)
            low, high = bounds_of_median(found)
            middle = statistics.median(found)
            print(f"{function.__name__}, {workers} workers: {middle:.4f} [{low:.4f}, {high:.4f}], {pairs} pairs")


if __name__ == "__main__":
    main()

"""What it costs to record a latency: ours, drained in batches, against the reference implementation.

Run by hand: ``python tests/benchmarks/bench_histogram.py``. Prints nanoseconds per value, the best of many
rounds, since whatever else the machine does can only add to them.
"""

from __future__ import annotations

import math
import platform
import random
import time
from array import array
from collections.abc import Callable

from pytest_stormdb.measurement.histogram import HIGHEST_NS, Histogram, index_of

ROUNDS = 40


def tight(rng: random.Random) -> int:
    """A fast loop: 20 us, give or take 30 ns."""
    return int(rng.gauss(20_000, 30))


def lognormal(rng: random.Random) -> int:
    """A database call: half of them below 500 us, one in a hundred above 1.6 ms."""
    return int(rng.lognormvariate(math.log(500_000), 0.5))


def ours(values: array[int]) -> None:
    """Record a drained buffer in one call."""
    Histogram().record_many(values)


def plain(values: array[int]) -> tuple[int, int, int]:
    """The same result by the obvious loop."""
    counts: dict[int, int] = {}
    get = counts.get
    durations = values.tolist()
    for value in durations:
        shift = value.bit_length() - 11
        index = (shift << 10) + (value >> shift) if shift > 0 else value
        counts[index] = get(index, 0) + 1
    return sum(durations), min(durations), max(durations)


def reference() -> Callable[[array[int]], None] | None:
    """One call of ``hdrhistogram`` per value, where that package is installed."""
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError:
        return None
    record = HdrHistogram(1, HIGHEST_NS, 3).record_value

    def one_by_one(values: array[int]) -> None:
        for value in values:
            record(value)

    return one_by_one


def nanoseconds_per_value(recorder: Callable[[array[int]], object], values: array[int], rounds: int) -> float:
    """The best round's time, shared among its values."""
    best = math.inf
    for _ in range(rounds):
        started = time.perf_counter_ns()
        recorder(values)
        best = min(best, time.perf_counter_ns() - started)
    return best / len(values)


def measure(draw: Callable[[random.Random], int], size: int) -> None:
    """Print the line for one distribution and size of batch."""
    rng = random.Random(size)
    values = array("Q", [draw(rng) for _ in range(size)])
    fast = nanoseconds_per_value(ours, values, ROUNDS)
    loop = nanoseconds_per_value(plain, values, ROUNDS)
    theirs = reference()
    slow = nanoseconds_per_value(theirs, values, ROUNDS // 5) if theirs else math.nan
    buckets = len(set(map(index_of, values)))
    print(f"{draw.__name__:>9} {size:>6} {buckets:>8} {fast:>6.0f}", end="")
    print(f"{loop:>8.0f} ({loop / fast:.1f}x) {slow:>8.0f} ({slow / fast:.1f}x)")


def main() -> None:
    """Measure both distributions in small and in large batches."""
    print(f"Python {platform.python_version()} {platform.machine()}, ns per value, best of {ROUNDS}")
    print("latencies  batch  buckets   ours    plain loop   hdrhistogram")
    for draw in (tight, lognormal):
        for size in (1_000, 20_000):
            measure(draw, size)


if __name__ == "__main__":
    main()

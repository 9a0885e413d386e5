"""How often verdicts are wrong: simulated, and beside neighbours on this machine.

``python -m tests.benchmarks.bench_verdicts simulate [RUNS]`` repeats the tables of docs/how-we-judge.md from a seed.
``... thresholds [RUNS]`` and ``... comparisons [RUNS]`` measure a real server, quiet and beside two neighbours:
somebody else's database, busy and idle at random for 6 s on average, and processes that burn CPU in the same way.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from pytest_stormdb.database.isolation import Home
from pytest_stormdb.embedded.binaries import find_binaries
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.load.alternation import Alternation
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.blocks import batch_mean, block_ns
from pytest_stormdb.record import RunRecord
from pytest_stormdb.run.alternating import Arm, Epoch, Runs, each_alone, run_alone, run_epoch
from pytest_stormdb.run.comparing import compare, pairs_of
from pytest_stormdb.verdict.comparison import Claim, Comparison, Pair
from pytest_stormdb.verdict.judgement import Evidence, judge
from pytest_stormdb.verdict.threshold import Threshold
from pytest_stormdb.workload.contract import Operation, WorkerPlaceholder, Workload

from ..workers.harness import load

# -- simulated -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """How a machine's speed moves, as standard deviations of its logarithm: from run to run, over a minute, over 1.5 s;
    bursts a minute and their mean size. Calls are lognormal (0.5), one in fifty with a Pareto (2) tail."""

    run: float
    slow: float
    quick: float
    bursts: float = 0.0
    size: float = 0.0


MACHINES = {
    "quiet": Machine(0.01, 0.01, 0.02),
    "shared": Machine(0.08, 0.05, 0.06, 2, 0.5),
    "nasty": Machine(0.15, 0.10, 0.12, 8, 0.6),
    "on and off": Machine(0.0, 0.0, 0.02),
}


def speeds(rng: random.Random, name: str, count: int, step_s: float) -> Iterator[tuple[float, bool]]:
    """The logarithm of the slow-down in each step, and whether others can be seen at work in it.

    "On and off" is a neighbour that makes everything four times slower, for 6 s on average, then is gone for as long.
    """
    machine = MACHINES[name]
    base, slow, quick = (rng.gauss(0, sd) for sd in (machine.run, machine.slow, machine.quick))
    left_s = size = 0.0
    busy, change_s = rng.random() < 0.5, rng.expovariate(1 / 6)
    for _ in range(count):
        slow, quick = _moved(rng, slow, machine.slow, step_s / 60), _moved(rng, quick, machine.quick, step_s / 1.5)
        left_s -= step_s
        if left_s <= 0 and rng.random() < machine.bursts / 60 * step_s:
            left_s, size = rng.expovariate(0.5), rng.expovariate(1 / machine.size)
        stall = machine.bursts and rng.random() < step_s / 15
        change_s -= step_s
        if change_s < 0:
            busy, change_s = not busy, rng.expovariate(1 / 6)
        if name == "on and off":
            yield (math.log(4) + rng.gauss(0, 0.3), True) if busy else (rng.gauss(0, machine.quick), False)
        else:
            yield (
                base + slow + quick + (size if left_s > 0 else 0.0) + (1.5 if stall else 0.0),
                left_s > 0 or bool(stall),
            )


def _moved(rng: random.Random, value: float, sd: float, share: float) -> float:
    kept = math.exp(-share)
    return kept * value + math.sqrt(1 - kept * kept) * rng.gauss(0, sd)


def simulated_run(rng: random.Random, name: str, seconds: int, rate: int = 500) -> tuple[list[list[float]], list[bool]]:
    """The calls of each block, and which blocks are clean: four of five disturbances are noticed, one of fifty made up;
    of a neighbour that is on and off, all."""
    step_s = block_ns(seconds * 10**9) / 1e9
    blocks, flags = [], []
    for slow, is_busy in speeds(rng, name, round(seconds / step_s), step_s):
        blocks.append([math.exp(slow) * _call(rng) for _ in range(round(rate * step_s))])
        flags.append(rng.random() < (1.0 if name == "on and off" else 0.8) if is_busy else rng.random() < 0.02)
    window = max(1, round(0.5 / step_s))
    seen = [any(flags[index // window * window :][:window]) for index in range(len(flags))]
    return blocks, [not (seen[index] or seen[max(0, index - 1)]) for index in range(len(seen))]


def _call(rng: random.Random) -> float:
    return rng.lognormvariate(0, 0.5) * (rng.paretovariate(2) if rng.random() < 0.02 else 1.0)


def p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def simulated_verdict(blocks: list[list[float]], clean: list[bool], limit: float) -> str:
    """The rule of ``verdict.judgement`` on numbers."""
    if p95([call for block in blocks for call in block]) <= limit:
        return "pass"
    used = [block for block, is_clean in zip(blocks, clean, strict=True) if is_clean]
    mean = batch_mean([sum(call > limit for call in block) / len(block) for block in used], [len(b) for b in used])
    beyond = mean is not None and mean.below(0.99) > 0.05
    return "fail" if beyond and 2 * len(used) >= len(blocks) else "inconclusive"


def simulate_thresholds(runs: int) -> None:
    factors = (1 / 1.5, 0.8, 0.9, 1.0, 1.25)
    print(f"p95 < limit, {runs} runs: % failed by the naive rule | % fail/inconclusive/pass, by limit / typical p95")
    for name in MACHINES:
        for seconds in (4, 10, 30):
            rng = random.Random(f"{name} {seconds}")
            made = [simulated_run(rng, name, seconds) for _ in range(runs)]
            wholes = [p95([call for block in blocks for call in block]) for blocks, _ in made]
            typical = statistics.median(wholes)
            cells = []
            for factor in factors:
                counts = Counter(simulated_verdict(*run, typical * factor) for run in made)
                naive = 100 * sum(whole > typical * factor for whole in wholes) / runs
                shares = "/".join(f"{100 * counts[kind] / runs:.0f}" for kind in ("fail", "inconclusive", "pass"))
                cells.append(f"{factor:.2f}x {naive:.0f} | {shares}")
            print(f"{name:>10} {seconds:>3} s   " + "   ".join(cells), flush=True)


def simulated_comparison(rng: random.Random, name: str, effect: float, budget_s: float) -> tuple[str, float]:
    """Blocks of 0.25 s in epochs as of a comparison; both arms restart with a layout worth 2 % (sd)."""
    claim, at = Claim("p95", alpha=0.005), 0
    epochs: list[tuple[Pair, ...]] = []
    steps = list(speeds(rng, name, round(budget_s / 0.25), 0.25))
    while at + 2 * ((per_epoch := pairs_of(len(epochs), 250_000_000, budget_s, claim.alpha)) + 1) <= len(steps):
        at += 2
        layout, pairs = rng.gauss(0, 0.02), []
        for _ in range(per_epoch):
            both = steps[at : at + 2]
            first, second = both if rng.random() < 0.5 else both[::-1]
            difference = second[0] - first[0] + math.log1p(effect) + layout + rng.gauss(0, 0.14)
            pairs.append(Pair(difference, not (first[1] or second[1])))
            at += 2
        epochs.append(tuple(pairs))
        verdict = Comparison(claim, tuple(epochs)).verdict
        if verdict != "inconclusive":
            return verdict, at * 0.25
    return "inconclusive", at * 0.25


def simulate_comparisons(runs: int) -> None:
    print(f"margin 10 %, {runs} runs: % slower/inconclusive/not slower (mean seconds), by true change")
    for budget_s in (60, 120):
        for name in MACHINES:
            cells = []
            for effect in (0.0, 0.05, 0.2, 0.3):
                rng = random.Random(f"{name} {effect} {budget_s}")
                found = [simulated_comparison(rng, name, effect, budget_s) for _ in range(runs)]
                counts = Counter(verdict for verdict, _ in found)
                shares = "/".join(
                    f"{100 * counts[kind] / runs:.0f}" for kind in ("slower", "inconclusive", "not slower")
                )
                cells.append(f"+{100 * effect:.0f} %: {shares} ({statistics.mean(s for _, s in found):.0f} s)")
            print(f"{name:>10} {budget_s:>3} s   " + "   ".join(cells), flush=True)


# -- measured --------------------------------------------------------------------------------------------------------

_BUSY = """
import random, subprocess, sys, time
rng = random.Random(int(sys.argv[1]))
while True:
    time.sleep(rng.expovariate(1 / 6))
    seconds = max(1, round(rng.expovariate(1 / 6)))
    subprocess.run([word.replace("SECONDS", str(seconds)).replace("CLIENTS", str(rng.randint(4, 16)))
                    for word in sys.argv[2:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""
_AWAY = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
open(sys.argv[1], "w").write(str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
_BURN = "import os, time; end = time.time() + SECONDS; [os.fork() for _ in range(2)]\nwhile time.time() < end: pass"


@contextlib.contextmanager
def neighbour(kind: str, other: EmbeddedServer) -> Iterator[None]:
    """Somebody else on this machine: none, a database under pgbench, or CPU burners; on and off at random."""
    if kind == "quiet":
        yield
        return
    command = [sys.executable, "-c", _BURN]
    if kind == "database":
        pgbench = str(find_binaries().program("psql").with_name("pgbench"))
        subprocess.run([pgbench, "-i", "-q", "-s", "10", other.dsn], check=True, capture_output=True)
        command = [pgbench, "-S", "-c", "CLIENTS", "-j", "2", "-T", "SECONDS", other.dsn]
    with tempfile.TemporaryDirectory() as directory:
        told = Path(directory) / "pid"
        busy = [sys.executable, "-c", _AWAY, str(told), sys.executable, "-c", _BUSY, "7", *command]
        subprocess.run(busy, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not told.exists() or not told.read_text():
            time.sleep(0.01)
        try:
            yield
        finally:
            os.killpg(int(told.read_text()), signal.SIGKILL)


def fill(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)")
        conn.execute("INSERT INTO account SELECT i, 100 FROM generate_series(1, 100000) i")
        conn.execute("VACUUM ANALYZE account")


def point(worker: Any) -> None:
    key = worker.rng.randint(1, 100_000)
    worker.conn.execute("SELECT balance FROM account WHERE id = %s", [key]).fetchone()


def measure_thresholds(runs: int) -> None:
    """The unchanged point select again and again, judged at 1.25 x its typical p95, and at a limit missed by half."""
    with two_servers() as (server, other):
        fill(server.dsn)
        any_limit = [Threshold.parse("p95 < 1h")]  # so that everything is looked at which a verdict may need
        for kind in ("quiet", "database", "burners"):
            with neighbour(kind, other):
                records = [
                    load(point, server.dsn, thresholds=any_limit, workers=4, duration="4s", warmup="1s")
                    for _ in range(runs)
                ]
            _tell(kind, records)


def _tell(kind: str, records: list[RunRecord]) -> None:
    values = [record.statistics.total.response.p95 for record in records]
    typical, quickest = statistics.median(values), min(values)
    line = f"{kind}: p95 {min(values) * 1e3:.2f} to {max(values) * 1e3:.2f} ms, typical {typical * 1e3:.3f} ms"
    print(f"{line}; naive rule at 1.25 x: {sum(v > 1.25 * typical for v in values)} of {len(values)} fail")
    for what, limit in (("1.25 x typical", 1.25 * typical), ("missed by half, of the quickest", quickest / 1.5)):
        threshold = Threshold.parse(f"p95 < {limit * 1e9:.0f}ns")
        verdicts = [judge([threshold], _evidence(record))[0] for record in records]
        rulings = Counter(verdict.ruling for verdict in verdicts)
        named = sum("used" in v.reason or "took" in v.reason for v in verdicts if v.ruling == "inconclusive")
        print(f"  {what}: {dict(rulings)}, {named} of the inconclusive name who it was", flush=True)


def _evidence(record: RunRecord) -> Evidence:
    return Evidence(record.statistics, record.dropped, record.validity, record.noise, record.began_ns)


def measure_comparisons(runs: int) -> None:
    """Unchanged, and with a query made slower by 20 %, beside each neighbour; and the naive rule beside them."""
    with two_servers() as (server, other):
        fill(server.dsn)
        scan = ranged(_ROWS)
        for kind in ("quiet", "database", "burners"):
            with neighbour(kind, other):
                for what, second in (("unchanged", ranged(_ROWS)), ("slower by 20 %", ranged(_ROWS * 6 // 5))):
                    found = [_compared(server.dsn, scan, second) for _ in range(runs)]
                    verdicts = Counter(verdict for verdict, _, _ in found)
                    seconds = statistics.mean(each[1] for each in found)
                    naive = sum(each[2] for each in found)
                    print(
                        f"{kind}, {what}: {dict(verdicts)}, {seconds:.0f} s on average; naively slower: {naive}",
                        flush=True,
                    )


_ROWS = 20_000
"""So many that their number is what a query costs: a client's part is some hundredths of it."""


def ranged(rows: int) -> Callable[[Any], None]:
    def scan(worker: Any) -> None:
        key = worker.rng.randint(1, 75_000)
        query = "SELECT sum(balance) FROM account WHERE id BETWEEN %s AND %s"
        worker.conn.execute(query, [key, key + rows]).fetchone()

    return scan


def _compared(dsn: str, first: Callable[[Any], None], second: Callable[[Any], None]) -> tuple[str, float, bool]:
    arms = (_arm("old", first, dsn), _arm("new", second, dsn))
    plan = make_plan(("bench", {"workers": 2}))
    seed = random.randrange(2**32)

    def play(alternation: Alternation) -> Epoch:
        return run_epoch(arms, plan, alternation)

    def alone(duration_ns: int, number: int) -> Runs:
        return each_alone(number, lambda arm: run_alone(arms[arm], plan, duration_ns))

    record = compare("bench", ("old", "new"), play, alone, plan, Claim("p50"), budget_s=120, seed=seed)
    naive = [load(each, dsn, workers=2, duration="4s").statistics.total.response.p50 for each in (first, second)]
    return record.comparison.verdict, record.elapsed_s, naive[1] > 1.1 * naive[0]


def _arm(name: str, function: Callable[[Any], None], dsn: str) -> Arm:
    operation = Operation(name, function, ("worker",))
    arguments = {"worker": WorkerPlaceholder()}
    return Arm(name, Workload(name="bench", nodeid=name, operations=(operation,), arguments=arguments), Home.at(dsn))


@contextlib.contextmanager
def two_servers() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    with EmbeddedServer.start(max_connections=100) as server, EmbeddedServer.start(max_connections=100) as other:
        yield server, other


if __name__ == "__main__":
    what, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40
    if what == "simulate":
        simulate_thresholds(runs)
        simulate_comparisons(runs)
    else:
        {"thresholds": measure_thresholds, "comparisons": measure_comparisons}[what](runs)

"""When iterations start, how many there are, and which of them count."""

from __future__ import annotations

import math
import os
import re
import struct
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_stormdb.database.isolation import Home
from pytest_stormdb.load.pacing import make_schedule
from pytest_stormdb.load.plan import LoadPlan, make_plan
from pytest_stormdb.run.pipeline import run
from pytest_stormdb.verdict.threshold import Threshold
from pytest_stormdb.workers.arrivals import NOT_YET, PipedArrivalQueue
from pytest_stormdb.workers.local import ForkLauncher
from pytest_stormdb.workers.runtime import Job
from pytest_stormdb.workload.contract import Operation, Workload

from .harness import load


def empty(worker: Any) -> None:
    """Nothing."""


def ten_ms(worker: Any) -> None:
    """Ten milliseconds on the server."""
    worker.conn.execute("SELECT pg_sleep(0.01)")


class NotedQueue(PipedArrivalQueue):
    """Writes down every arrival that any worker claims."""

    def __init__(self, plan: LoadPlan, log: int) -> None:
        schedule = make_schedule(plan)
        super().__init__(schedule, schedule.starts_ns())
        self._log = log

    def claim(self) -> int | None:
        intended_ns = super().claim()
        if intended_ns is not None and intended_ns != NOT_YET:
            os.write(self._log, struct.pack("q", intended_ns))
        return intended_ns


class Claims:
    """Every arrival that any worker of a run with this launcher claimed, in ns from its start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def launcher(self, job: Job) -> ForkLauncher:
        return ForkLauncher(job, NotedQueue(job.plan, self.log))

    def __call__(self) -> list[int]:
        return sorted(value for (value,) in struct.iter_unpack("q", self._path.read_bytes()))


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[Claims]:
    """What the workers of a run claim, where the run is given its launcher."""
    noted = Claims(tmp_path / "claims")
    yield noted
    os.close(noted.log)


@pytest.mark.parametrize("is_async", [False, True], ids=["processes", "tasks"])
def test_each_uniform_arrival_is_served_exactly_once(dsn: str, claims: Claims, is_async: bool) -> None:
    """Of 500/s over 0.4 s of warm-up and 0.8 s, every arrival is claimed once, at its time; 400 are measured."""

    async def empty_async(worker: Any) -> None:
        """Nothing."""

    function = empty_async if is_async else empty
    record = load(
        function,
        dsn,
        launcher=claims.launcher,
        workers=4,
        rate="500/s",
        warmup="400ms",
        duration="800ms",
        connect=False,
    )
    assert claims() == [round(index * 1e9 / 500) for index in range(600)]
    assert (record.statistics.total.count, record.dropped) == (400, 0)


@pytest.mark.parametrize("arrivals", ["uniform", "poisson"])
def test_what_nobody_was_free_to_serve_is_counted_as_dropped(dsn: str, claims: Claims, arrivals: str) -> None:
    """Two workers of 10 ms cannot serve 1,000/s: served and dropped add up to the schedule, and it is a finding."""
    record = load(ten_ms, dsn, launcher=claims.launcher, workers=2, rate="1000/s", arrivals=arrivals, duration="1s")
    plan = make_plan(("", {"rate": "1000/s", "arrivals": arrivals, "duration": "1s"}))
    assert record.statistics.total.count == len(claims())
    assert record.statistics.total.count + record.dropped == sum(1 for _ in make_schedule(plan).starts_ns())
    assert record.dropped > 700
    assert record.statistics.total.response.max > 0.5
    assert any("rate not reached" in finding for finding in record.validity.findings)


def test_a_number_of_iterations_hides_no_missed_rate(dsn: str) -> None:
    """Of 120 iterations none is dropped, but at 10 ms two workers do not start them at 1,000/s, and that is told."""
    missed = load(ten_ms, dsn, workers=2, rate="1000/s", iterations=60)
    assert (missed.statistics.total.count, missed.dropped) == (120, 0)
    assert any(finding.startswith("rate not reached: ") for finding in missed.validity.findings)
    kept = load(ten_ms, dsn, workers=2, rate="50/s", iterations=10)
    assert not any("rate not reached" in finding for finding in kept.validity.findings)


class LateQueue(PipedArrivalQueue):
    """Is not fed before an instant."""

    from_ns = 1 << 63

    def feed(self) -> None:
        if time.perf_counter_ns() >= self.from_ns:
            super().feed()


class LateLauncher(ForkLauncher):
    """Feeds its workers 0.6 s late."""

    def __init__(self, job: Job) -> None:
        schedule = make_schedule(job.plan)
        self._queue = LateQueue(schedule, schedule.starts_ns())
        super().__init__(job, self._queue)

    def start(self, delay_ns: int) -> None:
        self._queue.from_ns = time.perf_counter_ns() + delay_ns + 600_000_000
        super().start(delay_ns)


def test_a_late_parent_moves_nothing_out_of_the_warm_up(dsn: str) -> None:
    """Workers that find no arrivals for 0.6 s still count those of 0.3 s of warm-up as such, and the rest as late."""
    options: dict[str, Any] = {"workers": 2, "rate": "100/s", "warmup": "300ms", "duration": "1s", "connect": False}
    record = load(empty, dsn, launcher=LateLauncher, **options)
    assert (record.statistics.total.count, record.dropped) == (100, 0)
    assert record.statistics.total.response.max > 0.2
    late_ms = re.search(r"idle workers started up to (\d+) ms", record.validity.reasons[0])
    assert late_ms is not None, record.validity.reasons
    assert int(late_ms[1]) > 200  # it is ours, and not the server's


def test_a_forked_child_takes_no_arrival(dsn: str, claims: Claims) -> None:
    """A workload that forks in an open loop serves all its arrivals nonetheless: the child claims none."""

    def forks(worker: Any) -> None:
        if worker.iteration % 5 == 0:
            os.fork()

    record = load(forks, dsn, launcher=claims.launcher, workers=2, rate="50/s", duration="1s", connect=False)
    assert len(claims()) == 50
    assert (record.statistics.total.count, record.statistics.total.failures) == (50, 0)


@pytest.mark.slow
def test_poisson_arrivals_of_a_real_run_are_exponential(dsn: str, claims: Claims) -> None:
    """The gaps between the arrivals of a run pass a Kolmogorov-Smirnov test at 1 % against their distribution."""
    load(
        empty,
        dsn,
        launcher=claims.launcher,
        workers=3,
        rate="1000/s",
        arrivals="poisson",
        duration="3s",
        seed=7,
        connect=False,
    )
    starts = claims()
    gaps = sorted((after - before) / 1e6 for before, after in pairwise(starts))
    n = len(gaps)
    assert 2700 < n < 3300
    expected = [1 - math.exp(-gap) for gap in gaps]
    distance = max(max((i + 1) / n - value, value - i / n) for i, value in enumerate(expected))
    assert distance < 1.63 / math.sqrt(n)


@pytest.mark.parametrize("model", [{}, {"rate": "1000/s"}], ids=["closed", "open"])
@pytest.mark.parametrize("warmup", ["0s", "200ms"])
def test_iterations_are_exact(dsn: str, model: dict[str, Any], warmup: str) -> None:
    """Three workers of seven measured iterations each make 21, whatever the model and the warm-up."""
    record = load(ten_ms, dsn, workers=3, iterations=7, warmup=warmup, **model)
    assert record.statistics.total.count == 21
    assert record.dropped == 0


def test_warm_up_is_cut_by_the_intended_start_and_the_end_is_drained(dsn: str) -> None:
    """Of iterations of 0.5 s after 0.75 s of warm-up, those begun in the warm-up do not count; the last one does."""

    def half(worker: Any) -> None:
        time.sleep(0.5)

    record = load(half, dsn, workers=1, warmup="750ms", duration="1s", connect=False)
    assert record.statistics.total.count == 2
    assert record.statistics.elapsed_s == pytest.approx(1.25, abs=0.2)


def test_metrics_are_reset_at_the_end_of_the_warm_up(dsn: str) -> None:
    """A counter says how many measured iterations there were."""

    def counts(worker: Any) -> None:
        worker.metrics.count("calls")

    record = load(counts, dsn, workers=2, rate="500/s", warmup="300ms", duration="300ms", connect=False)
    assert record.statistics.metrics["calls"].value == record.statistics.total.count == 150


def test_rates_divide_by_the_time_of_the_whole_run(dsn: str) -> None:
    """Three arrivals in 1.5 s are 2/s, though the last one comes after one second."""
    record = load(empty, dsn, workers=1, rate="2/s", duration="1500ms", connect=False)
    assert record.statistics.total.count == 3
    assert 1.5 <= record.statistics.elapsed_s < 2


@pytest.mark.parametrize(("think_time", "most"), [("100ms", 10), ("50ms..150ms", 20)])
def test_think_time_lies_between_iterations(dsn: str, think_time: str, most: int) -> None:
    """A worker that thinks makes few iterations in a second, and its thinking is in no latency."""
    record = load(empty, dsn, workers=1, duration="1s", think_time=think_time, connect=False)
    assert 3 <= record.statistics.total.count <= most
    assert record.statistics.total.response.p50 < 0.02


def mix(*weights: float) -> Workload:
    """A class of operations with these weights."""
    operations = tuple(Operation(f"op{weight}", empty, weight=weight) for weight in weights)
    return Workload(name="mix", nodeid="mix", operations=operations)


def test_a_drawn_mix_matches_its_weights(dsn: str) -> None:
    """6,000 draws on a known seed pass a chi-squared test at 0.1 %; another run draws the same, another seed not."""
    weights = (45, 30, 20, 5)

    def counts(seed: int) -> list[int]:
        plan = make_plan(("", {"workers": 3, "iterations": 2000, "connect": False, "seed": seed}))
        operations = run(mix(*weights), plan, Home.at(dsn), embedded=True).statistics.operations
        return [operations[f"op{weight}"].count for weight in weights]

    drawn = counts(11)
    assert sum(drawn) == 6000
    expected = [weight * 60 for weight in weights]
    assert sum((got - want) ** 2 / want for got, want in zip(drawn, expected, strict=True)) < 16.27
    assert counts(11) == drawn
    assert counts(12) != drawn


@pytest.mark.parametrize("processes", [1, 3], ids=["threads", "processes"])
def test_the_same_seed_draws_the_same_numbers(dsn: str, tmp_path: Path, processes: int) -> None:
    """Every worker's stream is a function of seed and id, and of nothing else."""

    def draws(seed: int, name: str) -> list[str]:
        out = os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def write(worker: Any) -> None:
            os.write(out, f"{worker.id} {worker.iteration} {worker.rng.random()}\n".encode())

        load(write, dsn, workers=3, iterations=5, seed=seed, processes=processes, connect=False)
        os.close(out)
        return sorted((tmp_path / name).read_text().splitlines())

    first = draws(1, "first")
    assert len(set(first)) == 15
    assert draws(1, "again") == first
    assert draws(2, "other") != first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expression", "options"), [("p99 < 50us", {}), ("p90 < 50us", {"rate": "300/s"}), ("throughput > 100000/s", {})]
)
def test_a_missed_threshold_may_abort_a_run(dsn: str, expression: str, options: dict[str, Any]) -> None:
    """A threshold that is missed with abort=True ends the run long before its time, failed, and says when."""
    threshold = Threshold.parse(expression, abort=True)
    began = time.monotonic()
    record = load(ten_ms, dsn, thresholds=[threshold], workers=4, duration="60s", **options)
    assert time.monotonic() - began < 30
    assert record.outcome == "failed"
    assert record.reasons[0].startswith("aborted after ")
    assert f"{expression}: measured" in record.reasons[0]
    assert record.verdicts[0].ruling == "fail"
    assert 1 < record.statistics.elapsed_s < 30


@pytest.mark.slow
def test_other_thresholds_let_a_run_go_on(dsn: str) -> None:
    """A missed threshold without abort, and a held one with it, do not end a run."""
    thresholds = [Threshold.parse("p50 < 50us"), Threshold.parse("p50 < 10s", abort=True)]
    record = load(ten_ms, dsn, thresholds=thresholds, workers=2, duration="4s")
    assert record.outcome == "failed"
    assert record.statistics.elapsed_s >= 4
    assert "aborted" not in record.reasons[0]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_iterations(dsn: str, tmp_path: Path) -> None:
    """Ten million iterations leave a worker's memory within 5 MB of where it stood after ten thousand."""
    out = tmp_path / "memory"

    def measures(worker: Any) -> None:
        if worker.iteration in (10_000, 9_999_999):
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            with out.open("a") as lines:
                lines.write(f"{resident}\n")

    record = load(measures, dsn, workers=1, iterations=10_000_000, connect=False)
    assert record.statistics.total.count == 10_000_000
    early, late = map(int, out.read_text().split())
    assert late - early < 5_000_000

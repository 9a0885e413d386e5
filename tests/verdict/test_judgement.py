"""Thresholds judged: passes on everything, failures on clean blocks beyond doubt, and the reasons of all else."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pytest_stormdb.measurement.noise import Noise, Window
from pytest_stormdb.measurement.recorder import Recorder, Snapshot
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.measurement.stats import statistics_of
from pytest_stormdb.verdict.judgement import Evidence, judge
from pytest_stormdb.verdict.threshold import Threshold, Verdict
from pytest_stormdb.verdict.validity import Validity

MS = 1_000_000


QUIET = Noise((), sees_machine=True, sees_server=True)


def evidence(*, validity: Validity | None = None, failures: int = 0, successes: int = 100) -> Evidence:
    """Response times of 1 to 100 ms within four seconds and twenty blocks, half of each of them lag, and failures."""
    recorder = Recorder()
    blocks: dict[int, Snapshot] = {}
    for k in range(1, successes + 1):
        recorder.record(Sample("read", 0, k * MS // 2, k * MS), is_open=True)
        recorder.tally("read").retries = 7 if k == 1 else 0
        blocks.setdefault(k % 20, Snapshot()).merge(recorder.take())
    for _ in range(failures):
        recorder.record_failure(Sample("write", 0, 0, MS), Failure("40001", "could not serialize"))
    recorder.metric("hits", "counter").add(40)
    recorder.metric("ratio", "gauge").add(0.25)
    recorder.metric("endless", "gauge").add(math.inf)
    recorder.reconnects = 2
    blocks.setdefault(0, Snapshot()).merge(recorder.take())
    whole = Snapshot()
    for block in blocks.values():
        whole.merge(block)
    statistics = statistics_of(whole, blocks, elapsed_s=4, interval_s=0.2, is_open=True)
    return Evidence(statistics, dropped=3, validity=validity or Validity(), noise=QUIET)


def judged(expression: str, *, operation: str | None = None, **given: Any) -> Verdict:
    (verdict,) = judge([Threshold.parse(expression, operation=operation)], evidence(**given))
    return verdict


@pytest.mark.parametrize(
    ("expression", "ruling", "line"),
    [
        ("max < 101ms", "pass", "max < 101ms: measured 100 ms"),
        ("max < 5ms", "fail", "max < 5ms: measured 100 ms"),
        ("max <= 100ms", "pass", "max <= 100ms: measured 100 ms"),
        ("max == 100ms", "pass", "max == 100ms: measured 100 ms"),
        ("min > 1ms", "fail", "min > 1ms: measured 1.00 ms"),
        ("mean < 40ms", "fail", "mean < 40ms: measured 50.5 ms"),
        ("p50 < 40ms", "fail", "p50 < 40ms: measured 50.0 ms"),
        ("service.max < 51ms", "pass", "service.max < 51ms: measured 50.0 ms"),
        ("lag.max < 51ms", "pass", "lag.max < 51ms: measured 50.0 ms"),
        ("throughput > 24/s", "pass", "throughput > 24/s: measured 25.0/s"),
        ("throughput > 26/s", "fail", "throughput > 26/s: measured 25.0/s"),
        ("throughput > 1000/m", "pass", "throughput > 1000/m: measured 1,500/m"),
        ("retries <= 6", "fail", "retries <= 6: measured 7"),
        ("dropped == 3", "pass", "dropped == 3: measured 3"),
        ("reconnects == 0", "fail", "reconnects == 0: measured 2"),
        ("metrics.hits >= 40", "pass", "metrics.hits >= 40: measured 40"),
        ("metrics.ratio > 0.5", "fail", "metrics.ratio > 0.5: measured 0.25"),
        ("metrics.endless > 1", "pass", "metrics.endless > 1: measured inf"),
        ("metrics.misses < 5", "fail", "metrics.misses < 5: nothing was measured"),
        ("errors == 0", "pass", "errors == 0: measured 0%"),
    ],
)
def test_thresholds_are_judged(expression: str, ruling: str, line: str) -> None:
    """Each metric is judged by its own figure, and the line says expression and measured value."""
    verdict = judged(expression)
    assert (verdict.ruling, verdict.line) == (ruling, line)


def test_failures_count_against_errors_only() -> None:
    """Forty failures in a hundred and forty operations are 28.6 %; the latency is that of the successes."""
    verdict = judged("errors < 10%", failures=40)
    assert (verdict.ruling, verdict.line) == ("fail", "errors < 10%: measured 28.6%")
    assert judged("max < 101ms", failures=40).ruling == "pass"


def test_few_failures_tell_little_about_a_rate() -> None:
    """One failure in four happens by chance at 10 %: not decided. Where none is allowed, one is one too many."""
    verdict = judged("errors < 10%", failures=1, successes=3)
    assert verdict.ruling == "inconclusive"
    assert verdict.line == (
        "errors < 10%: measured 25.0% (1 of 4 operations failed, which happens by chance at 10.0%; a longer run"
        " decides it)"
    )
    assert judged("errors == 0", failures=1, successes=300).ruling == "fail"
    assert judged("errors <= 0", failures=1, successes=300).ruling == "fail"


def test_an_operation_has_its_own_threshold() -> None:
    """A threshold may hold for one operation; one that did not run fails and names those that did."""
    verdict = judged("errors == 0", operation="write", failures=2)
    assert (verdict.ruling, verdict.line) == ("fail", "errors == 0 [write]: measured 100%")
    missing = judged("p50 < 1s", operation="wriet", failures=2)
    assert (missing.ruling, missing.estimate) == ("fail", None)
    assert missing.line == "p50 < 1s [wriet]: no operation 'wriet' ran; there were: read, write"
    assert judged("p50 < 1s", operation="x", successes=0).line == "p50 < 1s [x]: no operation 'x' ran; there were: none"


@pytest.mark.parametrize("expression", ["p99 < 1h", "errors < 100%", "mean > 0"])
def test_nothing_measured_is_no_pass(expression: str) -> None:
    """Without a single operation there is no latency and no error ratio, so nothing holds."""
    verdict = judged(expression, successes=0)
    assert (verdict.ruling, verdict.estimate, verdict.reason) == ("fail", None, "nothing was measured")


def test_a_troubled_generator_makes_a_failure_invalid_and_spoils_no_pass() -> None:
    """Trouble can only make the database look slower: a pass stands, a latency's failure is invalid, errors count."""
    trouble = Validity(("busy", "late"), ("busy",))
    assert judged("max < 101ms", validity=trouble).ruling == "pass"
    verdict = judged("max < 1ms", validity=trouble)
    assert (verdict.ruling, verdict.line) == ("invalid", "max < 1ms: measured 100 ms (busy)")
    assert judged("errors == 0", validity=trouble, failures=1).ruling == "fail"
    assert not trouble.valid
    assert Validity(("a finding alone",)).valid


# -- noise -----------------------------------------------------------------------------------------------------------

SECOND = 1_000_000_000
Speed = Callable[[int], float]


def run_of(
    speed: Speed, *, blocks: int = 100, calls: int = 50, seed: int = 1, windows: Sequence[Window] = (), **noise: bool
) -> Evidence:
    """A run in blocks of 0.1 s whose calls take 1 ms on average, times the speed of each block."""
    rng = random.Random(seed)
    intervals: dict[int, Snapshot] = {}
    whole = Snapshot()
    for index in range(blocks):
        recorder = Recorder()
        for _ in range(calls):
            took_ns = round(MS * speed(index) * rng.lognormvariate(-0.125, 0.5))
            recorder.record(Sample("read", 0, 0, took_ns), is_open=False)
        intervals[index] = recorder.take()
        whole.merge(intervals[index])
    seen = {"sees_machine": True, "sees_server": True, **noise}
    statistics = statistics_of(whole, intervals, elapsed_s=blocks / 10, interval_s=0.1, is_open=False)
    return Evidence(statistics, noise=Noise(tuple(windows), **seen), began_ns=7 * SECOND)


def busy(from_s: float, to_s: float, **share: Any) -> Window:
    """A stretch of the run in which others were busy."""
    given: dict[str, Any] = {"foreign": 0.6, "culprits": {"pgbench": 0.4, "postgres": 0.2}} | share
    return Window(7 * SECOND + round(from_s * SECOND), 7 * SECOND + round(to_s * SECOND), **given)


def ruled(expression: str, evidence: Evidence) -> Verdict:
    (verdict,) = judge([Threshold.parse(expression)], evidence)
    return verdict


def half_slow(index: int) -> float:
    return 4.0 if index < 40 else 1.0


def test_what_the_whole_run_meets_passes_under_any_noise() -> None:
    """Noise adds latency, so a limit that is met all the same is met."""
    everywhere = [busy(0, 10)]
    assert ruled("p95 < 20ms", run_of(half_slow, windows=everywhere)).ruling == "pass"


def test_noise_alone_never_fails() -> None:
    """Slow while a neighbour is busy and fast otherwise: inconclusive, with who it was and what it was without."""
    verdict = ruled("p95 < 3ms", run_of(half_slow, windows=[busy(0, 4)]))
    assert verdict.ruling == "inconclusive"
    assert verdict.reason == (
        "disturbed for 4.1 of 10.0 s: other processes (pgbench, postgres) used 60.0% of the CPUs;"
        " undisturbed, it was 1.99 ms; a quieter machine or --stormdb-until-decided decides it"
    )
    assert verdict.low is not None
    assert verdict.high is not None
    assert 1.7e-3 < verdict.low < 2.3e-3
    assert verdict.high > 7e-3


def test_a_run_that_was_hardly_ever_quiet_is_not_failed() -> None:
    """With less than half of it undisturbed, what is left is not judged, and not shown."""
    verdict = ruled("p95 < 1ms", run_of(lambda index: 1.0, windows=[busy(0, 6)]))
    assert verdict.ruling == "inconclusive"
    assert verdict.reason.startswith("disturbed for 6.1 of 10.0 s: other processes")
    assert "undisturbed" not in verdict.reason


@pytest.mark.parametrize(
    ("share", "who"),
    [
        ({"stolen": 0.08, "foreign": 0.0}, "other machines took 8.00% of this one's time"),
        ({"unseen": 0.4, "foreign": 0.0}, "processes out of sight used 40.0% of the CPUs"),
        ({"throttled": True, "foreign": 0.0}, "the control group's CPU limit stopped us"),
    ],
)
def test_each_kind_of_noise_is_named(share: dict[str, Any], who: str) -> None:
    """Stolen time, processes in other containers, and a CPU limit are told apart."""
    assert who in ruled("p95 < 3ms", run_of(half_slow, windows=[busy(0, 4, **share)])).reason


def test_a_real_violation_fails_on_its_clean_blocks() -> None:
    """A limit that the quiet blocks miss by half is missed, with a neighbour during four of ten seconds or without."""
    for windows in ([], [busy(0, 4)]):
        verdict = ruled("p95 < 1.4ms", run_of(half_slow if windows else lambda index: 1.0, windows=windows))
        assert (verdict.ruling, verdict.reason) == ("fail", "")


def test_a_violation_at_the_limit_is_left_open() -> None:
    """A p95 one hundredth above its limit on a quiet machine is too near to be sure of."""
    evidence = run_of(lambda index: 1.0)
    at_s = evidence.statistics.total.response.p95
    verdict = ruled(f"p95 < {at_s * 0.99e6:.0f}us", evidence)
    assert (verdict.ruling, verdict.reason) == (
        "inconclusive",
        "too near to the limit to be sure; a longer run decides it",
    )


def test_a_run_of_a_moment_tells_nothing_apart() -> None:
    """Three blocks are too few, unless the limit is missed by an order of magnitude."""
    short = run_of(lambda index: 1.0, blocks=3)
    verdict = ruled("p50 < 500us", short)
    assert (verdict.ruling, verdict.reason) == (
        "inconclusive",
        "0.3 s are too short to tell it from noise; some seconds decide it",
    )
    assert ruled("p50 < 20us", short).ruling == "fail"
    assert ruled("mean < 10us", run_of(lambda index: 1.0, blocks=3, windows=[busy(0, 1)])).ruling == "fail"


def test_a_percentile_needs_ten_samples_beyond_it() -> None:
    """A p99 of 500 calls is not judged, not even as passed; the verdict says how long the run would have to be."""
    few = run_of(lambda index: 1.0, blocks=10)
    verdict = ruled("p99 < 1s", few)
    assert (verdict.ruling, verdict.reason) == ("inconclusive", "p99 needs 1,000 calls, not 500: a run of 2.00 s")
    assert ruled("p99.9 < 1s", few).reason == "p99.9 needs 10,000 calls, not 500: a run of 20.0 s"
    assert ruled("p98 < 1s", few).ruling == "pass"


def test_extremes_and_means_have_the_same_rule() -> None:
    """One stall is no evidence against a maximum; many are. Means and minima are judged by the blocks' own."""
    stall = run_of(lambda index: 30.0 if index == 50 else 1.0)
    assert ruled("max < 20ms", stall).ruling == "inconclusive"
    assert ruled("max < 2ms", stall).ruling == "fail"
    assert ruled("mean < 700us", run_of(lambda index: 1.0)).ruling == "fail"
    assert ruled("min < 50us", stall).ruling == "fail"


def test_throughput_has_the_mirrored_rule() -> None:
    """Missed on the quiet blocks beyond doubt it fails; missed because of a neighbour it does not."""
    calm = run_of(lambda index: 1.0)
    assert ruled("throughput > 400/s", calm).ruling == "pass"
    assert ruled("throughput > 600/s", calm).ruling == "fail"
    assert ruled("throughput > 600/s", run_of(lambda index: 1.0, windows=[busy(0, 6)])).ruling == "inconclusive"
    assert ruled("throughput > 20000/s", run_of(lambda index: 1.0, windows=[busy(0, 6)])).ruling == "fail"


def test_where_the_server_is_out_of_sight_hardly_any_block_may_meet_the_limit() -> None:
    """Its noise cannot be seen either: only a limit that nearly all blocks miss is missed."""

    def now_and_then(index: int) -> float:
        return 1.0 if index % 3 else 0.4

    assert ruled("p50 < 600us", run_of(now_and_then)).ruling == "fail"
    assert ruled("p50 < 600us", run_of(now_and_then, sees_server=False)).ruling == "inconclusive"
    assert ruled("p50 < 700us", run_of(lambda index: 1.0, sees_server=False, sees_machine=False)).ruling == "fail"


def test_a_warm_up_that_was_measured_is_cut() -> None:
    """Slow at first and fast from then on: the beginning alone fails nothing, and the reason says why."""
    verdict = ruled("p95 < 2.5ms", run_of(lambda index: 8.0 - index / 5 if index < 35 else 1.0))
    assert verdict.ruling == "inconclusive"
    assert verdict.reason.startswith("warmed up, it was 1.99 ms;")
    assert ruled("p95 < 1.4ms", run_of(lambda index: 8.0 - index / 5 if index < 35 else 1.0)).ruling == "fail"


def test_a_slow_down_is_no_warm_up() -> None:
    """A run that becomes slower as it goes on is judged with all of its blocks."""
    assert ruled("p95 < 3ms", run_of(lambda index: 1.0 + index / 25)).ruling == "fail"

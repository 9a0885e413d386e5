"""The load plan: which source wins, what displaces what, and every refusal word for word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_stormdb.errors import PlanError
from pytest_stormdb.load.option import NOT_GIVEN
from pytest_stormdb.load.options import check_options
from pytest_stormdb.load.plan import LoadPlan, make_plan

Layer = tuple[str, Mapping[str, Any]]


def plan_of(**options: Any) -> LoadPlan:
    return make_plan(("mark", options))


def refusal(*layers: Layer) -> str:
    with pytest.raises(PlanError) as refused:
        make_plan(*layers)
    return str(refused.value)


def test_the_defaults() -> None:
    """Without any word from anybody: one worker, ten seconds, a closed loop, nothing else."""
    assert make_plan() == LoadPlan(
        workers=1,
        duration_ns=10_000_000_000,
        iterations=None,
        warmup_ns=0,
        rate_per_s=None,
        arrivals="uniform",
        stages=(),
        think_time_ns=(0, 0),
        timeout_ns=30_000_000_000,
        retries=0,
        batch_size=1,
        seed=0,
        connect=True,
        processes=None,
        judge="server",
    )


def test_every_option_arrives() -> None:
    """Each option lands in its field, in nanoseconds where it is a time."""
    plan = plan_of(
        workers=4,
        duration="2s",
        warmup="100ms",
        rate="50/s",
        arrivals="poisson",
        timeout="5s",
        retries=3,
        batch_size=20,
        seed=-7,
        connect=False,
        processes=2,
    )
    assert (plan.workers, plan.duration_ns, plan.warmup_ns, plan.rate_per_s) == (4, 2 * 10**9, 10**8, 50.0)
    assert (plan.arrivals, plan.timeout_ns, plan.retries, plan.batch_size) == ("poisson", 5 * 10**9, 3, 20)
    assert (plan.seed, plan.connect, plan.processes, plan.is_open) == (-7, False, 2, True)
    assert plan_of(think_time="10ms..50ms").think_time_ns == (10_000_000, 50_000_000)
    assert plan_of(processes="auto").processes is None


def test_the_stronger_layer_wins_option_by_option() -> None:
    """Layers come strongest first; each option is taken from the first that gives it; what is not given is nothing."""
    plan = make_plan(
        ("command line", {"workers": "8", "warmup": NOT_GIVEN}),
        ("mark", {"workers": 2, "warmup": "1s", "seed": 3}),
        ("ini file", {"workers": 1, "seed": 9, "timeout": "1s"}),
    )
    assert (plan.workers, plan.warmup_ns, plan.seed, plan.timeout_ns) == (8, 10**9, 3, 10**9)


@pytest.mark.parametrize(
    ("strong", "weak", "expected"),
    [
        ({"duration": "1s"}, {"iterations": 5}, (1_000_000_000, None, 0)),
        ({"iterations": 5}, {"duration": "1s"}, (None, 5, 0)),
        ({"iterations": 5}, {"stages": "2:1s"}, (None, 5, 0)),
        ({"duration": "1s"}, {"stages": "2:3s"}, (1_000_000_000, None, 0)),
        ({"stages": "2:3s"}, {"iterations": 5}, (3_000_000_000, None, 1)),
        ({"stages": "2:3s"}, {"duration": "1s"}, (3_000_000_000, None, 1)),
        ({"iterations": 5}, {}, (None, 5, 0)),
    ],
)
def test_rivals_displace_each_other(
    strong: Mapping[str, Any], weak: Mapping[str, Any], expected: tuple[int | None, int | None, int]
) -> None:
    """What a stronger layer says of the end of a run displaces what a weaker one, or the default, says of it."""
    plan = make_plan(("command line", strong), ("mark", weak))
    assert (plan.duration_ns, plan.iterations, len(plan.stages)) == expected


def test_stages_and_rates_displace_each_other() -> None:
    """A run has one rate: staged or constant, whichever the stronger layer says."""
    assert make_plan(("command line", {"rate": "9/s"}), ("mark", {"stages": "5/s:1s"})).rate_per_s == 9.0
    staged = make_plan(("command line", {"stages": "5/s:1s"}), ("mark", {"rate": "9/s"}))
    assert (staged.rate_per_s, staged.is_open, staged.workers) == (None, True, 1)


def test_workers_and_stages_of_workers_displace_each_other() -> None:
    """A stronger number of workers is never ignored in favour of weaker stages of workers, nor the reverse."""
    flat = make_plan(("command line", {"workers": 3, "duration": "1s"}), ("mark", {"stages": "5:1s,9:1s"}))
    assert (flat.workers, flat.stages) == (3, ())
    staged = make_plan(("command line", {"stages": "5:1s,2->9:1s"}), ("mark", {"workers": 3}))
    assert (staged.workers, len(staged.stages)) == (9, 2)
    rates = make_plan(("command line", {"workers": 3}), ("mark", {"stages": "5/s:1s"}))
    assert (rates.workers, len(rates.stages)) == (3, 1)
    assert refusal(("mark", {"workers": 3, "stages": "5:1s"})) == (
        "mark: give workers or stages of workers, not both (workers=3, stages='5:1s')"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers: 0 is out of range; give a number from 1 to 10000"),
        ({"workers": -3}, "workers: -3 is out of range; give a number from 1 to 10000"),
        ({"workers": "-3"}, "workers: -3 is out of range; give a number from 1 to 10000"),
        ({"workers": 1_000_000}, "workers: 1000000 is out of range; give a number from 1 to 10000"),
        ({"workers": "9" * 30}, f"workers: {'9' * 30} is out of range; give a number from 1 to 10000"),
        ({"workers": 2.0}, "workers: 2.0 is not a whole number"),
        ({"workers": True}, "workers: True is not a whole number"),
        ({"workers": "many"}, "workers: 'many' is not a whole number"),
        ({"workers": ""}, "workers: '' is not a whole number"),
        ({"workers": None}, "workers: None is not a whole number"),
        ({"iterations": 0}, "iterations: 0 is out of range; give a number of 1 or more"),
        ({"iterations": "1.5"}, "iterations: '1.5' is not a whole number"),
        ({"duration": 0}, "duration: 0 is too short; give more than zero"),
        ({"duration": "0s"}, "duration: '0s' is too short; give more than zero"),
        ({"duration": "1 day"}, "duration: '1 day' is not a duration; write it as '500ms', '30s', '5m' or '1h'"),
        ({"duration": -1}, "duration: -1 is not a duration of zero or more seconds"),
        ({"warmup": "x"}, "warmup: 'x' is not a duration; write it as '500ms', '30s', '5m' or '1h'"),
        ({"timeout": "0"}, "timeout: '0' is too short; give more than zero"),
        ({"rate": "fast"}, "rate: 'fast' is not a rate; write it as '1000/s' or '60/m'"),
        ({"rate": 0}, "rate: 0 is not a rate above zero"),
        ({"arrivals": "bursty"}, "arrivals: 'bursty' is neither 'uniform' nor 'poisson'"),
        ({"retries": -1}, "retries: -1 is out of range; give a number from 0 to 1000"),
        ({"batch_size": 0}, "batch_size: 0 is out of range; give a number of 1 or more"),
        ({"seed": "abc"}, "seed: 'abc' is not a whole number"),
        ({"connect": "no"}, "connect: 'no' is neither True nor False"),
        ({"processes": 0}, "processes: 0 is out of range; give a number from 1 to 1024"),
        ({"think_time": "5ms..1ms"}, "think_time: '5ms..1ms' has its bounds the wrong way round"),
        ({"think_time": "1ms.."}, "think_time: '' is not a duration; write it as '500ms', '30s', '5m' or '1h'"),
        ({"stages": ""}, "stages: '' is not a stage; write it as '10:30s' or '100/s->500/s:1m'"),
        ({"stages": "10"}, "stages: '10' is not a stage; write it as '10:30s' or '100/s->500/s:1m'"),
        ({"stages": []}, "stages: an empty list; give at least one (duration, workers or rate) pair"),
        ({"stages": 7}, "stages: 7 is not a list of (duration, workers or rate) pairs"),
        ({"stages": ["10:30s"]}, "stages: ['10:30s'] is not a list of (duration, workers or rate) pairs"),
        ({"stages": "10:0s"}, "stages: a stage needs a duration above zero, not '0s'"),
        ({"stages": "0:1s"}, "stages: a stage needs workers, not '0'"),
        ({"stages": "-1:1s"}, "stages: -1 is out of range; give a number from 0 to 10000"),
        ({"stages": "5:1s,9/s:1s"}, "stages: '5:1s,9/s:1s' mixes workers and rates; use one of them"),
        ({"stages": "1/s->5:1s"}, "stages: '5' is not a rate; write it as '1000/s' or '60/m'"),
    ],
)
def test_bad_values_are_refused(options: Mapping[str, Any], message: str) -> None:
    """Each bad value is refused by a sentence that names source, option and value."""
    assert refusal(("command line", options)) == f"command line: {message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"duration": "1s", "iterations": 5},
            "mark: give duration or iterations, not both (duration='1s', iterations=5)",
        ),
        (
            {"duration": "1s", "stages": "1:1s"},
            "mark: give duration or stages, not both (duration='1s', stages='1:1s')",
        ),
        (
            {"iterations": 5, "stages": "1:1s"},
            "mark: give iterations or stages, not both (iterations=5, stages='1:1s')",
        ),
        ({"rate": 5, "stages": "1:1s"}, "rate 5/s and stages exclude each other; write the rate in the stages"),
        (
            {"rate": 5, "think_time": "1ms"},
            "think_time goes with a closed loop; with a rate, the schedule says when to start",
        ),
        ({"worker": 5}, "mark: unknown option 'worker'; did you mean 'workers'?"),
        ({"time": 5}, "mark: unknown option 'time'; did you mean 'timeout'?"),
        (
            {"xyz": 5},
            "mark: unknown option 'xyz'; known are arrivals, batch_size, connect, duration, isolation, iterations,"
            " judge, processes, rate, retries, seed, stages, think_time, timeout, warmup, workers",
        ),
    ],
)
def test_contradictions_are_refused(options: Mapping[str, Any], message: str) -> None:
    """What does not exist, or not together, is refused by a sentence that names it."""
    assert refusal(("mark", options)) == message


def test_an_option_that_is_none_is_still_checked_by_name() -> None:
    """``check_options`` refuses a misspelt name whatever its value."""
    with pytest.raises(PlanError, match="did you mean 'duration'"):
        check_options(["duratoin"], "mark")

"""When iterations start: stages and ramps, the inverse of an integrated rate, uniform and Poisson arrivals."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.load.pacing import (
    Segment,
    active_windows_ns,
    make_schedule,
    poisson_gaps,
    spin_ns,
    stage_starts_ns,
    uniform_gaps,
)
from pytest_stormdb.load.plan import LoadPlan, make_plan

SECOND = 1_000_000_000
rates = st.floats(0.01, 100_000)


def plan_of(**options: Any) -> LoadPlan:
    return make_plan(("test", options))


def starts(**options: Any) -> list[int]:
    return list(make_schedule(plan_of(**options)).starts_ns())


def test_uniform_arrivals_are_evenly_spaced() -> None:
    """Ten a second for a second start every 100 ms, the first at once."""
    assert starts(rate="10/s", duration="1s") == [k * SECOND // 10 for k in range(10)]


def test_the_warm_up_comes_first_at_the_first_rate() -> None:
    """The warm-up runs at the rate the measured part begins with, and the arrivals go on across its end."""
    assert starts(rate="4/s", duration="1s", warmup="500ms") == [k * SECOND // 4 for k in range(6)]
    staged = starts(stages="2/s:1s,4/s:1s", warmup="1s")
    assert [round(start / SECOND, 3) for start in staged] == [0, 0.5, 1, 1.5, 2, 2.25, 2.5, 2.75]


def test_a_ramp_speeds_up_evenly() -> None:
    """From nothing to 8/s in a second, arrival k comes at the square root of k/4 seconds."""
    ramp = Segment(0, SECOND, 0, 8)
    assert ramp.arrivals == 4
    assert [round(ramp.offset_ns(k)) for k in range(4)] == [round(math.sqrt(k / 4) * SECOND) for k in range(4)]
    assert Segment(0, SECOND, 0, 0).offset_ns(0) == 0


def test_iterations_bound_a_schedule_from_outside() -> None:
    """With a number of iterations instead of a duration, the schedule itself never ends."""
    schedule = make_schedule(plan_of(rate="10/s", iterations=5))
    assert schedule.left_before(1.05 * SECOND) == 11
    assert list(itertools.islice(schedule.starts_ns(), 100)) == [k * SECOND // 10 for k in range(100)]
    assert schedule.left_before(1.05 * SECOND) == 0
    assert schedule.left_before(10**9 * SECOND) == 10**10 - 100


@given(st.integers(1, 5_000), st.integers(1, 3))
def test_whole_rates_give_whole_numbers_of_arrivals(rate: int, seconds: int) -> None:
    """A uniform rate over whole seconds holds exactly rate times seconds arrivals, not one more or less."""
    schedule = make_schedule(plan_of(rate=rate, duration=seconds))
    assert schedule.left_before(seconds * SECOND) == rate * seconds
    found = list(schedule.starts_ns())
    assert len(found) == rate * seconds
    assert abs(found[-1] - Fraction((len(found) - 1) * SECOND, rate)) <= 1
    assert schedule.left_before(seconds * SECOND) == 0


@given(rates, rates, st.integers(1_000, 10**13), st.floats(0, 1))
def test_the_offset_inverts_the_integrated_rate(begin: float, end: float, duration_ns: int, share: float) -> None:
    """As many arrivals as come by an instant have come at that instant, on any ramp."""
    segment = Segment(7, duration_ns, begin, end)
    arrivals = segment.arrivals * share
    offset_ns = segment.offset_ns(arrivals)
    assert 0 <= offset_ns <= duration_ns * (1 + 1e-9)
    assert segment.arrivals_by(7 + offset_ns) == pytest.approx(arrivals, rel=1e-6, abs=1e-9)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4))
def test_arrivals_follow_the_stages_in_order(stages: list[tuple[int, int, int]]) -> None:
    """Intended starts never go back, stay within the run, and are as many as the stages hold."""
    plan = plan_of(stages=[(f"{seconds}s", f"{begin}/s->{end}/s") for seconds, begin, end in stages])
    found = list(make_schedule(plan).starts_ns())
    expected = sum((begin + end) / 2 * seconds for seconds, begin, end in stages)
    assert found == sorted(found)
    assert abs(len(found) - expected) <= 1
    assert found[0] == 0
    assert plan.duration_ns is not None
    assert found[-1] <= plan.duration_ns


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 4 * SECOND))
def test_counting_agrees_with_claiming(begin: int, end: int, offset_ns: int) -> None:
    """What is counted as due before an instant is what claiming up to it would have given."""
    schedule = make_schedule(plan_of(stages=[("1s", f"{begin}/s"), ("2s", f"{begin}/s->{end}/s")]))
    left = schedule.left_before(offset_ns)
    assert abs(left - sum(start < offset_ns for start in schedule.starts_ns())) <= 1


def test_poisson_gaps_are_exponential() -> None:
    """Kolmogorov and Smirnov find nothing wrong with 20,000 gaps: D is below the 1 % bound 1.628/sqrt(n)."""
    size = 20_000
    ordered = sorted(itertools.islice(poisson_gaps(42), size))
    cumulated = [1 - math.exp(-value) for value in ordered]
    distance = max(max(p - i / size, (i + 1) / size - p) for i, p in enumerate(cumulated))
    assert distance < 1.628 / math.sqrt(size)
    assert sum(ordered) / size == pytest.approx(1, abs=0.03)


def test_poisson_gaps_are_independent() -> None:
    """Neighbouring gaps are not correlated: |r| stays below three standard errors."""
    size = 20_000
    centred = [gap - 1 for gap in itertools.islice(poisson_gaps(7), size)]
    correlation = sum(a * b for a, b in itertools.pairwise(centred)) / sum(a * a for a in centred)
    assert abs(correlation) < 3 / math.sqrt(size)


def test_poisson_arrivals_repeat_with_their_seed() -> None:
    """The same seed draws the same arrivals, another seed others, negative and large ones too."""
    once = starts(rate="200/s", duration="1s", arrivals="poisson", seed=5)
    assert once == starts(rate="200/s", duration="1s", arrivals="poisson", seed=5)
    assert len({tuple(starts(rate="50/s", duration="1s", arrivals="poisson", seed=s)) for s in (-1, 0, 1, 2**63)}) == 4
    assert 140 < len(once) < 260
    assert once == sorted(once)


def test_the_uniform_gap() -> None:
    """Arrival 0 comes at once, each other one unit after the one before."""
    assert list(itertools.islice(uniform_gaps(), 3)) == [0, 1, 1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"duration": "1s"}, (0,)),
        ({"duration": "1s", "warmup": "2s"}, (2 * SECOND,)),
        ({"stages": "1:1s,2:3s,1:1s", "warmup": "2s"}, (2 * SECOND, 3 * SECOND, 6 * SECOND)),
    ],
)
def test_stages_begin_one_after_the_other(options: dict[str, Any], expected: tuple[int, ...]) -> None:
    """The first stage begins where the warm-up ends, each other where the one before ends."""
    assert stage_starts_ns(plan_of(**options)) == expected


@pytest.mark.parametrize(
    ("worker", "expected_s"),
    [
        (0, [(0, 7)]),
        (1, [(0, 1), (2, 7)]),
        (2, [(3.5, 6.5)]),
        (3, [(4.5, 5.5)]),
    ],
)
def test_stages_let_workers_in_and_out(worker: int, expected_s: list[tuple[float, float]]) -> None:
    """Two workers, one, a ramp from two to four and one back to one: each worker has its windows."""
    plan = plan_of(stages="2:1s,1:1s,2:1s,2->4:2s,4->2:2s")
    windows = [(begin / SECOND, end / SECOND) for begin, end in active_windows_ns(plan, worker)]
    assert windows == expected_s


def test_without_stages_every_worker_is_always_in() -> None:
    """A plain run, and an open loop with its rates, have no windows."""
    assert active_windows_ns(plan_of(workers=9), 8) == ((0, math.inf),)
    assert active_windows_ns(plan_of(stages="1/s:1s"), 0) == ((0, math.inf),)


def test_the_warm_up_belongs_to_the_workers_of_the_first_stage() -> None:
    """Who is in the first stage warms up; who comes later does not."""
    plan = plan_of(stages="1:1s,2:1s", warmup="5s")
    assert active_windows_ns(plan, 0) == ((0, 7 * SECOND),)
    assert active_windows_ns(plan, 1) == ((6 * SECOND, 7 * SECOND),)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5).filter(
        lambda stages: all(begin or end for _, begin, end in stages)
    ),
    st.floats(0, 1, exclude_max=True),
)
def test_as_many_workers_are_in_as_the_line_says(stages: list[tuple[int, int, int]], share: float) -> None:
    """At any instant the number of active workers is the line between the stage's ends, rounded."""
    plan = plan_of(stages=[(f"{seconds}s", f"{begin}->{end}") for seconds, begin, end in stages])
    assert plan.duration_ns is not None
    instant_ns = share * plan.duration_ns
    active = sum(
        any(begin <= instant_ns < end for begin, end in active_windows_ns(plan, worker))
        for worker in range(plan.workers)
    )
    index = max(i for i, start in enumerate(stage_starts_ns(plan)) if start <= instant_ns)
    stage = plan.stages[index]
    progress = (instant_ns - stage_starts_ns(plan)[index]) / stage.duration_ns
    assert abs(active - (stage.begin + (stage.end - stage.begin) * progress)) <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("options", "cpus", "expected_ns"),
    [
        ({"rate": "10/s"}, 2, 100_000),
        ({"rate": "20000/s"}, 2, 10_000),
        ({"rate": "20000/s"}, 8, 40_000),
        ({"stages": [("1s", "100/s"), ("1s", "100/s->40000/s")]}, 2, 5_000),
        ({"workers": 10}, 2, 0),
    ],
)
def test_watching_the_clock_takes_at_most_a_tenth_of_the_machine(
    options: dict[str, object], cpus: int, expected_ns: int
) -> None:
    """Idle workers of an open loop watch for at most 100 us, and less where the peak rate would make it too much."""
    assert spin_ns(make_plan(("test", options)), cpus) == expected_ns

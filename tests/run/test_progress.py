"""Views of a run in progress."""

from __future__ import annotations

import pickle
from time import perf_counter_ns

import pytest

from pytest_stormdb.load.plan import LoadPlan, make_plan
from pytest_stormdb.reports.live import View
from pytest_stormdb.run.progress import ComparisonWatch, Watch, phase
from pytest_stormdb.verdict.comparison import Claim, Comparison, Pair
from pytest_stormdb.workers.collected import Collected
from pytest_stormdb.workers.messages import IntervalCounts

from ..records import snapshot


class Screen:
    """Keeps what it is shown."""

    every_s = 0.0

    def __init__(self) -> None:
        self.views: list[View] = []

    def show(self, view: View) -> None:
        self.views.append(view)


def seen(plan: LoadPlan, at_s: float | None, *messages: IntervalCounts) -> View:
    """What is shown of these messages, so many seconds after the warm-up."""
    screen = Screen()
    watch = Watch("test_it", plan, screen)
    watch._began_s -= 5.0
    collected = Collected()
    if at_s is not None:
        collected.measured_from_ns = perf_counter_ns() - int(at_s * 1e9)
    for message in messages:
        collected.add(message)
        collected.rates.add(message, 0)
    watch(collected)
    return screen.views[-1]


def message(worker: int = 0, interval: int = 0) -> IntervalCounts:
    packed = pickle.dumps(snapshot(read=200, write=50, failures=3))
    return IntervalCounts(worker, interval, 0, packed, 250, 3)


def test_a_run_of_a_duration() -> None:
    """Elapsed and remaining time, the share that is done, totals, and percentiles of what was sent last."""
    view = seen(make_plan(("test", {"workers": 2, "duration": "10s"})), 4.0, message(), message(1))
    assert (view.title, view.phase) == ("test_it", "measuring")
    assert (view.elapsed_s, view.remaining_s) == pytest.approx((4.0, 6.0), abs=0.5)
    assert view.fraction == pytest.approx(0.4, abs=0.05)
    assert (view.operations, view.failures) == (500, 6)
    assert view.p50_s == pytest.approx(0.075, rel=1e-2)
    assert view.p99_s == pytest.approx(0.198, rel=1e-2)


def test_a_run_of_iterations() -> None:
    """Without a duration the share is that of the iterations, and what remains is unknown."""
    view = seen(make_plan(("test", {"workers": 2, "iterations": 253})), 1.0, message())
    assert view.remaining_s is None
    assert view.fraction == pytest.approx(0.5)


def test_set_up_has_no_figures() -> None:
    """Before the start there is the time since the forks, and nothing else."""
    view = seen(make_plan(("test", {"duration": "10s"})), None)
    assert (view.phase, view.fraction, view.operations, view.rates_per_s) == ("set-up", None, 0, ())
    assert view.elapsed_s == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize(
    ("at_s", "left_s", "stopped", "name"),
    [
        (None, None, False, "set-up"),
        (-1.0, 10.0, False, "warm-up"),
        (1.0, 9.0, False, "measuring"),
        (1.0, None, False, "measuring"),
        (11.0, 0.0, False, "draining"),
        (1.0, 9.0, True, "draining"),
    ],
)
def test_phases(at_s: float | None, left_s: float | None, stopped: bool, name: str) -> None:
    """Each phase by the time since the warm-up, the time left, and whether the run was stopped."""
    assert phase(at_s, left_s, stopped=stopped) == name


def test_views_come_at_the_screens_pace() -> None:
    """Between two frames nothing is computed."""
    screen = Screen()
    screen.every_s = 3600.0
    watch = Watch("test_it", make_plan(("test", {"duration": "10s"})), screen)
    watch(Collected())
    assert screen.views == []


def test_a_comparison_tells_what_its_pairs_say() -> None:
    """Before the first pair there is none; after an epoch the estimate and the verdict so far stand in the note."""
    screen = Screen()
    watch = ComparisonWatch("test_it", ("old", "new"), 60.0, screen)
    watch(Collected())
    assert (screen.views[-1].phase, screen.views[-1].note) == ("comparing", "no pair yet")
    watch.told(Comparison(Claim("p95"), ((Pair(0.17), Pair(0.15), Pair(0.16), Pair(0.18)),)))
    watch(Collected())
    view = screen.views[-1]
    assert view.note == "4 pairs: new is 18 % slower than old at p95, inconclusive"
    assert view.remaining_s == pytest.approx(60.0, abs=1.0)
    ComparisonWatch("test_it", ("old", "new"), 60.0, None)(Collected())


def test_a_comparison_is_shown_at_the_screens_pace() -> None:
    """Between two frames nothing is shown."""
    screen = Screen()
    screen.every_s = 3600.0
    ComparisonWatch("test_it", ("old", "new"), 60.0, screen)(Collected())
    assert screen.views == []

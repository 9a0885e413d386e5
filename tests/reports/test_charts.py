"""The numbers of the page's pictures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.histogram import Histogram
from pytest_stormdb.reports.charts import (
    bucketed,
    curves_of,
    disturbed,
    marks_of,
    over_time,
    percentile_curve,
    scaling,
    waits_over_time,
)

from .documents import long_run, sweep


def of(*milliseconds: int) -> Histogram:
    made = Histogram()
    made.record_many([ms * 1_000_000 for ms in milliseconds])
    return made


def test_the_percentile_curve_holds_the_quantiles() -> None:
    """At 1 / (1 - share) stands the duration of that share, to 0.1 %; the last point is the longest of all."""
    chart = percentile_curve({"response": of(*range(1, 1001))})
    assert chart is not None
    points = dict(zip(chart["x"]["values"], chart["series"][0]["values"], strict=True))
    assert points[1.0] == pytest.approx(0.001, rel=1e-3)
    assert points[10.0] == pytest.approx(0.900, rel=1e-3)
    assert points[100.0] == pytest.approx(0.990, rel=1e-3)
    assert points[1000.0] == pytest.approx(1.0, rel=1e-3)
    assert chart["areas"] == [{"from": 100.0, "to": 1000.0, "label": "fewer than ten calls"}]


def test_a_shorter_curve_ends_at_its_longest_call() -> None:
    """Curves share one axis; the one with fewer calls ends early, with its maximum, and null after it."""
    chart = percentile_curve({"many": of(*range(1, 1001)), "few": of(5, 6, 7)})
    assert chart is not None
    few = chart["series"][1]["values"]
    shown = [value for value in few if value is not None]
    assert shown[-1] == pytest.approx(0.007, rel=1e-3)
    assert few[len(shown) :] == [None] * (len(few) - len(shown))
    assert chart["x"]["values"][len(shown) - 1] >= 3


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=200))
def test_a_curve_never_falls(values: list[int]) -> None:
    """Whatever was recorded, the points rise, lie within the extremes, and zero is null, which a log axis needs."""
    made = Histogram()
    made.record_many(values)
    chart = percentile_curve({"all": made})
    assert chart is not None
    shown = [value for value in chart["series"][0]["values"] if value is not None]
    assert shown == sorted(shown)
    assert all(value > 0 for value in shown)
    assert chart["x"]["values"] == sorted(set(chart["x"]["values"]))
    if shown:
        assert shown[-1] == pytest.approx(max(values) / 1e9, rel=1e-3)


def test_nothing_called_is_no_curve() -> None:
    """Without a call there is no picture."""
    assert percentile_curve({"response": Histogram()}) is None


def test_curves_of_a_run() -> None:
    """Response and service of all, and of each operation where there are several; parts are in none."""
    run = long_run()
    assert {name: curve.count for name, curve in curves_of(run).items()} == {"response": 61_204, "service": 61_204}
    one = {"is_part": False, "histogram": of(1, 2).encode()}
    part = {"is_part": True, "histogram": of(9).encode()}
    mixed = curves_of({"operations": {"read": one, "write": one, "commit": part}})
    assert {name: curve.count for name, curve in mixed.items()} == {"response": 4, "read": 2, "write": 2}


def test_over_time() -> None:
    """Throughput, latency and failures are those of the timeline; marks are stages, checks and events."""
    run = long_run()
    throughput, latency, failures = over_time(run)
    assert [one["title"] for one in (throughput, latency, failures)] == [
        "Throughput over time",
        "Latency over time",
        "Failures over time",
    ]
    assert throughput["series"][0]["values"] == [float(one["operations"]) for one in run["timeline"]]
    assert [series["name"] for series in latency["series"]] == ["p50", "p95", "p99"]
    assert latency["series"][2]["values"][3] == pytest.approx(run["timeline"][3]["p99_s"], rel=1e-5)
    assert failures["series"][0]["values"][12] == 7.0
    assert marks_of(run) == [
        {"x": 0.0, "label": "10 workers for 30 s"},
        {"x": 30.0, "label": "10->50 workers for 30 s"},
        {"x": 40.0, "label": "health: replication lag", "tone": "bad"},
        {"x": 12.2, "label": "checkpoint", "tone": "event"},
    ]


def test_a_run_without_failures_has_no_picture_of_them() -> None:
    """A short run has no pictures over time at all, a faultless one none of failures; old records know no p95."""
    run = long_run()
    run["timeline"] = [
        {"at_s": float(i), "operations": 5, "failures": 0, "p50_s": 0.1, "p99_s": None} for i in range(9)
    ]
    _, latency = over_time(run)
    assert [series["name"] for series in latency["series"]] == ["p50"]
    run["timeline"] = run["timeline"][:1]
    assert over_time(run) == []


@given(st.integers(2, 4000), st.integers(1, 1000))
def test_buckets_are_few_and_lose_no_operation(seconds: int, most: int) -> None:
    """However long the run, the points are at most as many as asked for, their counts those of the timeline."""
    line = [{"at_s": float(i), "operations": i % 7, "failures": i % 3, "p50_s": i * 1e-3} for i in range(seconds)]
    buckets = bucketed(line, float(seconds), most)
    assert len(buckets) <= most
    total = sum(one["throughput_per_s"] * min(one["width_s"], seconds - one["at_s"]) for one in buckets)
    assert total == pytest.approx(sum(one["operations"] for one in line), rel=1e-4)
    assert max(one["p50_s"] or 0 for one in buckets) == pytest.approx((seconds - 1) * 1e-3, rel=1e-5)


def test_a_last_second_that_was_cut_short_keeps_its_rate() -> None:
    """Half a second with half of the operations is no slump."""
    line = [{"at_s": float(i), "operations": 100 if i < 2 else 50, "failures": 0} for i in range(3)]
    assert [one["throughput_per_s"] for one in bucketed(line, 2.5, 1000)] == [100.0, 100.0, 100.0]


def test_the_scaling_curve() -> None:
    """Measured points stand where they were measured, the law between them too, and the knee is marked."""
    curve, latency = scaling(sweep())
    measured, law = curve["series"]
    at = dict(zip(curve["x"]["values"], measured["values"], strict=True))
    assert [x for x, value in at.items() if value is not None] == [1, 2, 4, 8, 16, 32, 64]
    assert at[1] == 505.0
    assert law["values"][0] == 500.0
    assert None not in law["values"]
    assert curve["marks"] == [{"x": 32, "label": "knee"}]
    assert latency["x"]["values"] == [1, 2, 4, 8, 16, 32, 64]
    without = scaling(sweep() | {"fit": None})[0]
    assert [series["name"] for series in without["series"]] == ["throughput"]


def test_waits_are_stacked_by_class() -> None:
    """One series for each class that was seen, zero where it was not; a run of a second has no picture."""
    chart = waits_over_time([{"at_s": 0, "Lock": 4}, {"at_s": 1, "Lock": 3, "CPU*": 2}])
    assert chart is not None
    assert [(series["name"], series["values"]) for series in chart["series"]] == [("CPU*", [0, 2]), ("Lock", [4, 3])]
    assert chart["x"]["values"] == [0.0, 1.0]
    assert waits_over_time([{"at_s": 0, "Lock": 4}]) is None
    long = waits_over_time([{"at_s": second, "Lock": 1} for second in range(2500)])
    assert long is not None
    assert len(long["x"]["values"]) == 834
    assert sum(long["series"][0]["values"]) == 2500


def test_stretches_that_others_disturbed_are_shaded() -> None:
    """Windows that meet are one stretch, cut to the measured part; clean ones are none."""
    run = long_run()
    assert disturbed(run) == [{"from": 0.0, "to": 5.5, "label": ""}, {"from": 50.0, "to": 60.0, "label": ""}]
    throughput = over_time(run)[0]
    assert throughput["areas"] == disturbed(run)
    assert throughput["caption"].endswith("Where it is shaded, others used the machine.")

"""Samples of waits land on the iteration that was in flight, and nowhere else."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.attribution import (
    CPU,
    QUEUE,
    Hit,
    ServerClock,
    Span,
    WaitSample,
    at_work,
    attribute,
    class_of,
    event_of,
)


def test_events_have_names() -> None:
    """A wait has type and event; an active backend without one computes, and an idle one has the client's turn."""
    assert event_of("active", "Lock", "tuple") == "Lock:tuple"
    assert event_of("active", None, None) == CPU
    assert event_of("idle", "Client", "ClientRead") == "Client:ClientRead"
    assert event_of("idle in transaction", None, None) == "Client:ClientRead"
    assert [class_of(name) for name in ("Lock:tuple", CPU, QUEUE)] == ["Lock", CPU, QUEUE]


def test_a_sample_hits_the_iteration_in_flight() -> None:
    """It counts for the worker's iteration around its instant, bounds included, and between two for none."""
    spans = {0: [Span(10, 10, 20), Span(30, 30, 50)], 1: [Span(0, 0, 100)]}
    samples = [WaitSample(at, 0, "Lock:tuple") for at in (5, 10, 20, 25, 40, 51)] + [WaitSample(40, 1, CPU)]
    assert attribute(samples, spans) == [
        Hit((0, 10), 10, "Lock:tuple", 10),
        Hit((0, 10), 20, "Lock:tuple", 10),
        Hit((0, 30), 40, "Lock:tuple", 20),
        Hit((1, 0), 40, CPU, 100),
    ]


def test_a_late_iteration_waits_for_a_worker() -> None:
    """Between its intended and its actual start, each look finds it in the queue; its response counts from there."""
    samples = [WaitSample(at, 0, "Client:ClientRead") for at in (5, 15, 25)]
    hits = attribute(samples, {0: [Span(10, 20, 30)]})
    assert hits == [Hit((0, 20), 25, "Client:ClientRead", 20), Hit((0, 20), 15, QUEUE, 20)]


def test_the_warm_up_is_not_counted() -> None:
    """Neither a sample before the measured part, nor one of an iteration that was meant to start before it."""
    samples = [WaitSample(at, 0, CPU) for at in (5, 12, 18)]
    hits = attribute(samples, {0: [Span(0, 0, 13), Span(15, 15, 20)]}, from_ns=10)
    assert hits == [Hit((0, 15), 18, CPU, 5)]


def test_a_worker_that_is_not_known_hits_nothing() -> None:
    """A session of the user's own, which no worker claims, belongs to no iteration."""
    assert attribute([WaitSample(5, -1, CPU)], {0: [Span(0, 0, 9)]}) == []


def test_a_client_of_pgbench_is_always_at_work() -> None:
    """Looks at one transaction hit one iteration; a session at rest counts unless the schedule lets it rest."""
    samples = [
        WaitSample(5, -7, "Lock:tuple", 3),
        WaitSample(9, -7, "Lock:tuple", 3),
        WaitSample(9, -8, "Client:Read"),
    ]
    hits = at_work(samples, is_open=False)
    assert hits == [
        Hit((-7, 3), 5, "Lock:tuple", 0), Hit((-7, 3), 9, "Lock:tuple", 0), Hit((-8, 9), 9, "Client:Read", 0),
    ]  # fmt: skip
    assert at_work(samples, is_open=True) == hits[:2]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30),
    st.lists(st.integers(0, 700), max_size=50),
)
def test_attribution_agrees_with_a_search_of_all_spans(gaps: list[tuple[int, int]], instants: list[int]) -> None:
    """Bisection finds what looking at every span finds."""
    spans, now = [], 0
    for gap, length in gaps:
        start = now + gap + 1
        now = start + length
        spans.append(Span(start, start, now))
    hits = attribute([WaitSample(at, 7, CPU) for at in instants], {7: spans})
    expected = [(at, span.started_ns) for at in instants for span in spans if span.started_ns <= at <= span.finished_ns]
    assert [(hit.at_ns, hit.iteration[1]) for hit in hits] == expected


def test_hits_add_up_time_and_not_iterations() -> None:
    """Of iterations of which one in ten takes as long as nine others, random instants hit it half of the time."""
    spans, now = [], 0
    for index in range(2000):
        length = 9_000 if index % 10 == 0 else 1_000
        spans.append(Span(now, now, now + length - 1))
        now += length
    draws = random.Random(4)
    samples = [WaitSample(draws.randrange(now), 0, CPU) for _ in range(4000)]
    hits = Counter(hit.response_ns for hit in attribute(samples, {0: spans}))
    assert abs(hits[8_999] / sum(hits.values()) - 0.5) < 0.03


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**7)), min_size=1, max_size=100),
)
def test_the_servers_clock_is_placed_within_the_look(offset: int, looks: list[tuple[int, int, int]]) -> None:
    """However late an answer comes, its instant lies within its look, off by half the fastest round trip at most."""
    clock, now, fastest = ServerClock(), 10**9, 10**18
    for there, back, pause in looks:
        now += pause
        sent, read, received = now, now + there, now + there + back
        fastest = min(fastest, received - sent)
        placed = clock.instant_ns(sent, received, read + offset)
        assert sent <= placed <= received
        if len(looks) <= 64:
            assert abs(placed - read) <= fastest // 2 + 1
        now = received

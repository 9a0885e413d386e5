"""When turns come and where their samples go, by a clock that is moved by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_stormdb.load.alternation import Alternation
from pytest_stormdb.workers.arrivals import NOT_YET

from .unit import MS, SECOND, FixedArrivals, Unit


def working(unit: dict[str, Unit], duration_ns: int = 10 * MS) -> Any:
    """A function that takes that long by the clock of the unit that will be put in there."""

    def work(worker: Any) -> None:
        unit["it"].clock.advance(duration_ns)

    return work


def made(duration_ns: int = 10 * MS, **options: Any) -> Unit:
    """A worker whose function takes that long."""
    holder: dict[str, Unit] = {}
    holder["it"] = Unit(working(holder, duration_ns), **options)
    return holder["it"]


def drains(unit: Unit) -> list[int]:
    """How many durations waited each time that a worker sorted what it held; filled while it runs."""
    held: list[int] = []
    recorder = unit.runtime.loop._recorder
    drain = recorder.drain

    def noted() -> None:
        held.append(recorder.pending())
        drain()

    recorder.drain = noted  # type: ignore[method-assign]
    return held


def test_a_closed_loop_calls_until_the_deadline() -> None:
    """A second of 10 ms each is a hundred iterations, their times exact, nothing in between."""
    unit = made(duration="1s")
    total = unit.run().whole.total()
    assert (total.count, total.service.total_ns) == (100, SECOND)
    assert unit.runtime.turns.pause_ns == 0
    assert unit.clock.slept_ns == [20 * MS]


def test_warm_up_is_left_out_and_intervals_are_blocks() -> None:
    """Of 2.5 s after half a second of warm-up, each block of 0.1 s holds the iterations meant to start in it."""
    found = made(20 * MS, warmup="500ms", duration="2500ms").run()
    assert {index: snapshot.total().count for index, snapshot in found.intervals.items()} == dict.fromkeys(range(25), 5)


@pytest.mark.parametrize("arm", [0, 1])
def test_an_arm_calls_in_its_own_blocks_only(arm: int) -> None:
    """Of five pairs of 0.25 s, the arm's own blocks hold their iterations but for the first 50 ms; no other does."""
    epoch = Alternation(250 * MS, 5, 3)
    unit = made(10 * MS, alternation=epoch, arm=arm, duration="3s")
    found = unit.run().intervals
    own = {epoch.blocks_of(pair)[arm] for pair in range(5)}
    assert {block for block, snapshot in found.items() if snapshot.total().count} == own
    assert [found[block].total().count for block in sorted(own)] == [20] * 5
    assert unit.runtime.flush.calls == 100
    assert unit.worker.iteration == 6 * 25 - 1


def test_arms_draw_the_same_in_a_pair() -> None:
    """The first draw of a block is that of the pair's other block, whatever was drawn before; pairs differ."""
    epoch = Alternation(250 * MS, 4, 3)

    def drawn(arm: int, step_ns: int) -> dict[int, float]:
        first: dict[int, float] = {}

        def draw(worker: Any) -> None:
            offset_ns = unit.clock.now_ns() - start_ns
            first.setdefault(offset_ns // epoch.block_ns // 2, worker.rng.random())
            unit.clock.advance(step_ns)

        unit = Unit(draw, alternation=epoch, arm=arm, duration="2500ms")
        start_ns = unit.clock.now_ns() + 20 * MS
        unit.run()
        return first

    one, other = drawn(0, 10 * MS), drawn(1, 17 * MS)
    assert one == other
    assert len(set(one.values())) == 5


def test_a_worker_that_waits_for_its_block_sleeps_through() -> None:
    """It does not wake in between, where the other arm is measured."""
    unit = made(10 * MS, alternation=Alternation(250 * MS, 5, 3), arm=0, duration="3s")
    unit.run()
    assert min(unit.clock.slept_ns[1:]) >= 200 * MS


def test_iterations_count_after_the_warm_up() -> None:
    """Seven iterations are seven measured ones, however many the warm-up had."""
    unit = made(warmup="95ms", iterations=7)
    assert unit.run().whole.total().count == 7
    assert unit.worker.iteration == 16


def test_think_time_is_waited_for_between_calls_and_is_no_pause() -> None:
    """90 ms of thinking after 10 ms of work are ten iterations a second, waited in slices of 50 ms."""
    unit = made(duration="1s", think_time="90ms")
    assert unit.run().whole.total().count == 10
    assert unit.clock.slept_ns[1:3] == [50 * MS, 40 * MS]
    assert unit.runtime.turns.pause_ns == 0


def test_a_pause_ends_with_the_run() -> None:
    """A worker that would pause for an hour stops at the deadline."""
    unit = made(duration="1s")
    unit.worker.pause(3600)
    assert unit.run().whole.total().count == 1
    assert unit.clock.slept_ns[-1] <= 50 * MS


def test_stages_of_workers_let_a_worker_in_and_out() -> None:
    """Worker 0 of `1:1s,0:1s,1:1s` rests in the second stage, and its samples are in the stages they began in."""
    found = made(stages=[("1s", 1), ("1s", "1->0"), ("1s", 1)]).run()
    assert {stage: snapshot.total().count for stage, snapshot in found.stages.items()} == {0: 100, 1: 50, 2: 100}


@pytest.mark.parametrize("late", [False, True], ids=["fed", "late"])
def test_an_open_loop_charges_a_delay_to_the_arrivals_it_delays(late: bool) -> None:
    """Arrivals every 10 ms, served in 25 ms each: the response times grow by 15 ms, the service times do not."""
    offsets = [0, 10 * MS, 20 * MS, 30 * MS]
    unit = made(25 * MS, rate="100/s", duration="1s", arrivals=FixedArrivals(*([NOT_YET] if late else []), *offsets))
    total = unit.run().whole.total()
    assert (total.count, total.service.total_ns) == (4, 100 * MS)
    waited = 200_000 if late else 0  # it looks again that much later
    assert total.lag.total_ns == pytest.approx((0 + 15 + 30 + 45) * MS + 4 * waited, rel=1e-3)
    assert total.response.total_ns == pytest.approx((25 + 40 + 55 + 70) * MS + 4 * waited, rel=1e-3)


def test_an_idle_worker_of_an_open_loop_sleeps_until_its_arrival() -> None:
    """It comes on time, sends a sign of life each second meanwhile, and its wake-ups were not late."""
    unit = made(MS, rate="1/s", duration="5s", arrivals=FixedArrivals(3 * SECOND))
    total = unit.run().whole.total()
    assert (total.count, total.lag.total_ns) == (1, 0)
    assert len(unit.messages) >= 4
    assert unit.clock.now_ns() == 1_000 * SECOND + 20 * MS + 3 * SECOND + MS


def test_no_arrival_is_served_after_a_stop() -> None:
    """A worker that waits for an arrival when the run is stopped leaves it."""
    unit = made(rate="1/s", duration="5s", arrivals=FixedArrivals(SECOND))
    unit.deadline.stop()
    assert unit.run().whole.total().count == 0


def test_a_stop_outlives_the_deadline() -> None:
    """What was stopped before the deadline is set stays stopped."""
    unit = made(duration="1s")
    unit.deadline.stop()
    unit.deadline.set(unit.clock.now_ns() + SECOND)
    assert unit.deadline.stopped


def test_a_stop_ends_a_stretch() -> None:
    """A closed loop that is stopped in the middle of a stretch goes on for a tenth of a second at most."""
    unit = made(duration="10s")
    work = unit.runtime.loop.calls[0]

    def stop_at_50() -> None:
        work()
        if unit.worker.iteration == 50:
            unit.deadline.stop()

    unit.runtime.loop.calls = [stop_at_50]
    assert 51 <= unit.run().whole.total().count <= 61


def test_intervals_of_a_second_are_sent_together() -> None:
    """Nothing is sorted or sent by the clock in the middle of the load, but once a second, interval by interval."""
    unit = made(100_000, duration="2s")
    sent: list[tuple[int, int]] = []

    def send(message: Any) -> None:
        sent.append((unit.clock.now_ns(), message.interval))
        unit.messages.append(message)

    unit.runtime.flush._send = send
    found = unit.run()
    assert found.whole.total().count == 20_000
    assert {index: snapshot.total().count for index, snapshot in found.intervals.items()} == dict.fromkeys(
        range(20), 1000
    )
    assert len({instant_ns for instant_ns, _ in sent}) <= 3
    assert sorted({interval for _, interval in sent} - {-1}) == list(range(20))


def test_fast_iterations_are_sorted_when_there_are_many() -> None:
    """A worker holds a few thousand durations at most, however fast it is."""
    unit = made(1_000, duration="100ms")
    held = drains(unit)
    assert unit.run().whole.total().count == 100_000
    assert len(held) >= 20
    assert max(held) <= 4_000


def test_an_idle_worker_of_an_open_loop_puts_away_what_it_has() -> None:
    """Before an arrival that is far off, and not before one that is near."""
    unit = made(MS, rate="1/s", duration="5s", arrivals=FixedArrivals(0, 2 * MS, 3 * MS, 50 * MS))
    drained = drains(unit)
    assert unit.run().whole.total().count == 4
    assert [count for count in drained if count] == [3]


def packing(worker_id: int, workers: int) -> list[tuple[int, int]]:
    """When, to 5 ms, a worker of an open loop of 0.35 s, with an arrival every ms, packed how many intervals."""
    unit = made(100_000, rate="1000/s", duration="350ms", arrivals=FixedArrivals(*range(0, 350 * MS, MS)))
    unit.worker.id, flush = worker_id, unit.runtime.flush
    flush._plan = dataclasses.replace(unit.plan, workers=workers)
    flush._block_ns = 100 * MS
    start_ns, packed, pack = unit.clock.now_ns() + 20 * MS, [], flush._pack

    def noted() -> None:
        packed.append((5 * round((unit.clock.now_ns() - start_ns) / (5 * MS)), len(flush._kept)))
        pack()

    flush._pack = noted  # type: ignore[method-assign]
    found = unit.run()
    assert [found.intervals[block].total().count for block in range(4)] == [100, 100, 100, 50]
    return packed


def test_workers_of_an_open_loop_pack_one_after_the_other() -> None:
    """Each at its own part of a block, an interval at a time, so that others can serve the arrivals meanwhile."""
    first, second = packing(0, 3), packing(1, 3)
    assert first == [(25, 1), (125, 1), (225, 1), (325, 1), (350, 1)]
    assert second == [(50, 1), (150, 1), (250, 1), (350, 1), (350, 1)]


def test_what_an_open_loop_holds_is_sorted_in_small_portions() -> None:
    """Some hundred durations at a time, where a closed loop, which nobody waits for, takes thousands."""
    unit = made(1_000, rate="1000/s", duration="100s", arrivals=FixedArrivals(*range(0, 3_000 * 2_000, 2_000)))
    held = drains(unit)
    assert unit.run().whole.total().count == 3_000
    assert held == [500] * 6

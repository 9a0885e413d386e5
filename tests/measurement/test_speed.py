"""The CPUs' own speed, which others on the same cores take a part of, unseen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement import speed
from pytest_stormdb.measurement.speed import comparable_cpus, lost, work_ns

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPUs can be chosen on Linux only")


def test_what_was_lost_is_told_against_the_fastest() -> None:
    """A window in which one CPU of two took half as long again has lost a sixth; one without a reading, nothing."""
    fast, slow = [100, 100], [100, 150]
    assert lost([fast, slow, [150, 150], []]) == pytest.approx([0, 1 / 6, 1 / 3, 0])
    assert lost([]) == []
    assert lost([[], []]) == [0, 0]


def test_one_lucky_reading_is_no_measure() -> None:
    """A tenth of the readings may be faster than what the rest is held against."""
    assert lost([[50], *([[100]] * 19), [200]]) == pytest.approx([0] * 20 + [0.5])


@given(st.lists(st.lists(st.integers(1, 10**9), max_size=4)))
def test_a_share_for_each_window(windows_ns: list[list[int]]) -> None:
    """Whatever is read, each window has a share of what was lost, from nothing to less than all."""
    shares = lost(windows_ns)
    assert len(shares) == len(windows_ns)
    assert all(0 <= share < 1 for share in shares)


@needs_affinity
def test_the_same_work_on_each_cpu_and_back() -> None:
    """Each CPU takes its time for the work, and afterwards this thread may run where it could before."""
    before = os.sched_getaffinity(0)
    readings = work_ns(sorted(before)[:4])
    assert len(readings) == min(4, len(before))
    assert all(1_000 < reading < 1_000_000_000 for reading in readings)
    assert os.sched_getaffinity(0) == before
    assert work_ns([]) == []
    assert work_ns([max(before) + 4096]) == [], "a CPU that is not there"
    assert os.sched_getaffinity(0) == before


@needs_affinity
@pytest.mark.parametrize(
    ("file", "told", "are_comparable"),
    [
        ("topology/thread_siblings_list", ("0", "1"), True),
        ("topology/thread_siblings_list", ("0-1", "0-1"), False),
        ("cpu_capacity", ("1024", "1024"), True),
        ("cpu_capacity", ("1024", "512"), False),
        ("cpufreq/scaling_governor", ("performance", "performance"), True),
        ("cpufreq/scaling_governor", ("schedutil", "schedutil"), False),
        ("online", ("1", "1"), True),
    ],
)
def test_which_cpus_can_be_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, told: tuple[str, str], are_comparable: bool
) -> None:
    """Those that only others can slow down: not our own load on the same core, saved power, or their nature."""
    for cpu, text in enumerate(told):
        path = tmp_path / f"cpu{cpu}" / file
        path.parent.mkdir(parents=True)
        path.write_text(f"{text}\n")
    monkeypatch.setattr(speed, "_CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert comparable_cpus.__wrapped__() == ((0, 1) if are_comparable else ())

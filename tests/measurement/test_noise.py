"""Noise: what others did to this machine, told apart from what is ours and the server's."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Collection

import pytest

from pytest_stormdb.measurement import noise
from pytest_stormdb.measurement.noise import Machine, Noise, NoiseWatch, Window
from pytest_stormdb.measurement.process_table import Process, descendants, processes

SECOND = 1_000_000_000
ME = os.getpid()
SERVER, BACKEND, STRANGER, NEIGHBOUR, PGBENCH, WORKER, KWORKER = 50, 51, 52, 90, 91, 60, 70


def table(**ticks: int) -> dict[int, Process]:
    """A machine with our session and a worker, a server with our backend and a stranger's, a neighbour, the kernel."""
    rows = [
        (1, 0, "init"),
        (2, 0, "kthreadd"),
        (KWORKER, 2, "kworker"),
        (ME, 1, "pytest"),
        (WORKER, ME, "pytest"),
        (SERVER, 1, "postgres"),
        (BACKEND, SERVER, "postgres"),
        (STRANGER, SERVER, "postgres"),
        (NEIGHBOUR, 1, "mysqld"),
        (PGBENCH, 1, "pgbench"),
    ]
    names = {"worker": WORKER, "backend": BACKEND, "stranger": STRANGER, "kernel": KWORKER}
    names |= {"neighbour": NEIGHBOUR, "pgbench": PGBENCH}
    used = {names[name]: count for name, count in ticks.items()}
    return {pid: Process(pid, parent, name, used.get(pid, 0)) for pid, parent, name in rows}


class Clockwork:
    """A machine whose readings are set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns, self.counters, self.table, self.throttled = 0, Machine(0, 0, 0), table(), 0
        monkeypatch.setattr(noise, "perf_counter_ns", lambda: self.now_ns)
        monkeypatch.setattr(noise, "machine", lambda: self.counters)
        monkeypatch.setattr(noise, "processes", self.read)
        monkeypatch.setattr(noise, "throttled", lambda: self.throttled)

    def read(self, pids: Collection[int] = ()) -> dict[int, Process]:
        """As /proc would show them; how many were asked for is kept."""
        self.asked = len(pids)
        return {pid: process for pid, process in self.table.items() if pid in pids or not pids}

    def after_a_second(self, *, busy: int, stolen: int = 0, **ticks: int) -> None:
        """A second later, 200 ticks of two CPUs on."""
        self.now_ns += SECOND
        self.counters = Machine(self.counters.total + 200, self.counters.busy + busy, self.counters.stolen + stolen)
        self.table = table(**ticks)


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> Clockwork:
    return Clockwork(monkeypatch)


def seen(clockwork: Clockwork, server: set[int] | None, **what: int) -> Window:
    """The window in which this happened."""
    watch = NoiseWatch(lambda processes: server)
    with watch.during() as tick:
        clockwork.after_a_second(**what)
        tick()
    (window,) = watch.noise.windows
    return window


def test_our_work_is_no_noise(clockwork: Clockwork) -> None:
    """Workers, our backend and the kernel may fill the machine: nobody else did anything."""
    window = seen(clockwork, {SERVER, BACKEND}, busy=190, worker=90, backend=90, kernel=10)
    assert (window.foreign, window.unseen, window.stolen, window.is_clean) == (0.0, 0.0, 0.0, True)
    assert (window.from_ns, window.to_ns) == (0, SECOND)


def test_a_strangers_backend_is_noise_even_on_our_server(clockwork: Clockwork) -> None:
    """What is not ours counts, by name, the greatest first: other servers, and other sessions of the same one."""
    window = seen(clockwork, {SERVER, BACKEND}, busy=150, worker=10, backend=10, neighbour=60, stranger=40, pgbench=30)
    assert window.foreign == 0.65
    assert window.culprits == {"mysqld": 0.3, "postgres": 0.2, "pgbench": 0.15}
    assert not window.is_clean


def test_a_little_of_others_is_let_pass(clockwork: Clockwork) -> None:
    """A tenth of the machine, and a fiftieth stolen, slow nobody down noticeably."""
    assert seen(clockwork, {SERVER}, busy=20, pgbench=20, stolen=4).is_clean


@pytest.mark.parametrize("more", [{"busy": 22, "pgbench": 22}, {"busy": 0, "stolen": 5}])
def test_more_of_others_is_noise(clockwork: Clockwork, more: dict[str, int]) -> None:
    """Just beyond either share a window is disturbed."""
    assert not seen(clockwork, {SERVER}, **more).is_clean


def test_time_that_no_process_accounts_for_is_noise(clockwork: Clockwork) -> None:
    """Processes in other containers, and those that came and went, show in the machine's own counters only."""
    window = seen(clockwork, {SERVER, BACKEND}, busy=100, worker=40)
    assert window.unseen == 0.3
    assert not window.is_clean


def test_a_server_out_of_sight_may_have_used_that_time(clockwork: Clockwork) -> None:
    """Where no backend of ours is visible, unseen time is nobody's, and no process called postgres is foreign."""
    window = seen(clockwork, None, busy=150, worker=10, stranger=100, pgbench=10)
    assert (window.unseen, window.foreign, window.is_clean) == (None, 0.05, True)


def test_others_are_looked_at_only_where_much_is_left_open(clockwork: Clockwork) -> None:
    """As long as ours explain what the machine did, only they are read. A neighbour that then appears is named, and
    answers for no more than was used since; from the next window on, for all of it. A session of ours that is new is
    found and watched in the same way."""
    backends = {SERVER, BACKEND}
    watch = NoiseWatch(lambda processes: backends)
    with watch.during() as tick:
        clockwork.after_a_second(busy=100, worker=50, backend=50, neighbour=0)
        tick()
        clockwork.after_a_second(busy=108, worker=100, backend=100, neighbour=6, kernel=2)
        tick()
        assert clockwork.asked == 4
        clockwork.after_a_second(busy=130, worker=150, backend=150, neighbour=36, kernel=4)
        tick()
        clockwork.after_a_second(busy=140, worker=200, backend=200, neighbour=76, stranger=10, kernel=4)
        tick()
        assert clockwork.asked == 0
        backends.add(STRANGER)
        clockwork.after_a_second(busy=190, worker=250, backend=250, neighbour=76, stranger=100, kernel=4)
        tick()
        clockwork.after_a_second(busy=190, worker=300, backend=300, neighbour=76, stranger=190, kernel=4)
        tick()
        assert clockwork.asked == 5
    assert [window.foreign for window in watch.noise.windows] == pytest.approx([0.0, 0.0, 0.135, 0.25, 0.0, 0.0])
    assert [window.unseen for window in watch.noise.windows] == [0.0, 0.04, 0.0, 0.0, 0.0, 0.0]
    assert watch.noise.windows[2].culprits == {"mysqld": pytest.approx(0.135)}
    assert watch.noise.windows[3].culprits == {"mysqld": 0.2, "postgres": 0.05}


def test_throttling_is_noise(clockwork: Clockwork) -> None:
    """A CPU limit that stopped our control group spoils the window."""
    watch = NoiseWatch(lambda processes: {SERVER})
    with watch.during():
        clockwork.after_a_second(busy=0)
        clockwork.throttled = 3
    (window,) = watch.noise.windows
    assert window.throttled
    assert not window.is_clean


def test_cpus_that_were_slowed_down_are_noise(clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others on the same cores are in no counter: the same work takes half as long again while they are at it."""
    readings = iter([[100, 100], [100, 150], [150, 150], [100, 101]])
    monkeypatch.setattr(noise, "work_ns", lambda cpus: next(readings))
    watch = NoiseWatch(lambda processes: {SERVER}, cpus=(0, 1))
    with watch.during() as tick:
        for _ in range(4):
            clockwork.after_a_second(busy=0)
            tick()
    windows = watch.noise.windows
    assert [window.slowed for window in windows] == pytest.approx([0, 1 / 6, 1 / 3, 0], abs=0.005)
    assert [window.is_clean for window in windows] == [True, False, False, True]
    said = watch.noise.describe(windows[1:3])
    assert said == "others on the same cores took 25.0% of the CPUs' speed"


def test_a_system_that_tells_nothing_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc there are no windows, and that is known."""
    monkeypatch.setattr(noise, "machine", lambda: None)
    watch = NoiseWatch(lambda processes: None)
    with watch.during() as tick:
        tick()
    assert watch.noise == Noise((), sees_machine=False, sees_server=False)


def test_windows_within_a_stretch() -> None:
    """A window belongs to every stretch that it reaches into, by however little."""
    first, second = Window(0, 10), Window(10, 20)
    found = Noise((first, second))
    assert found.within(0, 10) == [first]
    assert found.within(9, 11) == [first, second]
    assert found.within(20, 30) == []


def test_the_worst_is_named_first() -> None:
    """Averages over the windows, by kind; a kind that is negligible is left out, and nobody is nothing."""
    windows = [
        Window(0, 1, stolen=0.4, foreign=0.2, culprits={"make": 0.2}),
        Window(1, 2, stolen=0.2, foreign=0.1, culprits={"cc1": 0.06, "make": 0.04}),
    ]
    assert Noise().describe(windows) == (
        "other machines took 30.0% of this one's time, other processes (make, cc1) used 15.0% of the CPUs"
    )
    assert Noise().describe([]) == ""


def test_descendants_are_found_in_any_order() -> None:
    """Children of children count, but for a server that we started; a process whose parent is gone does not."""
    rows = [(5, 4, ""), (4, 3, ""), (3, 1, ""), (9, 8, ""), (6, 3, "postgres"), (7, 6, "postgres")]
    assert descendants({pid: Process(pid, parent, name, 0) for pid, parent, name in rows}, 3) == {3, 4, 5}


@pytest.mark.skipif(noise.machine() is None, reason="needs /proc")
def test_a_real_neighbour_is_seen() -> None:
    """A process that we did not start burns a CPU: its share and its name are in the window. Our own is not."""
    burner = """
        import os, time
        if os.fork():
            os._exit(0)
        os.setsid()
        end = time.time() + 3
        while time.time() < end:
            pass
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(burner)], check=True, timeout=10)
    watch = NoiseWatch(lambda processes: ())
    with watch.during():
        time.sleep(1.5)
    (window,) = watch.noise.windows
    assert window.foreign > 0.02
    assert window.culprits
    assert {process.name for process in processes().values()} >= set(window.culprits) - {"python", "python3"}

"""Whatever breaks in the middle of a run: the results stay, the cause is named, and nothing is left behind.

Every row of docs/faults.md is a test in here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pytest_stormdb.embedded.server import EmbeddedServer

from .harness import Ended, Session, within

Start = Callable[..., Session]

pytestmark = [pytest.mark.skipif(os.name == "nt", reason="signals are POSIX"), pytest.mark.slow]

LIMIT_S = 11.0 + 20.0
"""A timeout of one second, the ten that an end may take beyond it, and what a crowded machine adds to any start."""

QUICK = """
    @pytest.mark.stormdb(workers=3, duration="60s", timeout="1s")
    def test_it(worker):
        worker.conn.execute("SELECT 1")
        if worker.iteration == 100:
            open(f"running{worker.id}", "w").close()
"""
ASLEEP = """
    @pytest.mark.stormdb(workers=2, duration="60s", timeout="50s")
    def test_it(worker):
        open(f"running{worker.id}", "w").close()
        worker.conn.execute("SELECT pg_sleep(60)")
"""


def settle(running: Session, *names: str) -> None:
    """Wait until every worker runs, and then for an interval that they have reported."""
    for name in names:
        running.wait_for(name)
    time.sleep(1.5)


def server_processes(server: EmbeddedServer) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listing.stdout.splitlines()]
    return [pid for pid, parent in pairs if server.pid in (pid, parent)]


# -- the generator's own processes ------------------------------------------------------------------------------


def test_a_killed_worker_is_named_and_the_rest_is_reported(session: Start, dsn: str) -> None:
    """Killing one of three workers ends the run with its name, its signal, and what all three had recorded."""
    running = session(QUICK, dsn=dsn)
    settle(running, "running0", "running1", "running2")
    os.kill(running.workers()[1], signal.SIGKILL)
    ended = running.end(LIMIT_S)
    assert ended.status == 1
    assert "worker 1 was killed by SIGKILL" in ended.reasons
    assert ended.run["outcome"] == "error"
    assert ended.run["totals"]["operations"] > 300
    assert ended.run["timeline"][0]["operations"] > 300
    assert running.left_nothing(dsn)


def test_all_workers_killed_at_once(session: Start, dsn: str) -> None:
    """With every worker killed, each is named, and the second they had reported is in the results."""
    running = session(QUICK, dsn=dsn)
    settle(running, "running0", "running1", "running2")
    running.process.send_signal(signal.SIGSTOP)  # lest it stops the others when it sees the first die
    for pid in running.workers():
        os.kill(pid, signal.SIGKILL)
    running.process.send_signal(signal.SIGCONT)
    ended = running.end(LIMIT_S)
    assert ended.status == 1
    assert all(f"worker {number} was killed by SIGKILL" in ended.reasons for number in range(3))
    assert ended.run["totals"]["operations"] > 300
    assert running.left_nothing(dsn)


def test_a_killed_parent_leaves_nothing(session: Start, dsn: str) -> None:
    """When pytest itself is killed, its workers and their sessions, asleep in a statement, go with it."""
    running = session(ASLEEP, dsn=dsn)
    settle(running, "running0", "running1")
    assert len(running.workers()) == 2
    running.process.kill()
    assert running.end(LIMIT_S).status == -signal.SIGKILL
    assert running.left_nothing(dsn)


def test_a_killed_parent_takes_its_server_along(session: Start, tmp_path: Path) -> None:
    """A pytest killed under load leaves neither its embedded server nor that server's directory."""
    running = session(
        QUICK.replace('open(f"running{worker.id}", "w").close()', 'open("where", "w").write(worker.dsn)'), dsn=None
    )
    settle(running, "where")
    directory = Path(str(psycopg.conninfo.conninfo_to_dict((tmp_path / "where").read_text())["host"]))
    assert directory.is_dir()
    running.process.kill()
    assert running.end(LIMIT_S).status == -signal.SIGKILL
    assert running.left_nothing()
    assert within(5, lambda: not directory.exists())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_reports(session: Start, dsn: str, number: signal.Signals) -> None:
    """The first SIGINT or SIGTERM lets running iterations end, and reports all of them as successes."""
    running = session(
        """
        @pytest.mark.stormdb(workers=2, duration="60s")
        def test_it(worker):
            worker.conn.execute("SELECT pg_sleep(0.4)")
            open(f"running{worker.id}", "w").close()

        def test_next():
            open("next", "w").close()
        """,
        dsn=dsn,
    )
    settle(running, "running0", "running1")
    running.process.send_signal(number)
    ended = running.end(LIMIT_S)
    assert ended.status not in (0, -number)
    assert f"stopped by {number.name}" in ended.reasons
    assert ended.run["totals"]["failures"] == 0
    assert ended.run["totals"]["operations"] >= 6
    assert "test_next" not in ended.output
    assert running.left_nothing(dsn)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_leaves_at_once(session: Start, dsn: str, number: signal.Signals) -> None:
    """The second signal ends workers that sleep in a statement, long before their timeout."""
    running = session(ASLEEP, dsn=dsn)
    settle(running, "running0", "running1")
    running.process.send_signal(number)
    time.sleep(0.5)
    assert running.process.poll() is None
    running.process.send_signal(number)
    ended = running.end(20)
    assert ended.status not in (0, -number)
    assert running.left_nothing(dsn)


def test_a_signal_in_the_set_up_of_workers(session: Start, dsn: str) -> None:
    """A signal while a worker fixture is still being set up ends the run without waiting for it."""
    running = session(
        """
        import time
        from pytest_stormdb import worker_fixture

        @worker_fixture
        def slow(worker):
            open(f"running{worker.id}", "w").close()
            if worker.id:
                time.sleep(25)
            yield 1
            open("torn down", "w").close()

        @pytest.mark.stormdb(workers=2, duration="5s", timeout="1s")
        def test_it(worker, slow):
            pass
        """,
        dsn=dsn,
    )
    settle(running, "running0", "running1")
    running.process.send_signal(signal.SIGINT)
    ended = running.end(LIMIT_S)
    assert ended.status != 0
    assert "stopped by SIGINT" in ended.reasons
    running.wait_for("torn down", 0)
    assert running.left_nothing(dsn)


# -- the server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def doomed() -> Iterator[EmbeddedServer]:
    """A server to be harmed."""
    with EmbeddedServer.start(max_connections=20) as running:
        yield running


SHORT_PATIENCE = "from pytest_stormdb.database import connection\nconnection.MOST_AWAY_S = 2.0\n"


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL])
def test_a_server_that_goes_for_good(session: Start, doomed: EmbeddedServer, number: signal.Signals) -> None:
    """A server stopped `immediate`, or killed, ends the run once it stayed away, with all results until then."""
    running = session(QUICK, dsn=doomed.dsn, conftest=SHORT_PATIENCE)
    settle(running, "running0", "running1", "running2")
    for pid in [doomed.pid] if number == signal.SIGQUIT else server_processes(doomed):
        os.kill(pid, number)
    ended = running.end(LIMIT_S + 2)
    assert ended.status == 1
    assert "the server stayed away for 2 s" in ended.reasons
    assert ended.run["totals"]["operations"] > 300
    assert sum(ended.errors.values()) >= 3
    assert running.left_nothing()


def test_a_server_that_crashes_and_recovers(session: Start, doomed: EmbeddedServer) -> None:
    """A killed backend makes the server restart all: the workers reconnect, the gap shows, the run ends in time."""
    running = session(QUICK.replace("60s", "6s"), dsn=doomed.dsn)
    settle(running, "running0", "running1", "running2")
    with psycopg.connect(doomed.dsn) as conn:
        os.kill(conn.info.backend_pid, signal.SIGKILL)
    ended = running.end(6 + LIMIT_S)
    assert ended.run["totals"]["reconnects"] == 3
    assert sum(ended.errors.values()) >= 3
    assert ended.run["timeline"][-1]["operations"] > 300
    assert ended.run["elapsed_s"] == pytest.approx(6, abs=1)
    assert running.left_nothing(doomed.dsn)


def test_a_server_frozen_for_five_seconds(session: Start, doomed: EmbeddedServer) -> None:
    """What a frozen server keeps waiting is a timeout; once it thaws, the workers go on to the planned end."""
    running = session(QUICK.replace("60s", "9s"), dsn=doomed.dsn)
    settle(running, "running0", "running1", "running2")
    pids = server_processes(doomed)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    ended = running.end(9 + LIMIT_S)
    assert ended.errors["timeout"] == 3
    assert ended.run["timeline"][-1]["operations"] > 300
    assert not ended.run["lost"]
    assert [interval["at_s"] for interval in ended.run["timeline"]][:9] == [float(second) for second in range(9)]
    assert min(interval["operations"] for interval in ended.run["timeline"]) == 0
    assert running.left_nothing(doomed.dsn)


def test_a_server_frozen_for_good(session: Start, doomed: EmbeddedServer) -> None:
    """The session ends all the same, with the results until then: nothing of ours is waited for without end."""
    running = session(QUICK.replace("60s", "3s"), dsn=doomed.dsn)
    settle(running, "running0", "running1", "running2")
    pids = server_processes(doomed)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        ended = running.end(2 * LIMIT_S)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert ended.status != 0
    assert ended.run["totals"]["operations"] > 300
    assert running.left_nothing()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_in_the_tear_down(session: Start, dsn: str, number: signal.Signals) -> None:
    """A tear-down that hangs is ended from outside, as by pytest-timeout: the results are on the disk."""
    hangs = """
        import time

        @pytest.fixture
        def slow():
            yield
            open("leaving", "w").close()
            time.sleep(60)

        @pytest.mark.stormdb(workers=2, iterations=5)
        def test_it(worker, slow):
            worker.conn.execute("SELECT 1")
    """
    running = session(hangs, dsn=dsn)
    running.wait_for("leaving")
    running.process.send_signal(number)
    ended = running.end(LIMIT_S)
    assert (ended.run["outcome"], ended.run["totals"]["operations"]) == ("passed", 10)
    assert running.left_nothing(dsn)


def test_a_server_out_of_connections(session: Start, doomed: EmbeddedServer) -> None:
    """More workers than free connections are refused before the load, with both numbers."""
    ended = session(QUICK, "--stormdb-workers=30", dsn=doomed.dsn).end(LIMIT_S)
    assert ended.status == 1
    assert "30 workers need 30 connections, but the server has" in ended.output


def test_a_role_out_of_connections(session: Start, doomed: EmbeddedServer) -> None:
    """A limit that shows only when the workers connect ends the run with the server's own words."""
    with psycopg.connect(doomed.dsn, autocommit=True) as conn:
        conn.execute("CREATE ROLE narrow LOGIN CONNECTION LIMIT 5")
        conn.execute("GRANT ALL ON DATABASE postgres TO narrow")
    running = session(QUICK, "--stormdb-workers=8", dsn=doomed.dsn.replace("user=postgres", "user=narrow"))
    ended = running.end(LIMIT_S)
    assert ended.status == 1
    assert 'too many connections for role "narrow"' in ended.reasons
    assert running.left_nothing(doomed.dsn)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of some megabytes."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("needs root")
    where = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=755", "none", str(where)], check=False)
    if mounted.returncode:
        where.rmdir()
        pytest.skip("cannot mount a tmpfs")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)
    where.rmdir()


FILLING = """
    @pytest.fixture(scope="module")
    def ballast(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE ballast (text text){where}")
        stormdb_connection.execute("ALTER TABLE ballast ALTER text SET STORAGE EXTERNAL")

    @pytest.mark.stormdb(workers=2, duration="6s", timeout="2s")
    def test_it(worker, ballast):
        worker.conn.execute("INSERT INTO ballast SELECT repeat('x', 100000) FROM generate_series(1, 10)")
"""


def test_a_full_tablespace(session: Start, doomed: EmbeddedServer, small_disk: Path) -> None:
    """Inserts into a full tablespace fail as 53100, and those before stay successes."""
    space = small_disk / "space"
    space.mkdir()
    owner = doomed.directory.stat()
    os.chown(space, owner.st_uid, owner.st_gid)
    with psycopg.connect(doomed.dsn, autocommit=True) as conn:
        conn.execute(f"CREATE TABLESPACE small LOCATION '{space}'".encode())
    running = session(FILLING.replace("{where}", " TABLESPACE small"), dsn=doomed.dsn)
    ended = running.end(6 + LIMIT_S)
    assert ended.status == 1
    assert ended.errors["53100"] > 2
    assert ended.run["totals"]["operations"] > 10
    assert "53100" in ended.reasons
    assert running.left_nothing(doomed.dsn)


def test_a_full_data_directory(session: Start, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose whole disk is full fails or panics: either way the run ends with its results and the cause."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with EmbeddedServer.start(max_connections=20, settings={"max_wal_size": "64MB"}) as cramped:
        running = session(FILLING.replace("{where}", ""), dsn=cramped.dsn, conftest=SHORT_PATIENCE)
        ended = running.end(30 + LIMIT_S)
    assert ended.status == 1
    assert ended.run["totals"]["operations"] > 0
    assert "No space left on device" in ended.output or "stayed away" in ended.reasons or "53100" in ended.reasons
    assert running.left_nothing()


# -- the workload -------------------------------------------------------------------------------------------------


def misbehave(session: Start, dsn: str, body: str, *, workers: int = 2, head: str = "") -> tuple[Session, Ended]:
    """Run a workload for two seconds whose every 50th iteration does something it should not."""
    lines = "\n".join(f"            {line}" for line in body.strip().splitlines())
    running = session(
        f"""
    import os, sys, time, threading, multiprocessing
    {head}
    @pytest.mark.stormdb(workers={workers}, duration="2s", timeout="1s")
    def test_it(worker):
        worker.conn.execute("SELECT pg_sleep(0.001)")
        if worker.iteration % 50 == 49:
{lines}
    """,
        dsn=dsn,
    )
    ended = running.end(2 + LIMIT_S)
    assert running.left_nothing(dsn)
    return running, ended


def test_exit_of_the_process(session: Start, dsn: str) -> None:
    """A workload that calls os._exit is a lost worker, with its exit status."""
    _, ended = misbehave(
        session, dsn, "time.sleep(1.2) if worker.iteration == 99 else None\nworker.iteration == 149 and os._exit(3)"
    )
    assert ended.run["outcome"] == "error"
    assert "exited with status 3 in the middle of the run" in ended.reasons
    assert ended.run["totals"]["operations"] >= 50


def test_system_exit(session: Start, dsn: str) -> None:
    """SystemExit is a failure of its iteration like any other exception."""
    _, ended = misbehave(session, dsn, "raise SystemExit(4)")
    assert ended.run["outcome"] == "failed"
    assert set(ended.errors) == {"SystemExit"}
    assert ended.run["totals"]["operations"] >= 49 * ended.errors["SystemExit"] / 2


def test_leaked_threads(session: Start, dsn: str) -> None:
    """Threads that never end do not keep the worker from ending."""
    _, ended = misbehave(
        session, dsn, "worker.iteration < 200 and threading.Thread(target=time.sleep, args=[600]).start()"
    )
    assert ended.status == 0
    assert ended.run["outcome"] == "passed"


def test_a_fork_that_returns_twice(session: Start, dsn: str) -> None:
    """The child of a fork that comes back into the loop ends there; the worker goes on undisturbed."""
    _, ended = misbehave(session, dsn, "os.fork()")
    assert ended.run["outcome"] == "passed"
    assert ended.run["totals"]["failures"] == 0


def test_a_forked_child_that_fails(session: Start, dsn: str) -> None:
    """A failure in the child of a fork is not counted as one of the worker's."""
    _, ended = misbehave(session, dsn, "if os.fork() == 0:\n    raise ValueError('in the child')")
    assert ended.run["outcome"] == "passed"


def test_a_forked_child_that_stays(session: Start, dsn: str) -> None:
    """A child that sleeps for ever is ended with its worker."""
    _, ended = misbehave(session, dsn, "if worker.iteration == 49 and os.fork() == 0:\n    time.sleep(600)")
    assert ended.run["outcome"] == "passed"


def test_multiprocessing(session: Start, dsn: str) -> None:
    """A workload may use processes of its own, which may print."""
    body = (
        "child = multiprocessing.get_context('fork').Process(target=print, args=['from a child'])\n"
        "child.start()\nchild.join()\nassert child.exitcode == 0"
    )
    _, ended = misbehave(session, dsn, body)
    assert ended.run["outcome"] == "passed", ended.output


def test_a_closed_connection(session: Start, dsn: str) -> None:
    """A worker whose function closed its connection gets a new one, and the iteration is a failure that says so."""
    _, ended = misbehave(session, dsn, "worker.conn.close()")
    assert set(ended.errors) == {"connection closed"}
    assert ended.run["totals"]["reconnects"] == ended.errors["connection closed"]


@pytest.mark.parametrize(
    "body",
    [
        "worker.conn.execute('BEGIN')",
        "worker.conn.execute('BEGIN')\ntry:\n    worker.conn.execute('SELECT 1/0')\nexcept Exception:\n    pass",
    ],
    ids=["open", "aborted"],
)
def test_a_transaction_left_behind(session: Start, dsn: str, body: str) -> None:
    """A transaction left open or aborted is rolled back, and its iteration is a failure."""
    _, ended = misbehave(session, dsn, body)
    assert set(ended.errors) == {"open transaction"}
    assert ended.run["totals"]["reconnects"] == 0


def test_megabytes_of_output(session: Start, dsn: str) -> None:
    """Of megabytes of print, the first is kept and the rest counted; no iteration fails of it."""
    _, ended = misbehave(session, dsn, "print('x' * 1_000_000)\nassert worker.iteration < 400")
    assert ended.run["totals"]["operations"] > 90
    assert set(ended.errors) <= {"AssertionError"}
    assert len(ended.output) < 3_000_000


def test_memory_to_the_limit(session: Start, dsn: str) -> None:
    """A workload that allocates up to its limit fails with MemoryError, and its worker goes on."""
    body = "worker.id == 0 and [bytes(50_000_000) for _ in range(100)]"
    limit = """
    import resource
    from pytest_stormdb import worker_fixture

    @worker_fixture
    def limited(worker):
        resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, 1_000_000_000))
        yield
    """
    running = session(
        limit
        + f"""
    @pytest.mark.stormdb(workers=2, duration="2s", timeout="1s")
    def test_it(worker, limited):
        worker.conn.execute("SELECT pg_sleep(0.001)")
        if worker.iteration % 50 == 49:
            {body}
    """,
        dsn=dsn,
    )
    ended = running.end(2 + LIMIT_S)
    assert set(ended.errors) == {"MemoryError"}
    assert ended.errors["MemoryError"] >= 1
    assert ended.run["totals"]["operations"] > 90
    assert running.left_nothing(dsn)

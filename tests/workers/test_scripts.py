"""Whatever breaks while pgbench makes the load: the results stay, the cause is named, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pytest_stormdb.embedded.server import EmbeddedServer

from .harness import Session, sessions, within

Start = Callable[..., Session]

pytestmark = [pytest.mark.skipif(os.name == "nt", reason="pgbench's log comes through named pipes"), pytest.mark.slow]

LIMIT_S = 31.0
QUICK = """
    from pytest_stormdb import pgbench

    test_it = pytest.mark.stormdb(workers=3, duration="60s", timeout="1s")(pgbench("script.sql"))

    def test_next():
        open("next", "w").close()
"""


@pytest.fixture
def start(session: Start, dsn: str, tmp_path: Path) -> Start:
    """Starts a session with a script, and waits until pgbench's clients are at work and have been counted."""

    def begin(script: str = "SELECT 1;\n", source: str = QUICK, dsn: str = dsn, *options: str) -> Session:
        (tmp_path / "script.sql").write_text(script)
        running = session(source, *options, dsn=dsn)
        assert within(30, lambda: pgbench_of(running) and len(sessions(dsn)) >= 3), running.output
        time.sleep(2)
        return running

    return begin


def pgbench_of(running: Session) -> list[int]:
    """The process that is pgbench, once it is."""
    found = []
    for pid in running.processes():
        try:
            found += [pid] if Path(f"/proc/{pid}/comm").read_text().strip() == "pgbench" else []
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_reports(start: Start, dsn: str, number: signal.Signals) -> None:
    """No transaction starts any more, those in flight end and count, later tests do not run."""
    running = start("SELECT pg_sleep(0.4);\n")
    running.process.send_signal(number)
    ended = running.end(LIMIT_S)
    assert ended.status not in (0, -number)
    assert f"stopped by {number.name}" in ended.reasons
    assert ended.run["totals"]["failures"] == 0
    assert ended.run["totals"]["operations"] >= 6
    assert "test_next" not in ended.output
    assert running.left_nothing(dsn)


def test_the_second_signal_leaves_at_once(start: Start, dsn: str) -> None:
    """The second signal ends pgbench in the middle of a statement."""
    running = start("SELECT pg_sleep(60);\n", QUICK.replace('timeout="1s"', 'timeout="50s"'))
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    assert running.end(20).status != 0
    assert running.left_nothing(dsn)


def test_a_killed_pgbench_is_named_and_the_rest_is_reported(start: Start, dsn: str) -> None:
    """The run ends early with the signal's name and all that pgbench had logged."""
    running = start()
    os.kill(pgbench_of(running)[0], signal.SIGKILL)
    ended = running.end(LIMIT_S)
    assert ended.status == 1
    assert "pgbench was killed by SIGKILL" in ended.reasons
    assert ended.run["outcome"] == "error"
    assert ended.run["totals"]["operations"] > 1000
    assert ended.run["timeline"][0]["operations"] > 500
    assert running.left_nothing(dsn)


def test_a_killed_reader_takes_pgbench_along(start: Start, dsn: str) -> None:
    """Our own process beside pgbench dies: it is named, and pgbench dies with it."""
    running = start()
    (reader,) = running.workers()
    os.kill(reader, signal.SIGKILL)
    ended = running.end(LIMIT_S)
    assert "workers 0..2 was killed by SIGKILL" in ended.reasons
    assert ended.run["totals"]["operations"] > 500
    assert running.left_nothing(dsn)


def test_a_killed_parent_leaves_nothing(start: Start, dsn: str) -> None:
    """When pytest itself is killed, pgbench and its sessions, asleep in a statement, go with it."""
    running = start("SELECT pg_sleep(60);\n", QUICK.replace('timeout="1s"', 'timeout="50s"'))
    running.process.kill()
    assert running.end(LIMIT_S).status == -signal.SIGKILL
    assert running.left_nothing(dsn)


def test_no_file_stays(start: Start, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipes of the log have no names while pgbench runs, so that whoever is killed leaves none."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    running = start()
    assert not list(tmp_path.glob("stormdb-pgbench-*"))
    (reader,) = running.workers()
    os.kill(reader, signal.SIGKILL)
    running.end(LIMIT_S)
    assert not list(tmp_path.glob("stormdb-pgbench-*"))


@pytest.fixture
def doomed() -> Iterator[EmbeddedServer]:
    """A server to be harmed."""
    with EmbeddedServer.start(max_connections=20) as running:
        yield running


def test_a_server_that_goes_away(start: Start, doomed: EmbeddedServer) -> None:
    """pgbench does not connect again: its clients give up, and the run ends with its words and all results."""
    running = start(dsn=doomed.dsn)
    os.kill(doomed.pid, signal.SIGQUIT)
    ended = running.end(LIMIT_S)
    assert ended.status == 1
    assert ended.run["outcome"] == "error"
    assert "pgbench: client" in ended.reasons
    assert ended.run["totals"]["operations"] > 1000
    assert running.left_nothing()


def test_a_server_that_is_frozen(start: Start, doomed: EmbeddedServer) -> None:
    """Transactions that a frozen server keeps are cut off at the planned end, once their timeout has passed too."""
    running = start(source=QUICK.replace("60s", "4s"), dsn=doomed.dsn)
    with psycopg.connect(doomed.dsn, autocommit=True) as conn:
        rows = conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name ~ '^stormdb [0-9a-f]{8}$'"
        ).fetchall()
    for (pid,) in rows:
        os.kill(pid, signal.SIGSTOP)
    try:
        ended = running.end(LIMIT_S)
    finally:
        for (pid,) in rows:
            os.kill(pid, signal.SIGCONT)
    assert ended.status == 1
    assert "transactions in flight did not end within 1 s" in ended.reasons
    assert ended.run["totals"]["operations"] > 1000


def test_a_role_out_of_connections(session: Start, doomed: EmbeddedServer, tmp_path: Path) -> None:
    """A limit that shows only when pgbench connects ends the run with the server's own words."""
    with psycopg.connect(doomed.dsn, autocommit=True) as conn:
        conn.execute("CREATE ROLE narrow LOGIN CONNECTION LIMIT 5")
        conn.execute("GRANT ALL ON DATABASE postgres TO narrow")
    (tmp_path / "script.sql").write_text("SELECT 1;\n")
    running = session(QUICK, "--stormdb-workers=8", dsn=doomed.dsn.replace("user=postgres", "user=narrow"))
    ended = running.end(LIMIT_S)
    assert ended.status == 1
    assert 'too many connections for role "narrow"' in ended.reasons


def test_a_script_that_fails_in_the_middle(start: Start, dsn: str, tmp_path: Path) -> None:
    """One client gives up: the others end, and file and line are told."""
    running = start("\\sleep 500 ms\nSELECT 1;\n\\set n random(1, 4)\nSELECT 1 / (:n - 1);\n")
    ended = running.end(LIMIT_S)
    assert ended.run["outcome"] == "error"
    assert "ERROR:  division by zero" in ended.reasons
    assert f"at {tmp_path}/script.sql:4" in ended.reasons
    assert running.left_nothing(dsn)

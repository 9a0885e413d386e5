"""One stretch with the real pgbench: every transaction counted, the right ones measured, and every end told."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.engine import driving, process
from pytest_stormdb.engine.program import Program, find_pgbench
from pytest_stormdb.engine.report import error_in
from pytest_stormdb.errors import ServerError, WorkloadError
from pytest_stormdb.workload.pgbench import Pgbench, Script

from .harness import Driven, Tee, drive, programs

Connection = psycopg.Connection[Any]


def history(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM pgbench_history").fetchone()
    assert row is not None
    return int(row[0])


def check_counts(driven: Driven) -> None:
    """Ours are pgbench's own."""
    counts, ending = driven.ending.counts, driven.ending
    assert counts is not None
    assert driven.total.count == counts.processed
    assert driven.total.failures == counts.failed
    assert driven.total.retries == counts.retries
    assert ending.skipped == counts.skipped
    assert ending.lines == counts.processed + counts.failed + counts.skipped


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.version)
def test_iterations(program: Program, bank: str, bank_connection: Connection) -> None:
    """Each client runs its number: so say we, pgbench, and the table that every transaction adds a row to."""
    before = history(bank_connection)
    driven = drive(bank, builtin="tpcb-like", program=program, plan={"workers": 3, "iterations": 70})
    check_counts(driven)
    assert driven.total.count == history(bank_connection) - before == 210
    assert driven.ending.status == 0
    assert set(driven.whole.tallies) == {"tpcb-like"}


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.version)
def test_full_speed(program: Program, bank: str, bank_connection: Connection) -> None:
    """At full speed, with two threads, a mix and an end given by us, none is lost and none counted twice."""
    before = history(bank_connection)
    mix = ["select-only@9", "simple-update@1"]
    driven = drive(bank, builtin=mix, program=program, plan={"workers": 4, "duration": "1500ms"})
    check_counts(driven)
    assert driven.whole.tallies["simple-update"].count == history(bank_connection) - before > 10
    assert driven.whole.tallies["select-only"].count > 4 * driven.whole.tallies["simple-update"].count
    assert set(driven.intervals) >= {0, 1}
    assert driven.ending.ended_ns - driven.ending.started_ns >= 1.5e9
    assert not driven.ending.stopped
    assert not driven.ending.cancelled


def test_percentiles_are_those_of_the_raw_log(bank: str) -> None:
    """Every quantile is that of the same run's kept log, to a bucket's 0.1 %; minimum, maximum and sum are exact."""
    driven = drive(bank, builtin="tpcb-like", plan={"workers": 4, "duration": "1s"})
    raw_us = sorted(int(line[2]) for line in driven.lines())
    service = driven.total.service
    assert (service.count, service.total_ns) == (len(raw_us), sum(raw_us) * 1_000)
    assert (service.min_ns, service.max_ns) == (raw_us[0] * 1_000, raw_us[-1] * 1_000)
    for percent in (10, 50, 90, 95, 99):
        exact_ns = raw_us[-(-percent * len(raw_us) // 100) - 1] * 1_000
        assert exact_ns <= service.quantile_ns(percent / 100) <= exact_ns * 1.001


def test_warm_up_is_cut_by_intended_start(bank: str) -> None:
    """What was meant to start before the end of the warm-up is not counted, and all that came after it is."""
    driven = drive(bank, builtin="select-only", plan={"workers": 2, "warmup": "600ms", "duration": "700ms"})
    starts_us = [int(line[4]) * 10**6 + int(line[5]) - int(line[2]) for line in driven.lines()]
    cut_us = (
        min(starts_us) + 600_000
    )  # or some microseconds later: a thread may have begun before the first we heard of
    assert sum(s >= cut_us + 2_000 for s in starts_us) <= driven.total.count <= sum(s >= cut_us for s in starts_us)
    assert driven.total.count < driven.ending.lines
    assert set(driven.intervals) == {0}
    counts = driven.ending.counts
    assert counts is not None
    assert counts.processed == driven.ending.lines


def test_open_loop_with_a_latency_limit(bank: str) -> None:
    """Beyond its capacity, what is too late to start is skipped; what ran too long is late: both as pgbench counts."""
    plan = {"workers": 2, "duration": "1s", "rate": "200000/s", "arrivals": "poisson", "retries": 2}
    driven = drive(bank, builtin="select-only", latency_limit="1ms", plan=plan)
    check_counts(driven)
    counts = driven.ending.counts
    assert counts is not None
    assert counts.skipped > 0
    assert driven.whole.metrics["late"].value == counts.late > 0
    total = driven.total
    assert total.response.count == total.service.count == total.lag.count == total.count
    assert total.response.total_ns == total.service.total_ns + total.lag.total_ns


def test_open_loop_below_its_capacity(bank: str) -> None:
    """A slow rate is spread over the whole duration, and ends with it."""
    plan = {"workers": 3, "duration": "2s", "rate": "40/s", "arrivals": "poisson", "seed": 3}
    driven = drive(bank, builtin="select-only", plan=plan)
    check_counts(driven)
    assert 40 <= driven.total.count <= 130
    assert driven.ending.ended_ns - driven.ending.started_ns < 3.5e9


@pytest.fixture
def contended(bank_connection: Connection, tmp_path: Path) -> Path:
    """A script whose transactions get into each other's way."""
    bank_connection.execute("DROP TABLE IF EXISTS contended; CREATE TABLE contended (id int, n int)")
    bank_connection.execute("INSERT INTO contended VALUES (1, 0)")
    script = tmp_path / "contended.sql"
    script.write_text("BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT n FROM contended;\n"
                      "UPDATE contended SET n = n + 1;\nEND;\n")  # fmt: skip
    return script


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.version)
@pytest.mark.parametrize("retries", [0, 2])
def test_failures_and_retries(
    retries: int, program: Program, contended: Path, bank: str, bank_connection: Connection
) -> None:
    """Serialization failures are counted by their SQLSTATE, retried where the plan says so, and none is lost."""
    driven = drive(bank, contended, program=program, plan={"workers": 4, "iterations": 60, "retries": retries})
    check_counts(driven)
    done = bank_connection.execute("SELECT n FROM contended").fetchone()
    assert done is not None
    assert driven.total.count == done[0]
    assert driven.total.count + driven.total.failures == 240
    assert driven.total.errors["40001"][0] == driven.total.failures > 0
    assert (driven.total.retries > 0) == (retries > 0)


def test_deadlocks(bank: str, bank_connection: Connection, tmp_path: Path) -> None:
    """Two clients that lock in opposite order: one of them is told deadlock."""
    script = tmp_path / "deadlock.sql"
    script.write_text(
        "\\set first :client_id % 2\n\\set second 1 - :first\nBEGIN;\nSET LOCAL deadlock_timeout = '20ms';\n"
        "SELECT pg_advisory_xact_lock(:first);\n\\sleep 5 ms\nSELECT pg_advisory_xact_lock(:second);\nEND;\n"
    )
    driven = drive(bank, script, plan={"workers": 2, "iterations": 10})
    check_counts(driven)
    assert driven.total.errors["40P01"][0] == driven.total.failures > 0


def test_nothing_lies_on_a_disk(bank: str) -> None:
    """The log's files are pipes, which lose their names as soon as pgbench has them."""
    seen: list[tuple[bool, bool]] = []

    def look(running: Tee) -> bool:
        are_pipes = all(stat.S_ISFIFO(os.fstat(pipe.descriptor).st_mode) for pipe in running._pipes)
        seen.append((are_pipes, running.has_begun and Path(running._directory.name).exists()))
        return False

    driven = drive(bank, builtin="select-only", plan={"iterations": 3000}, stop=look)
    assert set(seen) == {(True, False)}
    assert driven.total.count == 6000
    assert not driven.directory.exists()


def test_an_early_end_awaits_what_is_in_flight(bank: str, tmp_path: Path) -> None:
    """A stop lets the transactions under way end, and counts them."""
    script = tmp_path / "slow.sql"
    script.write_text("SELECT pg_sleep(0.4);\n")
    begun: list[float] = []

    def stop(running: Tee) -> bool:
        begun.extend([time.monotonic()] if running.has_begun else [])
        return bool(begun) and time.monotonic() > begun[0] + 1.5

    driven = drive(bank, script, plan={"workers": 2, "duration": "1m"}, stop=stop)
    check_counts(driven)
    assert driven.ending.stopped
    assert driven.ending.status == 0
    assert driven.total.count >= 2
    assert driven.ending.ended_ns - driven.ending.started_ns < 30e9


def test_a_statement_past_the_timeout_is_cancelled(bank: str, tmp_path: Path) -> None:
    """The server ends it, pgbench gives its client up, and the run ends with pgbench's words and the line."""
    script = tmp_path / "hangs.sql"
    script.write_text("SELECT 1;\n\nSELECT pg_sleep(100);\n")
    driven = drive(bank, script, plan={"duration": "1m", "timeout": "300ms"})
    error = str(error_in(driven.ending.errors, _described(script)))
    assert "canceling statement due to statement timeout" in error
    assert error.endswith(f"\nat {script}:3")
    assert driven.ending.status == 2


def test_one_client_that_gives_up_ends_the_run(bank: str, tmp_path: Path) -> None:
    """With one client less the load is not the planned one: the others come to their end, and what they did counts."""
    script = tmp_path / "odd.sql"
    script.write_text("\\sleep 20 ms\n\\if :client_id = 1\nSELECT 1 / 0;\n\\endif\nSELECT 1;\n")
    driven = drive(bank, script, plan={"workers": 3, "duration": "1m"})
    assert driven.ending.status == 2
    assert driven.ending.stopped
    assert driven.total.count >= 2
    error = error_in(driven.ending.errors, _described(script))
    assert isinstance(error, WorkloadError)
    assert str(error).endswith(f"ERROR:  division by zero\nat {script}:3")


def test_a_mistake_in_a_script(bank: str, tmp_path: Path) -> None:
    """pgbench ends before it starts, and says where."""
    script = tmp_path / "wrong.sql"
    script.write_text("SELECT 1;\n\\set a 1 +\n")
    driven = drive(bank, script)
    assert (driven.ending.status, driven.ending.lines, driven.ending.counts) == (1, 0, None)
    assert f'{script}:2: syntax error in command "set"' in str(error_in(driven.ending.errors, _described(script)))


def test_a_server_that_is_not_there(bank: str) -> None:
    """A connection that fails is the server's error."""
    driven = drive(f"{bank} port=1", builtin="select-only")
    error = error_in(driven.ending.errors, Pgbench(scripts=(Script("select-only", 1),)))
    assert isinstance(error, ServerError)
    assert "connection to server" in str(error)


def test_a_killed_pgbench(bank: str) -> None:
    """Its status tells the signal, and what it had logged is counted."""
    begun = time.monotonic()

    def kill(running: Tee) -> bool:
        if time.monotonic() > begun + 1:
            os.kill(running.pid, signal.SIGKILL)
        return False

    plan = {"duration": "1m"}
    driven = drive(bank, builtin="select-only", plan=plan, stop=kill)
    assert driven.ending.status == -signal.SIGKILL
    assert driven.ending.counts is None
    assert driven.total.count == driven.ending.lines > 100


def test_much_that_scripts_print_is_neither_kept_nor_waited_for(bank: str, tmp_path: Path) -> None:
    """``debug()`` at full speed fills no pipe that nobody reads, and no memory."""
    script = tmp_path / "loud.sql"
    script.write_text("\\set a debug(1)\n" * 20 + "SELECT 1;\n")
    driven = drive(bank, script, plan={"iterations": 3000})
    check_counts(driven)
    assert "characters left out" in driven.ending.errors
    assert len(driven.ending.errors) < 20_000


def test_a_pipe_that_nobody_reads_fills(bank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pgbench waits then, which shows in how full the pipe was, and still nothing is lost."""
    monkeypatch.setattr(process, "PIPE_BYTES", 4096)
    monkeypatch.setattr(driving, "_LOOK_S", 0.3)
    driven = drive(bank, builtin="select-only", plan={"duration": "1s"})
    check_counts(driven)
    assert driven.ending.filled >= 0.99


def test_a_connection_for_each_transaction(bank: str) -> None:
    """-C counts like any other."""
    driven = drive(bank, builtin="select-only", connect_per_transaction=True, plan={"iterations": 10})
    check_counts(driven)
    assert driven.total.count == 20


def test_threads_are_watched(bank: str) -> None:
    """CPU time and waits of each thread come from the system, as far as it tells."""
    driven = drive(bank, builtin="select-only", plan={"duration": "1500ms"})
    if Path("/proc").exists():
        assert len(driven.ending.usage) == 2
        assert all(usage.cpu_ns > 0 and usage.yields > 0 for usage in driven.ending.usage.values())
    assert 0 < driven.ending.filled < 0.9


def _described(script: Path) -> Pgbench:
    return Pgbench(scripts=(Script(script.stem, 1, script),))


def test_the_newest_is_tested_with_others() -> None:
    """The programs that these tests run with, the one that users get first."""
    assert programs()[0] == find_pgbench()

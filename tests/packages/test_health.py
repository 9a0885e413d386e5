"""Health checks before, during and after a run: what fails is named, timed, and ends what it has to end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.embedded.server import EmbeddedServer

from .conftest import ROOT, Suite

HEAD = """
import itertools
import time
import pytest
calls = itertools.count()
"""
LOAD = """
@pytest.mark.stormdb(workers=2, duration="{duration}")
def test_load(worker):
    worker.conn.execute("SELECT 1")
"""


def module(checks: str, duration: str = "1s", more: str = "") -> str:
    return HEAD + checks + LOAD.format(duration=duration) + more


def results(document: Any, check: str, when: str) -> list[Any]:
    (run,) = document["runs"]
    return [found for found in run["health"] if (found["check"], found["when"]) == (check, when)]


def test_all_is_well(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """Built-in and own checks run before, during and after, and are recorded with duration and time."""
    checks = """
@pytest.mark.stormdb_health(interval="200ms")
def in_order(conn):
    assert conn.execute("SELECT current_database()").fetchone() == ("stormdb_own",)

@pytest.mark.stormdb_health()
def test_speaks(conn):
    return "three sheep"
"""
    suite.write("test_own.py", module(checks))
    ran = suite.run()
    assert ran.counts == {"passed": 1}  # a check is not collected, whatever its name
    for check in ("server reachable", "not in recovery", "in_order", "test_speaks"):
        (before,) = results(ran.document, check, "before")
        (after,) = results(ran.document, check, "after")
        assert before["ok"]
        assert after["ok"]
        assert 0 < before["duration_s"] < 10
        assert before["at_s"] is None
    during = results(ran.document, "in_order", "during")
    assert 2 <= len(during) <= 5
    assert [found["at_s"] for found in during] == sorted(found["at_s"] for found in during)
    assert 0.2 <= during[0]["at_s"] < 1.0
    assert results(ran.document, "server reachable", "during") == []  # 30 s are not over
    assert results(ran.document, "test_speaks", "before")[0]["detail"] == "three sheep"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("raise ValueError('replica lags\\nfar behind')", "ValueError: replica lags"),
        ("assert 1 > 2, 'upside down'", "AssertionError: upside down"),
        ("return False", "returned False"),
        ("conn.execute('SELECT * FROM nowhere')", 'UndefinedTable: relation "nowhere" does not exist'),
        ("pytest.fail('not today')", "Failed: not today"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
    ids=["raises", "assert", "False", "SQL", "pytest.fail", "exit"],
)
def test_failing_before(suite: Suite, database: psycopg.Connection[Any], body: str, detail: str) -> None:
    """A check that fails before is the set-up error of every test that depends on it, and no load starts."""
    checks = f"@pytest.mark.stormdb_health\ndef lagging(conn):\n    {body}\n"
    more = '@pytest.mark.stormdb(iterations=1)\ndef test_more(worker):\n    worker.conn.execute("SELECT 2")\n'
    suite.write("test_own.py", module(checks, more=more + "def test_plain():\n    pass\n"))
    ran = suite.run()
    assert (ran.status, ran.counts) == (1, {"passed": 1, "errors": 2})
    assert f"health check lagging: {detail}" in ran.text
    assert ran.document["runs"] == []
    assert "Traceback" not in ran.text


def test_all_that_fails_before_is_named(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """Each failing check has its line."""
    checks = "".join(f"@pytest.mark.stormdb_health\ndef check_{n}(conn):\n    return False\n\n" for n in "ab")
    suite.write("test_own.py", module(checks))
    ran = suite.run()
    assert "health check check_a: returned False" in ran.text
    assert "health check check_b: returned False" in ran.text


BETWEEN = """
@pytest.mark.stormdb_health(interval="100ms", abort={abort})
def lagging(conn):
    call = next(calls)  # the first is that before the run
    if {first} <= call <= {last}:
        raise ValueError("replica lags")
"""


@pytest.mark.slow
def test_failing_during(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A check that fails for a while in mid-run is recorded with its time and shown, and the run goes on."""
    suite.write("test_own.py", module(BETWEEN.format(abort=False, first=8, last=12), "3s"))
    ran = suite.run()
    assert ran.counts == {"passed": 1}
    during = results(ran.document, "lagging", "during")
    failed = [found for found in during if not found["ok"]]
    assert failed
    assert failed != during
    assert {found["detail"] for found in failed} == {"ValueError: replica lags"}
    assert all(0 < found["at_s"] < 3.5 for found in failed)
    assert len(failed) <= 5
    assert ran.document["runs"][0]["plan"]["duration_s"] == 3.0
    assert ran.document["runs"][0]["elapsed_s"] == pytest.approx(3.0, abs=1.0)
    assert f"health, during at {failed[0]['at_s']:.1f} s: lagging: ValueError: replica lags" in ran.text


@pytest.mark.slow
def test_abort(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A check that says ``abort`` ends the run at its failure, which fails the test and says when and why."""
    suite.write("test_own.py", module(BETWEEN.format(abort=True, first=5, last=5), "30s"))
    started = time.monotonic()
    ran = suite.run()
    assert time.monotonic() - started < 20
    assert (ran.status, ran.counts) == (1, {"failed": 1})
    (run,) = ran.document["runs"]
    assert run["outcome"] == "failed"
    assert run["elapsed_s"] < 15
    assert run["totals"]["operations"] > 0
    (failed,) = [found for found in results(ran.document, "lagging", "during") if not found["ok"]]
    reason = f"health check lagging failed after {failed['at_s']:.1f} s and ended the run: ValueError: replica lags"
    assert reason in run["reasons"]
    assert reason in ran.text


def test_failing_after(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A check that fails after the run fails the test."""
    suite.write("test_own.py", module(BETWEEN.format(abort=False, first=1, last=999), "1s"))
    ran = suite.run("--stormdb-health-interval=1h")
    assert (ran.status, ran.counts) == (1, {"failed": 1})
    assert "health check lagging failed after the run: ValueError: replica lags" in ran.text
    assert results(ran.document, "lagging", "during") == []
    assert ran.document["runs"][0]["outcome"] == "failed"


@pytest.mark.parametrize(
    "body",
    [
        "conn.execute('SELECT pg_sleep(60)')",
        "time.sleep(60)",
        "conn.execute('SET statement_timeout = 0; SELECT pg_sleep(60)')",
    ],
    ids=["in SQL", "in Python", "in SQL without a limit"],
)
def test_hanging_before(suite: Suite, database: psycopg.Connection[Any], body: str) -> None:
    """A check that hangs is cut at its timeout, wherever it hangs, and has failed."""
    suite.write("test_own.py", module(f"@pytest.mark.stormdb_health(timeout='500ms')\ndef slow(conn):\n    {body}\n"))
    started = time.monotonic()
    ran = suite.run()
    assert time.monotonic() - started < 20
    assert ran.counts == {"errors": 1}
    assert "health check slow: " in ran.text
    assert "no answer within 0.5 s" in ran.text or "QueryCanceled" in ran.text


@pytest.mark.slow
def test_hanging_during(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A check that begins to hang in mid-run neither stops the run nor holds it up at its end."""
    checks = """
@pytest.mark.stormdb_health(interval="200ms", timeout="300ms")
def slow(conn):
    if next(calls) >= 3:  # the first is that before the run
        time.sleep(60)
"""
    suite.write("test_own.py", module(checks, "2s"))
    started = time.monotonic()
    ran = suite.run()
    assert time.monotonic() - started < 20
    during = results(ran.document, "slow", "during")
    assert {found["detail"] for found in during if not found["ok"]} == {"no answer within 0.3 s"}
    assert all(found["duration_s"] < 2 for found in during)
    assert ran.document["runs"][0]["elapsed_s"] == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        ("@pytest.mark.stormdb_health(every='1s')\ndef check(conn): pass", "unknown option 'every'; there is interval"),
        ("@pytest.mark.stormdb_health(interval='soon')\ndef check(conn): pass", "check: interval"),
        ("@pytest.mark.stormdb_health\ndef check(): pass", "health check check takes one argument, the connection"),
        ("@pytest.mark.stormdb_health\nasync def check(conn): pass", "health check check must be a plain function"),
    ],
)
def test_check_that_is_none(suite: Suite, database: psycopg.Connection[Any], check: str, complaint: str) -> None:
    """A check that cannot be one is a set-up error that says how to write it."""
    suite.write("test_own.py", module(f"{check}\n"))
    ran = suite.run()
    assert ran.counts == {"errors": 1}
    assert complaint in ran.text


@pytest.mark.parametrize(
    ("option", "config", "mark", "ini", "least", "most"),
    [
        ("100ms", "1h", "1h", "1h", 2, 11),
        (None, "100ms", "1h", "1h", 2, 11),
        (None, None, "100ms", "1h", 2, 11),
        (None, None, None, "100ms", 2, 11),
        ("1h", "100ms", "100ms", "100ms", 0, 0),
        (None, "1h", "100ms", "100ms", 0, 0),
        (None, None, "1h", "100ms", 0, 0),
    ],
)
def test_interval_by_precedence(
    suite: Suite,
    database: psycopg.Connection[Any],
    option: str | None,
    config: str | None,
    mark: str | None,
    ini: str,
    least: int,
    most: int,
) -> None:
    """The interval of the command line wins over the configuration file's, that over the mark's, and the ini file's."""
    suite.write("pytest.ini", f"[pytest]\nstormdb_health_interval = {ini}\n")
    suite.write("config.yaml", f"health_checks:\n  interval: {config}\n" if config else "seed: 1\n")
    check = f"@pytest.mark.stormdb_health(interval={mark!r})\ndef mine(conn): pass\n"
    suite.write("test_own.py", module(check))
    ran = suite.run("--stormdb-config=config.yaml", *([f"--stormdb-health-interval={option}"] if option else []))
    assert ran.counts == {"passed": 1}
    assert least <= len(results(ran.document, "mine", "during")) <= most


def test_switched_on_alone(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """``health_checks: {enabled: true}`` says nothing of intervals and timeouts: the mark's and the ini file's hold."""
    suite.write("pytest.ini", "[pytest]\nstormdb_health_interval = 100ms\n")
    suite.write("config.yaml", "health_checks: {enabled: true}\n")
    check = "@pytest.mark.stormdb_health(timeout='300ms')\ndef slow(conn):\n    next(calls) and time.sleep(60)\n"
    suite.write("test_own.py", module(check))
    ran = suite.run("--stormdb-config=config.yaml")
    during = ran.document["runs"][0]["health"]
    assert len([found for found in during if (found["check"], found["when"]) == ("server reachable", "during")]) >= 2
    assert {found["detail"] for found in during if found["check"] == "slow" and not found["ok"]} == {
        "no answer within 0.3 s"
    }


def test_switched_off(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """``health_checks: {enabled: false}`` runs no check at all."""
    suite.write("config.yaml", "health_checks:\n  enabled: false\n")
    suite.write("test_own.py", module("@pytest.mark.stormdb_health\ndef check(conn):\n    return False\n", "200ms"))
    ran = suite.run("--stormdb-config=config.yaml")
    assert ran.counts == {"passed": 1}
    assert ran.document["runs"][0]["health"] == []


def test_timeout_of_the_configuration(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """The configuration file's timeout holds for the workload's own checks."""
    suite.write("config.yaml", "health_checks:\n  timeout: 400ms\n")
    suite.write("test_own.py", module("@pytest.mark.stormdb_health\ndef slow(conn):\n    time.sleep(60)\n"))
    ran = suite.run("--stormdb-config=config.yaml")
    assert ran.counts == {"errors": 1}
    assert "health check slow: no answer within 0.4 s" in ran.text


# -- built in --------------------------------------------------------------------------------------------------------


def test_too_few_slots(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """More workers than free connections are a set-up error with both numbers; nothing starts."""
    suite.write("test_own.py", module(""))
    ran = suite.run("--stormdb-workers=150")
    assert ran.counts == {"errors": 1}
    assert "150 workers need 150 connections, but the server has " in ran.text
    assert "take fewer workers or raise max_connections" in ran.text


def sleep_until_cancelled(conn: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.errors.QueryCanceled):
        conn.execute("SELECT pg_sleep(60)")


def test_other_sessions_are_a_warning(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """An active session of somebody else is recorded and shown, and fails nothing."""
    suite.write("test_own.py", module("", "300ms"))
    with psycopg.connect(os.environ["STORMDB_DSN"], autocommit=True, application_name="somebody") as busy:
        sleeper = threading.Thread(target=sleep_until_cancelled, args=[busy])
        sleeper.start()
        ran = suite.run()
        busy.cancel_safe()
        sleeper.join()
    assert ran.counts == {"passed": 1}
    (found,) = results(ran.document, "other sessions", "before")
    assert (found["ok"], found["detail"]) == (
        False,
        "1 other active session on the server: the numbers will be noisy",
    )
    assert "health, before: other sessions: 1 other active session on the server" in ran.text


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that the test may stop and start."""
    with EmbeddedServer.start(max_connections=20) as server:
        monkeypatch.setenv("STORMDB_DSN", server.dsn)
        yield server


def stop(server: EmbeddedServer) -> None:
    """End the server's processes as a restart does, and keep its directory."""
    assert server._process is not None
    server._process.send_signal(signal.SIGINT)
    server._process.wait(20)


def start(server: EmbeddedServer) -> None:
    """Serve the same directory again."""
    (server.directory / "data" / "postmaster.pid").unlink(missing_ok=True)
    server._process = server._spawn("postgres", "-D", str(server.directory / "data"))
    server._await_ready()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_restarted_in_mid_run(suite: Suite, own_server: EmbeddedServer) -> None:
    """A restart of the server is seen by the next check, and the record shows when it went and when it was back."""
    flag = suite.folder / "started"
    load = f"""
@pytest.fixture(scope="module")
def flag():
    return {str(flag)!r}

@pytest.mark.stormdb(workers=2, duration="6s", timeout="2s")
@pytest.mark.stormdb_slo("errors < 100%")
def test_load(worker, flag):
    worker.conn.execute("SELECT 1")
    open(flag, "a").close()
    time.sleep(0.01)
"""
    suite.write("test_own.py", HEAD + load)
    options = ["-W", "error", "--stormdb-health-interval=100ms", "--stormdb-json=run.json"]
    command = [sys.executable, "-m", "pytest", "-p", "stormdb", *options]
    with subprocess.Popen(
        command, cwd=suite.folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as session:
        wait_for(flag)
        began = time.monotonic()
        time.sleep(1.0)
        stop(own_server)
        gone_s = time.monotonic() - began
        time.sleep(1.0)
        start(own_server)
        back_s = time.monotonic() - began
        text, _ = session.communicate(timeout=60)

    document = json.loads((suite.folder / "run.json").read_text())
    during = results(document, "server reachable", "during")
    failed = [found["at_s"] for found in during if not found["ok"]]
    answered = [found["at_s"] for found in during if found["ok"]]
    assert failed, text
    assert min(answered) < 1.5
    assert gone_s - 1.0 <= min(failed) <= gone_s + 1.5
    assert max(failed) <= back_s + 1.5
    assert max(answered) > max(failed)
    assert any("cannot connect to " in found["detail"] for found in during if not found["ok"])
    (after,) = results(document, "server reachable", "after")
    assert after["ok"]
    assert f"health, during at {min(failed):.1f} s: server reachable: " in text


def wait_for(path: Path, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_gone_after_the_run(suite: Suite, own_server: EmbeddedServer) -> None:
    """A server that does not come back fails the run, which is still recorded with what it did before."""
    suite.write(
        "test_own.py",
        HEAD
        + f"""
import os, signal

@pytest.mark.stormdb(workers=1, duration="2s", timeout="2s")
def test_load(worker):
    worker.conn.execute("SELECT 1")
    if worker.iteration == 500:
        os.kill({own_server.pid}, signal.SIGQUIT)
""",
    )
    ran = suite.run("--stormdb-health-interval=200ms")
    assert ran.status == 1
    (run,) = ran.document["runs"]
    assert run["outcome"] in ("failed", "error")
    assert run["totals"]["operations"] > 0
    assert not results(ran.document, "server reachable", "after")[0]["ok"]
    assert any("health check server reachable failed after the run" in reason for reason in run["reasons"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_in_recovery(suite: Suite, own_server: EmbeddedServer) -> None:
    """A standby takes no writes: the set-up error says so, and what to do."""
    stop(own_server)
    standby = own_server.directory / "data" / "standby.signal"
    standby.touch()
    owner = (own_server.directory / "data").stat()
    os.chown(standby, owner.st_uid, owner.st_gid)
    start(own_server)
    suite.write("test_own.py", module(""))
    ran = suite.run()
    assert ran.counts == {"errors": 1}
    assert "the server is in recovery and takes no writes; load its primary" in ran.text

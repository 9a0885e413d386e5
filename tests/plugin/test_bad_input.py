"""Bad input: one clear error at the right place, naming the value; never a hang, never a traceback of ours."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pytest_stormdb.embedded.server import EmbeddedServer

from ..conftest import Suite

PLAIN = """
    import pytest

    @pytest.mark.stormdb(OPTIONS)
    def test_it(worker):
        open("ran", "w").close()
"""
SECRET = "open-sesame-42"


def refused(suite: Suite, *options: str, where: str = "set-up") -> str:
    """Run; there is an error in the set-up (or in the usage), and nothing has run or is shown of our code."""
    started = time.monotonic()
    result = suite.run(*options)
    assert time.monotonic() - started < 60
    text = result.stdout.str() + result.stderr.str()
    if where == "usage":
        assert result.ret == pytest.ExitCode.USAGE_ERROR, text
    else:
        result.assert_outcomes(errors=1)
    assert "pytest_stormdb/" not in text
    assert "Traceback" not in text
    assert not (suite.path / "ran").exists()
    return text


BAD_MARKS = (
    ("workers=0", "workers: 0 is out of range; give a number from 1 to 10000"),
    ("workers=-5", "workers: -5 is out of range"),
    ("workers=10**6", "workers: 1000000 is out of range"),
    ("workers='ten'", "workers: 'ten' is not a whole number"),
    ("duration='10 minutes'", "duration: '10 minutes' is not a duration; write it as"),
    ("duration=0", "duration: 0 is too short; give more than zero"),
    ("duration=1e30", "duration: 1e+30 is more than a year"),
    (
        "duration='1s', iterations=5",
        "give duration or iterations, not both (duration='1s'",
    ),
    ("wrokers=5", "unknown option 'wrokers'; did you mean 'workers'?"),
    ("5", "5 needs a name, such as workers=..."),
    ("rate=0", "rate: 0 is not a rate above zero"),
    ("stages='1:1s', workers=2", "give workers or stages of workers, not both"),
)


def test_bad_marks(suite: Suite) -> None:
    """A mark that makes no sense is an error of the collection, with mark, option and value; its neighbours run."""
    functions = [
        f"@pytest.mark.stormdb({options})\ndef test_{n}(worker):\n    open('ran', 'w').close()"
        for n, (options, _) in enumerate(BAD_MARKS)
    ]
    good = "@pytest.mark.stormdb(iterations=1)\ndef test_good(worker):\n    pass\n"
    (suite.path / "test_it.py").write_text("\n\n".join(["import pytest", *functions, good]))
    result = suite.run()
    result.assert_outcomes(errors=len(BAD_MARKS), passed=1)
    for n, (_, message) in enumerate(BAD_MARKS):
        assert f"mark stormdb of test_{n}: {message}" in result.stdout.str()
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")
    assert not (suite.path / "ran").exists()
    collected = suite.run("--collect-only")
    collected.assert_outcomes(errors=len(BAD_MARKS))
    assert collected.ret == pytest.ExitCode.TESTS_FAILED
    assert all(message in collected.stdout.str() for _, message in BAD_MARKS)


def test_marks_are_judged_before_any_fixture(suite: Suite) -> None:
    """A mark that makes no sense costs no set-up, with the runner in the hand neither; deselected, it says nothing."""
    suite.write("""
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def expensive():
            open("ran", "w").close()

        @pytest.mark.stormdb(workers=0)
        def test_marked(worker):
            pass

        @pytest.mark.stormdb(workers=0)
        def test_in_hand(stormdb):
            pass

        def test_plain():
            pass
    """)
    result = suite.run("-k", "not plain")
    result.assert_outcomes(errors=2, deselected=1)
    result.stdout.fnmatch_lines(["*ERROR collecting test_it.py*", "mark stormdb of test_marked: workers*"])
    result.stdout.fnmatch_lines(["ERROR test_it.py::test_marked - mark stormdb of test_marked: workers: 0 is out of*"])
    assert not (suite.path / "ran").exists()
    suite.run("-k", "plain").assert_outcomes(passed=1, deselected=2)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--stormdb-workers=0", "command line: workers: 0 is out of range; give a number from 1 to 10000"),
        ("--stormdb-workers=many", "command line: workers: 'many' is not a whole number"),
        ("--stormdb-duration=-1s", "command line: duration: '-1s' is not a duration; write it as '500ms'"),
        ("--stormdb-iterations=0", "command line: iterations: 0 is out of range; give a number of 1 or more"),
        ("--stormdb-rate=1", "command line: rate: '1' is not a rate; write it as '1000/s' or '60/m'"),
        ("--stormdb-arrivals=never", "command line: arrivals: 'never' is neither 'uniform' nor 'poisson'"),
        ("--stormdb-stages=10", "command line: stages: '10' is not a stage; write it as '10:30s'"),
        ("--stormdb-inconclusive=maybe", "--stormdb-inconclusive: 'maybe' is neither 'warn' nor 'fail'"),
        ("--stormdb-param=scale", "--stormdb-param: 'scale' is not KEY=VALUE"),
        ("--stormdb-sweep=4..1", "--stormdb-sweep: '4..1' is not '1,2,4,8', 'linear:1..32:4' or 'doubling:1..64'"),
        ("--stormdb-prometheus=here", "--stormdb-prometheus: 'here' is not [HOST:]PORT"),
        ("--stormdb-health-interval=0", "--stormdb-health-interval: '0' is too short; give more than zero"),
        ("--stormdb-checksums=maybe", "--stormdb-checksums: 'maybe' is none of off, verify, require"),
        ("--stormdb-json=", "--stormdb-json: '' is no text; give it a value, or leave it out"),
    ],
)
def test_bad_command_lines(suite: Suite, option: str, message: str) -> None:
    """An option that makes no sense is a usage error before anything is collected."""
    suite.write(PLAIN.replace("OPTIONS", "iterations=1"))
    assert message in refused(suite, option, where="usage")


def test_bad_functions(suite: Suite) -> None:
    """A function that cannot be a workload is refused with what to write instead."""
    suite.write("""
        import pytest
        from hypothesis import given, strategies as st

        pytestmark = pytest.mark.stormdb(iterations=1)

        def test_alone():
            pass

        async def test_yielding(worker):
            yield

        def test_sharing(worker, stormdb_connection):
            pass

        @given(st.integers())
        def test_searching(worker, n):
            pass
    """)
    result = suite.run(warnings="ignore")
    text = result.stdout.str()
    result.assert_outcomes(errors=4)
    assert "test_alone is marked stormdb but has no 'worker' argument; write def test_alone(worker, ...)" in text
    assert "test_yielding: a workload must not yield; it is called once for each iteration" in text
    assert "fixture 'stormdb_connection' holds a connection, which the workers cannot share; use worker.conn" in text
    assert "test_searching: a workload cannot be a hypothesis test; draw from worker.rng instead" in text
    assert "pytest_stormdb/" not in text


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def test_an_unreachable_server(suite: Suite) -> None:
    """Nobody listens: one sentence with user, host, port and database, and no password."""
    suite.write(PLAIN.replace("OPTIONS", "iterations=1"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    text = refused(suite, f"--stormdb-dsn=postgresql://me:{SECRET}@127.0.0.1:{port}/shop")
    assert f"cannot connect to me@127.0.0.1:{port}/shop: " in text
    assert SECRET not in text


def test_a_server_that_says_nothing(suite: Suite, silent_port: int) -> None:
    """A connection that is never answered ends by its timeout, not never."""
    suite.write(PLAIN.replace("OPTIONS", "iterations=1"))
    text = refused(suite, f"--stormdb-dsn=postgresql://me@127.0.0.1:{silent_port}/shop?connect_timeout=2")
    assert f"cannot connect to me@127.0.0.1:{silent_port}/shop: " in text


def test_a_database_that_is_not_there(suite: Suite, server: EmbeddedServer) -> None:
    """The server's own words are told."""
    suite.write(PLAIN.replace("OPTIONS", "iterations=1"))
    text = refused(suite, f"--stormdb-dsn=host={server.directory} user=postgres dbname=shop")
    assert "cannot connect to postgres@" in text
    assert 'database "shop" does not exist' in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "not a connection string; write it as postgresql://user@host:5432/database"),
        ("host=x password=two words", "a value with a space in it needs quotes: password='two words'"),
        (
            f"postgresql://me:{SECRET}@[::1/x",
            "not a connection string; write it as postgresql://user@host:5432/database",
        ),
        (f"host=x passwort={SECRET}", "libpq knows no parameter 'passwort'; leave it out"),
    ],
)
def test_a_dsn_that_is_none(suite: Suite, text: str, said: str) -> None:
    """It is refused by its source and not repeated, since it may hold a password."""
    suite.write(PLAIN.replace("OPTIONS", "iterations=1"))
    shown = refused(suite, f"--stormdb-dsn={text}")
    assert f"--stormdb-dsn: {said}" in shown
    assert SECRET not in shown


@pytest.fixture
def guarded_dsn(server: EmbeddedServer, database: psycopg.Connection[tuple[object, ...]]) -> Iterator[str]:
    """A role that has to give a password, of at most three connections."""
    rules = Path(server.directory) / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all guarded scram-sha-256\n" + before)
    database.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}' CONNECTION LIMIT 4")
    database.execute("GRANT CREATE ON DATABASE postgres TO guarded")
    database.execute("SELECT pg_reload_conf()")
    yield f"host={server.directory} user=guarded dbname=postgres"
    rules.write_text(before)
    database.execute("SELECT pg_reload_conf()")
    database.execute("DROP OWNED BY guarded")
    database.execute("DROP ROLE guarded")


def test_a_wrong_password(suite: Suite, guarded_dsn: str) -> None:
    """The refusal names the user, and neither the wrong password nor the right one is anywhere."""
    suite.write(PLAIN.replace("OPTIONS", "iterations=1"))
    wrong = "wrong-horse-17"
    text = refused(suite, f"--stormdb-dsn={guarded_dsn} password={wrong}", "--junitxml=r.xml", "-vv", "--showlocals")
    assert 'password authentication failed for user "guarded"' in text
    for shown in (text, (suite.path / "r.xml").read_text()):
        assert wrong not in shown
        assert SECRET not in shown


def test_the_password_is_in_no_output(suite: Suite, guarded_dsn: str) -> None:
    """With the right password a failing run shows everything but it: terminal, tracebacks, JUnit, JSON."""
    suite.write("""
        import pytest

        @pytest.fixture(scope="module")
        def table(stormdb_connection, stormdb_dsn):
            yield
            assert stormdb_connection is None

        @pytest.mark.stormdb(iterations=2)
        def test_it(worker, table, stormdb_dsn):
            dsn = worker.dsn
            print("at", repr(dsn), repr(worker), repr(worker.conn))
            assert dsn is None
    """)
    suite.env.setenv("STORMDB_DSN", f"{guarded_dsn} password={SECRET}")
    options = ("--junitxml=r.xml", "--stormdb-json=runs.json", "-vv", "--showlocals", "--setup-show")
    result = suite.run(*options)
    result.assert_outcomes(failed=1, errors=1)
    files = [(suite.path / name).read_text() for name in ("r.xml", "runs.json")]
    for shown in (result.stdout.str(), result.stderr.str(), *files):
        assert SECRET not in shown


def test_too_few_connections_for_a_role(suite: Suite, guarded_dsn: str) -> None:
    """What only shows when the workers connect is an error of the run, with the server's words, and no hang."""
    suite.write(
        PLAIN.replace("OPTIONS", "iterations=1, workers=10").replace("open(", "(lambda *_: open('/dev/null'))(")
    )
    suite.env.setenv("STORMDB_DSN", f"{guarded_dsn} password={SECRET}")
    result = suite.run()
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert 'too many connections for role "guarded"' in text
    assert "pytest_stormdb/" not in text
    assert SECRET not in text


def test_too_few_connection_slots(suite: Suite) -> None:
    """More workers than the server has room for are refused before any starts, with both numbers."""
    suite.write(PLAIN.replace("OPTIONS", "iterations=1, workers=500"))
    text = refused(suite)
    assert "500 workers need 500 connections, but the server has " in text
    assert "take fewer workers or raise max_connections" in text

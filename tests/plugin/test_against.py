"""``--stormdb-against``: the same workload elsewhere, in a session and a worktree of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from ..conftest import Suite

SHOP = """
    import pytest

    @pytest.fixture(scope="module")
    def orders(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE orders AS SELECT i, i % 5000 AS c FROM generate_series(1, 50000) i")
        stormdb_connection.execute("CREATE INDEX ON orders (c)")  # INDEX

    @pytest.mark.stormdb(workers=2)
    def test_orders(worker, orders):
        worker.conn.execute("SELECT count(*) FROM orders WHERE c = %s", [worker.rng.randint(0, 4999)]).fetchone()
"""
NEW = """
    @pytest.mark.stormdb
    def test_new(worker):
        worker.conn.execute("SELECT 1")
"""

COUNT = "SELECT count(*) FROM generate_series(1, 2000) i WHERE i % 7 = 3;\n"


def git(suite: Suite, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *words], cwd=suite.path, capture_output=True, text=True, check=True)
    return done.stdout


def commit(suite: Suite, text: str) -> None:
    suite.write(text)
    git(suite, "add", "test_it.py")
    git(suite, "commit", "-qm", "another")


@pytest.fixture
def repository(suite: Suite) -> Suite:
    """A repository whose last commit has an index."""
    git(suite, "init", "-q")
    commit(suite, SHOP)
    return suite


def worktrees(suite: Suite) -> int:
    return len(git(suite, "worktree", "list").splitlines())


@pytest.mark.slow
def test_a_dropped_index_is_found(repository: Suite) -> None:
    """The last commit drops an index: slower than the one before. A test that is new is skipped, and said to be."""
    commit(repository, SHOP.replace('stormdb_connection.execute("CREATE INDEX', 'str("CREATE INDEX') + NEW)
    result = repository.run("--stormdb-against=git:HEAD~1", "-rs")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["here is * % slower than HEAD~1 at p95*(slower than +10 %: certain at 0.5 %), * pairs"]
    )
    result.stdout.fnmatch_lines(["SKIPPED * not compared: HEAD~1 has no such test"])
    assert worktrees(repository) == 1
    assert git(repository, "status", "--short", "-uno") == ""


@pytest.mark.slow
def test_a_changed_comment_is_not_slower(repository: Suite) -> None:
    """The last commit changes a comment: not slower by half; beside busy neighbours, perhaps undecided."""
    commit(repository, SHOP.replace("# INDEX", "# an index"))
    result = repository.run("--stormdb-against=git:HEAD~1", "--stormdb-margin=50%")
    result.assert_outcomes(passed=1, warnings=result.parseoutcomes().get("warnings", 0))
    result.stdout.fnmatch_lines(
        ["* test_it.py::test_orders, comparison", "  2 workers each, * s", "  HEAD~1 *", "  here *"]
    )


@pytest.mark.slow
def test_scripts_of_pgbench_are_compared(suite: Suite) -> None:
    """A script file that does ten times the work of its last revision is slower; a changed comment in it is not."""
    git(suite, "init", "-q")
    (suite.path / "test_mix.py").write_text("from pytest_stormdb import pgbench\n\ntest_mix = pgbench('mix.sql')\n")
    for name in ("count.pgbench.sql", "mix.sql"):
        (suite.path / name).write_text(f"-- counts\n{COUNT}")
    git(suite, "add", ".")
    git(suite, "commit", "-qm", "two scripts")
    (suite.path / "count.pgbench.sql").write_text(f"-- counts\n{COUNT.replace('2000)', '20000)')}")
    (suite.path / "mix.sql").write_text(f"-- as before\n{COUNT}")
    result = suite.run(
        "--stormdb-against=git:HEAD",
        "--stormdb-margin=100%",
        "--stormdb-workers=2",
        "count.pgbench.sql",
        "test_mix.py",
        limit_s=300,
    )
    result.assert_outcomes(failed=1, passed=1, warnings=result.parseoutcomes().get("warnings", 0))
    result.stdout.fnmatch_lines(["here is * % slower than HEAD at p95*(slower than +100 %: certain at 0.5 %), *"])
    result.stdout.fnmatch_lines(
        ["* count.pgbench.sql::count, comparison", "  HEAD, server, per operation: *", "  here, *"]
    )
    result.stdout.fnmatch_lines(["* test_mix.py::test_mix, comparison", "  HEAD *", "  here *"])
    assert worktrees(suite) == 1


@pytest.mark.slow
def test_another_server(suite: Suite, dsn: str) -> None:
    """The other arm may go to another server; here to the same one, in a database of its own, with the same result."""
    suite.write(SHOP)
    result = suite.run(f"--stormdb-against=dsn:{dsn}", "--stormdb-margin=90%")
    result.assert_outcomes(passed=1, warnings=result.parseoutcomes().get("warnings", 0))
    result.stdout.fnmatch_lines(["  the other server *", "  here *"])


def sessions(dsn: str) -> int:
    """How many sessions of other arms the server has."""
    with psycopg.connect(dsn) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname ~ '_against_'"
        return int(connection.execute(query).fetchall()[0][0])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worktree_outlives_its_session(repository: Suite, number: signal.Signals, dsn: str) -> None:
    """Interrupted or killed in the middle of an epoch, nothing of the other arm is left: in git, on the disk, or on the
    server, which it leaves within seconds."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "stormdb", "--stormdb-against=git:HEAD"]
    process = subprocess.Popen(
        command, cwd=repository.path, env={**os.environ, "STORMDB_DSN": dsn}, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while worktrees(repository) == 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    tree = Path(git(repository, "worktree", "list").splitlines()[1].split()[0])
    time.sleep(3)
    process.send_signal(number)
    process.wait(60)
    while (worktrees(repository) > 1 or tree.exists() or sessions(dsn)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert worktrees(repository) == 1
    assert not tree.exists()
    assert sessions(dsn) == 0


def test_a_setup_that_fails_elsewhere_is_told(repository: Suite) -> None:
    """Where the other arm cannot set a test up, the test fails, and says why."""
    commit(repository, SHOP.replace('"CREATE TABLE', '"CREATE TABEL'))
    commit(repository, SHOP)
    result = repository.run("--stormdb-against=git:HEAD~1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["--stormdb-against HEAD~1: test_it.py::test_orders failed there: *", "*TABEL*"])
    assert worktrees(repository) == 1


@pytest.mark.parametrize(
    ("against", "sentence"),
    [
        ("HEAD~1", "*--stormdb-against: 'HEAD~1' is neither 'dsn:postgresql://...' nor 'git:REVISION'"),
        ("git:nowhere", "*--stormdb-against: there is no revision 'nowhere'"),
    ],
)
def test_an_arm_that_is_none_is_told(repository: Suite, against: str, sentence: str) -> None:
    """What is no arm is refused in a sentence, and no worktree is made."""
    result = repository.run(f"--stormdb-against={against}")
    assert result.ret != 0
    (result.stderr if "neither" in sentence else result.stdout).fnmatch_lines([sentence])
    assert worktrees(repository) == 1

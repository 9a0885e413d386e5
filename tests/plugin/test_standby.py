"""A hot standby, which takes no writes and keeps no lock of ours: the load runs there, with what it has to say."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.embedded.binaries import unprivileged
from pytest_stormdb.embedded.server import EmbeddedServer

from ..conftest import Suite

_LIMIT_S = 60.0


def _programs() -> Path | None:
    """An installation that can copy a running server; those of wheels cannot."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_basebackup"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def _standby_of(primary: EmbeddedServer, programs: Path) -> Iterator[str]:
    """A standby that follows a server, until the block ends; its connection string."""
    account = unprivileged()
    identity: Any = {"user": account.uid, "group": account.gid, "extra_groups": []} if account is not None else {}
    with tempfile.TemporaryDirectory(prefix="standby-", dir="/tmp") as name:
        folder = Path(name)
        if account is not None:
            folder.chmod(0o755)
            os.chown(folder, account.uid, account.gid)
        copied = [str(programs / "pg_basebackup"), "-d", primary.dsn, "-D", str(folder / "data"), "-R", "-X", "stream"]
        subprocess.run([*copied, "-c", "fast"], check=True, cwd=folder, timeout=_LIMIT_S, **identity)
        serve = [str(programs / "postgres"), "-D", str(folder / "data"), "-c", f"unix_socket_directories={folder}"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(serve, cwd=folder, stdout=log, stderr=log, **identity)
        dsn = f"host={folder} port=5432 user=postgres dbname=postgres"
        try:
            _await(dsn)
            yield dsn
        finally:
            process.terminate()
            process.wait(_LIMIT_S)


def _await(dsn: str) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while True:
        try:
            with psycopg.connect(dsn) as conn:
                if conn.execute("SELECT to_regclass('item') IS NOT NULL").fetchone() == (True,):
                    return
        except psycopg.OperationalError:
            pass
        assert time.monotonic() < deadline, "the standby does not follow"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_hot_standby_is_loaded(suite: Suite) -> None:
    """With ``isolation="none"`` the load runs, every health check is fine, and of what a standby has no word, one line
    says so; without, one sentence says what to do."""
    programs = _programs()
    if programs is None:
        pytest.skip("needs an installed PostgreSQL with pg_basebackup: apt-get install postgresql")
    suite.write("""
        import pytest

        @pytest.mark.stormdb(workers=2, duration="1s")
        def test_read(worker):
            statement = "SELECT name FROM item WHERE id = %s"
            assert worker.conn.execute(statement, [worker.rng.randint(1, 100)]).fetchone()[0].startswith("item")
    """)
    settings = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}
    with EmbeddedServer.start(settings=settings, bin_dir=programs) as primary:
        with psycopg.connect(primary.dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE item AS SELECT i AS id, 'item ' || i AS name FROM generate_series(1, 100) i")
        with _standby_of(primary, programs) as dsn:
            options = ("--stormdb-json=runs.json", f"--stormdb-dsn={dsn}", "--stormdb-health-interval=300ms")
            loaded = suite.run("--stormdb-isolation=none", "--stormdb-explain", *options)
            (run,) = suite.runs()
            refused = suite.run(*options)
    loaded.assert_outcomes(passed=1)
    assert run["totals"]["operations"] > 0
    assert run["totals"]["failures"] == 0
    assert [check for check in run["health"] if not check["ok"]] == []
    assert {check["when"] for check in run["health"]} == {"before", "during", "after"}
    refused.assert_outcomes(errors=1)
    refused.stdout.fnmatch_lines(["the server is in recovery and takes no writes; *isolation='none'"])
    loaded.stdout.fnmatch_lines(["  server: write-ahead log: a standby writes none"])
    loaded.stdout.no_fnmatch_line("*not observed*")
    assert run["server_activity"]["blocks_per_op"] > 0

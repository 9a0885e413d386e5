"""A pgbouncer before the tests' server, where there is one on the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.embedded.binaries import unprivileged
from pytest_stormdb.embedded.server import EmbeddedServer

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer on this machine")


@contextlib.contextmanager
def pooled(server: EmbeddedServer, mode: str) -> Iterator[str]:
    """The address of a pgbouncer in that mode, which drops the option ``options`` as many are told to."""
    assert PGBOUNCER is not None
    account = unprivileged()
    identity: Any = {"user": account.uid, "group": account.gid, "extra_groups": []} if account is not None else {}
    with tempfile.TemporaryDirectory(prefix="pool-", dir="/tmp") as name:
        folder = Path(name)
        ini = folder / "pgbouncer.ini"
        ini.write_text(
            f"[databases]\n* = host={server.directory} port=5432 user=postgres\n[pgbouncer]\n"
            f"unix_socket_dir = {folder}\nlisten_port = 6432\nauth_type = any\npool_mode = {mode}\n"
            "ignore_startup_parameters = options\nmax_client_conn = 100\n"
        )
        if account is not None:
            os.chown(folder, account.uid, account.gid)
        ini.chmod(0o644)
        process = subprocess.Popen(
            [PGBOUNCER, "-q", str(ini)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity
        )
        dsn = f"host={folder} port=6432 user=postgres dbname=postgres"
        try:
            _await(dsn)
            yield dsn
        finally:
            process.kill()
            process.wait()


def _await(dsn: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "pgbouncer does not answer"
            time.sleep(0.05)
        else:
            return

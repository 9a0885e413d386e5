"""A database with pgbench's tables."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.engine.program import find_pgbench


@pytest.fixture(scope="session")
def bank(server: EmbeddedServer) -> Iterator[str]:
    """The connection string of a database that ``pgbench -i`` filled."""
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS engine_bank WITH (FORCE)")
        admin.execute("CREATE DATABASE engine_bank")
        dsn = make_conninfo(server.dsn, dbname="engine_bank")
        subprocess.run([str(find_pgbench().path), "-i", "-q", dsn], check=True, capture_output=True)
        yield dsn
        admin.execute("DROP DATABASE engine_bank WITH (FORCE)")


@pytest.fixture
def bank_connection(bank: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(bank, autocommit=True) as connection:
        yield connection

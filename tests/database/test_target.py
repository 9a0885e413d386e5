"""Load goes only where it was sent: the environment moves no target, and what is local is what libpq would use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from pytest_stormdb.database.connect import connect
from pytest_stormdb.database.target import choose, is_local, libpq_variables, neutral, pinned
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.errors import ServerError

FAR = "10.9.9.9"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing but what a test sets, and a service file of two services."""
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    services = tmp_path / "services.conf"
    services.write_text(f"[far]\nhost={FAR}\nport=6000\n[near]\nhost=/run/near\n[astray]\nhostaddr={FAR}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))


@pytest.mark.parametrize(
    ("dsn", "variables", "local"),
    [
        ("postgresql:///app", {}, True),
        ("postgresql:///app", {"PGHOST": FAR}, False),
        ("postgresql:///app", {"PGHOST": "/run/pg"}, True),
        ("host=localhost", {"PGHOSTADDR": FAR}, False),
        ("host=localhost hostaddr=127.0.0.1", {"PGHOSTADDR": FAR}, True),
        ("service=far", {}, False),
        ("service=near", {"PGHOST": FAR}, True),
        ("service=near", {"PGHOSTADDR": FAR}, False),
        ("dbname=app", {"PGSERVICE": "astray"}, False),
        ("host=db.example hostaddr=127.0.0.1", {}, True),
        (f"host=localhost,{FAR}", {}, False),
        ("host=::1", {}, True),
    ],
)
def test_local_is_what_libpq_would_use(
    monkeypatch: pytest.MonkeyPatch, dsn: str, variables: Mapping[str, str], local: bool
) -> None:
    """Its environment, its service file and their order count, not the text alone; DATABASE_URL is judged by it."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_local(dsn) == local
    if local:
        assert choose(None, {"DATABASE_URL": dsn}) is not None
    else:
        with pytest.raises(ServerError, match="DATABASE_URL leads to another machine"):
            choose(None, {"DATABASE_URL": dsn})


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGSERVICE"])
def test_the_environment_moves_no_target(monkeypatch: pytest.MonkeyPatch, server: EmbeddedServer, name: str) -> None:
    """A connection string leads where it says, whatever is exported; without a host, to libpq's own default."""
    monkeypatch.setenv(name, {"PGSERVICE": "astray"}.get(name, FAR))
    with connect(pinned(server.dsn), name="test") as conn:
        assert conn.info.host == str(server.directory)
    with pytest.raises(ServerError) as caught:
        connect(pinned("dbname=postgres user=postgres port=1"), name="test")
    assert FAR not in str(caught.value)


def test_a_variable_that_is_not_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who relied on PGHOST is told to write it down."""
    monkeypatch.setenv("PGHOST", "db.example")
    with pytest.raises(ServerError, match="PGHOST of the environment is not used: write host= into"):
        connect(pinned("user=me port=1"), name="test")


def test_a_service_that_is_asked_for_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Host and port of ``service=`` stand; what it leaves open is not filled from the environment."""
    monkeypatch.setenv("PGPORT", "7000")
    monkeypatch.setenv("PGHOSTADDR", FAR)
    assert "host=10.9.9.9 hostaddr='' port=6000 dbname=''" in pinned("service=far")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGCHANNELBINDING", "require"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGGSSENCMODE", "require"),
        ("PGHOSTADDR", FAR),
        ("PGOPTIONS", "-c nonsense=1"),
        ("PGSSLMODE", "verify-full"),
    ],
)
def test_the_embedded_server_needs_no_environment(
    monkeypatch: pytest.MonkeyPatch, server: EmbeddedServer, name: str, value: str
) -> None:
    """Its connection string is complete: nothing exported keeps a client from it."""
    monkeypatch.setenv(name, value)
    with psycopg.connect(neutral(server.dsn)) as conn:
        assert conn.info.host == str(server.directory)


def test_variables_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look with other variables leaves the environment as it was."""
    monkeypatch.setenv("PGHOST", "one")
    with libpq_variables({"PGPORT": "1"}):
        assert "PGHOST" not in os.environ
    assert os.environ["PGHOST"] == "one"
    assert "PGPORT" not in os.environ

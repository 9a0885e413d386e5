"""Passwords in files of libpq's: what it reads there is the password."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pytest_stormdb.database.passfile import PassFiles, password_of
from pytest_stormdb.embedded.server import EmbeddedServer

PASSWORD = r"a:b\c d@e/f%20'g"


@pytest.fixture
def passfiles() -> Iterator[PassFiles]:
    found = PassFiles()
    yield found
    found.close()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_round_trip(password: str) -> None:
    """What goes into a file comes out of it, and the connection string keeps all else."""
    passfiles = PassFiles()
    try:
        dsn = passfiles.without_password(make_conninfo(host="h", user="u", password=password))
        parts = conninfo_to_dict(dsn)
        assert password_of(str(parts.pop("passfile"))) == password
        assert parts == {"host": "h", "user": "u"}
    finally:
        passfiles.close()


def test_one_file_a_password(passfiles: PassFiles) -> None:
    """It is made once, readable by its owner only, and removed with its folder."""
    one, again, other = (passfiles.without_password(f"host=h password={word}") for word in ("one", "one", "other"))
    assert one == again != other
    path = Path(str(conninfo_to_dict(one)["passfile"]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    passfiles.close()
    assert not path.parent.exists()


@pytest.mark.parametrize("dsn", ["host=h", "host=h password='two\nlines'", "host=h passfile=/theirs"])
def test_left_alone(passfiles: PassFiles, dsn: str) -> None:
    """What has no password, or one that no such file can hold, stays as it is."""
    assert passfiles.without_password(dsn) == dsn


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the server's own files are edited")
def test_a_server_takes_it(passfiles: PassFiles) -> None:
    """libpq reads a password with all its special characters from the file, and a server that asks for it takes it."""
    with EmbeddedServer.start() as server:
        role = psycopg.sql.SQL("CREATE ROLE tester LOGIN PASSWORD {}").format(psycopg.sql.Literal(PASSWORD))
        with psycopg.connect(server.dsn, autocommit=True) as admin:
            admin.execute(role)
            (server.directory / "data/pg_hba.conf").write_text("local all tester scram-sha-256\nlocal all all trust\n")
            admin.execute("SELECT pg_reload_conf()")
        bare = make_conninfo(server.dsn, user="tester")
        with psycopg.connect(passfiles.without_password(make_conninfo(bare, password=PASSWORD))) as connection:
            assert connection.info.user == "tester"
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(passfiles.without_password(make_conninfo(bare, password="wrong")))

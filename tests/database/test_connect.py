"""What is wrong with a connection string, and why there is no connection: whole, by name, and without a password."""

from __future__ import annotations

import pytest

from pytest_stormdb.database.connect import connect, parse_dsn, with_search_path
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.errors import ServerError

SECRET = "SECRET"


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://u@localhost/db?schema=public", "libpq knows no parameter 'schema'; write options=-csearch_path"),
        ("postgresql+asyncpg://u@localhost/db?ssl=require", "libpq knows no parameter 'ssl'; write sslmode=require"),
        ("host=x passwort=SECRET", "libpq knows no parameter 'passwort'; leave it out"),
        ("postgresql://u:pa@SECRET@localhost/db", "in a user's name or password write %40 for @"),
        ("postgresql://u:pa/SECRET@localhost/db", "in a user's name or password write %40 for @"),
        ("postgresql://u:SE%CRET@localhost/db", "in a user's name or password write %40 for @"),
        ("host=x password=two SECRET words", "a value with a space in it needs quotes: password='two words'"),
        ("nonsense", "not a connection string; write it as postgresql:"),
        ("postgresql://me:SECRET@[::1/x", "not a connection string; write it as postgresql://"),
    ],
)
def test_what_is_wrong_with_a_connection_string(dsn: str, said: str) -> None:
    """The parameter or the character is named, with what to write instead, and no piece of a password."""
    with pytest.raises(ServerError) as caught:
        parse_dsn(dsn, "STORMDB_DSN")
    assert str(caught.value).startswith("STORMDB_DSN: ")
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_white_space_around_it_is_of_no_account() -> None:
    """A file's last newline belongs to no name of a database."""
    assert parse_dsn(" postgresql://u@h/db\n", "x") == "postgresql://u@h/db"


def test_each_host_has_its_reason() -> None:
    """All hosts are named, each with the whole of what libpq says, but its advice."""
    with pytest.raises(ServerError) as caught:
        connect("host=127.0.0.1,127.0.0.2,/nonexistent port=1,2,3 user=u", name="test")
    assert str(caught.value) == (
        "cannot connect to u@127.0.0.1,127.0.0.2,/nonexistent:1,2,3:"
        ' connection to server at "127.0.0.1", port 1 failed: Connection refused;'
        ' connection to server at "127.0.0.2", port 2 failed: Connection refused;'
        ' connection to server on socket "/nonexistent/.s.PGSQL.3" failed: No such file or directory'
    )


def test_a_path_that_does_not_arrive_is_refused(server: EmbeddedServer) -> None:
    """A session that does not look into our schema first would put a workload's tables elsewhere."""
    with pytest.raises(ServerError, match="the session's schema is none, not stormdb_away"):
        connect(with_search_path(server.dsn, "stormdb_away"), name="test")

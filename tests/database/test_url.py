"""Connection strings as URLs: libpq reads the same out of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pytest_stormdb.database.url import url_of

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@given(user=TEXT, password=TEXT, dbname=TEXT, host=st.sampled_from(["db.example", "::1", "/tmp/a b", "a,b"]))
def test_libpq_reads_the_same(user: str, password: str, dbname: str, host: str) -> None:
    """Names and passwords of any characters, hosts, IPv6 addresses and sockets come back as they were."""
    port = "5433,5434" if "," in host else "5433"
    dsn = make_conninfo(user=user, password=password, dbname=dbname, host=host, port=port)
    assert conninfo_to_dict(url_of(dsn)) == conninfo_to_dict(dsn)


@pytest.mark.parametrize(
    ("dsn", "url"),
    [
        ("host=db user=me password='a@b/c' dbname=app", "postgresql://me:a%40b%2Fc@db/app"),
        ("host=/run/pg port=5432 user=me dbname=app", "postgresql://me@/app?host=%2Frun%2Fpg&port=5432"),
        ("host=db dbname=app sslmode=require gssencmode=disable hostaddr=''", "postgresql://db/app?sslmode=require"),
        ("host=db application_name='stormdb 1' connect_timeout=3", "postgresql://db/?application_name=stormdb%201"),
    ],
)
def test_only_what_all_clients_understand(dsn: str, url: str) -> None:
    """What asyncpg or SQLAlchemy would take for a setting of the server, or refuse, is left out."""
    assert url_of(dsn) == url

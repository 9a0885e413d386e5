"""Secrets are found by their value, however they are written."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_stormdb import redaction
from pytest_stormdb.redaction import learn, learn_dsn, redacted, redacted_in

SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="*"), min_size=6, max_size=30)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes known is unknown to the next."""
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})
    monkeypatch.setattr(redaction, "_pattern", None)


@settings(deadline=None)
@given(SECRETS)
def test_however_it_is_written(secret: str) -> None:
    """Plain, in Python, in JSON, in HTML, in a URL, in a connection string."""
    with pytest.MonkeyPatch.context() as patch:
        forget(patch)
        learn(secret)
        quoted = secret.replace("\\", r"\\").replace("'", r"\'")
        for written in (
            secret,
            repr(secret),
            json.dumps(secret),
            json.dumps(secret, ensure_ascii=False),
            html.escape(secret),
            quote(secret, safe=""),
            quote(secret),
            f"host=h password='{quoted}'",
        ):
            assert secret not in redacted(f"<< {written} >>")
            assert quote_plus(secret) not in redacted(f"<< {written} >>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("first S3cr3tPassword, then S3cr3tPassword.", "first ***, then ***."),
        ("S3cr3tPasswordS3cr3tPassword", "***"),
        ("shortened: S3cr3tPasswo...", "shortened: ***..."),
        ("from the middle: 3cr3tPassword", "from the middle: ***"),
        ("a password", "a password"),
        ("", ""),
    ],
)
def test_where_it_stands(text: str, shown: str) -> None:
    """Every place is covered once, and a part that gives most of it away too; other words are left alone."""
    learn("S3cr3tPassword")
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("dsn", "secrets"),
    [
        ("postgresql://u:plainSecret@h/db", ["plainSecret"]),
        ("postgresql://u:p@ss/w0rd@h/db", ["p@ss/w0rd"]),
        ("postgresql+psycopg://u:p%40ss%2Fw0rd@h/db", ["p%40ss%2Fw0rd", "p@ss/w0rd"]),
        ("postgresql://u:gr%E4ulich@h/db", ["gr%E4ulich", "gräulich"]),
        ("postgresql://h/db?user=u&password=asked%21For", ["asked%21For", "asked!For"]),
        ("host=h password='two words\\'' user=u", ["two words'"]),
        ("host=h password=half\\ quoted dbname=x", ["half quoted"]),
        ("host=h password=S3cretWord and more", ["S3cretWord"]),
    ],
)
def test_passwords_of_connection_strings(dsn: str, secrets: list[str]) -> None:
    """Also of those that libpq cannot read, raw and decoded."""
    learn_dsn(dsn)
    for secret in secrets:
        assert redacted(f"it is {secret}!") == "it is ***!"


def test_everybodys_guess() -> None:
    """A password that is the user's or the database's name is hidden where it stands as one only."""
    learn_dsn("postgresql://postgres:postgres@localhost/postgres")
    text = "postgres is up: postgresql://postgres:postgres@localhost/postgres"
    assert redacted(text) == "postgres is up: postgresql://postgres:***@localhost/postgres"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "conninfo = 'host=h password=x user=u'",
            "conninfo = 'host=h password=*** user=u'",
        ),
        ("postgresql://u:x@y@h/db", "postgresql://u:***@h/db"),
        ("password=None", "password=None"),
    ],
)
def test_by_its_place(text: str, shown: str) -> None:
    """What nobody told us is hidden where a password stands in a connection string."""
    assert redacted(text) == shown


def test_plain_data() -> None:
    """In a document every text is redacted, keys included, and all else stays as it is."""
    learn("S3cr3tPassword")
    data = {"S3cr3tPassword": [1, 2.5, None, True, "a S3cr3tPassword"], "b": {"c": ("S3cr3tPassword",)}}
    assert redacted_in(data) == {"***": [1, 2.5, None, True, "a ***"], "b": {"c": ("***",)}}

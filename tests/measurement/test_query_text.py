"""Statements are shown without the values in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.query_text import shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("UPDATE t SET n = 1 ;\n", "UPDATE t SET n = ?"),
        ("UPDATE account\n   SET n = 12.5 WHERE name = 'O''Hara'", "UPDATE account SET n = ? WHERE name = ?"),
        ("SELECT $1, col1, E'a' -- note 5\n FROM t2 /* 'x */", "SELECT $1, col1, ? FROM t2"),
        ("SELECT $tag$ it's $tag$ || $$x$$", "SELECT ? || ?"),
        ("INSERT INTO t VALUES ('cut off in the mid", "INSERT INTO t VALUES ("),
        ("", ""),
    ],
)
def test_literals_and_comments_go(text: str, shown: str) -> None:
    """Numbers and quoted text become question marks; names and placeholders stay."""
    assert shortened(text) == shown


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="'\\")), st.integers(10, 80))
def test_a_quoted_value_never_shows(secret: str, length: int) -> None:
    """Whatever stands between quotes does not come out, and the length is kept."""
    said = shortened(f"SELECT * FROM t WHERE a = '<{secret}>'", length)
    assert "<" not in said
    assert len(said) <= length

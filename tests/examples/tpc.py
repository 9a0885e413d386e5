"""What the tests of tpcb and tpcc share: schemas to load into, checksums of tables, a folder's seal."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]


@contextmanager
def schema(dsn: str, name: str) -> Iterator[Connection]:
    """A connection into a new schema, which is dropped in the end."""
    identifier = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE SCHEMA {}").format(identifier))
        conn.execute(sql.SQL("SET search_path = {}").format(identifier))
        try:
            yield conn
        finally:
            conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(identifier))


def checksums(conn: Connection, tables: Iterable[str]) -> dict[str, str]:
    """A checksum of each table's rows, whatever their order."""
    query = sql.SQL("SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {} t")
    return {table: value(conn, query.format(sql.Identifier(table))) for table in tables}


def value(conn: Connection, query: sql.SQL | sql.Composed) -> Any:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]


def sha256sum_complains(folder: Path) -> str:
    """What ``sha256sum -c`` says of a sealed folder, apart from OK."""
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", f"{folder.name}.sha256"], cwd=folder, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def near(share: float, expected: float, count: int) -> bool:
    """Whether a share of so many draws is within five standard errors of what is expected."""
    return abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / count)

"""Rows brought in by INSERT one by one, many at a time and pipelined, from arrays, and by COPY, side by side."""

from __future__ import annotations

import datetime
import json
import logging
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import BaseModel, Field

from pytest_stormdb import OperationResult, Worker, worker_fixture

log = logging.getLogger("stormdb.bulk_insert")

_EPOCH = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
_YEAR_S = 365 * 86_400
_PROGRESS_ROWS = 10_000
_MOST_PARAMETERS = 65_535
_MOST_BLOCKS = 10
_COMPARED_ROWS = 1_000
_SEPARATOR = "\x1f"
_STATUSES = ("new", "active", "paused", "closed", "archived")
_WORDS = ("alpha", "b\\eta", 'ga"mma', "d'elta", "épsilon", "zeta\t", "eta\n", "the,ta", "{iota}", "κάππα", "λ", "mu")
"""Harmless words, and some that every way to bring them in must quote."""

_COLUMNS = {
    "external_id": "uuid",
    "name": "varchar(50)",
    "title": "varchar(500)",
    "body": "text",
    "quantity": "int",
    "total": "bigint",
    "price": "numeric(15,4)",
    "ratio": "float8",
    "occurred": "timestamptz",
    "day": "date",
    "at": "time",
    "active": "boolean",
    "attributes": "jsonb",
    "payload": "bytea",
    "status": "bulk_status",
    "tags": "text[]",
    "address": "inet",
    "position": "point",
}
"""The columns beside the id, which the table gives."""

_NAMES = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))

_INDEXES = (
    "CREATE INDEX ON bulk_insert_test (name)",
    "CREATE INDEX ON bulk_insert_test (occurred)",
    "CREATE INDEX ON bulk_insert_test (quantity)",
    "CREATE INDEX ON bulk_insert_test (status, day)",
    "CREATE INDEX ON bulk_insert_test (price) WHERE active",
    "CREATE INDEX ON bulk_insert_test USING gin (attributes)",
    "CREATE INDEX ON bulk_insert_test USING hash (external_id)",
)

Row = tuple[str, ...]
"""One row, each value as PostgreSQL reads it."""


class BulkInsert(BaseModel, extra="forbid", frozen=True):
    """The parameters of this workload."""

    scale: int = Field(default=50_000, ge=1, description="distinct rows; larger batches than that are left out")
    seed: int = Field(default=42, description="seed of the data; same seed and scale, same rows")
    body_words: int = Field(default=15, ge=0, le=10_000, description="words in the text of a row")
    payload_bytes: int = Field(default=64, ge=0, le=1_000_000, description="most bytes in the blob of a row")


# -- data ----------------------------------------------------------------------------------------------------------


def _make_row(rng: random.Random, parameters: BulkInsert) -> Row:
    """A row as a seeded stream has it, without a clock or an operation that machines do differently."""
    moment = _EPOCH + datetime.timedelta(seconds=rng.randrange(_YEAR_S))
    number = rng.randrange(10**9)
    tags = [rng.choice(_WORDS) for _ in range(rng.randrange(6))]
    return (
        str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        f"name {number}",
        " ".join(rng.choices(_WORDS, k=5)),
        " ".join(rng.choices(_WORDS, k=parameters.body_words)),
        str(rng.randrange(10_000)),
        str(number * 1_000),
        f"{number // 10_000}.{number % 10_000:04d}",
        repr(rng.random()),
        moment.isoformat(),
        moment.date().isoformat(),
        moment.time().isoformat(),
        "true" if rng.random() < 0.8 else "false",
        json.dumps({"kind": rng.choice(_WORDS), "rank": rng.randrange(100)}),
        f"\\x{rng.randbytes(rng.randint(0, parameters.payload_bytes)).hex()}",
        rng.choice(_STATUSES),
        _array(tags),
        _address(rng),
        f"({rng.randrange(-180, 180)},{rng.randrange(-90, 90)})",
    )


def _address(rng: random.Random) -> str:
    if rng.random() < 0.1:
        return f"2001:db8::{rng.randrange(1, 65_536):x}"
    return f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def _array(values: Sequence[str]) -> str:
    """Values as one array literal."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def _copy_line(row: Row) -> str:
    """A row in COPY's text format."""
    line = _SEPARATOR.join(row).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return line.replace(_SEPARATOR, "\t") + "\n"


def _load_source(conn: psycopg.Connection[Any], parameters: BulkInsert) -> list[Row]:
    """Make the rows, and keep a copy on the server to compare with."""
    rng = random.Random(parameters.seed)
    rows = []
    copy_in = sql.SQL("COPY source ({}) FROM STDIN").format(_NAMES)
    with conn.cursor() as cursor, cursor.copy(copy_in) as copy:
        for number in range(1, parameters.scale + 1):
            rows.append(_make_row(rng, parameters))
            copy.write(_copy_line(rows[-1]))
            if number % _PROGRESS_ROWS == 0 or number == parameters.scale:
                log.info("made %s of %s rows", f"{number:,}", f"{parameters.scale:,}")
    return rows


# -- set-up --------------------------------------------------------------------------------------------------------


def _create(conn: psycopg.Connection[Any]) -> None:
    statuses = sql.SQL(", ").join(map(sql.Literal, _STATUSES))
    conn.execute(sql.SQL("CREATE TYPE bulk_status AS ENUM ({})").format(statuses))
    column = sql.SQL("{} {} NOT NULL")
    columns = [column.format(sql.Identifier(name), sql.SQL(kind)) for name, kind in _COLUMNS.items()]
    create = sql.SQL("CREATE TABLE source (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {})")
    conn.execute(create.format(sql.SQL(", ").join(columns)))
    conn.execute("CREATE TABLE bulk_insert_test (LIKE source INCLUDING IDENTITY, PRIMARY KEY (id))")
    conn.execute("ALTER TABLE bulk_insert_test ALTER external_id SET DEFAULT gen_random_uuid()")
    for index in _INDEXES:
        conn.execute(index)
    conn.execute("CREATE TABLE ledger (inserted bigint)")


@pytest.fixture(scope="module")
def rows(
    stormdb_connection: psycopg.Connection[Any], stormdb_parameters: Callable[[type[BulkInsert]], BulkInsert]
) -> list[Row]:
    """The rows to insert; the table for them, with its indexes, is there."""
    parameters = stormdb_parameters(BulkInsert)
    _create(stormdb_connection)
    rows = _load_source(stormdb_connection, parameters)
    stormdb_connection.execute("CREATE INDEX ON source (external_id)")
    stormdb_connection.execute("ANALYZE source")
    return rows


@pytest.fixture
def target(stormdb_connection: psycopg.Connection[Any], rows: list[Row]) -> Iterator[None]:
    """The table, empty; afterwards it has the rows that the workers report, each as it was made."""
    conn = stormdb_connection
    yield
    counts = conn.execute(
        "SELECT (SELECT count(*) FROM bulk_insert_test), (SELECT coalesce(sum(inserted), 0)::bigint FROM ledger)"
    ).fetchone() or (0, 1)
    same = conn.execute(
        "SELECT count(*) FROM (SELECT * FROM bulk_insert_test LIMIT %s) t JOIN source s USING (external_id)"
        " WHERE to_jsonb(t) - 'id' = to_jsonb(s) - 'id'",
        [_COMPARED_ROWS],
    ).fetchone()
    conn.execute("TRUNCATE bulk_insert_test, ledger")
    assert counts[0] == counts[1], "rows in the table, rows reported"
    assert same == (min(_COMPARED_ROWS, counts[0]),), "rows that are as they were made"


@pytest.mark.stormdb_health
def indexes_are_valid(conn: psycopg.Connection[Any]) -> None:
    """The table has its primary key and its seven indexes."""
    query = "SELECT count(*) FROM pg_index WHERE indrelid = 'bulk_insert_test'::regclass AND indisvalid"
    assert conn.execute(query).fetchone() == (1 + len(_INDEXES),)


@pytest.mark.stormdb_health
def source_has_rows(conn: psycopg.Connection[Any]) -> None:
    """The rows to compare with are there."""
    assert conn.execute("SELECT EXISTS (SELECT FROM source)").fetchone() == (True,)


# -- methods -------------------------------------------------------------------------------------------------------

Insert = Callable[[Any], int]
"""Brings in a block, in one transaction; the rows that are then in the table."""

_INSERT = sql.SQL("INSERT INTO bulk_insert_test ({}) VALUES ").format(_NAMES).as_string()


def _values(first: int) -> str:
    return "(" + ", ".join(f"${first + n}" for n in range(len(_COLUMNS))) + ")"


def _single(worker: Worker) -> Insert:
    """A statement for each row."""
    statement: Any = worker.prepare(_INSERT + _values(1))

    def insert(block: Sequence[Row]) -> int:
        with worker.conn.transaction():
            return sum(statement.execute(*row) for row in block)

    return insert


def _multi_row(worker: Worker) -> Insert:
    """Statements with as many rows as fit; a statement has room for 65,535 parameters."""
    width = len(_COLUMNS)
    statements: dict[int, Any] = {}

    def insert(block: Sequence[Row]) -> int:
        inserted = 0
        with worker.conn.transaction():
            for values in block:
                if len(values) not in statements:
                    groups = ", ".join(_values(first) for first in range(1, len(values), width))
                    statements[len(values)] = worker.prepare(_INSERT + groups)
                inserted += statements[len(values)].execute(*values)
        return inserted

    return insert


def _chunks(rows: Sequence[Row]) -> list[list[str]]:
    """The values of rows, as many together as one statement can take."""
    most = _MOST_PARAMETERS // len(_COLUMNS)
    return [[value for row in rows[at : at + most] for value in row] for at in range(0, len(rows), most)]


def _pipelined(worker: Worker) -> Insert:
    """A statement for each row, sent without waiting for the answer to the one before."""
    text = _INSERT.encode() + b"(" + b", ".join([b"%s"] * len(_COLUMNS)) + b")"

    def insert(block: Sequence[Row]) -> int:
        with worker.conn.cursor() as cursor:
            with worker.conn.pipeline(), worker.conn.transaction():
                cursor.executemany(text, block)
            rows: int = cursor.rowcount
        return rows

    return insert


def _arrays(worker: Worker) -> Insert:
    """One statement, with an array for each column."""
    arrays, taken = [], []
    for number, (name, kind) in enumerate(_COLUMNS.items(), 1):  # unnest would take an array of arrays apart
        element = sql.SQL("text" if kind.endswith("[]") else kind)
        arrays.append(sql.SQL("{}::{}[]").format(sql.SQL(f"${number}"), element))
        taken.append(sql.SQL("{}::{}").format(sql.Identifier(name), sql.SQL(kind)))
    text = sql.SQL("INSERT INTO bulk_insert_test ({0}) SELECT {1} FROM unnest({2}) new ({0})").format(
        _NAMES, sql.SQL(", ").join(taken), sql.SQL(", ").join(arrays)
    )
    statement: Any = worker.prepare(text.as_string())

    def insert(block: Sequence[str]) -> int:
        rows: int = statement.execute(*block)
        return rows

    return insert


def _copy(worker: Worker) -> Insert:
    """COPY, in text format."""
    text = sql.SQL("COPY bulk_insert_test ({}) FROM STDIN").format(_NAMES)

    def insert(block: bytes) -> int:
        with worker.conn.cursor() as cursor:
            with cursor.copy(text) as copy:
                copy.write(block)
            rows: int = cursor.rowcount
        return rows

    return insert


_METHODS: dict[str, tuple[Callable[[Worker], Insert], Callable[[Sequence[Row]], Any]]] = {
    "single": (_single, list),
    "multi_row": (_multi_row, _chunks),
    "pipelined": (_pipelined, list),
    "arrays": (_arrays, lambda rows: [_array(column) for column in zip(*rows, strict=True)]),
    "copy": (_copy, lambda rows: "".join(map(_copy_line, rows)).encode()),
}
"""How a worker inserts a block, and how rows become a block: that is done before the load."""

_COMBINATIONS = (
    *[("single", size) for size in (1, 100)],
    *[("multi_row", size) for size in (100, 1_000, 10_000)],
    *[("pipelined", size) for size in (100, 1_000)],
    *[("arrays", size) for size in (1_000, 10_000, 50_000)],
    *[("copy", size) for size in (1, 100, 1_000, 10_000, 50_000)],
)


@pytest.fixture
def blocks(rows: list[Row], method: str, size: int) -> list[Any]:
    """Some batches of rows, in the form that the method takes."""
    if size > len(rows):
        pytest.skip(f"batches of {size:,} rows need scale={size} or more")
    make_block = _METHODS[method][1]
    count = min(_MOST_BLOCKS, len(rows) // size)
    return [make_block(rows[at * size : (at + 1) * size]) for at in range(count)]


@worker_fixture
def insert(worker: Worker, target: None, method: str) -> Iterator[Insert]:
    """The worker's way to insert a block; its account goes to the ledger."""
    way, inserted = _METHODS[method][0](worker), 0

    def insert_and_count(block: Any) -> int:
        nonlocal inserted
        rows = way(block)
        inserted += rows
        return rows

    yield insert_and_count
    worker.conn.execute("INSERT INTO ledger VALUES (%s)", [inserted])


@pytest.mark.stormdb(workers=2, duration="1s", timeout="120s")
@pytest.mark.stormdb_slo("errors == 0%")
@pytest.mark.parametrize(
    ("method", "size"),
    [
        pytest.param(*combination, marks=pytest.mark.stormdb_slo(f"p50 < {1 + combination[1] // 500}s"))
        for combination in _COMBINATIONS
    ],
)
def test_insert(worker: Worker, blocks: list[Any], insert: Insert, size: int) -> OperationResult:
    """Bring in a batch of rows, in one transaction."""
    rows = insert(blocks[(worker.id + worker.iteration) % len(blocks)])
    assert rows == size
    return OperationResult(rows_affected=rows)

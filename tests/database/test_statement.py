"""The short path: the values of psycopg's cursors, its exceptions, and a statement that is there when it is called."""

from __future__ import annotations

import datetime as dt
import ipaddress
import uuid
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Json, Jsonb
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pytest_stormdb.database.statement import Statement
from pytest_stormdb.embedded.server import EmbeddedServer

Owned = Any


@pytest.fixture
def owner(server: EmbeddedServer) -> Iterator[Owned]:
    """What a statement belongs to: something with a connection."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        yield SimpleNamespace(conn=conn)


@pytest.fixture(scope="module")
def shared(server: EmbeddedServer) -> Iterator[Owned]:
    """One owner for many values, with a statement for each type."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        yield SimpleNamespace(conn=conn, statements={})


def prepared_on_server(owner: Owned) -> int:
    """How many statements the owner's session holds."""
    row = owner.conn.execute("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'stormdb%'").fetchone()
    return int(row[0])


def _integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
FLOATS = st.floats()
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20)
DATES = st.dates()
TIMES = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
ZONED = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC))
DELTAS = st.timedeltas(dt.timedelta(days=-100_000), dt.timedelta(days=100_000))
PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
DOCUMENTS = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
BUILT_IN: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int2": _integers(16),
    "int4": _integers(32),
    "int8": _integers(64),
    "oid": st.integers(0, 2**32 - 1),
    "numeric": NUMBERS | st.integers(-(10**30), 10**30) | st.just(Decimal("NaN")),
    "float4": st.floats(width=32),
    "float8": FLOATS | st.integers(-(2**53), 2**53),
    "money": st.integers(-(10**6), 10**6).map(str),
    "text": TEXTS,
    "varchar": TEXTS,
    "bpchar": TEXTS,
    "name": st.text("abc_", max_size=20),
    '"char"': st.sampled_from("abc"),
    "bytea": st.binary(max_size=50)
    | st.binary(max_size=50).map(bytearray)
    | st.binary(max_size=50).map(lambda raw: memoryview(raw)),
    "date": DATES,
    "time": st.times(),
    "timetz": st.times(timezones=st.just(dt.UTC)),
    "timestamp": TIMES,
    "timestamptz": ZONED,
    "interval": DELTAS,
    "uuid": st.uuids(),
    "inet": st.ip_addresses().map(str) | st.ip_addresses().map(lambda address: ipaddress.ip_interface(address)),
    "cidr": st.ip_addresses().map(lambda address: ipaddress.ip_network(address)),
    "macaddr": st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":")),
    "bit(4)": st.text("01", min_size=4, max_size=4),
    "varbit": st.text("01", max_size=20),
    "json": DOCUMENTS.map(Json),
    "jsonb": DOCUMENTS.map(Jsonb),
    "point": st.tuples(_integers(16), _integers(16)).map(str),
    "tsvector": st.text("abc ", max_size=20),
    "xid": st.integers(0, 2**31).map(str),
    "pg_lsn": st.integers(0, 2**31).map(lambda low: f"0/{low:X}"),
    "int4[]": st.lists(_integers(32) | st.none(), max_size=5),
    "int8[][]": st.lists(st.tuples(_integers(64), _integers(64)).map(list), min_size=1, max_size=3),
    "text[]": st.lists(TEXTS | st.none(), max_size=5),
    "bool[]": st.lists(st.booleans(), max_size=5),
    "float8[]": st.lists(FLOATS, max_size=5),
    "uuid[]": st.lists(st.uuids(), max_size=3),
    "timestamptz[]": st.lists(ZONED, max_size=3),
    "int4range": st.tuples(st.integers(0, 99), st.integers(100, 200)).map(lambda ends: Range(*ends)),
    "tstzrange": st.tuples(ZONED, ZONED).map(lambda ends: Range(min(ends), max(ends))),
    "numrange": st.tuples(NUMBERS, NUMBERS).map(lambda ends: Range(min(ends), max(ends))),
    "int8multirange": st.just(Multirange([Range(1, 5), Range(10, 20)])),
}


@pytest.mark.parametrize("kind", BUILT_IN)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_are_those_of_a_cursor(shared: Owned, kind: str, data: st.DataObject) -> None:
    """Values of every built-in type, and NULL, go to the server and come back as by ``conn.execute``."""
    value = data.draw(st.none() | BUILT_IN[kind])
    statement = shared.statements.get(kind)
    if statement is None:
        statement = shared.statements[kind] = Statement(shared, f"SELECT $1::{kind}, $1::{kind}::text")
    plain = shared.conn.execute(f"SELECT %s::{kind}, (%s::{kind})::text", [value, value]).fetchone()
    assert repr(statement.fetchone(value)) == repr(plain)  # which tells types, and NaN from no number at all
    assert repr(statement.fetchall(value)) == repr([plain])
    assert repr(statement.fetchval(value)) == repr(plain[0])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.tuples(*(st.none() | each for each in (TEXTS, _integers(32), FLOATS, st.booleans(), ZONED))))
def test_many_parameters_of_changing_types(shared: Owned, values: tuple[Any, ...]) -> None:
    """What one call has taught a statement of its arguments' types is not held against the next."""
    kinds = ("text", "int4", "float8", "bool", "timestamptz")
    statement = shared.statements.get(kinds)
    if statement is None:
        columns = ", ".join(f"${index}::{kind}" for index, kind in enumerate(kinds, 1))
        statement = shared.statements[kinds] = Statement(shared, f"SELECT {columns}")
    plain = shared.conn.execute(f"SELECT {', '.join(f'%s::{kind}' for kind in kinds)}", values).fetchone()
    assert repr(statement.fetchone(*values)) == repr(plain)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "int4"), ("x", "int4"), (2**40, "int4"), (1.5, "int8"), ("no", "uuid"), ("1-1-1-1", "date")],
)
def test_values_that_do_not_fit(owner: Owned, value: object, kind: str) -> None:
    """The server refuses what is no value of the type, with psycopg's exception, and the statement goes on."""
    statement = Statement(owner, f"SELECT $1::{kind}")
    assert statement.fetchval(None) is None
    with pytest.raises(psycopg.DataError) as found:
        statement.fetchval(value)
    assert found.value.sqlstate in ("22P02", "22003", "22007")
    assert statement.fetchone(None) == (None,)


def test_a_text_with_a_nul(owner: Owned) -> None:
    """PostgreSQL has no text with a zero byte; psycopg says so before the server sees half of it."""
    statement = Statement(owner, "SELECT $1::text")
    assert statement.fetchval("whole") == "whole"
    with pytest.raises(psycopg.DataError, match="NUL"):
        statement.fetchval("ha\0lf")


def test_documents_need_no_wrapper(owner: Owned) -> None:
    """Where the server reports json or jsonb, a dict or a list is a document."""
    assert Statement(owner, "SELECT $1::jsonb -> 'a'").fetchval({"a": [1, None]}) == [1, None]
    assert Statement(owner, "SELECT $1::json -> 0").fetchval([True]) is True
    with pytest.raises(psycopg.ProgrammingError, match="cannot adapt type 'dict'"):
        Statement(owner, "SELECT $1::text").fetchval({"a": 1})


def test_what_a_connection_adapts_in_its_own_way(owner: Owned) -> None:
    """Dumpers and loaders registered on the connection count, for plain types too."""

    class Doubled(psycopg.adapt.Dumper):
        oid = 23

        def dump(self, obj: Any) -> bytes:
            return b"%d" % (obj * 2)

    class Worded(psycopg.adapt.Loader):
        def load(self, data: Any) -> str:
            return f"<{bytes(data).decode()}>"

    owner.conn.adapters.register_dumper(int, Doubled)
    owner.conn.adapters.register_loader("int4", Worded)
    statement = Statement(owner, "SELECT $1::int4, $1::int8")
    assert [statement.fetchone(21), statement.fetchone(4)] == [("<42>", 42), ("<8>", 8)]


def test_what_the_calls_return(owner: Owned) -> None:
    """Rows affected, the first row, its first value, all rows; and what they are when there is none."""
    create = Statement(owner, "CREATE TEMP TABLE t (n int, s text)")
    assert create.execute() == 0
    insert = Statement(owner, "INSERT INTO t SELECT i, 'x' || i FROM generate_series(1, $1) i")
    assert insert.execute(3) == 3
    assert Statement(owner, "UPDATE t SET n = n WHERE n > $1").execute(1) == 2
    select = Statement(owner, "SELECT n, s FROM t WHERE n >= $1 ORDER BY n")
    assert (select.execute(1), select.fetchone(2), select.fetchval(3)) == (3, (2, "x2"), 3)
    assert select.fetchall(2) == [(2, "x2"), (3, "x3")]
    assert (select.execute(9), select.fetchone(9), select.fetchval(9), select.fetchall(9)) == (0, None, None, [])
    assert Statement(owner, "").execute() == 0


def test_errors_are_those_of_psycopg(owner: Owned) -> None:
    """An error has the class, the SQLSTATE and the details that a cursor's would have."""
    owner.conn.execute("CREATE TEMP TABLE u (n int PRIMARY KEY)")
    insert = Statement(owner, "INSERT INTO u VALUES ($1)")
    assert insert.execute(1) == 1
    with pytest.raises(psycopg.errors.UniqueViolation) as found:
        insert.execute(1)
    assert (found.value.sqlstate, found.value.diag.table_name) == ("23505", "u")
    with pytest.raises(psycopg.errors.ProtocolViolation, match="supplies 2 parameters"):
        insert.execute(1, 2)
    with pytest.raises(psycopg.errors.SyntaxError):
        Statement(owner, "SELEKT").execute()


def test_no_copy(owner: Owned) -> None:
    """COPY is refused by name; the connection is of no use then, and its worker replaces it."""
    with pytest.raises(psycopg.ProgrammingError, match="no COPY"):
        Statement(owner, "COPY pg_class TO STDOUT").execute()
    owner.conn.close()


def test_a_transaction_holds_what_the_statement_did(owner: Owned) -> None:
    """Within ``conn.transaction()`` it is rolled back with the rest; an error in it aborts the rest."""
    owner.conn.execute("CREATE TEMP TABLE v (n int)")
    insert = Statement(owner, "INSERT INTO v VALUES ($1)")
    count = Statement(owner, "SELECT count(*) FROM v")
    with owner.conn.transaction(force_rollback=True):
        insert.execute(1)
        assert count.fetchval() == 1
    assert count.fetchval() == 0
    with pytest.raises(psycopg.errors.InFailedSqlTransaction), owner.conn.transaction():  # noqa: PT012 - its end raises
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            insert.execute("x")
        count.fetchval()
    assert count.fetchval() == 0


def test_a_connection_without_autocommit(owner: Owned) -> None:
    """There the first statement begins a transaction, as psycopg's would, and ``rollback`` undoes it."""
    owner.conn.execute("CREATE TEMP TABLE w (n int)")
    insert = Statement(owner, "INSERT INTO w VALUES ($1)")
    insert.execute(1)
    owner.conn.autocommit = False
    insert.execute(2)
    assert owner.conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    owner.conn.rollback()
    insert.execute(3)
    owner.conn.commit()
    assert Statement(owner, "SELECT n FROM w ORDER BY n").fetchall() == [(1,), (3,)]
    owner.conn.rollback()


@pytest.mark.parametrize("command", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_a_session_that_forgot_its_statements(owner: Owned, command: str) -> None:
    """The statement is prepared again, unseen by the caller; within a transaction, in the next one."""
    statement = Statement(owner, "SELECT $1::int + 1")
    assert statement.fetchval(1) == 2
    owner.conn.execute(command, prepare=False)
    assert [statement.fetchval(2), statement.fetchall(3)] == [3, [(4,)]]
    owner.conn.execute("DEALLOCATE ALL", prepare=False)
    with pytest.raises(psycopg.errors.InvalidSqlStatementName), owner.conn.transaction():
        statement.fetchval(4)
    with owner.conn.transaction():
        assert statement.fetchval(5) == 6
    assert prepared_on_server(owner) == 1


def test_a_table_that_changed(owner: Owned) -> None:
    """A column more, or of another type, and the statement is prepared again; the server keeps one of it."""
    owner.conn.execute("CREATE TEMP TABLE x AS SELECT 1 AS n")
    statement = Statement(owner, "SELECT * FROM x")
    assert statement.fetchall() == [(1,)]
    owner.conn.execute("ALTER TABLE x ALTER n TYPE text, ADD s uuid")
    assert statement.fetchall() == [("1", None)]
    owner.conn.execute("SET lc_messages = 'C'; ALTER TABLE x DROP s")
    with pytest.raises(psycopg.errors.FeatureNotSupported), owner.conn.transaction():
        statement.fetchall()
    assert statement.fetchall() == [("1",)]
    assert prepared_on_server(owner) == 1


def test_a_new_connection(owner: Owned, server: EmbeddedServer) -> None:
    """On the owner's next connection the statement is prepared there, and takes nothing along."""
    statement = Statement(owner, "SELECT pg_backend_pid(), $1::text")
    first = owner.conn.info.backend_pid
    assert statement.fetchone("ä") == (first, "ä")
    with psycopg.connect(server.dsn, autocommit=True, client_encoding="latin1") as second:
        owner.conn = second
        assert statement.fetchone("ä") == (second.info.backend_pid, "ä")


def test_a_lost_connection(owner: Owned) -> None:
    """A session that is ended in a statement, and a connection that is closed, are OperationalErrors that say so."""
    statement = Statement(owner, "SELECT pg_terminate_backend($1)")
    with pytest.raises(psycopg.OperationalError, match="terminating connection due to administrator command"):
        statement.fetchval(owner.conn.info.backend_pid)
    with pytest.raises(psycopg.OperationalError, match="no connection"):
        statement.fetchval(0)


def test_large_results_and_arguments(owner: Owned) -> None:
    """Megabytes go both ways."""
    text = "long " * 1_000_000
    assert Statement(owner, "SELECT $1::text").fetchval(text) == text
    rows = Statement(owner, "SELECT i, i::text FROM generate_series(1, $1) i").fetchall(50_000)
    assert rows[-1] == (50_000, "50000")
    assert len(rows) == 50_000


def test_an_unknown_type(owner: Owned) -> None:
    """A type of the user's own comes as text, or as what the connection was told to make of it."""
    owner.conn.execute("CREATE TYPE pg_temp.mood AS ENUM ('good', 'bad')")
    assert Statement(owner, "SELECT $1::pg_temp.mood").fetchval("good") == "good"
    owner.conn.execute("CREATE TYPE pg_temp.pair AS (a int, b uuid)")
    key = uuid.UUID(int=5)
    assert Statement(owner, "SELECT ($1::pg_temp.pair).b").fetchval((1, key)) == key

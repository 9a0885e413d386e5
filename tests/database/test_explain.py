"""Plans of real statements, with their parameters, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pytest_stormdb.database.explain import explain
from pytest_stormdb.errors import ServerError


@pytest.fixture
def orders(own_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to a table of 5,000 orders of 100 customers."""
    conn = psycopg.connect(own_dsn, autocommit=True)
    conn.execute("CREATE TABLE orders (id int PRIMARY KEY, customer int, note text)")
    conn.execute("INSERT INTO orders SELECT i, i % 100, repeat('x', 200) FROM generate_series(1, 5000) i")
    conn.execute("CREATE INDEX orders_customer_idx ON orders (customer)")
    conn.execute("VACUUM ANALYZE orders")
    yield conn
    conn.close()


def test_a_plan_tells_which_index_serves_a_statement(orders: psycopg.Connection) -> None:
    """By name, whichever of its scans PostgreSQL takes; another condition reads the table sequentially."""
    found = explain(orders, "SELECT * FROM orders WHERE customer = %s", [5])
    assert found.uses(index="orders_customer_idx")
    assert not found.scans("orders")
    assert found.rows == 50
    assert 50 <= found.blocks <= 60
    whole = explain(orders, "SELECT count(*) FROM orders WHERE note LIKE %(end)s", {"end": "%y"})
    assert whole.scans("orders")
    assert whole.blocks > 100
    assert whole.fingerprint != found.fingerprint


def test_the_fingerprint_outlives_values_and_rows(orders: psycopg.Connection) -> None:
    """Another value, the statement in PostgreSQL's own notation, and other data give the same."""
    query = "SELECT * FROM orders WHERE id = %s"
    first = explain(orders, query, [5])
    assert explain(orders, query, [77]).fingerprint == first.fingerprint
    assert explain(orders, "SELECT * FROM orders WHERE id = $1", [5], raw=True).fingerprint == first.fingerprint
    orders.execute("DELETE FROM orders WHERE id > 2000")
    assert explain(orders, query, [3000]).fingerprint == first.fingerprint
    assert explain(orders, query, [3000]).rows == 0


def test_what_a_statement_writes_is_rolled_back(orders: psycopg.Connection) -> None:
    """It is executed, and undone."""
    found = explain(orders, "DELETE FROM orders WHERE id <= %s RETURNING id", [10])
    assert found.rows == 10
    assert orders.execute("SELECT count(*) FROM orders").fetchall() == [(5000,)]


@pytest.mark.parametrize(
    ("query", "params", "said"),
    [
        ("SELECT * FROM nowhere", None, 'cannot explain the statement: relation "nowhere" does not exist'),
        ("SELECT %s", None, "cannot explain the statement: "),
        ("SELECT %(a)s", [1], "cannot explain the statement: "),
        ("VACUUM orders", None, "cannot explain the statement: syntax error"),
    ],
)
def test_what_cannot_be_explained_says_why(
    orders: psycopg.Connection, query: str, params: list[int] | None, said: str
) -> None:
    """One line, and the connection is as good as before."""
    with pytest.raises(ServerError) as caught:
        explain(orders, query, params)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert explain(orders, "SELECT 1").rows == 1

"""Loading the shop into a database, and checking that its books agree."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import psycopg
from ecommerce_data import TABLES, Shop, contents, query_vectors
from psycopg import sql

INVARIANTS: Mapping[str, str] = {
    "no product has a negative stock": "SELECT product_id FROM inventory WHERE quantity_available < 0",
    "every order's money equals its lines": """
        SELECT order_id FROM orders
          LEFT JOIN (SELECT order_id, sum(line_total) AS lines FROM order_items GROUP BY order_id) i USING (order_id)
          WHERE subtotal <> coalesce(lines, 0) OR tax <> round(subtotal * 0.08, 2) OR total <> subtotal + tax - discount
        """,
    "every user has spent what the standing orders cost": """
        SELECT user_id FROM users
          LEFT JOIN (SELECT user_id, sum(total) AS spent FROM orders WHERE status <> 'cancelled' GROUP BY 1) o
            USING (user_id)
          WHERE total_spent <> coalesce(spent, 0)
        """,
    "no unit of stock came or went unrecorded": """
        SELECT product_id FROM inventory JOIN stock_by_the_books USING (product_id)
          WHERE quantity_available <> quantity + quantity_adjusted
        """,
    "no product is on order twice": """
        SELECT product_id FROM purchase_order_items WHERE quantity_received < quantity_ordered
          GROUP BY product_id HAVING count(*) > 1
        """,
    "a purchase order is closed when all of it was received": """
        SELECT po_id FROM purchase_orders JOIN purchase_order_items USING (po_id)
          GROUP BY po_id HAVING (status = 'received') <> bool_and(quantity_received = quantity_ordered)
        """,
    "only a shipped order has a shipping date": """
        SELECT order_id FROM orders WHERE (shipped_at IS NOT NULL) <> (status IN ('shipped', 'delivered'))
        """,
}
"""Queries for what must not be: a row is a violation. Each is one statement, so that it also holds under load."""

_PROGRESS_ROWS = 100_000
_STEP_ROWS = 1_000
_QUERY_VECTORS = 64

log = logging.getLogger("stormdb.ecommerce")


def load(
    conn: psycopg.Connection[Any],
    shop: Shop,
    vectors: Literal["auto", "never", "require"],
    dim: int,
    advance: Callable[[int], object] = lambda rows: None,
) -> Shop:
    """Make the tables, fill them by COPY, then add indexes and triggers. The shop as it then is.

    ``advance`` is told how many rows more there are.
    """
    conn.execute(_script("ecommerce_schema.sql"))
    with_vectors = vectors != "never" and _has_pgvector(conn)
    if vectors == "require" and not with_vectors:
        raise RuntimeError("the server has no pgvector that we can use; vectors=auto does without")
    if with_vectors:
        conn.execute(sql.SQL("ALTER TABLE reviews ADD COLUMN content_vector vector({})").format(sql.Literal(dim)))
    log.info("%d users, seed %d, vectors: %s", shop.users, shop.seed, "yes" if with_vectors else "no")
    for table, columns, make, count in contents(shop, dim if with_vectors else 0):
        copy_rows(conn, table, columns, make(), count, advance)
    _settle(conn)
    log.info("making indexes")
    conn.execute(_script("ecommerce_indexes.sql"))
    if with_vectors:
        conn.execute("CREATE INDEX reviews_content_vector ON reviews USING hnsw (content_vector vector_cosine_ops)")
    conn.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.SQL(", ").join(map(sql.Identifier, TABLES))))
    return replace(shop, vectors=query_vectors(shop, dim, _QUERY_VECTORS)) if with_vectors else shop


def copy_rows(
    conn: psycopg.Connection[Any],
    table: str,
    columns: Sequence[str],
    rows: Iterator[Sequence[Any]],
    count: int,
    advance: Callable[[int], object],
) -> None:
    """Load rows by COPY, and log how far it is."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
    done = 0
    with conn.cursor() as cursor, cursor.copy(command) as copy:
        for done, row in enumerate(rows, 1):
            copy.write_row(row)
            if done % _STEP_ROWS == 0:
                advance(_STEP_ROWS)
            if done % _PROGRESS_ROWS == 0:
                log.info("%s: %d of %d rows", table, done, count)
    log.info("%s: %d rows loaded", table, done)


def violations(conn: psycopg.Connection[Any]) -> list[str]:
    """The invariants that do not hold, each with the first keys that violate it."""
    found = []
    for name, query in INVARIANTS.items():
        rows = conn.execute(query.encode()).fetchmany(3)
        if rows:
            found.append(f"not so: {name}; see {', '.join(str(row[0]) for row in rows)}")
    return found


def checksums(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """The MD5 of each table's rows, sorted as text."""
    found = {}
    for table in TABLES:
        query = sql.SQL('SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text COLLATE "C")) FROM {} t')
        row = conn.execute(query.format(sql.Identifier(table))).fetchone()
        found[table] = str(row[0]) if row else ""
    return found


def _script(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _has_pgvector(conn: psycopg.Connection[Any]) -> bool:
    """Whether the type ``vector`` can be used here, after an attempt to make the extension."""
    try:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
        conn.execute("SELECT '[1]'::vector")
    except psycopg.Error as error:
        log.warning("no pgvector (%s); reviews go without vectors", str(error).splitlines()[0])
        return False
    return True


def _settle(conn: psycopg.Connection[Any]) -> None:
    """What follows from the orders: how much each user spent, and a stocktaking that makes the books agree."""
    conn.execute("""
        UPDATE users SET total_spent = spent.total
          FROM (SELECT user_id, sum(total) AS total FROM orders WHERE status <> 'cancelled' GROUP BY user_id) spent
          WHERE spent.user_id = users.user_id""")
    conn.execute("""
        UPDATE inventory SET quantity_adjusted = quantity_available - books.quantity
          FROM stock_by_the_books books WHERE books.product_id = inventory.product_id""")
    for table, column in (
        ("users", "user_id"),
        ("vendors", "vendor_id"),
        ("products", "product_id"),
        ("purchase_orders", "po_id"),
        ("orders", "order_id"),
    ):
        conn.execute(
            sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), (SELECT max({}) FROM {}))").format(
                sql.Literal(table), sql.Literal(column), sql.Identifier(column), sql.Identifier(table)
            )
        )

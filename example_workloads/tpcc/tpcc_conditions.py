"""The consistency conditions of TPC-C [3.3.2]: what holds before, during and after a run, whoever was killed in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg import sql

SHOWN = 3


class Condition(NamedTuple):
    """``query`` finds what violates it: keys first, then the values that should agree."""

    number: int
    text: str
    query: sql.SQL | sql.Composed


DELIVERED = sql.SQL("""
    SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS amount
    FROM orders JOIN order_line ON (ol_w_id, ol_d_id, ol_o_id) = (o_w_id, o_d_id, o_id)
    WHERE ol_delivery_d IS NOT NULL GROUP BY o_w_id, o_d_id, o_c_id
""")
PAID = sql.SQL(
    "SELECT h_c_w_id, h_c_d_id, h_c_id, sum(h_amount) AS amount FROM history GROUP BY h_c_w_id, h_c_d_id, h_c_id"
)

CONDITIONS = (
    Condition(
        1,
        "w_ytd is the sum of its districts' d_ytd",
        sql.SQL("""
        SELECT w_id, w_ytd, sum(d_ytd) FROM warehouse LEFT JOIN district ON d_w_id = w_id
        GROUP BY w_id HAVING w_ytd IS DISTINCT FROM sum(d_ytd)
        """),
    ),
    Condition(
        2,
        "d_next_o_id - 1 is the greatest o_id and the greatest no_o_id of the district",
        sql.SQL("""
        SELECT d_w_id, d_id, d_next_o_id - 1, last_order, last_new
        FROM district
        LEFT JOIN (SELECT o_w_id, o_d_id, max(o_id) AS last_order FROM orders GROUP BY o_w_id, o_d_id) o
          ON (o_w_id, o_d_id) = (d_w_id, d_id)
        LEFT JOIN (SELECT no_w_id, no_d_id, max(no_o_id) AS last_new FROM new_order GROUP BY no_w_id, no_d_id) n
          ON (no_w_id, no_d_id) = (d_w_id, d_id)
        WHERE d_next_o_id - 1 IS DISTINCT FROM last_order OR last_new <> last_order
        """),
    ),
    Condition(
        3,
        "the no_o_id of a district have no gaps",
        sql.SQL("""
        SELECT no_w_id, no_d_id, max(no_o_id) - min(no_o_id) + 1, count(*) FROM new_order
        GROUP BY no_w_id, no_d_id HAVING max(no_o_id) - min(no_o_id) + 1 <> count(*)
        """),
    ),
    Condition(
        4,
        "the sum of o_ol_cnt is the number of order lines of the district",
        sql.SQL("""
        SELECT w, d, ordered, lines
        FROM (SELECT o_w_id AS w, o_d_id AS d, sum(o_ol_cnt) AS ordered FROM orders GROUP BY o_w_id, o_d_id) o
        FULL JOIN (SELECT ol_w_id AS w, ol_d_id AS d, count(*) AS lines FROM order_line GROUP BY ol_w_id, ol_d_id) l
          USING (w, d)
        WHERE ordered IS DISTINCT FROM lines
        """),
    ),
    Condition(
        5,
        "an order has no carrier exactly if it is a new order",
        sql.SQL("""
        SELECT coalesce(o_w_id, no_w_id), coalesce(o_d_id, no_d_id), coalesce(o_id, no_o_id), o_carrier_id
        FROM orders FULL JOIN new_order ON (no_w_id, no_d_id, no_o_id) = (o_w_id, o_d_id, o_id)
        WHERE o_id IS NULL OR (o_carrier_id IS NULL) <> (no_o_id IS NOT NULL)
        """),
    ),
    Condition(
        6,
        "o_ol_cnt is the number of the order's lines",
        sql.SQL("""
        SELECT w, d, o, o_ol_cnt, lines
        FROM (SELECT o_w_id AS w, o_d_id AS d, o_id AS o, o_ol_cnt FROM orders) o
        FULL JOIN (SELECT ol_w_id AS w, ol_d_id AS d, ol_o_id AS o, count(*) AS lines
                   FROM order_line GROUP BY ol_w_id, ol_d_id, ol_o_id) l USING (w, d, o)
        WHERE o_ol_cnt IS DISTINCT FROM lines
        """),
    ),
    Condition(
        7,
        "an order line has no delivery date exactly if its order has no carrier",
        sql.SQL("""
        SELECT ol_w_id, ol_d_id, ol_o_id, ol_number, ol_delivery_d, o_carrier_id
        FROM order_line JOIN orders ON (o_w_id, o_d_id, o_id) = (ol_w_id, ol_d_id, ol_o_id)
        WHERE (ol_delivery_d IS NULL) <> (o_carrier_id IS NULL)
        """),
    ),
    Condition(
        8,
        "w_ytd is the sum of h_amount of the warehouse",
        sql.SQL("""
        SELECT w_id, w_ytd, sum(h_amount) FROM warehouse LEFT JOIN history ON h_w_id = w_id
        GROUP BY w_id HAVING w_ytd IS DISTINCT FROM sum(h_amount)
        """),
    ),
    Condition(
        9,
        "d_ytd is the sum of h_amount of the district",
        sql.SQL("""
        SELECT d_w_id, d_id, d_ytd, sum(h_amount) FROM district LEFT JOIN history ON (h_w_id, h_d_id) = (d_w_id, d_id)
        GROUP BY d_w_id, d_id HAVING d_ytd IS DISTINCT FROM sum(h_amount)
        """),
    ),
    Condition(
        10,
        "c_balance is what was delivered to the customer, less h_amount of the customer",
        sql.SQL("""
        SELECT c_w_id, c_d_id, c_id, c_balance, delivered.amount, paid.amount
        FROM customer
        LEFT JOIN ({delivered}) delivered ON (o_w_id, o_d_id, o_c_id) = (c_w_id, c_d_id, c_id)
        LEFT JOIN ({paid}) paid ON (h_c_w_id, h_c_d_id, h_c_id) = (c_w_id, c_d_id, c_id)
        WHERE c_balance <> coalesce(delivered.amount, 0) - coalesce(paid.amount, 0)
        """).format(delivered=DELIVERED, paid=PAID),
    ),
    Condition(
        12,
        "c_balance + c_ytd_payment is what was delivered to the customer",
        sql.SQL("""
        SELECT c_w_id, c_d_id, c_id, c_balance, c_ytd_payment, delivered.amount
        FROM customer LEFT JOIN ({delivered}) delivered ON (o_w_id, o_d_id, o_c_id) = (c_w_id, c_d_id, c_id)
        WHERE c_balance + c_ytd_payment <> coalesce(delivered.amount, 0)
        """).format(delivered=DELIVERED),
    ),
)
"""Number 11 (2,100 orders more than new orders in each district) holds for the initial data only."""


def violations(conn: psycopg.Connection[Any]) -> list[str]:
    """A sentence for each condition that does not hold, all seen in one snapshot."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return [text for condition in CONDITIONS if (text := violation(conn, condition)) is not None]


def violation(conn: psycopg.Connection[Any], condition: Condition) -> str | None:
    """What violates a condition, in a sentence; None where nothing does."""
    rows = conn.execute(condition.query).fetchall()
    if not rows:
        return None
    shown = ", ".join("(" + ", ".join(str(value) for value in row) + ")" for row in rows[:SHOWN])
    more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
    return f"TPC-C consistency condition {condition.number} is violated: {condition.text}, but not in {shown}{more}"

"""What the management asks for: whole tables, joined and ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ecommerce_data import ANCHOR, CATEGORIES, Shop
from ecommerce_reads import EVENTS_SINCE, fetch

if TYPE_CHECKING:
    from pytest_stormdb import Worker

SEGMENTS = {"active", "at risk", "churned", "inactive", "new", "vip"}

TOP_PER_CATEGORY = """
    SELECT category, name, units, place
      FROM (SELECT p.category, p.name, sum(l.quantity) AS units,
                   row_number() OVER (PARTITION BY p.category ORDER BY sum(l.quantity) DESC, p.product_id) AS place
              FROM products p JOIN order_items l USING (product_id) JOIN orders o USING (order_id)
              WHERE o.status <> 'cancelled' GROUP BY p.product_id) ranked
      WHERE place <= 3 ORDER BY category, place
    """


def top_per_category(worker: Worker, shop: Shop) -> None:
    rows = fetch(worker, TOP_PER_CATEGORY, least=len(CATEGORIES))
    assert len(rows) <= 3 * len(CATEGORIES)


INVENTORY_STATUS = """
    WITH graded AS (
        SELECT p.category, i.quantity_available * p.cost AS worth,
               CASE WHEN i.quantity_available = 0 THEN 'out'
                    WHEN i.quantity_available <= i.reorder_level THEN 'low'
                    WHEN i.quantity_available > i.max_stock_level THEN 'over'
                    ELSE 'good' END AS grade
          FROM inventory i JOIN products p USING (product_id)
    )
    SELECT category, grade, count(*), sum(worth) FROM graded GROUP BY category, grade ORDER BY category, grade
    """


def inventory_status(worker: Worker, shop: Shop) -> None:
    rows = fetch(worker, INVENTORY_STATUS, least=len(CATEGORIES))
    assert sum(row[2] for row in rows) == shop.products


STOCK_REPORT = """
    SELECT p.sku, p.name, i.quantity_available, coalesce(coming.units, 0) AS coming, coalesce(sold.units, 0) AS sold,
           i.quantity_available + coalesce(coming.units, 0) - coalesce(sold.units, 0) AS outlook
      FROM inventory i
      JOIN products p USING (product_id)
      LEFT JOIN (SELECT product_id, sum(quantity_ordered - quantity_received) AS units
                   FROM purchase_order_items WHERE quantity_received < quantity_ordered GROUP BY 1) coming
        USING (product_id)
      LEFT JOIN (SELECT product_id, sum(quantity) AS units
                   FROM order_items JOIN orders USING (order_id) WHERE ordered_at >= %s GROUP BY 1) sold
        USING (product_id)
      ORDER BY outlook, p.sku LIMIT 100
    """


def stock_report(worker: Worker, shop: Shop) -> None:
    fetch(worker, STOCK_REPORT, EVENTS_SINCE, least=min(100, shop.products))


INVENTORY_ANALYSIS = """
    SELECT p.category, p.brand, count(*) AS products, sum(i.quantity_available) AS units,
           sum(i.quantity_available * p.cost) AS at_cost, sum(i.quantity_available * p.price) AS at_price,
           count(*) FILTER (WHERE i.quantity_available <= i.reorder_level) AS low
      FROM products p JOIN inventory i USING (product_id)
      GROUP BY ROLLUP (p.category, p.brand) ORDER BY p.category NULLS LAST, p.brand NULLS LAST
    """


def inventory_analysis(worker: Worker, shop: Shop) -> None:
    rows = fetch(worker, INVENTORY_ANALYSIS)
    assert rows[-1][2] == shop.products, "the last row is the grand total"


SPEND_TREND = """
    SELECT month, spent, lag(spent) OVER by_month AS before, sum(spent) OVER by_month AS so_far,
           avg(spent) OVER (ORDER BY month ROWS 2 PRECEDING) AS average_of_three
      FROM (SELECT date_trunc('month', ordered_at, 'UTC') AS month, sum(total) AS spent
              FROM orders WHERE status <> 'cancelled' GROUP BY 1) months
      WINDOW by_month AS (ORDER BY month) ORDER BY month
    """


def spend_trend(worker: Worker, shop: Shop) -> None:
    fetch(worker, SPEND_TREND, least=3)


VENDOR_PERFORMANCE = """
    SELECT v.vendor_id, v.name, v.rating, count(DISTINCT i.product_id) AS products,
           sum(i.quantity_received)::numeric / sum(i.quantity_ordered) AS delivered,
           sum(i.quantity_ordered * i.unit_cost) AS volume,
           rank() OVER (ORDER BY sum(i.quantity_ordered * i.unit_cost) DESC) AS place
      FROM vendors v JOIN purchase_orders o USING (vendor_id) JOIN purchase_order_items i USING (po_id)
      GROUP BY v.vendor_id ORDER BY place, v.vendor_id
    """


def vendor_performance(worker: Worker, shop: Shop) -> None:
    rows = fetch(worker, VENDOR_PERFORMANCE, least=shop.vendors)
    assert len(rows) == shop.vendors


MONTHLY_SALES = """
    SELECT date_trunc('month', o.ordered_at, 'UTC') AS month, p.category, count(DISTINCT o.order_id) AS orders,
           sum(l.quantity) AS units, sum(l.line_total) AS revenue, sum(l.line_total - l.quantity * p.cost) AS profit
      FROM orders o JOIN order_items l USING (order_id) JOIN products p USING (product_id)
      WHERE o.status <> 'cancelled' GROUP BY 1, 2 ORDER BY 1, revenue DESC
    """


def monthly_sales(worker: Worker, shop: Shop) -> None:
    fetch(worker, MONTHLY_SALES, least=len(CATEGORIES))


CUSTOMER_SEGMENTS = """
    WITH buyers AS (
        SELECT u.user_id, u.created_at, count(o.order_id) AS orders, coalesce(sum(o.total), 0) AS spent,
               %(today)s::timestamptz - max(o.ordered_at) AS since
          FROM users u LEFT JOIN orders o ON o.user_id = u.user_id AND o.status <> 'cancelled'
          GROUP BY u.user_id
    ), segments AS (
        SELECT *, CASE WHEN orders = 0 THEN 'inactive'
                       WHEN created_at >= %(today)s::timestamptz - interval '30 days' THEN 'new'
                       WHEN spent >= 2500 THEN 'vip'
                       WHEN since <= interval '30 days' THEN 'active'
                       WHEN since <= interval '60 days' THEN 'at risk'
                       ELSE 'churned' END AS segment
          FROM buyers
    )
    SELECT segment, count(*), avg(spent)::numeric(12, 2), coalesce(avg(spent / nullif(orders, 0)), 0)::numeric(12, 2)
      FROM segments GROUP BY segment ORDER BY segment
    """


def customer_segments(worker: Worker, shop: Shop) -> None:
    rows = worker.conn.execute(CUSTOMER_SEGMENTS, {"today": ANCHOR}).fetchall()
    assert {row[0] for row in rows} <= SEGMENTS, rows
    assert sum(row[1] for row in rows) == shop.users, "every user is in one segment"

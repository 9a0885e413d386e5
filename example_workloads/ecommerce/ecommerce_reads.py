"""What customers and clerks look at: one statement each, and what it must find."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ecommerce_data import ADJECTIVES, ANCHOR, CATEGORIES, NOUNS, Shop, email_of, sku_of

if TYPE_CHECKING:
    from pytest_stormdb import Worker

ORDERS_SINCE = ANCHOR - timedelta(days=1)
EVENTS_SINCE = ANCHOR - timedelta(days=30)


def fetch(worker: Worker, query: str, *values: object, least: int = 1) -> list[tuple[Any, ...]]:
    """The rows of a query; fewer than ``least`` of them are a failure."""
    rows: list[tuple[Any, ...]] = worker.conn.execute(query, values).fetchall()
    if len(rows) < least:
        raise AssertionError(f"{len(rows)} rows instead of {least} or more, with {values}")
    return rows


def any_user(worker: Worker, shop: Shop) -> int:
    """The id of a loaded user."""
    return worker.rng.randint(1, shop.users)


def any_product(worker: Worker, shop: Shop) -> int:
    """The id of a loaded product."""
    return worker.rng.randint(1, shop.products)


def any_vendor(worker: Worker, shop: Shop) -> int:
    """The id of a loaded vendor."""
    return worker.rng.randint(1, shop.vendors)


# -- looking one thing up ------------------------------------------------------------------------------------------


USER_BY_EMAIL = "SELECT user_id, username, full_name, loyalty_points, total_spent FROM users WHERE email = %s"


def user_by_email(worker: Worker, shop: Shop) -> None:
    user_id = any_user(worker, shop)
    rows = fetch(worker, USER_BY_EMAIL, email_of(user_id))
    assert rows[0][0] == user_id, rows


PRODUCT_BY_SKU = """
    SELECT p.product_id, p.name, p.price, i.quantity_available
      FROM products p JOIN inventory i USING (product_id) WHERE p.sku = %s
    """


def product_by_sku(worker: Worker, shop: Shop) -> None:
    product_id = any_product(worker, shop)
    rows = fetch(worker, PRODUCT_BY_SKU, sku_of(product_id))
    assert rows[0][0] == product_id, rows


ORDERS_OF_USER = """
    SELECT order_id, order_number, status, total, ordered_at
      FROM orders WHERE user_id = %s ORDER BY ordered_at DESC LIMIT 10
    """


def orders_of_user(worker: Worker, shop: Shop) -> None:
    fetch(worker, ORDERS_OF_USER, any_user(worker, shop))


REVIEWS_OF_PRODUCT = """
    SELECT r.rating, r.title, r.content, u.username
      FROM reviews r JOIN users u USING (user_id) WHERE r.product_id = %s ORDER BY r.created_at DESC LIMIT 20
    """


def reviews_of_product(worker: Worker, shop: Shop) -> None:
    fetch(worker, REVIEWS_OF_PRODUCT, any_product(worker, shop))


PRODUCTS_OF_VENDOR = (
    "SELECT product_id, name, cost, price FROM products WHERE vendor_id = %s ORDER BY price DESC LIMIT 20"
)


def products_of_vendor(worker: Worker, shop: Shop) -> None:
    fetch(worker, PRODUCTS_OF_VENDOR, any_vendor(worker, shop))


STOCK_OF_PRODUCT = """
    SELECT quantity_available, quantity_available <= reorder_level AS is_low FROM inventory WHERE product_id = %s
    """


def stock_of_product(worker: Worker, shop: Shop) -> None:
    rows = fetch(worker, STOCK_OF_PRODUCT, any_product(worker, shop))
    assert rows[0][0] >= 0, rows


ORDER_BY_ID = "SELECT order_number, user_id, status, total, ordered_at FROM orders WHERE order_id = %s"


def order_by_id(worker: Worker, shop: Shop) -> None:
    fetch(worker, ORDER_BY_ID, worker.rng.randint(1, shop.orders))


# -- lists --------------------------------------------------------------------------------------------------------


TOP_OF_CATEGORY = "SELECT product_id, name, price FROM products WHERE category = %s ORDER BY price DESC LIMIT 20"


def top_of_category(worker: Worker, shop: Shop) -> None:
    fetch(worker, TOP_OF_CATEGORY, worker.rng.choice(list(CATEGORIES)))


PURCHASE_ORDERS_OF_VENDOR = """
    SELECT o.po_id, o.status, o.ordered_at, sum(i.quantity_ordered * i.unit_cost) AS cost
      FROM (SELECT * FROM purchase_orders WHERE vendor_id = %s ORDER BY ordered_at DESC LIMIT 20) o
      JOIN purchase_order_items i USING (po_id)
      GROUP BY o.po_id, o.status, o.ordered_at ORDER BY o.ordered_at DESC
    """


def purchase_orders_of_vendor(worker: Worker, shop: Shop) -> None:
    fetch(worker, PURCHASE_ORDERS_OF_VENDOR, any_vendor(worker, shop))


ORDER_DETAILS = """
    SELECT o.order_number, o.total, u.full_name, p.name, l.quantity, l.line_total
      FROM orders o
      JOIN users u USING (user_id)
      JOIN order_items l USING (order_id)
      JOIN products p USING (product_id)
      WHERE o.order_id = %s ORDER BY p.product_id
    """


def order_details(worker: Worker, shop: Shop) -> None:
    fetch(worker, ORDER_DETAILS, worker.rng.randint(1, shop.orders))


SEARCH_PRODUCTS = """
    SELECT product_id, name, price FROM products
      WHERE to_tsvector('simple', name) @@ plainto_tsquery('simple', %s) ORDER BY price, product_id LIMIT 20
    """


def search_products(worker: Worker, shop: Shop) -> None:
    words = [worker.rng.choice(ADJECTIVES), *([worker.rng.choice(NOUNS)] if worker.rng.random() < 0.5 else [])]
    fetch(worker, SEARCH_PRODUCTS, " ".join(words), least=2 - len(words))


RECENT_ACTIVITY = """
    (SELECT 'order' AS kind, order_id AS id, user_id, ordered_at AS at
       FROM orders WHERE ordered_at >= %s ORDER BY ordered_at DESC LIMIT 25)
    UNION ALL
    (SELECT 'review', review_id, user_id, created_at
       FROM reviews WHERE created_at >= %s ORDER BY created_at DESC LIMIT 25)
    ORDER BY at DESC
    """


def recent_activity(worker: Worker, shop: Shop) -> None:
    fetch(worker, RECENT_ACTIVITY, ORDERS_SINCE, ORDERS_SINCE)


# -- reports ------------------------------------------------------------------------------------------------------


USER_ACTIVITY = """
    SELECT u.username, u.total_spent,
           (SELECT count(*) FROM orders o WHERE o.user_id = u.user_id) AS orders,
           (SELECT count(*) FROM reviews r WHERE r.user_id = u.user_id) AS reviews,
           (SELECT count(*) FROM user_sessions s WHERE s.user_id = u.user_id) AS sessions,
           (SELECT max(s.ended_at - s.started_at) FROM user_sessions s WHERE s.user_id = u.user_id) AS longest
      FROM users u WHERE u.user_id = %s
    """


def user_activity(worker: Worker, shop: Shop) -> None:
    rows = fetch(worker, USER_ACTIVITY, any_user(worker, shop))
    assert rows[0][2] >= 1, "every user has an order"


EVENTS_BY_DAY = """
    SELECT occurred_at::date AS day, event_type, count(*), count(DISTINCT user_id) AS users
      FROM product_analytics WHERE product_id = %s AND occurred_at >= %s GROUP BY 1, 2 ORDER BY 1 DESC, 2
    """


def events_by_day(worker: Worker, shop: Shop) -> None:
    fetch(worker, EVENTS_BY_DAY, any_product(worker, shop), EVENTS_SINCE)


LOW_INVENTORY = """
    SELECT p.product_id, p.name, i.quantity_available, i.reorder_level, v.name AS supplier, v.lead_time_days
      FROM inventory i
      JOIN products p USING (product_id)
      JOIN vendors v ON v.vendor_id = i.supplier_id
      WHERE i.quantity_available <= i.reorder_level
      ORDER BY i.quantity_available, i.product_id LIMIT 50
    """


def low_inventory(worker: Worker, shop: Shop) -> None:
    fetch(worker, LOW_INVENTORY, least=0)  # the shelves may just be full


PERFORMANCE_OF_VENDOR = """
    SELECT v.name, v.rating, count(DISTINCT p.product_id) AS products, sum(i.quantity_received) AS received,
           sum(i.quantity_ordered * i.unit_cost) AS volume,
           count(DISTINCT o.po_id) FILTER (WHERE o.status = 'open') AS open_orders
      FROM vendors v
      JOIN products p USING (vendor_id)
      LEFT JOIN purchase_order_items i USING (product_id)
      LEFT JOIN purchase_orders o USING (po_id)
      WHERE v.vendor_id = %s GROUP BY v.vendor_id
    """


def performance_of_vendor(worker: Worker, shop: Shop) -> None:
    fetch(worker, PERFORMANCE_OF_VENDOR, any_vendor(worker, shop))


SIMILAR_REVIEWS = """
    SELECT review_id, product_id, rating, content_vector <=> %s::vector AS distance
      FROM reviews ORDER BY content_vector <=> %s::vector LIMIT 10
    """
HELPFUL_REVIEWS = """
    SELECT review_id, product_id, rating, helpful_votes
      FROM reviews WHERE product_id = %s ORDER BY helpful_votes DESC, review_id LIMIT 10
    """


def similar_reviews(worker: Worker, shop: Shop) -> None:
    """The nearest by cosine distance; without pgvector, the most helpful ones of a product."""
    if shop.vectors:
        vector = worker.rng.choice(shop.vectors)
        fetch(worker, SIMILAR_REVIEWS, vector, vector, least=10)
    else:
        fetch(worker, HELPFUL_REVIEWS, any_product(worker, shop))


# -- heavy --------------------------------------------------------------------------------------------------------


SIMILAR_USERS = """
    WITH bought AS (
        SELECT DISTINCT l.product_id FROM orders o JOIN order_items l USING (order_id) WHERE o.user_id = %s
    )
    SELECT u.user_id, u.username, count(DISTINCT l.product_id) AS shared
      FROM bought b
      JOIN order_items l USING (product_id)
      JOIN orders o USING (order_id)
      JOIN users u USING (user_id)
      GROUP BY u.user_id ORDER BY shared DESC, u.user_id LIMIT 10
    """


def similar_users(worker: Worker, shop: Shop) -> None:
    fetch(worker, SIMILAR_USERS, any_user(worker, shop))  # the user is one of them


MONTHLY_SPEND_OF_USER = """
    SELECT month, spent, spent - lag(spent) OVER (ORDER BY month) AS change
      FROM (SELECT date_trunc('month', ordered_at, 'UTC') AS month, sum(total) AS spent
              FROM orders WHERE user_id = %s GROUP BY 1) months
      ORDER BY month
    """


def monthly_spend_of_user(worker: Worker, shop: Shop) -> None:
    fetch(worker, MONTHLY_SPEND_OF_USER, any_user(worker, shop))

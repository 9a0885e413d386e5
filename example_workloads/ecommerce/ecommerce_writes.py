"""What customers and clerks change. Every statement says how many rows it must touch.

Locks are taken in one order (purchase order item, purchase order, inventory by product id, product, user), and
what is picked up from a queue is picked up with SKIP LOCKED: nobody waits in a circle.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ecommerce_data import ADJECTIVES, ANCHOR, COUNTRIES, DISCOUNT, EVENTS, NOUNS, OPINIONS, TAX, Shop, share
from ecommerce_reads import any_product, any_user, any_vendor

from pytest_stormdb import OperationResult

if TYPE_CHECKING:
    from pytest_stormdb import Worker

NOTHING = Decimal("0.00")


def change(worker: Worker, query: str, *values: object, rows: int = 1) -> Any:
    """The cursor of a statement that must touch so many rows."""
    cursor = worker.conn.execute(query, values)
    if cursor.rowcount != rows:
        raise AssertionError(f"{cursor.rowcount} rows touched instead of {rows}, with {values}")
    return cursor


def moment(worker: Worker) -> datetime:
    """The shop's time: a second for each iteration, so that what is written depends on the plan alone."""
    return ANCHOR + timedelta(seconds=worker.iteration)


# -- orders -------------------------------------------------------------------------------------------------------


TAKE_STOCK = """
    SELECT i.product_id, i.quantity_available, p.price FROM inventory i JOIN products p USING (product_id)
      WHERE i.product_id = ANY(%s) ORDER BY i.product_id FOR NO KEY UPDATE OF i
    """
ADD_ORDER = """
    INSERT INTO orders (user_id, status, subtotal, tax, discount, shipping_address, ordered_at)
      VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING order_id, total
    """
ADD_LINES = """
    INSERT INTO order_items (order_id, product_id, quantity, unit_price)
      SELECT %s, * FROM unnest(%s::bigint[], %s::int[], %s::numeric[])
    """
REDUCE_STOCK = """
    UPDATE inventory SET quantity_available = quantity_available - taken.quantity, counted_at = %s
      FROM unnest(%s::bigint[], %s::int[]) AS taken (product_id, quantity)
      WHERE taken.product_id = inventory.product_id
    """
CHARGE_USER = "UPDATE users SET total_spent = total_spent + %s, loyalty_points = loyalty_points + 1 WHERE user_id = %s"


def place_order(worker: Worker, shop: Shop) -> None:
    """One to three products, as many of each as there are; where there is nothing at all, a cancelled order."""
    user_id, rng, at = any_user(worker, shop), worker.rng, moment(worker)
    wanted = {product: rng.randint(1, 3) for product in rng.sample(range(1, shop.products + 1), rng.randint(1, 3))}
    has_discount, address = rng.random() < 0.2, json.dumps({"country": rng.choice(COUNTRIES)})
    with worker.conn.transaction():
        stock = change(worker, TAKE_STOCK, list(wanted), rows=len(wanted)).fetchall()
        lines = [(product, min(wanted[product], there), price) for product, there, price in stock if there]
        subtotal = sum((quantity * price for _, quantity, price in lines), NOTHING)
        money = (subtotal, share(subtotal, TAX), share(subtotal, DISCOUNT) if has_discount else NOTHING)
        status = "pending" if lines else "cancelled"
        order_id, total = change(worker, ADD_ORDER, user_id, status, *money, address, at).fetchone()
        if lines:
            products, quantities, prices = (list(column) for column in zip(*lines, strict=True))
            change(worker, ADD_LINES, order_id, products, quantities, prices, rows=len(lines))
            change(worker, REDUCE_STOCK, at, products, quantities, rows=len(lines))
            change(worker, CHARGE_USER, total, user_id)
    worker.metrics.count("orders_placed" if lines else "orders_out_of_stock")


SHIP_ORDER = """
    UPDATE orders SET status = 'shipped', shipped_at = greatest(ordered_at, %s)
      WHERE order_id = (SELECT order_id FROM orders WHERE status = 'pending' AND order_id >= %s
                          ORDER BY order_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
    """


def ship_order(worker: Worker, shop: Shop) -> OperationResult | None:
    """The next pending order from a random place on; where all are shipped, a new one is placed, and counted so."""
    for first in (worker.rng.randint(1, shop.orders), 1):
        if worker.conn.execute(SHIP_ORDER, (moment(worker), first)).rowcount == 1:
            worker.metrics.count("orders_shipped")
            return None
    place_order(worker, shop)
    return OperationResult(operation="place_order")


# -- stock --------------------------------------------------------------------------------------------------------


ADJUST_INVENTORY = """
    UPDATE inventory SET quantity_available = greatest(quantity_available + %s, 0), counted_at = %s,
                         quantity_adjusted = quantity_adjusted + greatest(%s, -quantity_available)
      WHERE product_id = %s
    """


def adjust_inventory(worker: Worker, shop: Shop) -> None:
    """A stocktaking found up to ten units fewer, or up to nine more."""
    found = worker.rng.randint(-10, 9)
    change(worker, ADJUST_INVENTORY, found, moment(worker), found, any_product(worker, shop))


COUNT_STOCK = """
    SELECT i.product_id, p.cost, i.supplier_id FROM inventory i JOIN products p USING (product_id)
      WHERE i.product_id = ANY(%s) ORDER BY i.product_id FOR NO KEY UPDATE OF i
    """
NOT_ON_ORDER = """
    SELECT product_id FROM unnest(%s::bigint[]) AS wanted (product_id)
      WHERE NOT EXISTS (SELECT FROM purchase_order_items i
                          WHERE i.product_id = wanted.product_id AND i.quantity_received < i.quantity_ordered)
    """
ADD_PURCHASE_ORDER = """
    INSERT INTO purchase_orders (vendor_id, status, ordered_at, expected_at) VALUES (%s, 'open', %s, %s)
      RETURNING po_id
    """
ADD_PURCHASE_ORDER_ITEMS = """
    INSERT INTO purchase_order_items (po_id, product_id, quantity_ordered, quantity_received, unit_cost)
      SELECT %s, product_id, 50, 0, cost FROM unnest(%s::bigint[], %s::numeric[]) AS item (product_id, cost)
    """
MARK_COUNTED = "UPDATE inventory SET counted_at = %s WHERE product_id = ANY(%s)"


def create_purchase_order(worker: Worker, shop: Shop) -> None:
    """Count one to three products of a vendor, and order those that are not on order already."""
    vendor, rng, at = any_vendor(worker, shop), worker.rng, moment(worker)
    own = range(vendor, shop.products + 1, shop.vendors)
    wanted = rng.sample(own, rng.randint(1, min(3, len(own))))
    with worker.conn.transaction():
        stock = change(worker, COUNT_STOCK, wanted, rows=len(wanted)).fetchall()
        costs = {product: cost for product, cost, _ in stock}
        missing = [product for (product,) in worker.conn.execute(NOT_ON_ORDER, (list(costs),)).fetchall()]
        if missing:
            (po_id,) = change(worker, ADD_PURCHASE_ORDER, vendor, at, at + timedelta(days=7)).fetchone()
            prices = [costs[product] for product in missing]
            change(worker, ADD_PURCHASE_ORDER_ITEMS, po_id, missing, prices, rows=len(missing))
        change(worker, MARK_COUNTED, at, wanted, rows=len(wanted))
    worker.metrics.count("purchase_orders_created" if missing else "purchase_orders_unneeded")


RECEIVE_ITEM = """
    UPDATE purchase_order_items SET quantity_received = least(quantity_ordered, quantity_received + %s)
      WHERE po_item_id = (SELECT po_item_id FROM purchase_order_items
                            WHERE quantity_received < quantity_ordered AND po_item_id >= %s
                            ORDER BY po_item_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
    """


def receive_purchase_item(worker: Worker, shop: Shop) -> OperationResult | None:
    """The next open item from a random place on, in part or whole; where none is open, more is ordered."""
    quantity = worker.rng.randint(20, 200)
    for first in (worker.rng.randint(1, 4 * shop.vendors), 1):
        if worker.conn.execute(RECEIVE_ITEM, (quantity, first)).rowcount == 1:
            worker.metrics.count("purchase_items_received")
            return None
    create_purchase_order(worker, shop)
    return OperationResult(operation="create_purchase_order")


# -- the rest -----------------------------------------------------------------------------------------------------


ADD_REVIEW = """
    INSERT INTO reviews (product_id, user_id, rating, title, content, helpful_votes, created_at)
      VALUES (%s, %s, %s, %s, %s, 0, %s)
    """
ADD_REVIEW_WITH_VECTOR = """
    INSERT INTO reviews (product_id, user_id, rating, title, content, helpful_votes, created_at, content_vector)
      VALUES (%s, %s, %s, %s, %s, 0, %s, %s)
    """


def add_review(worker: Worker, shop: Shop) -> None:
    rng = worker.rng
    text = (rng.choice(OPINIONS), f"It {rng.choice(OPINIONS)}.")
    row = (any_product(worker, shop), any_user(worker, shop), rng.randint(1, 5), *text, moment(worker))
    if shop.vectors:
        change(worker, ADD_REVIEW_WITH_VECTOR, *row, rng.choice(shop.vectors))
    else:
        change(worker, ADD_REVIEW, *row)


TOUCH_USER = "UPDATE users SET loyalty_points = loyalty_points + %s, last_login = %s WHERE user_id = %s"


def touch_user(worker: Worker, shop: Shop) -> None:
    change(worker, TOUCH_USER, worker.rng.randint(1, 50), moment(worker), any_user(worker, shop))


REPRICE_PRODUCT = "UPDATE products SET price = round(cost * (1 + margin), 2) WHERE product_id = %s"


def reprice_product(worker: Worker, shop: Shop) -> None:
    change(worker, REPRICE_PRODUCT, any_product(worker, shop))


ADD_EVENT = """
    INSERT INTO product_analytics (product_id, user_id, event_type, search_query, occurred_at)
      VALUES (%s, %s, %s, %s, %s)
    """


def add_event(worker: Worker, shop: Shop) -> None:
    kind = worker.rng.choice(EVENTS)
    words = f"{worker.rng.choice(ADJECTIVES)} {worker.rng.choice(NOUNS)}" if kind == "search" else None
    change(worker, ADD_EVENT, any_product(worker, shop), any_user(worker, shop), kind, words, moment(worker))


RATE_VENDOR = "UPDATE vendors SET rating = round((rating * 9 + %s) / 10, 2) WHERE vendor_id = %s"


def rate_vendor(worker: Worker, shop: Shop) -> None:
    change(worker, RATE_VENDOR, worker.rng.randint(1, 5), any_vendor(worker, shop))

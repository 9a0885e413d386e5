"""What is in the shop's tables: the same seed and scale make the same rows, on any machine, at any time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

ANCHOR = datetime(2025, 1, 1, tzinfo=UTC)
"""The shop's today. Data lie before it, "the last 30 days" end with it, and what the load writes comes after it."""

TABLES = (
    "users",
    "vendors",
    "products",
    "inventory",
    "purchase_orders",
    "purchase_order_items",
    "orders",
    "order_items",
    "reviews",
    "user_sessions",
    "product_analytics",
)
CATEGORIES = {
    "books": ("novels", "science", "travel"),
    "clothing": ("coats", "shirts", "shoes"),
    "electronics": ("audio", "cameras", "phones"),
    "garden": ("plants", "seeds", "tools"),
    "grocery": ("coffee", "snacks", "tea"),
    "home": ("kitchen", "lamps", "linen"),
    "sports": ("cycling", "running", "swimming"),
    "toys": ("dolls", "games", "puzzles"),
}
ADJECTIVES = ("blue", "bright", "classic", "compact", "gentle", "light", "quiet", "rapid", "solid", "warm")
NOUNS = ("bundle", "choice", "companion", "edition", "favourite", "model", "original", "piece", "set", "series")
BRANDS = ("Acorn", "Birch", "Cedar", "Dune", "Elm", "Fjord", "Grove", "Heath")
COUNTRIES = ("AT", "BR", "CA", "DE", "FR", "JP", "NL", "US")
EVENTS = ("view", "search", "add_to_cart", "purchase", "wishlist")
OPINIONS = ("arrived early", "does what it should", "feels cheap", "is a gift", "lasted a year", "looks fine")
TAX = Decimal("0.08")
DISCOUNT = Decimal("0.10")
CENT = Decimal("0.01")

_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Shop:
    """How large the loaded shop is: ids run from 1 to these numbers. ``vectors`` are empty without pgvector."""

    seed: int
    users: int
    vendors: int
    products: int
    orders: int
    vectors: tuple[str, ...] = ()

    @classmethod
    def of_scale(cls, scale: int, seed: int) -> Shop:
        """The shop with that many users."""
        return cls(seed, scale, max(5, scale // 20), max(20, scale // 2), 2 * scale)


def email_of(user_id: int) -> str:
    """A loaded user's address."""
    return f"user{user_id}@example.com"


def sku_of(product_id: int) -> str:
    """A loaded product's stock-keeping unit."""
    return f"SKU-{product_id:07d}"


Rows = Iterator[Sequence[Any]]


def contents(shop: Shop, dim: int) -> Iterator[tuple[str, Sequence[str], Callable[[], Rows], int]]:
    """Each table with its columns, its rows, and about how many there are."""
    yield "users", _USERS, lambda: _users(shop), shop.users
    yield "vendors", _VENDORS, lambda: _vendors(shop), shop.vendors
    yield "products", _PRODUCTS, lambda: _products(shop), shop.products
    yield "inventory", _INVENTORY, lambda: _inventory(shop), shop.products
    yield "purchase_orders", _PURCHASE_ORDERS, lambda: _purchase_orders(shop), 2 * shop.vendors
    yield "purchase_order_items", _PURCHASE_ORDER_ITEMS, lambda: _purchase_order_items(shop), 6 * shop.vendors
    yield "orders", _ORDERS, lambda: _orders(shop), shop.orders
    yield "order_items", _ORDER_ITEMS, lambda: _order_items(shop), 3 * shop.orders
    yield "reviews", _REVIEWS if dim else _REVIEWS[:-1], lambda: _reviews(shop, dim), shop.users
    yield "user_sessions", _USER_SESSIONS, lambda: _user_sessions(shop), 3 * shop.users
    yield "product_analytics", _PRODUCT_ANALYTICS, lambda: _product_analytics(shop), 3 * shop.users


_USERS = [
    "user_id",
    "email",
    "username",
    "full_name",
    "country",
    "preferences",
    "loyalty_points",
    "created_at",
    "last_login",
]
_VENDORS = ["vendor_id", "name", "email", "address", "lead_time_days", "rating"]
_PRODUCTS = [
    "product_id",
    "sku",
    "name",
    "category",
    "subcategory",
    "brand",
    "list_cost",
    "cost",
    "margin",
    "price",
    "tags",
    "attributes",
    "vendor_id",
    "created_at",
]
_INVENTORY = [
    "product_id",
    "quantity_available",
    "reorder_level",
    "max_stock_level",
    "auto_reorder",
    "supplier_id",
    "counted_at",
]
_PURCHASE_ORDERS = ["po_id", "vendor_id", "status", "ordered_at", "expected_at"]
_PURCHASE_ORDER_ITEMS = ["po_id", "product_id", "quantity_ordered", "quantity_received", "unit_cost"]
_ORDERS = [
    "order_id",
    "user_id",
    "status",
    "subtotal",
    "tax",
    "discount",
    "shipping_address",
    "ordered_at",
    "shipped_at",
]
_ORDER_ITEMS = ["order_id", "product_id", "quantity", "unit_price"]
_REVIEWS = ["product_id", "user_id", "rating", "title", "content", "helpful_votes", "created_at", "content_vector"]
_USER_SESSIONS = ["user_id", "address", "agent", "started_at", "ended_at"]
_PRODUCT_ANALYTICS = ["product_id", "user_id", "event_type", "search_query", "occurred_at"]


def _stream(shop: Shop, name: str) -> random.Random:
    return random.Random(f"{shop.seed}:{name}")


def _before(rng: random.Random, days: int) -> datetime:
    return ANCHOR - timedelta(minutes=rng.randrange(1, days * _DAY_MINUTES))


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _money(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def _vector(rng: random.Random, dim: int) -> str:
    return "[" + ",".join(str(rng.randint(-1000, 1000) / 1000) for _ in range(dim)) + "]"


def _each_then_any(rng: random.Random, index: int, count: int) -> int:
    """The ids 1 to ``count`` once each, and any of them from there on: none is left out."""
    return index if index <= count else rng.randint(1, count)


def _users(shop: Shop) -> Rows:
    rng = _stream(shop, "users")
    for user_id in range(1, shop.users + 1):
        preferences = {"newsletter": rng.random() < 0.5, "category": rng.choice(list(CATEGORIES))}
        name = f"{rng.choice(ADJECTIVES).title()} {rng.choice(BRANDS)}"
        country, points = rng.choice(COUNTRIES), rng.randint(0, 5000)
        created = _before(rng, 720)
        times = (created, created + (ANCHOR - created) * rng.random())
        yield user_id, email_of(user_id), f"user{user_id}", name, country, _json(preferences), points, *times


def _vendors(shop: Shop) -> Rows:
    rng = _stream(shop, "vendors")
    for vendor_id in range(1, shop.vendors + 1):
        address = {"city": f"City {rng.randint(1, 50)}", "country": rng.choice(COUNTRIES)}
        name, email = f"{rng.choice(BRANDS)} Supplies {vendor_id}", f"sales{vendor_id}@vendor.example.com"
        yield vendor_id, name, email, _json(address), rng.randint(2, 30), _money(rng.randint(250, 500))


def _vendor_of(shop: Shop, product_id: int) -> int:
    return (product_id - 1) % shop.vendors + 1


def _costs(shop: Shop) -> Iterator[int]:
    """What each product costs the shop, in cents; it sells at a margin of 60 %."""
    rng = _stream(shop, "costs")
    return (rng.randint(200, 30_000) for _ in range(shop.products))


def _prices(shop: Shop) -> list[Decimal]:
    """What each product sells for; its id is the place in the list, from 1."""
    return [_money(0), *((_money(cost) * Decimal("1.6")).quantize(CENT) for cost in _costs(shop))]


def _products(shop: Shop) -> Rows:
    rng, prices = _stream(shop, "products"), _prices(shop)
    for product_id, cents in enumerate(_costs(shop), 1):
        category = list(CATEGORIES)[product_id % len(CATEGORIES)]
        subcategory, brand = rng.choice(CATEGORIES[category]), rng.choice(BRANDS)
        adjective = ADJECTIVES[product_id % len(ADJECTIVES)]
        name = f"{brand} {adjective} {subcategory} {rng.choice(NOUNS)} {product_id}"
        cost, price = _money(cents), prices[product_id]
        yield (
            *(product_id, sku_of(product_id), name, category, subcategory, brand, cost, cost, Decimal("0.60"), price),
            sorted(rng.sample(ADJECTIVES, rng.randint(1, 3))),
            _json({"weight_g": rng.randint(50, 5000), "colour": rng.choice(("black", "green", "white"))}),
            _vendor_of(shop, product_id),
            _before(rng, 720),
        )


def _inventory(shop: Shop) -> Rows:
    rng = _stream(shop, "inventory")
    for product_id in range(1, shop.products + 1):
        available, level = rng.randint(10, 209), rng.randint(5, 34)
        most, auto = level * rng.randint(3, 7), rng.random() < 0.8
        yield product_id, available, level, most, auto, _vendor_of(shop, product_id), ANCHOR


def _purchase_orders(shop: Shop) -> Rows:
    """For each vendor one that was received, and one that is open."""
    rng = _stream(shop, "purchase orders")
    for po_id in range(1, 2 * shop.vendors + 1):
        received = po_id <= shop.vendors
        ordered = ANCHOR - timedelta(days=rng.randint(30, 90) if received else rng.randint(1, 20))
        expected = ordered + timedelta(days=rng.randint(2, 30))
        yield po_id, (po_id - 1) % shop.vendors + 1, "received" if received else "open", ordered, expected


def _purchase_order_items(shop: Shop) -> Rows:
    rng, costs = _stream(shop, "purchase order items"), [0, *_costs(shop)]
    for po_id in range(1, 2 * shop.vendors + 1):
        own = range((po_id - 1) % shop.vendors + 1, shop.products + 1, shop.vendors)
        for product_id in sorted(rng.sample(own, min(len(own), rng.randint(2, 6)))):
            ordered = rng.randint(10, 150)
            yield po_id, product_id, ordered, ordered if po_id <= shop.vendors else 0, _money(costs[product_id])


def _lines(shop: Shop, prices: Sequence[Decimal], order_id: int) -> list[tuple[int, int, Decimal]]:
    """Product, quantity and price of each line of an order: a stream for each order, since two tables need them."""
    rng = _stream(shop, f"order {order_id}")
    products = sorted(rng.sample(range(1, shop.products + 1), rng.randint(1, 5)))
    return [(product_id, rng.randint(1, 3), prices[product_id]) for product_id in products]


def _orders(shop: Shop) -> Rows:
    rng, prices = _stream(shop, "orders"), _prices(shop)
    for order_id in range(1, shop.orders + 1):
        subtotal = sum((quantity * price for _, quantity, price in _lines(shop, prices, order_id)), _money(0))
        tax, discount = share(subtotal, TAX), share(subtotal, DISCOUNT) if rng.random() < 0.2 else _money(0)
        status = rng.choices(("pending", "shipped", "delivered", "cancelled"), (40, 25, 30, 5))[0]
        ordered = _before(rng, 1 if order_id == 1 else 90)
        shipped = min(ANCHOR, ordered + timedelta(hours=rng.randint(2, 96)))
        user_id, address = _each_then_any(rng, order_id, shop.users), {"country": rng.choice(COUNTRIES)}
        money = (subtotal, tax, discount)
        yield (
            *(order_id, user_id, status, *money, _json(address), ordered),
            shipped if status in ("shipped", "delivered") else None,
        )


def share(amount: Decimal, of: Decimal) -> Decimal:
    """A share of an amount, to the cent."""
    return (amount * of).quantize(CENT)


def _order_items(shop: Shop) -> Rows:
    prices = _prices(shop)
    for order_id in range(1, shop.orders + 1):
        for product_id, quantity, price in _lines(shop, prices, order_id):
            yield order_id, product_id, quantity, price


def _reviews(shop: Shop, dim: int) -> Rows:
    rng = _stream(shop, "reviews")
    vectors = _stream(shop, "review vectors")
    for index in range(1, max(shop.users, shop.products) + 1):
        product_id, user_id = _each_then_any(rng, index, shop.products), rng.randint(1, shop.users)
        content = f"It {rng.choice(OPINIONS)} and {rng.choice(OPINIONS)}."
        row = (product_id, user_id, rng.randint(1, 5), rng.choice(OPINIONS), content, rng.randint(0, 40))
        yield (*row, _before(rng, 180), *([_vector(vectors, dim)] if dim else []))


def _user_sessions(shop: Shop) -> Rows:
    rng = _stream(shop, "sessions")
    for index in range(1, 3 * shop.users + 1):
        started = _before(rng, 30)
        ended = started + timedelta(minutes=rng.randint(1, 90))
        address = f"10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
        agent = rng.choice(("app", "browser", "tablet"))
        yield _each_then_any(rng, index, shop.users), address, agent, started, ended


def _product_analytics(shop: Shop) -> Rows:
    """Every product has an event of the last thirty days; the others are of the last sixty."""
    rng = _stream(shop, "events")
    for index in range(1, 3 * shop.users + 1):
        kind = rng.choice(EVENTS)
        words = f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}" if kind == "search" else None
        occurred = _before(rng, 30 if index <= shop.products else 60)
        yield _each_then_any(rng, index, shop.products), rng.randint(1, shop.users), kind, words, occurred


def query_vectors(shop: Shop, dim: int, count: int) -> tuple[str, ...]:
    """Vectors to search for and to write, made before the load so that no iteration pays for making them."""
    rng = _stream(shop, "query vectors")
    return tuple(_vector(rng, dim) for _ in range(count))

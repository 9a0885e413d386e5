"""The packaged workload ``ecommerce``: it passes, its data repeat, its queries use their indexes, its books agree."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_stormdb.configuration.file import load_configuration
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.packages.checksums import verify
from pytest_stormdb.packages.metadata import load_metadata
from tests.conftest import Suite

from .packages import Connection, connected, empty_database, module_beside

FOLDER = Path(__file__).parents[2] / "example_workloads" / "ecommerce"
READS = {
    *("user_by_email", "product_by_sku", "orders_of_user", "reviews_of_product", "products_of_vendor"),
    *("top_of_category", "purchase_orders_of_vendor", "order_details", "search_products", "recent_activity"),
    *("user_activity", "events_by_day", "low_inventory", "performance_of_vendor", "similar_reviews"),
    *("monthly_spend_of_user", "similar_users", "top_per_category", "inventory_status", "stock_report"),
}
WRITES = {
    *("place_order", "add_review", "adjust_inventory", "touch_user", "reprice_product"),
    *("add_event", "rate_vendor", "ship_order", "create_purchase_order", "receive_purchase_item"),
}
OLTP = {
    *("user_by_email", "product_by_sku", "orders_of_user", "stock_of_product", "order_by_id"),
    *("adjust_inventory", "touch_user", "add_event", "ship_order"),
}
ANALYTICS = {
    *("inventory_analysis", "spend_trend", "top_per_category", "vendor_performance", "stock_report"),
    *("monthly_sales", "customer_segments"),
}
MIXES = {
    "TestRead": READS,
    "TestWrite": WRITES,
    "TestMixed": READS | WRITES,
    "TestOltp": OLTP,
    "TestAnalytics": ANALYTICS,
}

import_module = partial(module_beside, FOLDER)


@pytest.fixture
def packaged(suite: Suite) -> Suite:
    """A suite that is a copy of the folder."""
    shutil.copytree(FOLDER, suite.path / FOLDER.name, ignore=shutil.ignore_patterns("__pycache__"))
    return suite


def load(conn: Connection, scale: int, seed: int = 42, vectors: str = "auto") -> Any:
    """Load the shop into an empty database; the shop."""
    shop = import_module("ecommerce_data").Shop.of_scale(scale, seed)
    return import_module("ecommerce_load").load(conn, shop, vectors, 8)


@pytest.fixture(scope="module")
def loaded(server: EmbeddedServer) -> Iterator[Connection]:
    """A connection into a loaded shop, which tests leave as it is."""
    with empty_database(server, "ecommerce_data") as conn:
        load(conn, 200)
        yield conn


@pytest.fixture
def elsewhere(server: EmbeddedServer) -> Iterator[Connection]:
    """A connection to an empty database of the same server."""
    with empty_database(server, "ecommerce_elsewhere") as conn:
        yield conn


@pytest.fixture
def scratch(loaded: Connection) -> Iterator[Connection]:
    """The same in a transaction that is rolled back."""
    with loaded.transaction(force_rollback=True):
        yield loaded


@pytest.mark.slow
def test_every_mix_passes_without_a_failed_operation(packaged: Suite) -> None:
    """Ten workers run all five mixes: each operation is there, none failed, and the books agree afterwards."""
    result = packaged.run("--stormdb-param", "scale=100", "--stormdb-duration=2s", "--stormdb-json=runs.json")
    result.assert_outcomes(passed=5)
    runs = packaged.runs()
    assert {run["nodeid"].rpartition("::")[2] for run in runs} == set(MIXES)
    for run in runs:
        assert MIXES[run["nodeid"].rpartition("::")[2]] <= set(run["operations"])
        assert run["totals"]["failures"] == 0
        assert run["outcome"] == "passed"
        assert run["health"]
        assert all(check["ok"] for check in run["health"])


@pytest.mark.slow
def test_every_operation_works_without_pgvector_and_at_the_least_scale(packaged: Suite) -> None:
    """Each operation runs once in a shop of twenty users whose reviews have no vectors."""
    result = packaged.run("--stormdb-smoke", "--stormdb-param", "scale=20", "--stormdb-param", "vectors=never")
    result.assert_outcomes(passed=5)


@pytest.mark.slow
@pytest.mark.parametrize("parameter", ["scale=19", "scal=100", "vectors=maybe", "dimensions=0"])
def test_a_wrong_parameter_is_refused_by_name(packaged: Suite, parameter: str) -> None:
    """What the model does not allow is an error that names the parameter, before any table is made."""
    result = packaged.run("-k", "TestOltp", "--stormdb-param", parameter)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{parameter.partition('=')[0]}: *"])


def test_its_checksums_hold() -> None:
    """``sha256sum -c`` and our own verification find every file as it was sealed."""
    assert verify(FOLDER).state == "verified", verify(FOLDER).problems
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "ecommerce.sha256"], cwd=FOLDER, check=True)


def test_its_metadata_and_configurations_are_read() -> None:
    """Metadata name the folder; both examples are configurations of this workload that need no server."""
    metadata = load_metadata(FOLDER / "ecommerce.yaml")
    assert (metadata.name, metadata.license) == ("ecommerce", "MIT")
    for name in ("basic", "advanced"):
        configuration = load_configuration(FOLDER / "examples" / f"{name}-config.yaml", {})
        assert (configuration.plugin, configuration.version) == ("ecommerce", metadata.version)
        import_module("test_ecommerce").ShopParameters(**configuration.parameters)
        assert configuration.database is None


def test_same_seed_and_scale_make_the_same_data_on_two_servers(loaded: Connection) -> None:
    """Each of the eleven tables has the same checksum on another server, in another session."""
    checksums = import_module("ecommerce_load").checksums
    first = checksums(loaded)
    assert len(first) == 11
    with EmbeddedServer.start() as other, connected(other.dsn) as conn:
        load(conn, 200)
        assert checksums(conn) == first


def test_another_seed_makes_other_data(loaded: Connection, elsewhere: Connection) -> None:
    """All that is drawn by lot differs with the seed."""
    checksums = import_module("ecommerce_load").checksums
    load(elsewhere, 200, seed=43)
    different = checksums(elsewhere)
    assert {table for table, digest in checksums(loaded).items() if digest == different[table]} == set()


@pytest.mark.parametrize(
    ("module", "query", "values", "index"),
    [
        ("reads", "USER_BY_EMAIL", ["user7@example.com"], "users_email_key"),
        ("reads", "PRODUCT_BY_SKU", ["SKU-0000007"], "products_sku_key"),
        ("reads", "ORDERS_OF_USER", [7], "orders_user"),
        ("reads", "REVIEWS_OF_PRODUCT", [7], "reviews_product"),
        ("reads", "PRODUCTS_OF_VENDOR", [7], "products_vendor"),
        ("reads", "TOP_OF_CATEGORY", ["books"], "products_category"),
        ("reads", "PURCHASE_ORDERS_OF_VENDOR", [7], "purchase_orders_vendor"),
        ("reads", "ORDER_DETAILS", [7], "order_items_pkey"),
        ("reads", "SEARCH_PRODUCTS", ["blue"], "products_name_words"),
        ("reads", "RECENT_ACTIVITY", ["2024-12-31", "2024-12-31"], "orders_date"),
        ("reads", "USER_ACTIVITY", [7], "user_sessions_user"),
        ("reads", "EVENTS_BY_DAY", [7, "2024-12-01"], "product_analytics_product"),
        ("reads", "LOW_INVENTORY", [], "inventory_low"),
        ("reads", "SIMILAR_REVIEWS", ["[1,2,3,4,5,6,7,8]", "[1,2,3,4,5,6,7,8]"], "reviews_content_vector"),
        ("reads", "SIMILAR_USERS", [7], "order_items_product"),
        ("reads", "MONTHLY_SPEND_OF_USER", [7], "orders_user"),
        ("writes", "SHIP_ORDER", ["2025-01-01", 7], "orders_pending"),
        ("writes", "RECEIVE_ITEM", [7, 7], "purchase_order_items_receivable"),
    ],
)
def test_a_query_uses_its_index(scratch: Connection, module: str, query: str, values: list[Any], index: str) -> None:
    """Where it may not read a whole table, the server finds the index that was made for the query."""
    for way in ("seqscan", "hashjoin", "mergejoin"):
        scratch.execute(f"SET LOCAL enable_{way} = off".encode())
    text = getattr(import_module(f"ecommerce_{module}"), query)
    plan = "\n".join(line for (line,) in scratch.execute(f"EXPLAIN {text}", values).fetchall())
    assert f" {index} " in plan, plan


def test_low_stock_is_reordered_once(scratch: Connection) -> None:
    """However often a product's stock is written below its level, it is on order once."""
    product = scratch.execute("""
        SELECT product_id, max_stock_level FROM inventory i WHERE auto_reorder AND NOT EXISTS (
          SELECT FROM purchase_order_items p WHERE p.product_id = i.product_id AND quantity_received < quantity_ordered)
        """).fetchone()
    assert product is not None
    for quantity in (1, 0, 1):
        scratch.execute("UPDATE inventory SET quantity_available = %s WHERE product_id = %s", [quantity, product[0]])
    items = scratch.execute(
        "SELECT quantity_ordered FROM purchase_order_items WHERE product_id = %s AND quantity_received = 0",
        [product[0]],
    ).fetchall()
    assert items == [(product[1] - 1,)]


def test_received_items_go_to_the_shelf_and_close_their_order(scratch: Connection) -> None:
    """The stock grows by what came, and an order is received when its last item is."""
    (po_id,) = scratch.execute("SELECT min(po_id) FROM purchase_orders WHERE status = 'open'").fetchall()[0]
    items = scratch.execute(
        "SELECT po_item_id, quantity_ordered, quantity_available FROM purchase_order_items JOIN inventory"
        " USING (product_id) WHERE po_id = %s",
        [po_id],
    ).fetchall()
    for number, (item, ordered, before) in enumerate(items, 1):
        scratch.execute(
            "UPDATE purchase_order_items SET quantity_received = quantity_ordered WHERE po_item_id = %s", [item]
        )
        after = scratch.execute(
            "SELECT quantity_available, status FROM purchase_order_items JOIN inventory USING (product_id)"
            " JOIN purchase_orders USING (po_id) WHERE po_item_id = %s",
            [item],
        ).fetchone()
        assert after == (before + ordered, "received" if number == len(items) else "open")


def test_the_loaded_books_agree(loaded: Connection) -> None:
    """All invariants hold from the start."""
    assert import_module("ecommerce_load").violations(loaded) == []


@pytest.mark.parametrize(
    ("damage", "invariant"),
    [
        ("UPDATE orders SET subtotal = subtotal + 0.01 WHERE order_id = 1", "order's money"),
        ("DELETE FROM order_items WHERE order_id = 1", "order's money"),
        ("UPDATE users SET total_spent = total_spent + 0.01 WHERE user_id = 1", "user has spent"),
        ("UPDATE inventory SET quantity_available = quantity_available + 1 WHERE product_id = 1", "unit of stock"),
        ("UPDATE purchase_orders SET status = 'open' WHERE po_id = 1", "purchase order is closed"),
        ("UPDATE orders SET shipped_at = NULL WHERE status = 'shipped'", "shipping date"),
        (
            "ALTER TABLE inventory DROP CONSTRAINT inventory_quantity_available_check;"
            "UPDATE inventory SET quantity_available = -1 WHERE product_id = 1",
            "negative stock",
        ),
        (
            "DROP INDEX purchase_order_items_open; INSERT INTO purchase_order_items"
            " (po_id, product_id, quantity_ordered, quantity_received, unit_cost)"
            " SELECT po_id, product_id, 1, 0, 1 FROM purchase_order_items WHERE quantity_received < quantity_ordered",
            "on order twice",
        ),
    ],
)
def test_an_invariant_notices_damage(scratch: Connection, damage: str, invariant: str) -> None:
    """Every invariant can fail: one wrong row is enough."""
    scratch.execute(damage.encode())
    found = import_module("ecommerce_load").violations(scratch)
    assert any(invariant in violation for violation in found), found


def test_vectors_that_are_required_but_not_there_are_an_error(
    elsewhere: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``vectors=require`` does not silently go without."""
    monkeypatch.setattr(import_module("ecommerce_load"), "_has_pgvector", lambda conn: False)
    with pytest.raises(RuntimeError, match="no pgvector"):
        load(elsewhere, 20, vectors="require")

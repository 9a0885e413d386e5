"""A shop under load: reading, writing, both, a checkout's mix, and the management's questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import ecommerce_analytics as analytics
import ecommerce_reads as reads
import ecommerce_writes as writes
import pytest
from ecommerce_data import TABLES, Shop
from ecommerce_load import INVARIANTS, load, violations
from psycopg import sql
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    import psycopg

    from pytest_stormdb import OperationResult, Worker
    from pytest_stormdb.configuration.parameters import Parameters


class ShopParameters(BaseModel, extra="forbid"):
    """What a configuration file may set under `parameters`."""

    scale: int = Field(1000, ge=20, le=10_000_000, description="users; the other tables grow with them")
    seed: int = Field(42, description="of the data: the same seed and scale make the same rows")
    vectors: Literal["auto", "never", "require"] = Field("auto", description="whether reviews have pgvector's vectors")
    dimensions: int = Field(64, ge=2, le=2000, description="of the vectors")


@pytest.fixture(scope="module")
def shop(
    stormdb_connection: psycopg.Connection[Any], stormdb_parameters: Parameters, stormdb_progress: Any
) -> Iterator[Shop]:
    """The loaded shop; when the load is over, its books must agree."""
    given = stormdb_parameters(ShopParameters)
    planned = Shop.of_scale(given.scale, given.seed)
    with stormdb_progress("shop") as loading:
        shop = load(stormdb_connection, planned, given.vectors, given.dimensions, loading.advance)
    yield shop
    assert violations(stormdb_connection) == []


@pytest.mark.stormdb_health
def all_tables_are_filled(conn: psycopg.Connection[Any]) -> None:
    """Each of the eleven tables has rows."""
    for table in TABLES:
        assert conn.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table))).rowcount == 1, table


@pytest.mark.stormdb_health
def stock_is_never_negative(conn: psycopg.Connection[Any]) -> None:
    """What is sold was there."""
    assert conn.execute(INVARIANTS["no product has a negative stock"].encode()).fetchall() == []


# The weights of the two mixins add up to 75 and 25: a mix of both is 75 % reads and 25 % writes.
LOOKUP, LIST, REPORT, HEAVY = 30 / 5, 24 / 5, 15 / 6, 6 / 4
WRITE = 25 / 10


class Reads:
    """Twenty reads: the lighter, the more often."""

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def user_by_email(self, worker: Worker, shop: Shop) -> None:
        reads.user_by_email(worker, shop)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def product_by_sku(self, worker: Worker, shop: Shop) -> None:
        reads.product_by_sku(worker, shop)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def orders_of_user(self, worker: Worker, shop: Shop) -> None:
        reads.orders_of_user(worker, shop)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def reviews_of_product(self, worker: Worker, shop: Shop) -> None:
        reads.reviews_of_product(worker, shop)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def products_of_vendor(self, worker: Worker, shop: Shop) -> None:
        reads.products_of_vendor(worker, shop)

    @pytest.mark.stormdb_operation(weight=LIST)
    def top_of_category(self, worker: Worker, shop: Shop) -> None:
        reads.top_of_category(worker, shop)

    @pytest.mark.stormdb_operation(weight=LIST)
    def purchase_orders_of_vendor(self, worker: Worker, shop: Shop) -> None:
        reads.purchase_orders_of_vendor(worker, shop)

    @pytest.mark.stormdb_operation(weight=LIST)
    def order_details(self, worker: Worker, shop: Shop) -> None:
        reads.order_details(worker, shop)

    @pytest.mark.stormdb_operation(weight=LIST)
    def search_products(self, worker: Worker, shop: Shop) -> None:
        reads.search_products(worker, shop)

    @pytest.mark.stormdb_operation(weight=LIST)
    def recent_activity(self, worker: Worker, shop: Shop) -> None:
        reads.recent_activity(worker, shop)

    @pytest.mark.stormdb_operation(weight=REPORT)
    def user_activity(self, worker: Worker, shop: Shop) -> None:
        reads.user_activity(worker, shop)

    @pytest.mark.stormdb_operation(weight=REPORT)
    def events_by_day(self, worker: Worker, shop: Shop) -> None:
        reads.events_by_day(worker, shop)

    @pytest.mark.stormdb_operation(weight=REPORT)
    def low_inventory(self, worker: Worker, shop: Shop) -> None:
        reads.low_inventory(worker, shop)

    @pytest.mark.stormdb_operation(weight=REPORT)
    def performance_of_vendor(self, worker: Worker, shop: Shop) -> None:
        reads.performance_of_vendor(worker, shop)

    @pytest.mark.stormdb_operation(weight=REPORT)
    def similar_reviews(self, worker: Worker, shop: Shop) -> None:
        reads.similar_reviews(worker, shop)

    @pytest.mark.stormdb_operation(weight=REPORT)
    def monthly_spend_of_user(self, worker: Worker, shop: Shop) -> None:
        reads.monthly_spend_of_user(worker, shop)

    @pytest.mark.stormdb_operation(weight=HEAVY)
    def similar_users(self, worker: Worker, shop: Shop) -> None:
        reads.similar_users(worker, shop)

    @pytest.mark.stormdb_operation(weight=HEAVY)
    def top_per_category(self, worker: Worker, shop: Shop) -> None:
        analytics.top_per_category(worker, shop)

    @pytest.mark.stormdb_operation(weight=HEAVY)
    def inventory_status(self, worker: Worker, shop: Shop) -> None:
        analytics.inventory_status(worker, shop)

    @pytest.mark.stormdb_operation(weight=HEAVY)
    def stock_report(self, worker: Worker, shop: Shop) -> None:
        analytics.stock_report(worker, shop)


class Writes:
    """Ten writes, each as often as the others."""

    @pytest.mark.stormdb_operation(weight=WRITE)
    def place_order(self, worker: Worker, shop: Shop) -> None:
        writes.place_order(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def add_review(self, worker: Worker, shop: Shop) -> None:
        writes.add_review(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def adjust_inventory(self, worker: Worker, shop: Shop) -> None:
        writes.adjust_inventory(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def touch_user(self, worker: Worker, shop: Shop) -> None:
        writes.touch_user(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def reprice_product(self, worker: Worker, shop: Shop) -> None:
        writes.reprice_product(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def add_event(self, worker: Worker, shop: Shop) -> None:
        writes.add_event(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def rate_vendor(self, worker: Worker, shop: Shop) -> None:
        writes.rate_vendor(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def ship_order(self, worker: Worker, shop: Shop) -> OperationResult | None:
        return writes.ship_order(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def create_purchase_order(self, worker: Worker, shop: Shop) -> None:
        writes.create_purchase_order(worker, shop)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def receive_purchase_item(self, worker: Worker, shop: Shop) -> OperationResult | None:
        return writes.receive_purchase_item(worker, shop)


@pytest.mark.stormdb(workers=10, duration="2s", warmup="250ms")
@pytest.mark.stormdb_slo("p95 < 500ms", "throughput > 20/s", "errors == 0%")
class TestRead(Reads):
    """Reads only."""


@pytest.mark.stormdb(workers=10, duration="2s", warmup="250ms")
@pytest.mark.stormdb_slo("p95 < 500ms", "throughput > 20/s", "errors == 0%")
class TestWrite(Writes):
    """Writes only."""


@pytest.mark.stormdb(workers=10, duration="2s", warmup="250ms")
@pytest.mark.stormdb_slo("p95 < 500ms", "throughput > 20/s", "errors == 0%")
class TestMixed(Reads, Writes):
    """75 % reads, 25 % writes."""


@pytest.mark.stormdb(workers=10, duration="2s", warmup="250ms")
@pytest.mark.stormdb_slo("p95 < 500ms", "throughput > 20/s", "errors == 0%")
class TestOltp:
    """A checkout: 60 % reads of one row or a few, 40 % writes."""

    @pytest.mark.stormdb_operation(weight=60 / 5)
    def user_by_email(self, worker: Worker, shop: Shop) -> None:
        reads.user_by_email(worker, shop)

    @pytest.mark.stormdb_operation(weight=60 / 5)
    def product_by_sku(self, worker: Worker, shop: Shop) -> None:
        reads.product_by_sku(worker, shop)

    @pytest.mark.stormdb_operation(weight=60 / 5)
    def orders_of_user(self, worker: Worker, shop: Shop) -> None:
        reads.orders_of_user(worker, shop)

    @pytest.mark.stormdb_operation(weight=60 / 5)
    def stock_of_product(self, worker: Worker, shop: Shop) -> None:
        reads.stock_of_product(worker, shop)

    @pytest.mark.stormdb_operation(weight=60 / 5)
    def order_by_id(self, worker: Worker, shop: Shop) -> None:
        reads.order_by_id(worker, shop)

    @pytest.mark.stormdb_operation(weight=40 / 4)
    def adjust_inventory(self, worker: Worker, shop: Shop) -> None:
        writes.adjust_inventory(worker, shop)

    @pytest.mark.stormdb_operation(weight=40 / 4)
    def touch_user(self, worker: Worker, shop: Shop) -> None:
        writes.touch_user(worker, shop)

    @pytest.mark.stormdb_operation(weight=40 / 4)
    def add_event(self, worker: Worker, shop: Shop) -> None:
        writes.add_event(worker, shop)

    @pytest.mark.stormdb_operation(weight=40 / 4)
    def ship_order(self, worker: Worker, shop: Shop) -> OperationResult | None:
        return writes.ship_order(worker, shop)


@pytest.mark.stormdb(workers=10, duration="2s", warmup="250ms")
@pytest.mark.stormdb_slo("p95 < 2s", "errors == 0%")
class TestAnalytics:
    """The management's seven questions, at the same time."""

    @pytest.mark.stormdb_operation
    def inventory_analysis(self, worker: Worker, shop: Shop) -> None:
        analytics.inventory_analysis(worker, shop)

    @pytest.mark.stormdb_operation
    def spend_trend(self, worker: Worker, shop: Shop) -> None:
        analytics.spend_trend(worker, shop)

    @pytest.mark.stormdb_operation
    def top_per_category(self, worker: Worker, shop: Shop) -> None:
        analytics.top_per_category(worker, shop)

    @pytest.mark.stormdb_operation
    def vendor_performance(self, worker: Worker, shop: Shop) -> None:
        analytics.vendor_performance(worker, shop)

    @pytest.mark.stormdb_operation
    def stock_report(self, worker: Worker, shop: Shop) -> None:
        analytics.stock_report(worker, shop)

    @pytest.mark.stormdb_operation
    def monthly_sales(self, worker: Worker, shop: Shop) -> None:
        analytics.monthly_sales(worker, shop)

    @pytest.mark.stormdb_operation
    def customer_segments(self, worker: Worker, shop: Shop) -> None:
        analytics.customer_segments(worker, shop)

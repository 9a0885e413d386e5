"""tpcc: the five transactions of TPC-C on its nine tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tpcc_conditions import violations
from tpcc_data import Parameters, load
from tpcc_terminal import Terminal

import pytest_stormdb
from pytest_stormdb import Worker

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def parameters(stormdb_parameters: Any) -> Parameters:
    checked: Parameters = stormdb_parameters(Parameters)
    return checked


@pytest.fixture(scope="module")
def warehouses(stormdb_connection: Connection, stormdb_progress: Any, parameters: Parameters) -> Iterator[Parameters]:
    """The nine tables, loaded before the workers start, and checked after the last of them has ended."""
    with stormdb_progress("warehouses") as loading:
        load(stormdb_connection, parameters, loading.advance)
    yield parameters
    violated = violations(stormdb_connection)
    assert not violated, "\n".join(violated)


@pytest_stormdb.worker_fixture
def terminal(worker: Worker, warehouses: Parameters) -> Iterator[Terminal]:
    yield Terminal(worker, warehouses)


@pytest.mark.stormdb_health(interval="5s", timeout="10s")
def warehouses_agree_with_their_districts(conn: Connection) -> None:
    """Condition 1, which can be asked at any time, since a statement sees one snapshot."""
    row = conn.execute("SELECT (SELECT sum(w_ytd) FROM warehouse), (SELECT sum(d_ytd) FROM district)").fetchone()
    assert row is not None
    assert row[0] == row[1], f"the warehouses took {row[0]}, their districts {row[1]}"


@pytest.mark.stormdb(workers=10, duration="20s", retries=10)
@pytest.mark.stormdb_slo("errors == 0%")
@pytest.mark.stormdb_slo("throughput > 60/m", operation="new_order")  # in the terms of the specification: tpmC > 60
@pytest.mark.stormdb_slo("p90 < 5s", operation="new_order")
@pytest.mark.stormdb_slo("p90 < 5s", operation="payment")
@pytest.mark.stormdb_slo("p90 < 5s", operation="order_status")
@pytest.mark.stormdb_slo("p90 < 5s", operation="delivery")
@pytest.mark.stormdb_slo("p90 < 20s", operation="stock_level")
class TestTpcc:
    """The mix of the specification, with its limits of the 90th percentile of each transaction."""

    @pytest.mark.stormdb_operation(weight=45)
    def new_order(self, worker: Worker, terminal: Terminal) -> None:
        terminal.new_order()

    @pytest.mark.stormdb_operation(weight=43)
    def payment(self, worker: Worker, terminal: Terminal) -> None:
        terminal.payment()

    @pytest.mark.stormdb_operation(weight=4)
    def order_status(self, worker: Worker, terminal: Terminal) -> None:
        terminal.order_status()

    @pytest.mark.stormdb_operation(weight=4)
    def delivery(self, worker: Worker, terminal: Terminal) -> None:
        skipped = terminal.delivery()
        if skipped:
            worker.metrics.count("deliveries_skipped", skipped)

    @pytest.mark.stormdb_operation(weight=4)
    def stock_level(self, worker: Worker, terminal: Terminal) -> None:
        worker.metrics.observe("low_stock", terminal.stock_level())

"""A terminal of TPC-C: the five transactions, each drawn, run and checked. [2.4] to [2.8]"""

from __future__ import annotations

from decimal import Decimal
from math import log
from random import Random
from typing import Any, NamedTuple

from psycopg import sql
from tpcc_data import DISTRICTS, LAST_NAMES, Parameters, last_name_number, uneven

from pytest_stormdb import Aborted, Worker

Row = tuple[Any, ...]

PAUSES_S = {
    "new_order": (18, 12),
    "payment": (3, 12),
    "order_status": (2, 10),
    "delivery": (2, 5),
    "stock_level": (2, 5),
}
"""Keying time and mean think time of each transaction [5.2.5.7]."""


class WrongRowsError(Exception):
    """A statement did not return or change the rows it was meant to."""


class Step:
    """A prepared statement that knows how many rows it is meant to return or to change."""

    __slots__ = ("_sql", "_statement")

    def __init__(self, worker: Worker, sql: str) -> None:
        self._sql = sql
        self._statement: Any = worker.prepare(sql)

    def __call__(self) -> None:
        """Run what returns and changes no rows."""
        self._statement.execute()

    def change(self, rows: int, *arguments: Any) -> None:
        changed = self._statement.execute(*arguments)
        if changed != rows:
            raise self._wrong(f"{changed} rows changed instead of {rows}", arguments)

    def one(self, *arguments: Any) -> Row:
        row: Row | None = self._statement.fetchone(*arguments)
        if row is None:
            raise self._wrong("no row", arguments)
        return row

    def some(self, *arguments: Any) -> list[Row]:
        """One row at least."""
        rows = self.all(*arguments)
        if not rows:
            raise self._wrong("no rows", arguments)
        return rows

    def all(self, *arguments: Any) -> list[Row]:
        rows: list[Row] = self._statement.fetchall(*arguments)
        return rows

    def _wrong(self, what: str, arguments: Row) -> WrongRowsError:
        return WrongRowsError(f"{what}: {' '.join(self._sql.split())}, for {arguments}")


class Line(NamedTuple):
    """What a new order asks for: one item, from the stock of one warehouse."""

    item: int
    warehouse: int
    quantity: int


class Terminal:
    """One worker at its warehouse; for stock levels at its district, too."""

    def __init__(self, worker: Worker, parameters: Parameters) -> None:
        self.warehouse = worker.id % parameters.scale + 1
        self.district = worker.id // parameters.scale % DISTRICTS + 1
        self._worker = worker
        self._rng: Random = worker.rng
        self._parameters = parameters
        self._constants = parameters.constants
        begin = f"BEGIN ISOLATION LEVEL {parameters.isolation.upper()}"
        self._begin = Step(worker, begin)
        self._begin_reading = Step(worker, f"{begin} READ ONLY")
        self._commit = Step(worker, "COMMIT")
        self._rollback = Step(worker, "ROLLBACK")
        self._prepare_new_order(worker)
        self._prepare_payment(worker)
        self._prepare_order_status(worker)
        self._prepare_delivery(worker)
        self._prepare_stock_level(worker)

    # -- new order -------------------------------------------------------------------------------------------------

    def _prepare_new_order(self, worker: Worker) -> None:
        self._warehouse_tax = Step(worker, "SELECT w_tax FROM warehouse WHERE w_id = $1")
        self._next_order = Step(
            worker,
            "UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = $1 AND d_id = $2"
            " RETURNING d_tax, d_next_o_id - 1",
        )
        self._buyer = Step(
            worker, "SELECT c_discount, c_last, c_credit FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3"
        )
        self._insert_order = Step(
            worker,
            "INSERT INTO orders (o_w_id, o_d_id, o_id, o_c_id, o_entry_d, o_ol_cnt, o_all_local)"
            " VALUES ($1, $2, $3, $4, localtimestamp, $5, $6)",
        )
        self._insert_new_order = Step(worker, "INSERT INTO new_order (no_w_id, no_d_id, no_o_id) VALUES ($1, $2, $3)")
        self._items = Step(worker, "SELECT i_id, i_price, i_name, i_data FROM item WHERE i_id = ANY ($1::int[])")
        self._stock = [Step(worker, _stock_query(district)) for district in range(1, DISTRICTS + 1)]
        self._take_stock = Step(
            worker,
            """
            UPDATE stock SET s_quantity = taken.quantity, s_ytd = s_ytd + taken.ytd,
                s_order_cnt = s_order_cnt + taken.orders, s_remote_cnt = s_remote_cnt + taken.remote
            FROM unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[])
                AS taken (w, i, quantity, ytd, orders, remote)
            WHERE s_w_id = taken.w AND s_i_id = taken.i
            """,
        )
        self._insert_lines = Step(
            worker,
            """
            INSERT INTO order_line (ol_w_id, ol_d_id, ol_o_id, ol_number, ol_i_id, ol_supply_w_id, ol_quantity,
                ol_amount, ol_dist_info)
            SELECT $1, $2, $3, line.* FROM unnest($4::int[], $5::int[], $6::int[], $7::int[], $8::numeric[], $9::text[])
                AS line
            """,
        )

    def new_order(self) -> None:
        """Order 5 to 15 items. One order in a hundred names an unused item, and is rolled back: it raises Aborted."""
        w, d, c = self.warehouse, self._any_district(), self._any_customer()
        lines = self._any_lines()
        self._begin()
        (w_tax,) = self._warehouse_tax.one(w)
        d_tax, o = self._next_order.one(w, d)
        discount, _last, _credit = self._buyer.one(w, d, c)
        all_local = int(all(line.warehouse == w for line in lines))
        self._insert_order.change(1, w, d, o, c, len(lines), all_local)
        self._insert_new_order.change(1, w, d, o)
        found = {i: (price, data) for i, price, _name, data in self._items.some([line.item for line in lines])}
        known = [line for line in lines if line.item in found]
        dist_info = self._take(d, known)
        amounts = [line.quantity * found[line.item][0] for line in known]
        self._insert_lines.change(
            len(known),
            *(w, d, o, list(range(1, len(known) + 1))),
            *([line.item for line in known], [line.warehouse for line in known], [line.quantity for line in known]),
            *(amounts, dist_info),
        )
        committed = len(known) == len(lines)
        if committed:
            self._commit()
            _total = sum(amounts) * (1 - discount) * (1 + w_tax + d_tax)
        else:
            self._rollback()
        self._pause("new_order")
        if not committed:
            raise Aborted("unused item")

    def _take(self, d: int, lines: list[Line]) -> list[str]:
        """Take the lines' quantities from stock, which is filled up by 91 where it runs low; their ol_dist_info."""
        wanted = ([line.warehouse for line in lines], [line.item for line in lines])
        stock = {(w, i): (quantity, info) for w, i, quantity, info in self._stock[d - 1].all(*wanted)}
        taken: dict[tuple[int, int], list[int]] = {}
        for line in lines:
            key = line.warehouse, line.item
            if key not in stock:
                raise WrongRowsError(f"no stock of item {line.item} in warehouse {line.warehouse}")
            row = taken.setdefault(key, [*key, stock[key][0], 0, 0, 0])
            row[2] -= line.quantity if row[2] >= line.quantity + 10 else line.quantity - 91
            row[3] += line.quantity
            row[4] += 1
            row[5] += line.warehouse != self.warehouse
        self._take_stock.change(len(taken), *(list(column) for column in zip(*taken.values(), strict=True)))
        return [stock[line.warehouse, line.item][1] for line in lines]

    def _any_lines(self) -> list[Line]:
        rng, parameters = self._rng, self._parameters
        is_rolled_back = rng.randint(1, 100) == 1
        lines = [
            Line(
                uneven(rng, 8191, 1, parameters.items, self._constants.item),
                self._other_warehouse() if rng.randint(1, 100) == 1 else self.warehouse,
                rng.randint(1, 10),
            )
            for _ in range(rng.randint(5, 15))
        ]
        if is_rolled_back:
            lines[-1] = lines[-1]._replace(item=parameters.items + 1)
        return lines

    # -- payment ---------------------------------------------------------------------------------------------------

    def _prepare_payment(self, worker: Worker) -> None:
        self._pay_warehouse = Step(worker, "UPDATE warehouse SET w_ytd = w_ytd + $1 WHERE w_id = $2 RETURNING w_name")
        self._pay_district = Step(
            worker, "UPDATE district SET d_ytd = d_ytd + $1 WHERE d_w_id = $2 AND d_id = $3 RETURNING d_name"
        )
        self._namesakes = Step(
            worker,
            "SELECT c_id FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_last = $3 ORDER BY c_first, c_id",
        )
        self._pay_customer = Step(
            worker,
            """
            UPDATE customer SET c_balance = c_balance - $1, c_ytd_payment = c_ytd_payment + $1,
                c_payment_cnt = c_payment_cnt + 1,
                c_data = CASE WHEN c_credit = 'BC'
                    THEN left(concat_ws(' ', c_id, c_d_id, c_w_id, $2::int, $3::int, $1::numeric, c_data), 500)
                    ELSE c_data END
            WHERE c_w_id = $4 AND c_d_id = $5 AND c_id = $6
            RETURNING c_first, c_last, c_credit, c_discount, c_balance
            """,
        )
        self._insert_history = Step(
            worker,
            "INSERT INTO history (h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data)"
            " VALUES ($1, $2, $3, $4, $5, localtimestamp, $6, $7)",
        )

    def payment(self) -> None:
        """A customer pays: at home, or in 15 of 100 cases away from home."""
        w, d = self.warehouse, self._any_district()
        c_w, c_d = w, d
        if self._parameters.scale > 1 and self._rng.randint(1, 100) > 85:
            c_w, c_d = self._other_warehouse(), self._any_district()
        amount = Decimal(self._rng.randint(100, 500_000)) / 100
        who = self._any_name_or_customer()
        self._begin()
        (w_name,) = self._pay_warehouse.one(amount, w)
        (d_name,) = self._pay_district.one(amount, w, d)
        c = self._customer(c_w, c_d, who)
        self._pay_customer.one(amount, d, w, c_w, c_d, c)
        self._insert_history.change(1, c, c_d, c_w, d, w, amount, f"{w_name}    {d_name}")
        self._commit()
        self._pause("payment")

    def _customer(self, w: int, d: int, who: int | str) -> int:
        """The customer of that number, or the middle one, by first name, of those with that last name."""
        if isinstance(who, int):
            return who
        namesakes = self._namesakes.some(w, d, who)
        c: int = namesakes[(len(namesakes) - 1) // 2][0]
        return c

    # -- order status ----------------------------------------------------------------------------------------------

    def _prepare_order_status(self, worker: Worker) -> None:
        self._balance = Step(
            worker,
            "SELECT c_balance, c_first, c_middle, c_last FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3",
        )
        self._last_order = Step(
            worker,
            "SELECT o_id, o_entry_d, o_carrier_id, o_ol_cnt FROM orders"
            " WHERE o_w_id = $1 AND o_d_id = $2 AND o_c_id = $3 ORDER BY o_id DESC LIMIT 1",
        )
        self._lines = Step(
            worker,
            "SELECT ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d FROM order_line"
            " WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3",
        )

    def order_status(self) -> None:
        """Look up a customer's last order and its lines."""
        w, d = self.warehouse, self._any_district()
        who = self._any_name_or_customer()
        self._begin_reading()
        c = self._customer(w, d, who)
        self._balance.one(w, d, c)
        o, _entered, _carrier, count = self._last_order.one(w, d, c)
        lines = self._lines.all(w, d, o)
        if len(lines) != count:
            raise WrongRowsError(f"order {o} of district {d} of warehouse {w}: {len(lines)} lines instead of {count}")
        self._commit()
        self._pause("order_status")

    # -- delivery --------------------------------------------------------------------------------------------------

    def _prepare_delivery(self, worker: Worker) -> None:
        # Not SKIP LOCKED: were the skipped order's delivery then rolled back, the new orders would have a gap.
        self._oldest = Step(
            worker,
            "SELECT no_o_id FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 ORDER BY no_o_id LIMIT 1 FOR UPDATE",
        )
        self._delete_new_order = Step(
            worker, "DELETE FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 AND no_o_id = $3"
        )
        self._carry = Step(
            worker,
            "UPDATE orders SET o_carrier_id = $1 WHERE o_w_id = $2 AND o_d_id = $3 AND o_id = $4"
            " RETURNING o_c_id, o_ol_cnt",
        )
        self._deliver_lines = Step(
            worker,
            """
            WITH delivered AS (
                UPDATE order_line SET ol_delivery_d = localtimestamp
                WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3 RETURNING ol_amount)
            SELECT count(*), sum(ol_amount) FROM delivered
            """,
        )
        self._deliver = Step(
            worker,
            "UPDATE customer SET c_balance = c_balance + $1, c_delivery_cnt = c_delivery_cnt + 1"
            " WHERE c_w_id = $2 AND c_d_id = $3 AND c_id = $4",
        )

    def delivery(self) -> int:
        """Deliver the oldest new order of each district; in how many districts there was none."""
        w, carrier = self.warehouse, self._rng.randint(1, 10)
        skipped = 0
        self._begin()
        for d in range(1, DISTRICTS + 1):
            oldest = self._oldest.all(w, d)
            if not oldest:
                skipped += 1
                continue
            ((o,),) = oldest
            self._delete_new_order.change(1, w, d, o)
            c, count = self._carry.one(carrier, w, d, o)
            lines, amount = self._deliver_lines.one(w, d, o)
            if lines != count:
                raise WrongRowsError(f"delivery of order {o}: {lines} lines instead of {count}")
            self._deliver.change(1, amount, w, d, c)
        self._commit()
        self._pause("delivery")
        return skipped

    # -- stock level -----------------------------------------------------------------------------------------------

    def _prepare_stock_level(self, worker: Worker) -> None:
        self._next = Step(worker, "SELECT d_next_o_id FROM district WHERE d_w_id = $1 AND d_id = $2")
        self._low_stock = Step(
            worker,
            """
            SELECT count(DISTINCT s_i_id) FROM order_line JOIN stock ON s_w_id = $1 AND s_i_id = ol_i_id
            WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id >= $3 - 20 AND ol_o_id < $3 AND s_quantity < $4
            """,
        )

    def stock_level(self) -> int:
        """How many items of the district's last twenty orders run low."""
        w, d, threshold = self.warehouse, self.district, self._rng.randint(10, 20)
        self._begin_reading()
        (o,) = self._next.one(w, d)
        low: int = self._low_stock.one(w, d, o, threshold)[0]
        self._commit()
        self._pause("stock_level")
        return low

    # -- draws -----------------------------------------------------------------------------------------------------

    def _any_district(self) -> int:
        return self._rng.randint(1, DISTRICTS)

    def _any_customer(self) -> int:
        return uneven(self._rng, 1023, 1, self._parameters.customers_per_district, self._constants.customer)

    def _any_name_or_customer(self) -> int | str:
        """A last name in 60 of 100 cases, else a customer's number."""
        if self._rng.randint(1, 100) > 60:
            return self._any_customer()
        customers, c = self._parameters.customers_per_district, self._constants.last_name_run
        return LAST_NAMES[last_name_number(self._rng, customers, c)]

    def _other_warehouse(self) -> int:
        """Any warehouse but this one; this one where there is no other."""
        if self._parameters.scale == 1:
            return self.warehouse
        other = self._rng.randint(1, self._parameters.scale - 1)
        return other + (other >= self.warehouse)

    def _pause(self, transaction: str) -> None:
        """Keying and think time [5.2.5], kept after the iteration and outside of its measured time."""
        if self._parameters.pace:
            keying_s, mean_s = PAUSES_S[transaction]
            think_s = min(10.0, -log(1 - self._rng.random())) * mean_s
            self._worker.pause(self._parameters.pace * (keying_s + think_s))


def _stock_query(district: int) -> str:
    """Stock, locked in one order by all, lest two new orders wait for each other."""
    query = sql.SQL(
        """
        SELECT s_w_id, s_i_id, s_quantity, {}
        FROM stock JOIN unnest($1::int[], $2::int[]) AS wanted (w, i) ON s_w_id = w AND s_i_id = i
        ORDER BY s_w_id, s_i_id FOR UPDATE OF stock
        """
    )
    return query.format(sql.Identifier(f"s_dist_{district:02}")).as_string(None)

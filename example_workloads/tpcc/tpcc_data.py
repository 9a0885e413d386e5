"""The nine tables of TPC-C: their definitions, and a generator that fills them, always the same for the same seed.

Figures in brackets, such as 4.3.2.3, are clauses of the specification (revision 5.11).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, Literal

import psycopg
from psycopg import sql
from pydantic import BaseModel, Field

DISTRICTS = 10
LOADED_AT = "2020-01-01 00:00:00"
"""The date of everything loaded: a fixed one, so that two loads are identical."""

Connection = psycopg.Connection[Any]
log = logging.getLogger(__name__)


class Parameters(BaseModel, extra="forbid", frozen=True):
    """What a configuration file may set under `parameters`."""

    scale: int = Field(2, ge=1, le=10_000, description="warehouses, spread over the workers")
    seed: int = Field(0, description="of the initial data and of the constants of its uneven distributions")
    items: int = Field(100_000, ge=100, description="items, and as many stock rows in each warehouse")
    customers_per_district: int = Field(3_000, ge=10, description="customers, and as many orders, in each district")
    pace: float = Field(0, ge=0, description="keying and think times: 0 for none, 1 for those of the specification")
    isolation: Literal["read committed", "repeatable read", "serializable"] = "read committed"

    @property
    def undelivered(self) -> int:
        """The first order of each district that is not delivered: 2,101 of 3,000."""
        return self.customers_per_district * 7 // 10 + 1

    @cached_property
    def constants(self) -> Constants:
        return Constants.drawn(Random(f"{self.seed}:constants"))


# -- random values -------------------------------------------------------------------------------------------------

SYLLABLES = ("BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING")
LAST_NAMES = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]
_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_AS_TEXT = bytes(_ALPHANUMERIC[byte % len(_ALPHANUMERIC)] for byte in range(256))
_AS_DIGITS = bytes(_ALPHANUMERIC[byte % 10] for byte in range(256))


@dataclass(frozen=True, slots=True)
class Constants:
    """The constants C of the uneven distributions. That of last names differs between load and run [2.1.6.1]."""

    last_name_load: int
    last_name_run: int
    customer: int
    item: int

    @classmethod
    def drawn(cls, rng: Random) -> Constants:
        load = rng.randint(0, 255)
        allowed = [run for run in range(256) if 65 <= abs(run - load) <= 119 and abs(run - load) not in (96, 112)]
        return cls(load, rng.choice(allowed), rng.randint(0, 1023), rng.randint(0, 8191))


def uneven(rng: Random, a: int, x: int, y: int, c: int) -> int:
    """NURand(A, x, y) [2.1.6]."""
    return ((rng.randint(0, a) | rng.randint(x, y)) + c) % (y - x + 1) + x


def last_name_number(rng: Random, customers: int, c: int) -> int:
    """The number of a last name that some customer of each district has; there are 1,000 or as many as customers."""
    return uneven(rng, 255, 0, min(len(LAST_NAMES), customers) - 1, c)


def _text(rng: Random, low: int, high: int = 0) -> str:
    """A random alphanumeric string of ``low`` to ``high`` characters."""
    size = low + int(rng.random() * (high - low + 1)) if high else low
    return rng.randbytes(size).translate(_AS_TEXT).decode()


def _digits(rng: Random, size: int) -> str:
    return rng.randbytes(size).translate(_AS_DIGITS).decode()


def _zip(rng: Random) -> str:
    return _digits(rng, 4) + "11111"


def _upto(rng: Random, low: int, high: int) -> int:
    """As randint, in a quarter of its time."""
    return low + int(rng.random() * (high - low + 1))


def _data(rng: Random) -> str:
    """26 to 50 characters, in a tenth of all rows with ORIGINAL somewhere among them."""
    text = _text(rng, 26, 50)
    if rng.random() >= 0.1:
        return text
    at = _upto(rng, 0, len(text) - 8)
    return f"{text[:at]}ORIGINAL{text[at + 8 :]}"


def _address(rng: Random) -> str:
    """Two streets, city, state and zip code, as columns."""
    streets_and_city = "\t".join(_text(rng, 10, 20) for _ in range(3))
    return f"{streets_and_city}\t{_text(rng, 2)}\t{_zip(rng)}"


def _tax(rng: Random) -> str:
    return f"{_upto(rng, 0, 2000) / 10_000:.4f}"


# -- the tables ----------------------------------------------------------------------------------------------------

_STOCK_DISTRICTS = ", ".join(f"s_dist_{number:02} char(24)" for number in range(1, DISTRICTS + 1))

TABLES = f"""
    CREATE TABLE warehouse (w_id int, w_name varchar(10), w_street_1 varchar(20), w_street_2 varchar(20),
        w_city varchar(20), w_state char(2), w_zip char(9), w_tax numeric(4, 4), w_ytd numeric(12, 2))
        WITH (fillfactor = 10);
    CREATE TABLE district (d_id int, d_w_id int, d_name varchar(10), d_street_1 varchar(20), d_street_2 varchar(20),
        d_city varchar(20), d_state char(2), d_zip char(9), d_tax numeric(4, 4), d_ytd numeric(12, 2), d_next_o_id int)
        WITH (fillfactor = 10);
    CREATE TABLE customer (c_id int, c_d_id int, c_w_id int, c_first varchar(16), c_middle char(2), c_last varchar(16),
        c_street_1 varchar(20), c_street_2 varchar(20), c_city varchar(20), c_state char(2), c_zip char(9),
        c_phone char(16), c_since timestamp, c_credit char(2), c_credit_lim numeric(12, 2), c_discount numeric(4, 4),
        c_balance numeric(12, 2), c_ytd_payment numeric(12, 2), c_payment_cnt int, c_delivery_cnt int,
        c_data varchar(500));
    CREATE TABLE history (h_c_id int, h_c_d_id int, h_c_w_id int, h_d_id int, h_w_id int, h_date timestamp,
        h_amount numeric(6, 2), h_data varchar(24));
    CREATE TABLE new_order (no_o_id int, no_d_id int, no_w_id int);
    CREATE TABLE orders (o_id int, o_d_id int, o_w_id int, o_c_id int, o_entry_d timestamp, o_carrier_id int,
        o_ol_cnt int, o_all_local int);
    CREATE TABLE order_line (ol_o_id int, ol_d_id int, ol_w_id int, ol_number int, ol_i_id int, ol_supply_w_id int,
        ol_delivery_d timestamp, ol_quantity int, ol_amount numeric(6, 2), ol_dist_info char(24));
    CREATE TABLE item (i_id int, i_im_id int, i_name varchar(24), i_price numeric(5, 2), i_data varchar(50));
    CREATE TABLE stock (s_i_id int, s_w_id int, s_quantity int, {_STOCK_DISTRICTS}, s_ytd numeric(8, 0),
        s_order_cnt int, s_remote_cnt int, s_data varchar(50));
"""
KEYS = """
    ALTER TABLE warehouse ADD PRIMARY KEY (w_id);
    ALTER TABLE district ADD PRIMARY KEY (d_w_id, d_id);
    ALTER TABLE customer ADD PRIMARY KEY (c_w_id, c_d_id, c_id);
    ALTER TABLE new_order ADD PRIMARY KEY (no_w_id, no_d_id, no_o_id);
    ALTER TABLE orders ADD PRIMARY KEY (o_w_id, o_d_id, o_id);
    ALTER TABLE order_line ADD PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number);
    ALTER TABLE item ADD PRIMARY KEY (i_id);
    ALTER TABLE stock ADD PRIMARY KEY (s_w_id, s_i_id);
    CREATE INDEX customer_by_name ON customer (c_w_id, c_d_id, c_last, c_first);
    CREATE INDEX orders_by_customer ON orders (o_w_id, o_d_id, o_c_id, o_id);
"""


def load(conn: Connection, parameters: Parameters, advance: Callable[[int], object] = lambda rows: None) -> None:
    """Make the tables and fill them by COPY; ``advance`` is told how many rows more there are."""
    began = time.perf_counter()
    with conn.transaction():  # rows that come into a new table in one transaction can be frozen at once
        conn.execute(TABLES)
        for table, generate in GENERATORS.items():
            _copy(conn, table, generate(parameters), advance)
    log.info("indexes")
    conn.execute(KEYS)
    for table in GENERATORS:
        conn.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))
    log.info("loaded %d warehouses in %.1f s", parameters.scale, time.perf_counter() - began)


def _copy(conn: Connection, table: str, chunks: Iterator[list[str]], advance: Callable[[int], object]) -> None:
    rows = 0
    statement = sql.SQL("COPY {} FROM STDIN WITH (FREEZE)").format(sql.Identifier(table))
    with conn.cursor().copy(statement) as copy:
        for chunk in chunks:
            copy.write("\n".join(chunk) + "\n")
            rows += len(chunk)
            advance(len(chunk))
            log.info("%s: %s rows", table, f"{rows:,}")


# -- the rows ------------------------------------------------------------------------------------------------------

CHUNK = 10_000
NULL = r"\N"


def _in_chunks(first: int, last: int) -> Iterator[range]:
    for begin in range(first, last + 1, CHUNK):
        yield range(begin, min(begin + CHUNK, last + 1))


def _districts(parameters: Parameters) -> Iterator[tuple[int, int]]:
    for w in range(1, parameters.scale + 1):
        for d in range(1, DISTRICTS + 1):
            yield w, d


def warehouses(parameters: Parameters) -> Iterator[list[str]]:
    rng = Random(f"{parameters.seed}:warehouse")
    ytd = DISTRICTS * 10 * parameters.customers_per_district
    for ids in _in_chunks(1, parameters.scale):
        yield [f"{w}\t{_text(rng, 6, 10)}\t{_address(rng)}\t{_tax(rng)}\t{ytd}.00" for w in ids]


def districts(parameters: Parameters) -> Iterator[list[str]]:
    rng = Random(f"{parameters.seed}:district")
    customers = parameters.customers_per_district
    end = f"{10 * customers}.00\t{customers + 1}"
    yield [f"{d}\t{w}\t{_text(rng, 6, 10)}\t{_address(rng)}\t{_tax(rng)}\t{end}" for w, d in _districts(parameters)]


def customers(parameters: Parameters) -> Iterator[list[str]]:
    for w, d in _districts(parameters):
        rng = Random(f"{parameters.seed}:customer:{w}:{d}")
        yield [_customer(rng, w, d, c, parameters) for c in range(1, parameters.customers_per_district + 1)]


def _customer(rng: Random, w: int, d: int, c: int, parameters: Parameters) -> str:
    number = c - 1
    if c > len(LAST_NAMES):
        number = last_name_number(rng, parameters.customers_per_district, parameters.constants.last_name_load)
    credit = "BC" if rng.random() < 0.1 else "GC"
    discount = f"{_upto(rng, 0, 5000) / 10_000:.4f}"
    return (
        f"{c}\t{d}\t{w}\t{_text(rng, 8, 16)}\tOE\t{LAST_NAMES[number]}\t{_address(rng)}\t{_digits(rng, 16)}"
        f"\t{LOADED_AT}\t{credit}\t50000.00\t{discount}\t-10.00\t10.00\t1\t0\t{_text(rng, 300, 500)}"
    )


def histories(parameters: Parameters) -> Iterator[list[str]]:
    for w, d in _districts(parameters):
        rng = Random(f"{parameters.seed}:history:{w}:{d}")
        ids = range(1, parameters.customers_per_district + 1)
        yield [f"{c}\t{d}\t{w}\t{d}\t{w}\t{LOADED_AT}\t10.00\t{_text(rng, 12, 24)}" for c in ids]


def new_orders(parameters: Parameters) -> Iterator[list[str]]:
    for w, d in _districts(parameters):
        yield [f"{o}\t{d}\t{w}" for o in range(parameters.undelivered, parameters.customers_per_district + 1)]


def _line_counts(parameters: Parameters, w: int, d: int) -> list[int]:
    """How many lines each order of a district has: what orders and order lines must agree on."""
    rng = Random(f"{parameters.seed}:line counts:{w}:{d}")
    return [_upto(rng, 5, 15) for _ in range(parameters.customers_per_district)]


def orders(parameters: Parameters) -> Iterator[list[str]]:
    for w, d in _districts(parameters):
        rng = Random(f"{parameters.seed}:orders:{w}:{d}")
        buyers = list(range(1, parameters.customers_per_district + 1))
        rng.shuffle(buyers)  # each customer has one order
        counts = _line_counts(parameters, w, d)
        yield [
            f"{o}\t{d}\t{w}\t{c}\t{LOADED_AT}\t{_upto(rng, 1, 10) if o < parameters.undelivered else NULL}\t{n}\t1"
            for o, (c, n) in enumerate(zip(buyers, counts, strict=True), 1)
        ]


def order_lines(parameters: Parameters) -> Iterator[list[str]]:
    for w, d in _districts(parameters):
        rng = Random(f"{parameters.seed}:order line:{w}:{d}")
        lines: list[str] = []
        for o, count in enumerate(_line_counts(parameters, w, d), 1):
            delivered = o < parameters.undelivered
            for number in range(1, count + 1):
                item = _upto(rng, 1, parameters.items)
                end = f"{LOADED_AT}\t5\t0.00" if delivered else f"{NULL}\t5\t{_upto(rng, 1, 999_999) / 100:.2f}"
                lines.append(f"{o}\t{d}\t{w}\t{number}\t{item}\t{w}\t{end}\t{_text(rng, 24)}")
        yield lines


def items(parameters: Parameters) -> Iterator[list[str]]:
    rng = Random(f"{parameters.seed}:item")
    for ids in _in_chunks(1, parameters.items):
        yield [
            f"{i}\t{_upto(rng, 1, 10_000)}\t{_text(rng, 14, 24)}\t{_upto(rng, 100, 10_000) / 100:.2f}\t{_data(rng)}"
            for i in ids
        ]


def stocks(parameters: Parameters) -> Iterator[list[str]]:
    for w in range(1, parameters.scale + 1):
        rng = Random(f"{parameters.seed}:stock:{w}")
        for ids in _in_chunks(1, parameters.items):
            yield [f"{i}\t{w}\t{_upto(rng, 10, 100)}\t{_stock_districts(rng)}\t0\t0\t0\t{_data(rng)}" for i in ids]


def _stock_districts(rng: Random) -> str:
    text = _text(rng, 24 * DISTRICTS)
    return "\t".join([text[at : at + 24] for at in range(0, 24 * DISTRICTS, 24)])


GENERATORS: dict[str, Callable[[Parameters], Iterator[list[str]]]] = {
    "warehouse": warehouses,
    "district": districts,
    "item": items,
    "stock": stocks,
    "customer": customers,
    "history": histories,
    "orders": orders,
    "new_order": new_orders,
    "order_line": order_lines,
}

"""tpcb: the transactions that pgbench brings along, on the tables that pgbench makes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import sql
from pydantic import BaseModel, Field

import pytest_stormdb
from pytest_stormdb import Worker

TELLERS_PER_BRANCH = 10
ACCOUNTS_PER_BRANCH = 100_000
COPY_ROWS = 10_000

Connection = psycopg.Connection[Any]
log = logging.getLogger(__name__)


class Parameters(BaseModel, extra="forbid", frozen=True):
    """What a configuration file may set under `parameters`."""

    scale: int = Field(10, ge=1, le=20_000, description="branches; each has 10 tellers and 100,000 accounts")
    fillfactor: int = Field(100, ge=10, le=100, description="of accounts, tellers and branches, as pgbench's -F")

    @property
    def tellers(self) -> int:
        return self.scale * TELLERS_PER_BRANCH

    @property
    def accounts(self) -> int:
        return self.scale * ACCOUNTS_PER_BRANCH


# -- the tables --------------------------------------------------------------------------------------------------

TABLES = """
    CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
    CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor = {fill});
    CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = {fill});
    CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor = {fill});
"""
KEYS = """
    ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid);
    ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid);
    ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);
"""


def load(conn: Connection, parameters: Parameters, advance: Callable[[int], object] = lambda rows: None) -> None:
    """Make the tables as ``pgbench -i`` does. Nothing in them is drawn at random, so that they are always the same.

    ``advance`` is told how many accounts more there are.
    """
    with conn.transaction():  # rows that come into a new table in one transaction can be frozen at once
        conn.execute(sql.SQL(TABLES).format(fill=sql.Literal(parameters.fillfactor)))
        _copy_accounts(conn, parameters, advance)
        conn.execute(
            "INSERT INTO pgbench_branches (bid, bbalance) SELECT bid, 0 FROM generate_series(1, %s) bid",
            [parameters.scale],
        )
        conn.execute(
            "INSERT INTO pgbench_tellers (tid, bid, tbalance)"
            " SELECT tid, (tid - 1) / %s + 1, 0 FROM generate_series(1, %s) tid",
            [TELLERS_PER_BRANCH, parameters.tellers],
        )
    conn.execute(KEYS)
    for table in ("pgbench_branches", "pgbench_tellers", "pgbench_accounts", "pgbench_history"):
        conn.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))


def _copy_accounts(conn: Connection, parameters: Parameters, advance: Callable[[int], object]) -> None:
    with conn.cursor().copy("COPY pgbench_accounts FROM STDIN WITH (FREEZE)") as copy:
        for first in range(1, parameters.accounts + 1, COPY_ROWS):
            last = first + COPY_ROWS - 1  # the rows of one chunk share a branch
            bid = (first - 1) // ACCOUNTS_PER_BRANCH + 1
            copy.write("".join([f"{aid}\t{bid}\t0\t\n" for aid in range(first, last + 1)]))
            advance(COPY_ROWS)
            if last % ACCOUNTS_PER_BRANCH == 0:
                log.info("pgbench_accounts: %s of %s rows", f"{last:,}", f"{parameters.accounts:,}")


# -- what must hold ----------------------------------------------------------------------------------------------


class Sums(NamedTuple):
    """The four sums that the transaction changes by the same amount, read in one snapshot."""

    accounts: int
    tellers: int
    branches: int
    history: int

    @classmethod
    def read(cls, conn: Connection) -> Sums:
        row = conn.execute(
            """
            SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
                   (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
            """
        ).fetchone()
        assert row is not None
        return cls(*row)

    def since(self, before: Sums) -> Sums:
        return Sums(*(now - then for now, then in zip(self, before, strict=True)))


@pytest.fixture(scope="module")
def parameters(stormdb_parameters: Any) -> Parameters:
    checked: Parameters = stormdb_parameters(Parameters)
    return checked


@pytest.fixture(scope="module")
def bank(stormdb_connection: Connection, stormdb_progress: Any, parameters: Parameters) -> Iterator[Parameters]:
    """The tables, loaded before the workers start, and checked after the last of them has ended."""
    with stormdb_progress("pgbench_accounts", total=parameters.accounts) as loading:
        load(stormdb_connection, parameters, loading.advance)
    yield parameters
    sums = Sums.read(stormdb_connection)
    assert sums.accounts == sums.history, f"accounts hold what the history does not tell: {sums}"
    assert sums.tellers == sums.branches, f"tellers and branches disagree: {sums}"


@pytest.fixture
def all_agree(stormdb_connection: Connection, bank: Parameters) -> Iterator[None]:
    """The invariant of TPC-B: a test that runs no other writer moves all four sums by the same amount."""
    before = Sums.read(stormdb_connection)
    yield
    moved = Sums.read(stormdb_connection).since(before)
    assert len(set(moved)) == 1, f"the four balance sums moved apart: {moved}"


@pytest.fixture
def tellers_untouched(stormdb_connection: Connection, bank: Parameters) -> Iterator[None]:
    """The invariant of simple-update: accounts and history move together, tellers and branches not at all."""
    before = Sums.read(stormdb_connection)
    yield
    moved = Sums.read(stormdb_connection).since(before)
    assert moved.accounts == moved.history, f"accounts and history moved apart: {moved}"
    assert (moved.tellers, moved.branches) == (0, 0), f"tellers or branches moved: {moved}"


@pytest.mark.stormdb_health(interval="5s", timeout="10s")
def tellers_and_branches_agree(conn: Connection) -> None:
    row = conn.execute(
        "SELECT (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(bbalance) FROM pgbench_branches)"
    ).fetchone()
    assert row is not None
    assert row[0] == row[1], f"the tellers hold {row[0]}, the branches {row[1]}"


# -- the transactions --------------------------------------------------------------------------------------------


class Counter:
    """One worker's place at the bank: its prepared statements and what it draws for them."""

    def __init__(self, worker: Worker, bank: Parameters) -> None:
        self._draw = worker.rng.randint
        self._bank = bank
        self._begin = worker.prepare("BEGIN")
        self._end = worker.prepare("END")
        self._update_account = worker.prepare("UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2")
        self._balance = worker.prepare("SELECT abalance FROM pgbench_accounts WHERE aid = $1")
        self._update_teller = worker.prepare("UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2")
        self._update_branch = worker.prepare("UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2")
        self._insert_history = worker.prepare(
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)"
        )

    def tpcb_like(self) -> None:
        aid, bid, tid, delta = self._drawn()
        self._begin.execute()
        assert self._update_account.execute(delta, aid) == 1
        assert self._balance.fetchval(aid) is not None
        assert self._update_teller.execute(delta, tid) == 1
        assert self._update_branch.execute(delta, bid) == 1
        assert self._insert_history.execute(tid, bid, aid, delta) == 1
        self._end.execute()

    def simple_update(self) -> None:
        aid, bid, tid, delta = self._drawn()
        self._begin.execute()
        assert self._update_account.execute(delta, aid) == 1
        assert self._balance.fetchval(aid) is not None
        assert self._insert_history.execute(tid, bid, aid, delta) == 1
        self._end.execute()

    def select_only(self) -> None:
        assert self._balance.fetchval(self._draw(1, self._bank.accounts)) is not None

    def _drawn(self) -> tuple[int, int, int, int]:
        draw, bank = self._draw, self._bank
        return draw(1, bank.accounts), draw(1, bank.scale), draw(1, bank.tellers), draw(-5000, 5000)


@pytest_stormdb.worker_fixture
def counter(worker: Worker, bank: Parameters) -> Iterator[Counter]:
    yield Counter(worker, bank)


@pytest.mark.stormdb(workers=10, duration="10s")
@pytest.mark.stormdb_slo("p90 < 1s", "throughput > 20/s", "errors == 0%")
def test_tpcb_like(worker: Worker, counter: Counter, all_agree: None) -> None:
    """Update an account, its teller and its branch, and note it in the history."""
    counter.tpcb_like()


@pytest.mark.stormdb(workers=10, duration="10s")
@pytest.mark.stormdb_slo("p90 < 1s", "throughput > 20/s", "errors == 0%")
def test_simple_update(worker: Worker, counter: Counter, tellers_untouched: None) -> None:
    """The same without the contended tellers and branches."""
    counter.simple_update()


@pytest.mark.stormdb(workers=10, duration="10s")
@pytest.mark.stormdb_slo("p90 < 500ms", "throughput > 200/s", "errors == 0%")
def test_select_only(worker: Worker, counter: Counter, all_agree: None) -> None:
    """Read one account's balance."""
    counter.select_only()


@pytest.mark.stormdb(workers=10, duration="10s")
@pytest.mark.stormdb_slo("p90 < 1s", "throughput > 50/s", "errors == 0%")
class TestMostlyReads:
    """Nine balances read for each transaction, as ``pgbench -b select-only@9 -b tpcb-like@1`` does."""

    @pytest.mark.stormdb_operation(weight=9)
    def select_only(self, worker: Worker, counter: Counter, all_agree: None) -> None:
        counter.select_only()

    @pytest.mark.stormdb_operation(weight=1)
    def tpcb_like(self, worker: Worker, counter: Counter, all_agree: None) -> None:
        counter.tpcb_like()

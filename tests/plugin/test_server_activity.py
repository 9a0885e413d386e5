"""What the server did, from a marked function to the summary, the document and the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.costs import COUNTS_BACKENDS_FROM, FLUSHES_FROM
from pytest_stormdb.embedded.server import EmbeddedServer

from ..conftest import Suite
from ..pooler import needs_pgbouncer, pooled

SETUP = """
    import pytest
    import pytest_stormdb

    @pytest.fixture(scope="module")
    def account(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE account (id int PRIMARY KEY, n int)")
        stormdb_connection.execute("INSERT INTO account SELECT i, 0 FROM generate_series(1, 1000) i")
        stormdb_connection.execute("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, t text)")
"""


def run(suite: Suite, source: str, *options: str) -> tuple[dict[str, Any], pytest.RunResult]:
    suite.write(SETUP + source)
    result = suite.run("--stormdb-json=runs.json", *options)
    return suite.runs()[0], result


def share(activity: dict[str, Any], name: str) -> float:
    """The share of a class or event; 0 where it was not seen."""
    found = activity["wait_classes"] + activity["waits"]
    return float(next((each["share"] for each in found if each["event"] == name), 0))


@pytest.mark.slow
def test_a_hot_row_fails_a_threshold_on_locks_and_says_why(suite: Suite) -> None:
    """Ten workers and one row: more than 80 % of the time is spent waiting for it, and the summary says so."""
    source = """
    @pytest.mark.stormdb(workers=10, duration="4s")
    @pytest.mark.stormdb_slo("server.wait.Lock < 5%", "server.deadlocks == 0", "server.hit_ratio > 50%")
    def test_hot(worker, account):
        with worker.conn.transaction():
            worker.conn.execute("UPDATE account SET n = n + 1 WHERE id = 1")
            worker.conn.execute("SELECT pg_sleep(0.02)")
    """
    found, result = run(suite, source)
    activity = found["server_activity"]
    assert share(activity, "Lock") > 0.8
    assert activity["blockers"][0]["is_ours"] is True
    assert sum(each["times"] for each in activity["blockers"]) <= 6 * 9  # nine wait, and are asked for once a second
    verdicts = [(each["expression"], each["verdict"]) for each in found["thresholds"]]
    assert verdicts == [
        ("server.wait.Lock < 5%", "fail"), ("server.deadlocks == 0", "pass"), ("server.hit_ratio > 50%", "pass"),
    ]  # fmt: skip
    result.stdout.fnmatch_lines(
        ["  server: * % of response time waits on Lock*; *blocked by *", "  server, per operation: *"]
    )
    assert result.ret == 1


@pytest.fixture
def undisturbed(database: psycopg.Connection[Any]) -> Iterator[None]:
    """No autovacuum meanwhile, whose transactions are the database's too."""
    database.execute("ALTER SYSTEM SET autovacuum = off")
    database.execute("SELECT pg_reload_conf()")
    yield
    database.execute("ALTER SYSTEM RESET autovacuum")
    database.execute("SELECT pg_reload_conf()")


READS = """
    @pytest.mark.stormdb(workers=3, duration="1s", warmup="300ms")
    def test_read(worker, account):
        worker.conn.execute("SELECT n FROM account WHERE id = 5")
"""


@pytest.fixture
def exact(database: psycopg.Connection[Any], undisturbed: None) -> None:
    """A server whose sessions can be told to hand in their counters, and nobody else's transactions."""
    if database.info.server_version < FLUSHES_FROM:
        pytest.skip("PostgreSQL 14 updates its counters late")


def test_no_transaction_of_ours_is_counted(suite: Suite, exact: None) -> None:
    """As many commits as operations, though a worker's own session is asked afterwards what its cursors cost."""
    found, _ = run(suite, READS)
    assert found["server_activity"]["database"]["commits"] == found["totals"]["operations"] > 100


def test_late_counters_miss_nothing_of_the_measured_part(
    suite: Suite, database: psycopg.Connection[Any], undisturbed: None
) -> None:
    """PostgreSQL 14 updates them late: a part of the warm-up may be among them, and a note says so."""
    if database.info.server_version >= FLUSHES_FROM:
        pytest.skip("counters are late with PostgreSQL 14 only")
    found, _ = run(suite, READS)
    assert found["server_activity"]["database"]["commits"] >= found["totals"]["operations"] > 100
    assert [note for note in found["server_activity"]["notes"] if "of the warm-up is in them" in note]


@pytest.mark.slow
def test_inserts_are_counted_to_the_last(suite: Suite, exact: None) -> None:
    """After a warm-up: as many rows as operations, and their share of the log, which nobody else writes."""
    source = """
    @pytest_stormdb.worker_fixture
    def insert(worker, account):
        yield worker.prepare("INSERT INTO log (t) VALUES (repeat('x', 100))")

    @pytest.mark.stormdb(workers=4, duration="3s", warmup="1s")
    @pytest.mark.stormdb_slo("server.temp_bytes_per_op == 0", "server.wal_bytes_per_op < 400")
    def test_insert(worker, insert):
        insert.execute()
    """
    found, result = run(suite, source)
    activity, operations = found["server_activity"], found["totals"]["operations"]
    assert activity["database"]["rows_inserted"] == operations
    assert activity["database"]["commits"] == operations
    assert activity["wal"]["bytes"] == pytest.approx(activity["position"]["position"], rel=0.1)
    assert 150 < activity["wal_bytes_per_op"] < 400
    assert [each["verdict"] for each in found["thresholds"]] == ["pass", "pass"]
    (table,) = (each for each in activity["tables"] if each["inserted"])
    assert (table["name"].rpartition(".")[2], table["inserted"]) == ("log", operations)
    assert activity["notes"] == []
    assert result.ret == 0


@pytest.mark.slow
def test_the_set_up_is_not_counted(suite: Suite, undisturbed: None) -> None:
    """A session that rests hands in the last of its work after ten seconds: ours does before the run, not within it."""
    source = """
    @pytest.mark.stormdb(workers=1, duration="12s", think_time="50ms")
    def test_read(worker, account):
        worker.conn.execute("SELECT n FROM account WHERE id = 5", prepare=False)
    """
    found, _ = run(suite, source)
    assert found["server_activity"]["database"]["rows_inserted"] == 0
    assert found["server_activity"]["database"]["commits"] == found["totals"]["operations"]


@pytest.mark.slow
def test_asynchronous_workers_are_attributed_too(suite: Suite) -> None:
    """Tasks of one process each have a session, and each sample belongs to the iteration of its own."""
    source = """
    @pytest.mark.stormdb(workers=6, duration="3s")
    async def test_sleep(worker, account):
        await worker.conn.execute("SELECT pg_sleep(0.05)")
    """
    found, result = run(suite, source)
    row = next(each for each in found["server_activity"]["waits"] if each["event"] == "Timeout:PgSleep")
    slept, half = 0.05 / found["totals"]["response"]["mean_s"], (row["high_share"] - row["low_share"]) / 2
    assert row["share"] > slept - 2 * half
    assert found["server_activity"]["iterations_sampled"] > 60
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_late_arrival_waits_in_the_queue(suite: Suite) -> None:
    """An open loop with twice the rate that the workers manage: most of the response time is spent before its start."""
    source = """
    @pytest.mark.stormdb(workers=2, duration="4s", rate="80/s")
    def test_sleep(worker, account):
        worker.conn.execute("SELECT pg_sleep(0.05)")
    """
    found, _ = run(suite, source)
    activity, totals = found["server_activity"], found["totals"]
    lag = totals["lag"]["mean_s"] / totals["response"]["mean_s"]
    assert lag > 0.8
    assert share(activity, "Queue") == pytest.approx(lag, abs=0.1)
    assert "is spent waiting for a free worker" in activity["cause"]


@pytest.mark.slow
def test_a_workload_with_its_own_connections_gets_counters_and_shares(suite: Suite) -> None:
    """Its sessions bear the names of the workers, whose iterations they serve."""
    source = """
    import psycopg

    @pytest_stormdb.worker_fixture
    def own(worker, account):
        with psycopg.connect(worker.dsn, autocommit=True) as conn:
            yield conn

    @pytest.mark.stormdb(workers=2, duration="2s", connect=False)
    def test_own(worker, own):
        own.execute("SELECT pg_sleep(0.02)")
    """
    found, result = run(suite, source)
    activity = found["server_activity"]
    assert activity["notes"] == []
    assert activity["iterations_sampled"] > 10
    assert share(activity, "Timeout:PgSleep") > 0.5
    assert sum(second.get("Timeout", 0) for second in activity["wait_timeline"]) > 10
    assert activity["database"]["commits"] >= 0.4 * found["totals"]["operations"]
    result.assert_outcomes(passed=1)


def test_a_mistake_in_a_threshold_is_told_before_anything_runs(suite: Suite) -> None:
    """An unknown figure of the server is a collection error with the nearest known one."""
    suite.write(
        SETUP
        + """
    @pytest.mark.stormdb(duration="1s")
    @pytest.mark.stormdb_slo("server.wait.Loc < 5%")
    def test_it(worker):
        pass
    """
    )
    result = suite.run()
    result.stdout.fnmatch_lines(["*server.wait.Loc < 5%*did you mean 'server.wait.Lock'?*"])
    assert result.ret == 2 or result.ret == 1


def test_the_result_in_hand_has_the_servers_figures(suite: Suite) -> None:
    """``result.server`` is what the server did, as an object."""
    suite.write(
        SETUP
        + """
    def test_it(stormdb, account):
        def read(worker):
            worker.conn.execute("SELECT n FROM account WHERE id = %s", [worker.rng.randint(1, 1000)]).fetchone()

        result = stormdb.run(read, workers=2, duration="1s")
        assert 2 <= result.server.per_operation("blocks") < 10
        assert result.server.hit_ratio > 0.9
        assert result.server.growth.get("database", "deadlocks") == 0
    """
    )
    suite.run().assert_outcomes(passed=1)


def test_the_plan_of_a_statement_is_an_object_to_ask(suite: Suite) -> None:
    """``stormdb.plan`` executes with the parameters, in the workload's own place, and rolls back."""
    suite.write(
        SETUP
        + """
    def test_it(stormdb, account, stormdb_connection):
        stormdb_connection.execute("VACUUM ANALYZE account")
        plan = stormdb.plan("SELECT n FROM account WHERE id = %s", [7])
        assert plan.uses(index="account_pkey") and not plan.scans("account") and plan.rows == 1 and plan.blocks < 10
        assert stormdb.plan("SELECT n FROM account WHERE id = %s", [70]).fingerprint == plan.fingerprint
        assert stormdb.plan("SELECT n FROM account WHERE id = $1", [70]).fingerprint == plan.fingerprint
        assert stormdb.plan("DELETE FROM account").scans("account")
        assert stormdb_connection.execute("SELECT count(*) FROM account").fetchone() == (1000,)

    def test_wrong(stormdb, account):
        stormdb.plan("SELECT * FROM nowhere")
    """
    )
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(['cannot explain the statement: relation "nowhere" does not exist'])


def test_the_slowest_operation_is_explained(suite: Suite) -> None:
    """Its main statement, with its plan, in the summary and the document; what the calls wrote is rolled back."""
    source = """
    @pytest.fixture(scope="module")
    def counted(account, stormdb_connection):
        yield
        total = stormdb_connection.execute("SELECT sum(n) FROM account").fetchone()[0]
        print("total", total)

    @pytest.mark.stormdb(workers=1, iterations=30)
    class TestMix:
        @pytest.mark.stormdb_operation(weight=1)
        def quick(self, worker, counted):
            worker.conn.execute("SELECT 1")

        @pytest.mark.stormdb_operation(weight=1)
        def slow(self, worker, counted):
            with worker.conn.transaction():
                worker.conn.execute("SELECT 1")
                worker.conn.execute("UPDATE account SET n = n + 1 WHERE n >= %s", [0])
    """
    found, result = run(suite, source, "--stormdb-explain", "-s")
    explained = found["explained"]
    assert (explained["operation"], explained["statement"]) == ("slow", "UPDATE account SET n = n + ? WHERE n >= %s")
    assert explained["plan"]["Node Type"] == "ModifyTable"
    assert explained["blocks"] > 1000
    result.stdout.fnmatch_lines(
        ["  plan of slow, * when executed again: UPDATE account *", "      Seq Scan on account *"]
    )
    calls = found["operations"]["slow"]["count"]
    result.stdout.fnmatch_lines([f"*total {1000 * calls}"])


def test_what_cannot_be_explained_is_a_line(suite: Suite) -> None:
    """An operation that fails when it is called again, or executes nothing, ends no run."""
    source = """
    @pytest.mark.stormdb(workers=1, iterations=3)
    def test_nothing(worker, account):
        sum(range(100))

    @pytest.mark.stormdb(workers=1, iterations=3)
    def test_commits(worker, account):
        worker.conn.execute("SELECT 1")
        worker.conn.commit()
    """
    suite.write(SETUP + source)
    result = suite.run("--stormdb-explain")
    result.stdout.fnmatch_lines(
        [
            "  plan of test_nothing: it executes nothing over worker.conn",
            "  plan of test_commits: it failed when it was called again: ProgrammingError: *",
        ]
    )
    result.assert_outcomes(passed=2)


def test_asynchronous_statements_are_explained(suite: Suite) -> None:
    """Prepared ones too, in their own notation."""
    source = """
    @pytest.mark.stormdb(workers=1, iterations=5)
    async def test_read(worker, account):
        await worker.prepare("SELECT n FROM account WHERE id = $1").fetchval(5)
        await worker.conn.execute("SELECT 1")
    """
    found, result = run(suite, source, "--stormdb-explain")
    assert found["explained"]["statement"] in ("SELECT n FROM account WHERE id = $1", "SELECT ?")
    assert found["explained"]["plan"] is not None
    result.assert_outcomes(passed=1)


@pytest.mark.slow
@needs_pgbouncer
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_behind_a_pooler_less_is_seen_and_said(
    suite: Suite, server: EmbeddedServer, database: psycopg.Connection[Any], mode: str
) -> None:
    """Sessions are not the workers' own: no shares. Those that a pooler keeps do not hand in: no counters, either.

    From 18 on workers are asked for their work at the end, which hands it in where the session is still theirs.
    """
    source = """
    @pytest.mark.stormdb(workers=2, duration="2s")
    def test_read(worker, account):
        worker.conn.execute("SELECT n FROM account WHERE id = 5")
    """
    with pooled(server, mode) as dsn:
        found, result = run(suite, source, f"--stormdb-dsn={dsn}")
    activity = found["server_activity"]
    assert activity["iterations_sampled"] == 0
    unclaimed = "waits: of no iteration, for nobody knows whose sessions they are (a pooler's)"
    assert unclaimed in activity["notes"]
    if mode == "session" and database.info.server_version >= COUNTS_BACKENDS_FROM:
        assert activity["database"]["commits"] == pytest.approx(found["totals"]["operations"], rel=0.01)
    elif mode == "session" or activity["blocks_per_op"] is None:
        assert activity["blocks_per_op"] is None
        assert any("have not ended and handed in theirs" in note for note in activity["notes"])
    result.assert_outcomes(passed=1)

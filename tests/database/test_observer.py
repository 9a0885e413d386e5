"""The observer against truths that are known beforehand, on every version found."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database import waits
from pytest_stormdb.database.activity import WITH_SET_UP
from pytest_stormdb.database.observer import Observer
from pytest_stormdb.database.waits import Blocker, WaitSampler
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.measurement.shares import Share

from .harness import NAME, Marks, observe

Connection = psycopg.Connection[Any]


def prepare(dsn: str, *statements: str) -> None:
    """Run statements in a session that has left when this returns."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement)


def test_commits_equal_operations_and_log_bytes_the_growth_of_the_log(
    each_server: EmbeddedServer, own_dsn: str
) -> None:
    """Each insert is one commit, two blocks or so, and its share of the log, all counted to the last."""
    prepare(own_dsn, "CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, t text)")

    def insert(conn: Connection) -> None:
        conn.execute("INSERT INTO log (t) VALUES (repeat('x', 100))", prepare=False)

    observed = observe(each_server.dsn, own_dsn, insert)
    activity, operations = observed.activity, observed.operations
    growth, slack = activity.growth, 0 if _version(each_server) >= 15 else 8  # 14 hands in when it likes
    commits, inserted = growth.get("database", "commits"), growth.get("database", "rows_inserted")
    assert commits == pytest.approx(operations, abs=slack)
    assert inserted == operations
    assert growth.get("wal", "bytes") == pytest.approx(growth.get("position", "position"), rel=0.1)
    assert 150 < (activity.per_operation("wal_bytes") or 0) < 400
    assert activity.per_operation("temp_bytes") == 0
    assert 1 <= (activity.per_operation("blocks") or 0) < (6 if not slack else 20)
    assert [(table.name, table.inserted) for table in activity.tables] == [("public.log", operations)]
    assert activity.notes == (() if not slack else (WITH_SET_UP,))


def _version(server: EmbeddedServer) -> int:
    with psycopg.connect(server.dsn) as conn:
        return conn.info.server_version // 10000


def uncertainty(share: Share) -> float:
    """Half of the interval that contains a sample's true share with 95 %; with twice as much, 99.99 %."""
    return (share.high - share.low) / 2


def test_a_sleep_is_a_timeout(each_server: EmbeddedServer, own_dsn: str) -> None:
    """pg_sleep is Timeout:PgSleep, for as much of the response time as was slept at least."""
    activity = observe(each_server.dsn, own_dsn, lambda conn: conn.execute("SELECT pg_sleep(0.05)")).activity
    share = activity.waits.everything.share("Timeout:PgSleep")
    assert share is not None
    assert share.share > 0.05 * activity.operations / activity.response_s - 2 * uncertainty(share)
    assert activity.waits.cause.partition(" % of response time ")[2].startswith("waits on Timeout:PgSleep")
    assert sum(second["Timeout"] for second in activity.waits.timeline) > 20


@pytest.mark.parametrize(
    ("lock", "shown"),
    [
        ("UPDATE account SET n = n + 1 WHERE id = 1", "UPDATE account SET n = n + ? WHERE id = ?"),
        ("SELECT pg_advisory_xact_lock(1)", "SELECT pg_advisory_xact_lock(?)"),
    ],
    ids=["row", "advisory"],
)
def test_a_hot_row_is_a_lock_and_its_holder_is_named(
    each_server: EmbeddedServer, own_dsn: str, monkeypatch: pytest.MonkeyPatch, lock: str, shown: str
) -> None:
    """Ten workers wait for one lock more than 80 % of their time: for who holds it, and not for the queue."""
    # At some moments the lock was just handed over. Once a second, two of these would outvote a third.
    monkeypatch.setattr(waits, "_BLOCKERS_EVERY_NS", 100_000_000)
    prepare(own_dsn, "CREATE TABLE account (id int PRIMARY KEY, n int)", "INSERT INTO account VALUES (1, 0)")

    def hold(conn: Connection) -> None:
        with conn.pipeline():  # one transaction, with neither the client's turn nor a COMMIT in which it could be seen
            conn.execute(lock)
            conn.execute("SELECT pg_sleep(0.02)")

    activity = observe(each_server.dsn, own_dsn, hold, workers=10, duration_s=3).activity
    share = activity.waits.everything.share("Lock")
    assert share is not None
    assert share.share > 0.8
    blocker, _ = activity.waits.blockers[0]
    assert (blocker.query, blocker.is_ours, blocker.waiting) == ("SELECT pg_sleep(?)", True, shown)
    assert activity.waits.cause.endswith(f"; {shown} is blocked by SELECT pg_sleep(?)")


def test_a_lock_is_asked_about_while_it_is_waited_for(newest_dsn: str) -> None:
    """The first look that sees a lock asks who holds it; answers are read some at a time, and none is left out."""
    with contextlib.ExitStack() as stack:
        conn, holder, waiter = (
            stack.enter_context(psycopg.connect(newest_dsn, autocommit=True, application_name=name))
            for name in ("test", "stormdb look 0", "stormdb look 1")
        )
        sampler = WaitSampler(conn, "stormdb look", {}, lambda instant_ns: None)
        holder.execute("SELECT pg_advisory_lock(1)")
        for _ in range(3):
            sampler.look()
        assert not list(sampler.samples())
        thread = threading.Thread(target=waiter.execute, args=["SELECT pg_advisory_lock(1)"])
        thread.start()
        while not conn.execute(
            "SELECT FROM pg_locks WHERE NOT granted AND pid = %s", [waiter.info.backend_pid]
        ).rowcount:
            time.sleep(0.001)
        sampler.look()
        assert [blocker.query for blocker in sampler.blockers] == ["SELECT pg_advisory_lock(?)"]
        assert len(list(sampler.samples())) == 4 * 2
        holder.execute("SELECT pg_advisory_unlock(1)")
        thread.join()
        for _ in range(waits._READ_AT_ONCE + 1):
            sampler.look()
        assert len(list(sampler.samples())) == 14 * 2
        sampler.read()
        samples = list(sampler.samples())
        assert [sample.event for sample in samples if sample.worker == 1].count("Lock:advisory") == 1
        assert len(samples) == 15 * 2


@pytest.mark.parametrize(
    ("blocker", "said"),
    [
        (Blocker("COMMIT", "active", True, "UPDATE a"), "UPDATE a is blocked by COMMIT"),
        (Blocker("UPDATE a", "active", True, "UPDATE a"), "blocked by UPDATE a"),
        (
            Blocker("UPDATE a", "idle in transaction", False, "UPDATE a"),
            "blocked by an open transaction after UPDATE a (of another client)",
        ),
        (Blocker("", "", False, ""), "blocked by a session that may not be seen (of another client)"),
    ],
)
def test_who_blocks_whom_is_said(blocker: Blocker, said: str) -> None:
    """A COMMIT says nothing of the lock, the statement that waits does; one that is the holder's too is said once."""
    assert str(blocker) == said


def test_a_query_that_computes_is_the_processor(server: EmbeddedServer, newest_dsn: str) -> None:
    """An active backend without a wait event computes: for all the time that the server says it took."""
    query = """
        SELECT extract(epoch FROM clock_timestamp() - statement_timestamp())::float8
        FROM (SELECT count(*) FROM (SELECT generate_series(1, 300000) AS i) AS numbers WHERE i % 7 = 3) AS counted
    """
    computed_s = []

    def compute(conn: Connection) -> None:
        computed_s.extend(conn.execute(query).fetchall()[0])

    activity = observe(server.dsn, newest_dsn, compute, workers=1, duration_s=3).activity
    classes = activity.waits.everything.classes
    assert classes[0].name == "CPU*"
    assert sum(computed_s) > 0.1
    assert classes[0].share > sum(computed_s) / activity.response_s - 2 * uncertainty(classes[0])


@contextlib.contextmanager
def holding(dsn: str, key: int, hold_s: float) -> Iterator[None]:
    """Another session takes an advisory lock again and again, and holds it for so long."""
    ended = threading.Event()

    def hold() -> None:
        with psycopg.connect(dsn, autocommit=True, application_name="somebody else") as conn:
            while not ended.is_set():
                conn.execute("SELECT pg_advisory_lock(%s)", [key])
                time.sleep(hold_s)
                conn.execute("SELECT pg_advisory_unlock(%s)", [key])

    thread = threading.Thread(target=hold)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.slow
def test_a_lock_that_only_the_slowest_wait_for_is_named_for_them(server: EmbeddedServer, newest_dsn: str) -> None:
    """3 % of the iterations wait for a lock of 200 ms: it is the cause of the slowest 5 %, and not of the whole."""
    draws = random.Random(7)

    def work(conn: Connection) -> None:
        conn.execute("SELECT pg_sleep(0.02)")
        if draws.random() < 0.03:
            conn.execute("SELECT pg_advisory_xact_lock(7)")

    with holding(newest_dsn, 7, 0.2):
        activity = observe(server.dsn, newest_dsn, work, workers=8, duration_s=12).activity
    whole, slowest = activity.waits.everything, activity.waits.slowest
    assert whole.events[0].name == "Timeout:PgSleep"
    assert slowest.events[0].name == "Lock:advisory"
    assert activity.waits.cause.startswith(
        f"{100 * whole.events[0].share:.0f} % of response time waits on Timeout:PgSleep; "
    )
    assert "of the slowest 5 %, " in activity.waits.cause
    assert "waits on Lock:advisory" in activity.waits.cause
    assert activity.waits.cause.endswith("(of another client)")


def test_events_are_told_with_their_second(each_server: EmbeddedServer, own_dsn: str) -> None:
    """A checkpoint in the middle of a run, and a deadlock, show at about the time they happened."""
    prepare(own_dsn, "CREATE TABLE pair (id int PRIMARY KEY)", "INSERT INTO pair VALUES (1), (2)")
    began, done = time.monotonic(), threading.Event()

    def work(conn: Connection) -> None:
        conn.execute("SELECT pg_sleep(0.01)")
        if time.monotonic() - began > 1.5 and not done.is_set():
            done.set()
            prepare(own_dsn, "CHECKPOINT")

    activity = observe(each_server.dsn, own_dsn, work, workers=2, duration_s=4).activity
    event = activity.events[-1]  # 14 tells of earlier ones late
    assert event.kind == "checkpoint"
    assert 1.0 < event.at_s < 4.5
    assert activity.connections[1] == 100
    assert 3 <= activity.connections[0] < 100


def test_a_deadlock_is_counted(server: EmbeddedServer, newest_dsn: str) -> None:
    """Two sessions that take two rows in turn: the server ends one of them, and says so."""
    prepare(newest_dsn, "CREATE TABLE pair (id int PRIMARY KEY)", "INSERT INTO pair VALUES (1), (2)")
    meet = threading.Barrier(2)
    orders = iter([(1, 2), (2, 1)])

    def cross(conn: Connection) -> None:
        first, second = next(orders, (0, 0))
        if not first:
            time.sleep(0.05)
            return
        with contextlib.suppress(psycopg.errors.DeadlockDetected), conn.transaction():
            conn.execute("SELECT * FROM pair WHERE id = %s FOR UPDATE", [first])
            meet.wait()
            conn.execute("SELECT * FROM pair WHERE id = %s FOR UPDATE", [second])

    activity = observe(server.dsn, newest_dsn, cross, workers=2, duration_s=3).activity
    assert activity.growth.get("database", "deadlocks") == 1
    assert [event.kind for event in activity.events if event.kind != "checkpoint"] == ["deadlock"]


def test_the_finer_profile_is_used_where_it_is(each_server: EmbeddedServer, own_dsn: str, conn: Connection) -> None:
    """pg_wait_sampling, preloaded and created, tells the same in ten times as many samples."""
    available = conn.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_wait_sampling'").fetchall()
    if not available:
        pytest.skip("this server has no pg_wait_sampling")
    conn.execute("CREATE EXTENSION pg_wait_sampling")
    try:
        waits = observe(each_server.dsn, own_dsn, lambda worker: worker.execute("SELECT pg_sleep(0.05)")).activity.waits
    finally:
        conn.execute("DROP EXTENSION pg_wait_sampling")
    assert max(waits.profile, key=lambda event: waits.profile[event]) == "Timeout:PgSleep"
    assert waits.profile["Timeout:PgSleep"] > 3 * waits.samples


def test_a_role_that_may_see_little_gets_less_and_one_line(
    server: EmbeddedServer, database: Connection, newest_dsn: str
) -> None:
    """Sessions of another role hide what they wait for: it is said, and the counters are there all the same."""
    database.execute("DROP ROLE IF EXISTS poor")
    database.execute("CREATE ROLE poor LOGIN")
    try:
        poor = server.dsn.replace("user=postgres", "user=poor")
        observed = observe(poor, newest_dsn, lambda worker: worker.execute("SELECT pg_sleep(0.01)", prepare=False))
    finally:
        database.execute("DROP ROLE poor")
    activity = observed.activity
    assert activity.waits.samples == 0
    assert activity.waits.cause == ""
    hidden = "waits: the workers' sessions are hidden: grant this role pg_monitor, and see track_activities"
    assert hidden in activity.notes  # PostgreSQL 14 has more to say of its counters
    assert activity.growth.get("database", "commits") == pytest.approx(observed.operations, abs=4)


def test_sessions_that_are_not_to_be_found_are_said(server: EmbeddedServer, newest_dsn: str) -> None:
    """Behind a pooler the workers' process numbers are not the server's."""
    marks = Marks()
    observer = Observer(server.dsn, newest_dsn, NAME, pids={1: 0}, marks=marks, has_warmup=False)
    with observer.during():
        marks.measured_from_ns = time.perf_counter_ns()
        time.sleep(1.5)
    assert (
        "waits: no session on the server bears the workers' names: clients were opened neither from worker.dsn"
        " nor from worker.url, or a pooler is in between"
    ) in observer.result().notes


def test_a_server_that_cannot_be_reached_is_a_note(server: EmbeddedServer, newest_dsn: str) -> None:
    """The run goes on without; nothing is raised."""
    nowhere = f"host={server.directory}/nowhere dbname=postgres user=postgres"
    observer = Observer(nowhere, newest_dsn, NAME, pids={}, marks=Marks(), has_warmup=False)
    with observer.during():
        pass
    (note,) = observer.result().notes
    assert note.startswith("server activity was not observed to the end: cannot connect to postgres@")


def test_a_part_too_short_to_read_in_time_is_told_apart(server: EmbeddedServer, newest_dsn: str) -> None:
    """After a warm-up, milliseconds are not counted; without one, the sessions' set-up is among it. Both is said."""
    warm, cold = (
        observe(server.dsn, newest_dsn, lambda conn: conn.execute("SELECT 1"), duration_s=0.02, has_warmup=has_warmup)
        for has_warmup in (True, False)
    )
    assert set(warm.activity.growth.groups) == {"position"}
    assert warm.activity.notes == ("counters: too short or too busy a run to tell its work from the warm-up's",)
    assert cold.activity.notes == (WITH_SET_UP,)
    assert cold.activity.counts_set_up
    assert (cold.activity.growth.get("database", "commits") or 0) >= cold.operations

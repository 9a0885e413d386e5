"""A workload's own database or schema: made anew, for one run at a time, and gone without taking anything along."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.database.claim import Claim
from pytest_stormdb.database.connect import Dsn, connect
from pytest_stormdb.database.isolation import Home, how_to_look, isolated
from pytest_stormdb.database.own_database import OwnDatabase
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.errors import ServerError

Database = psycopg.Connection[Any]
MARK = "made by pytest-stormdb; dropped after the run"
KINDS = ["database", "schema"]


@pytest.fixture
def at(server: EmbeddedServer) -> Callable[..., contextlib.AbstractContextManager[Home]]:
    """Make a home on the session's server."""

    def make(name: str = "stormdb_home", **options: Any) -> contextlib.AbstractContextManager[Home]:
        return isolated(Dsn(options.pop("dsn", server.dsn)), name, **options)

    return make


@pytest.fixture
def pgvector(database: Database) -> None:
    """The one extension that the embedded server has and a bare PostgreSQL has not."""
    if not database.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchall():
        pytest.skip("this server has no pgvector")


@pytest.fixture
def modest(server: EmbeddedServer, database: Database) -> Iterator[str]:
    """The address of a role that may create schemas, and no databases."""
    database.execute("CREATE ROLE modest LOGIN; GRANT CREATE ON DATABASE postgres TO modest")
    yield f"{server.dsn} user=modest"
    database.execute("DROP OWNED BY modest; DROP ROLE modest")


def there(database: Database, name: str = "stormdb_home") -> bool:
    """Whether there is a database or a schema of that name."""
    row = database.execute(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %(n)s) OR to_regnamespace(%(n)s) IS NOT NULL",
        {"n": name},
    ).fetchone()
    return bool(row and row[0])


def put(home: Home, statement: str) -> None:
    with connect(home.dsn, name="test") as conn:
        conn.execute(statement.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_and_goes(at: Any, database: Database, kind: str) -> None:
    """It is there while it is needed, marked as ours, and then it is gone with what was made in it."""
    with at(wanted=kind) as home:
        assert there(database)
        put(home, "CREATE TABLE item AS SELECT 1")
        assert database.execute("SELECT to_regclass('public.item')").fetchone() == (None,)
    assert not there(database)


def test_a_database_is_utf8(at: Any) -> None:
    """Whatever the cluster's encoding, and whatever template1 holds."""
    with at() as home, connect(home.dsn, name="test") as conn:
        assert home.isolation == "database"
        assert conn.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert conn.info.dbname == "stormdb_home"


def test_tables_of_the_target_are_out_of_reach(at: Any, database: Database) -> None:
    """DROP TABLE IF EXISTS, with which public scripts begin, does not find them; and the target's are told of."""
    database.execute("CREATE TABLE public.orders (id int)")
    try:
        for kind in KINDS:
            with at(wanted=kind) as home:
                put(home, "DROP TABLE IF EXISTS orders")
        with at() as home:
            assert home.hint('UndefinedTable: relation "orders" does not exist') == (
                "orders exists in postgres, but this workload has a database of its own:"
                " isolation='none' loads postgres's own tables"
            )
            assert home.hint('relation "nowhere" does not exist') is None
        assert database.execute("SELECT to_regclass('public.orders')::text").fetchone() == ("orders",)
    finally:
        database.execute("DROP TABLE public.orders")


@pytest.mark.parametrize("kind", KINDS)
def test_one_run_at_a_time(at: Any, kind: str) -> None:
    """Another run of the workload is refused by name, and can have it at once when it is given back."""
    with at(wanted=kind):
        with pytest.raises(ServerError, match=f"{kind} stormdb_home is in use by another run"), at(wanted=kind):
            pass
        with at("stormdb_other", wanted=kind):
            pass
    with at(wanted=kind):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_run_left_is_replaced(at: Any, database: Database, kind: str) -> None:
    """Ours by its mark, and of nobody who lives."""
    with at(wanted=kind, keep=True) as home:
        put(home, "CREATE TABLE old ()")
        assert 'stormdb_home is kept: psql "' in how_to_look(home)
    assert there(database)
    with at(wanted=kind) as home:
        put(home, "CREATE TABLE old ()")
    assert not there(database)


@pytest.mark.parametrize("comment", ["NULL", "'made by hand'", "'made by pytest-stormdb'"])
@pytest.mark.parametrize("kind", KINDS)
def test_somebody_elses_is_refused(at: Any, database: Database, kind: str, comment: str) -> None:
    """One of that name without our whole mark is neither used nor dropped."""
    database.execute(f"CREATE {kind} stormdb_home".encode())
    database.execute(f"COMMENT ON {kind} stormdb_home IS {comment}".encode())
    try:
        with pytest.raises(ServerError, match="exists and was not made by pytest-stormdb"), at(wanted=kind):
            pass
        assert there(database)
    finally:
        database.execute(f"DROP {kind} stormdb_home".encode())


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_left_that_was_killed_in_the_making_is_replaced(at: Any, database: Database, kind: str) -> None:
    """Between the statement that makes it and the one that marks it, too."""
    child = os.fork()
    if not child:
        execute = psycopg.Connection.execute

        def killed(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            if "COMMENT ON" in (query if isinstance(query, str) else query.as_string()):
                os.kill(os.getpid(), signal.SIGKILL)
            return execute(self, query, *args, **kwargs)

        psycopg.Connection.execute = killed  # type: ignore[method-assign]
        try:
            with at(wanted=kind):
                pass
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = there(database)
    assert left or kind == "schema"
    with at(wanted=kind) as home:
        put(home, "CREATE TABLE item ()")
    assert not there(database)


@pytest.mark.parametrize("kind", KINDS)
def test_of_runs_that_begin_at_once_one_goes_on(at: Any, database: Database, kind: str) -> None:
    """Whichever comes first: never two, and none takes away what another one has."""
    for _ in range(5):
        inside: list[int] = []
        refusals: list[str] = []
        barrier, ended = threading.Barrier(4), threading.Event()

        def begin(
            number: int, barrier: Any = barrier, ended: Any = ended, inside: Any = inside, said: Any = refusals
        ) -> None:
            barrier.wait()
            try:
                with at(wanted=kind) as home:
                    inside.append(number)
                    put(home, "CREATE TABLE item ()")
                    ended.wait(30)
                    put(home, "DROP TABLE item")
            except ServerError as error:
                said.append(str(error))

        threads = [threading.Thread(target=begin, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        deadline_s = time.monotonic() + 20
        while len(inside) + len(refusals) < 4 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        ended.set()
        for thread in threads:
            thread.join()
        assert len(inside) == 1, (inside, refusals)
        assert all("in use by another run" in each for each in refusals), refusals
        assert len(refusals) == 3
        assert not there(database)


def test_what_another_run_has_made_meanwhile_is_left(
    database: Database, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose database was replaced before it had its lock does not drop the other run's."""

    def replaced(claim: Claim) -> None:
        database.execute("DROP DATABASE stormdb_home")
        database.execute("CREATE DATABASE stormdb_home")
        raise ServerError("it was gone for a moment")

    monkeypatch.setattr(Claim, "renew", replaced)
    own = OwnDatabase(database, server.dsn, "stormdb_home")
    try:
        with pytest.raises(ServerError, match="in use by another run"):
            own.create()
        assert there(database)
    finally:
        database.execute("DROP DATABASE IF EXISTS stormdb_home")


@pytest.fixture
def app(database: Database) -> Iterator[str]:
    """A database with settings of its own, for all and for one role."""
    database.execute("CREATE DATABASE app")
    database.execute("CREATE ROLE maker LOGIN CREATEDB")
    yield "app"
    database.execute("DROP DATABASE app")
    database.execute("DROP ROLE maker")


def test_settings_of_the_target_hold(at: Any, database: Database, server: EmbeddedServer, app: str) -> None:
    """Those of its database and of a role in it; a path with public, too, but none that leads to nothing."""
    for statement in (
        "ALTER DATABASE app SET timezone = 'Asia/Tokyo'",
        'ALTER DATABASE app SET search_path = "$user", public, "Odd, ""name"',
        "ALTER DATABASE app SET datestyle = 'SQL, DMY'",
        "ALTER DATABASE app SET default_transaction_isolation = 'repeatable read'",
        "ALTER ROLE maker IN DATABASE app SET work_mem = '7MB'",
        "ALTER DATABASE app SET role = 'pg_monitor'",
    ):
        database.execute(statement.encode())
    names = ("TimeZone", "search_path", "DateStyle", "default_transaction_isolation", "work_mem", "role")
    with at(dsn=f"{server.dsn} user=maker dbname=app") as home, connect(home.dsn, name="test") as conn:
        assert home.notes == ()
        assert [conn.execute("SELECT current_setting(%s)", [name]).fetchone()[0] for name in names] == [  # type: ignore[index]
            "Asia/Tokyo", '"$user", public, "Odd, ""name"', "SQL, DMY", "repeatable read", "7MB", "none",
        ]  # fmt: skip


def test_a_setting_that_may_not_be_carried_over_is_said(
    at: Any, database: Database, server: EmbeddedServer, app: str
) -> None:
    """By name; a path that leads to no schema of a new database is left, since nothing could be made there."""
    database.execute("ALTER DATABASE app SET log_min_duration_statement = '1s'")
    database.execute("ALTER DATABASE app SET my.greeting = 'it''s mine'")
    database.execute("ALTER DATABASE app SET search_path = shop")
    with at(dsn=f"{server.dsn} user=maker dbname=app") as home:
        assert home.notes == (
            "without what is set for database app and this role may not set: log_min_duration_statement, my.greeting",
        )
        put(home, "CREATE TABLE item ()")


def test_sessions_of_a_live_run_that_lost_its_lock(at: Any, database: Database) -> None:
    """A second run is refused while the first's workers are at work, and the first stops when its name is taken."""
    with at() as home, connect(home.dsn, name="stormdb 1") as worker:
        claim = home.claim
        assert claim is not None
        database.execute("SELECT pg_terminate_backend(%s, 5000)", [claim.pid])
        busy = threading.Thread(target=worker.execute, args=["SELECT pg_sleep(6)"])
        busy.start()
        with pytest.raises(ServerError, match="in use by another run"), at():
            pass
        busy.join()
        thief = Claim(home.admin_dsn, "stormdb_home", "database stormdb_home")
        thief.renew()
        stopped = threading.Event()
        with home.kept(stopped.set):
            assert stopped.wait(30)
        assert home.lost == (
            "database stormdb_home is in use by another run on this server; wait for its end;"
            " this one had lost its session"
        )
        thief.release()


def test_a_lock_that_was_lost_is_taken_again(at: Any, database: Database) -> None:
    """After a restart or an idle limit the run still holds its name."""
    with at() as home:
        assert home.claim is not None
        database.execute("SELECT pg_terminate_backend(%s, 5000)", [home.claim.pid])
        home.claim.renew()
        with pytest.raises(ServerError, match="in use by another run"), at():
            pass


def test_others_are_named_and_left_alone(at: Any, database: Database) -> None:
    """Somebody who looks into the database is not thrown out: it is left, and the next run says who is there."""
    with pytest.raises(ServerError, match=r"is left, since others are in it: psql \(pid \d+, user postgres\)"):  # noqa: SIM117
        with at() as home:
            looking = connect(home.dsn, name="psql")
    with pytest.raises(ServerError, match="left from an earlier run, and others are in it: psql"), at():
        pass
    assert looking.execute("SELECT 1").fetchone() == (1,)
    looking.close()
    with at():
        pass
    assert not there(database)


def test_an_open_transaction_of_a_fixture_holds_up_nothing(at: Any, database: Database) -> None:
    """A client of the workload's own that was forgotten is ended with the database."""
    with at() as home:
        forgotten = psycopg.connect(home.dsn)
        forgotten.execute("CREATE TABLE item ()")
    assert not there(database)
    forgotten.close()


def test_an_open_transaction_in_a_schema_is_named(at: Any, database: Database) -> None:
    """It is waited for a few seconds, and then the schema is left for the next run to replace."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(at(wanted="schema"))
        put(home, "CREATE TABLE item ()")
        forgotten = psycopg.connect(home.dsn, application_name="forgetful")
        forgotten.execute("SELECT count(*) FROM item")
        with pytest.raises(ServerError, match=r"_home is left.*is open: forgetful \(pid \d+, user postgres\)"):
            stack.close()
    forgotten.close()
    with at(wanted="schema"):
        pass
    assert not there(database)


def test_a_role_without_createdb_gets_a_schema(at: Any, modest: str, database: Database) -> None:
    """By itself, and it is said; asked for a database it is told how to get one."""
    with at(dsn=modest) as home:
        assert home.isolation == "schema"
        assert home.notes == (
            "in a schema of its own, since role modest may not create databases (isolation='schema')",
        )
        put(home, "CREATE TABLE item ()")
    assert not there(database)
    with pytest.raises(ServerError, match="permission denied to create database"), at(dsn=modest, wanted="database"):
        pass


@pytest.mark.usefixtures("pgvector")
def test_a_schema_takes_nothing_along(at: Any, database: Database) -> None:
    """Where something outside depends on what is in it, the schema stays, and what would go is named."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(at(wanted="schema"))
        put(home, "CREATE EXTENSION vector; CREATE TABLE item (id int PRIMARY KEY)")
        database.execute("CREATE TABLE public.keep (name stormdb_home.vector)")
        database.execute("CREATE VIEW public.look AS SELECT * FROM stormdb_home.item")
        with pytest.raises(ServerError, match=r"it would take a part of public\.keep, public\.look along"):
            stack.pop_all().close()
    assert database.execute("SELECT name FROM public.keep").fetchall() == []
    database.execute("DROP TABLE public.keep; DROP VIEW public.look")
    with at(wanted="schema"):
        pass
    assert not there(database)


@pytest.mark.usefixtures("pgvector")
def test_a_schema_reaches_extensions_and_no_tables(at: Any, database: Database) -> None:
    """The path holds schemas of extensions, unless a user's table is in them as well."""
    database.execute("CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions")
    try:
        with at(wanted="schema") as home:
            put(home, "CREATE TABLE item (name vector)")
        database.execute("CREATE TABLE extensions.precious ()")
        with at(wanted="schema") as home, connect(home.dsn, name="test") as conn:
            assert conn.execute("SHOW search_path").fetchone() == ('"stormdb_home"',)
    finally:
        database.execute("DROP SCHEMA extensions CASCADE")


def test_a_schema_of_many_tables_is_dropped(at: Any, database: Database) -> None:
    """More tables than one transaction can lock are dropped in several."""
    with at(wanted="schema") as home:
        put(home, "CREATE TABLE part (id int) PARTITION BY LIST (id)")
        put(
            home,
            "DO $$BEGIN FOR i IN 1..250 LOOP EXECUTE format("
            "'CREATE TABLE part%s PARTITION OF part FOR VALUES IN (%s)', i, i); END LOOP; END$$",
        )
    assert not there(database)


def test_a_publication_of_all_tables_is_refused_a_schema(at: Any, database: Database) -> None:
    """Its subscribers would stop at tables they do not have; a database of its own is not published."""
    database.execute("SET client_min_messages = error; CREATE PUBLICATION everything FOR ALL TABLES")
    try:
        with pytest.raises(ServerError, match="publication everything is FOR ALL TABLES"), at(wanted="schema"):
            pass
        with at() as home, connect(home.dsn, name="test") as conn:
            assert conn.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)
    finally:
        database.execute("DROP PUBLICATION everything")


def test_none_leaves_everything_as_it_is(at: Any, database: Database) -> None:
    """Nothing is made, locked or set where the workload loads what is there."""
    before = database.execute("SELECT count(*) FROM pg_database, pg_namespace").fetchone()
    with at(wanted="none") as home:
        assert home.claim is None
        assert not home.care.sets
        assert database.execute("SELECT count(*) FROM pg_database, pg_namespace").fetchone() == before
        assert database.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)

"""Where workloads live, as their authors and those who run them see it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pytest_stormdb.embedded.server import EmbeddedServer
from tests.conftest import Suite
from tests.pooler import needs_pgbouncer, pooled

Database = psycopg.Connection[tuple[Any, ...]]

COUNT = """
    import pytest

    @pytest.mark.stormdb(OPTIONS)
    def test_count(worker):
        worker.conn.execute("SELECT count(*) FROM precious")
"""


@pytest.fixture
def precious(database: Database) -> Iterator[None]:
    """A table of the target's own, which a role without any other right may read."""
    database.execute("CREATE TABLE precious AS SELECT 1 AS id")
    database.execute("CREATE ROLE reader LOGIN; GRANT SELECT ON precious TO reader")
    yield
    database.execute("DROP TABLE precious; DROP ROLE reader")


def test_every_way_leads_into_its_database(suite: Suite) -> None:
    """Connections, connection strings and URLs for set-up and workers; the target's address stays what it was."""
    suite.write("""
        import psycopg
        import pytest

        def where(conn):
            return conn.execute("SELECT current_database(), current_setting('search_path')").fetchone()

        @pytest.fixture(scope="module")
        def made(stormdb_connection, stormdb_url, stormdb_dsn):
            with psycopg.connect(stormdb_url) as by_url, psycopg.connect(stormdb_dsn) as by_dsn:
                assert where(by_url) == where(stormdb_connection) == ("stormdb_it", '"$user", public')
                assert where(by_dsn)[0] == "postgres"

        @pytest.mark.stormdb(iterations=1)
        def test_ways(worker, made):
            with psycopg.connect(worker.url) as by_url, psycopg.connect(worker.dsn) as by_dsn:
                assert where(by_url) == where(by_dsn) == where(worker.conn) == ("stormdb_it", '"$user", public')
    """)
    suite.run().assert_outcomes(passed=1)


def test_a_table_of_the_target_is_hinted_at(suite: Suite, precious: None) -> None:
    """Who wants to load what is there is told how, where the load fails and where a fixture does."""
    suite.write(
        COUNT.replace("OPTIONS", "iterations=1"),
        test_fixture="""
            import pytest

            @pytest.fixture(scope="module")
            def table(stormdb_connection):
                stormdb_connection.execute("INSERT INTO precious VALUES (2)")

            @pytest.mark.stormdb(iterations=1)
            def test_it(worker, table):
                pass
        """,
    )
    result = suite.run()
    result.assert_outcomes(failed=1, errors=1)
    hint = (
        "precious exists in postgres, but this workload has a database of its own:"
        " isolation='none' loads postgres's own tables"
    )
    assert result.outlines.count(hint) == 2


@pytest.mark.parametrize("source", ["mark", "command line", "ini file", "configuration file"])
def test_what_is_there_is_loaded(suite: Suite, server: EmbeddedServer, precious: None, source: str) -> None:
    """With ``isolation="none"``, said anywhere, a role that may only read loads the target's own table."""
    suite.write(COUNT.replace("OPTIONS", "iterations=1, isolation='none'" if source == "mark" else "iterations=1"))
    options = [f"--stormdb-dsn=host={server.directory} user=reader dbname=postgres"]
    if source == "command line":
        options.append("--stormdb-isolation=none")
    if source == "ini file":
        suite.ini("[pytest]\nstormdb_isolation = none\n")
    if source == "configuration file":
        (suite.path / "c.yaml").write_text("isolation: none\n")
        options.append("--stormdb-config=c.yaml")
    result = suite.run(*options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"PostgreSQL * at reader@{server.directory}*/postgres (*"])


def test_a_role_without_createdb(suite: Suite, server: EmbeddedServer, database: Database) -> None:
    """It gets a schema of its own, and one line says so; without that right it is told what is left to do."""
    database.execute("CREATE ROLE modest LOGIN; GRANT CREATE ON DATABASE postgres TO modest")
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=1)
        def test_it(worker):
            assert worker.conn.execute("SELECT current_schema()").fetchone() == ("stormdb_it",)
    """)
    dsn = f"--stormdb-dsn=host={server.directory} user=modest dbname=postgres"
    try:
        result = suite.run(dsn)
        result.assert_outcomes(passed=1)
        assert (
            result.outlines.count(
                "stormdb_it: in a schema of its own, since role modest may not create databases (isolation='schema')"
            )
            == 1
        )
        database.execute("REVOKE CREATE ON DATABASE postgres FROM modest")
        result = suite.run(dsn)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*permission denied for database postgres*isolation='none' loads what is there*"])
    finally:
        database.execute("DROP OWNED BY modest; DROP ROLE modest")


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        (("isolation='nowhere'", "iterations=1"), "*isolation*'nowhere'*"),
        (("isolation='none'", "isolation='schema'"), "*share a module, which has one isolation; mark the module*"),
    ],
)
def test_a_module_has_one_isolation(suite: Suite, marks: tuple[str, str], said: str) -> None:
    """Its tests share fixtures, and so their home; what is none is refused."""
    suite.write(f"""
        import pytest

        @pytest.mark.stormdb({marks[0]})
        def test_one(worker):
            pass

        @pytest.mark.stormdb({marks[1]})
        def test_other(worker):
            pass
    """)
    result = suite.run()
    assert result.ret != 0
    assert result.parseoutcomes().get("passed", 0) == 0 or "nowhere" in marks[0]
    assert any(fnmatch.fnmatch(line, said) for line in [*result.outlines, *result.errlines])


def test_a_database_is_kept_for_a_look(suite: Suite, server: EmbeddedServer, database: Database) -> None:
    """It is left with what is in it, the summary says how to connect, and the next run replaces it."""
    suite.write("""
        import pytest

        @pytest.fixture(scope="module")
        def item(stormdb_connection):
            stormdb_connection.execute("CREATE TABLE item AS SELECT 42 AS answer")

        @pytest.mark.stormdb(iterations=1)
        def test_it(worker, item):
            pass
    """)
    result = suite.run("--stormdb-keep")
    result.assert_outcomes(passed=1)
    (line,) = [line for line in result.outlines if line.startswith('stormdb_it is kept: psql "')]
    with psycopg.connect(line.partition('"')[2].rstrip('"')) as conn:
        assert conn.execute("SELECT answer FROM item").fetchone() == (42,)
    suite.run().assert_outcomes(passed=1)
    assert database.execute("SELECT count(*) FROM pg_database WHERE datname = 'stormdb_it'").fetchone() == (0,)


def test_all_sessions_of_ours_are_lost(suite: Suite, database: Database) -> None:
    """As in a restart: workers, set-up, lock and clean-up come back, the invariant is checked, nothing is left."""
    suite.write("""
        import pytest

        @pytest.fixture(scope="module")
        def item(stormdb_connection):
            stormdb_connection.execute("CREATE TABLE item ()")
            yield
            assert stormdb_connection.execute("SELECT count(*) > 0 FROM item").fetchone() == (True,)
            print("checked")

        @pytest.mark.stormdb(duration="3s")
        @pytest.mark.stormdb_slo("errors < 100%")
        def test_it(worker, item):
            worker.conn.execute("INSERT INTO item DEFAULT VALUES")
            if worker.iteration == 20:
                worker.conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'stormdb%' AND pid <> pg_backend_pid()"
                )
    """)
    result = suite.run("-s")
    result.assert_outcomes(passed=1)
    assert "checked" in result.stdout.str()
    assert database.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'stormdb%'").fetchone() == (0,)


@pytest.mark.parametrize("kind", ["", "async "])
def test_each_connection_is_set_up(suite: Suite, kind: str) -> None:
    """``worker.on_connect`` is called at once, and again with the connection that replaces one that was lost."""
    wait = "await " if kind else ""
    suite.write(f"""
        import pytest
        import pytest_stormdb

        {kind}def tune(conn):
            {wait}conn.execute("SET work_mem = '7MB'")

        @pytest.mark.stormdb(iterations=4)
        @pytest.mark.stormdb_slo("errors < 100%")
        {kind}def test_it(worker):
            if worker.iteration == 0:
                {wait}worker.on_connect(tune)
            shown = {wait}({wait}worker.conn.execute("SHOW work_mem")).fetchone()
            assert shown == ("7MB",)
            if worker.iteration == 1:
                {wait}worker.conn.close()
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    (run,) = suite.runs()
    (operation,) = run["operations"].values()
    assert [error["code"] for error in operation["errors"]] == ["connection closed"]
    assert operation["count"] == 3


@needs_pgbouncer
def test_a_run_through_a_pooler(suite: Suite, server: EmbeddedServer) -> None:
    """In transaction mode too: prepared statements, psycopg's and ours, do not get in the way."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=30, workers=3)
        def test_it(worker):
            worker.conn.execute("SELECT %s::int", [1])
            assert worker.prepare("SELECT $1::int + 1").fetchval(4) == 5
    """)
    with pooled(server, "transaction") as through:
        result = suite.run(f"--stormdb-dsn={through}")
    result.assert_outcomes(passed=1)

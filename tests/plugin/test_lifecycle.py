"""From a module of fixtures and marked functions to a verdict: who runs when, and what is left afterwards."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from ..conftest import ROOT, Suite

BANK = """
    import pytest

    @pytest.fixture(scope="module")
    def accounts(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)")
        stormdb_connection.execute("INSERT INTO account SELECT i, 100 FROM generate_series(1, 10000) i")
        yield 10_000
        total = stormdb_connection.execute("SELECT sum(balance) FROM account").fetchone()[0]
        assert total == 100 * 10_000

    @pytest.mark.stormdb(duration="10s", warmup="1s")
    @pytest.mark.stormdb_slo("p95 < 20s", "throughput > 0.5/s", "errors < 0.1%")
    def test_transfer(worker, accounts):
        a, b = worker.rng.sample(range(1, accounts + 1), 2)
        with worker.conn.transaction():
            worker.conn.execute("UPDATE account SET balance = balance - 1 WHERE id = %s", [a])
            worker.conn.execute("UPDATE account SET balance = balance + {gain} WHERE id = %s", [b])
"""


def left(database: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    rows = database.execute("SELECT datname FROM pg_database WHERE datname LIKE 'stormdb%'").fetchall()
    return [str(name) for (name,) in rows]


def test_the_inner_runs_test_this_code(suite: Suite) -> None:
    """The suites of these tests import the package that the tests import."""
    suite.write("""
        import pytest_stormdb

        def test_where():
            print("from", pytest_stormdb.__file__)
    """)
    suite.run("-s").stdout.fnmatch_lines([f"*from {ROOT}/pytest_stormdb/__init__.py"])


def test_the_example_of_the_documentation(suite: Suite, database: psycopg.Connection[tuple[Any, ...]]) -> None:
    """The bank runs under load, keeps its money, passes its thresholds, and leaves nothing in the database."""
    suite.write(BANK.replace("{gain}", "1"))
    result = suite.run("--stormdb-workers=3", "--stormdb-iterations=100", "--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*= stormdb =*",
            "✔ test_it.py::test_transfer",
            "  3 workers, 100 iterations each, * s, after 1.00 s of warm-up",
            "  operation*count*failed*rate*p50*p95*p99*max",
            "  test_transfer * 0 */s*ms",
            "  ✔ throughput > 0.5/s */s* pass*",
            "  ✔ errors < 0.1% * 0%  pass",
            "PostgreSQL *; fsync on, shared_buffers 128MB",
        ]
    )
    result.stdout.fnmatch_lines(["  ✔ p95 < 20s * [mu]s*"])
    (run,) = suite.runs()
    assert run["totals"]["operations"] == 3 * 100  # a p95 takes 200, and a busy machine its time
    assert (run["outcome"], run["totals"]["failures"]) == ("passed", 0)
    assert left(database) == []


def test_an_invariant_that_breaks_fails_the_run(suite: Suite, database: psycopg.Connection[tuple[Any, ...]]) -> None:
    """An assertion in a module fixture's finaliser is an error of that module, with its numbers; exit status 1."""
    suite.write(BANK.replace("{gain}", "2"))
    result = suite.run("--stormdb-iterations=5", "--stormdb-warmup=0s")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["E * assert Decimal('1000005') == (100 * 10000)"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert left(database) == []


@pytest.mark.slow
def test_an_embedded_server_starts_when_it_is_needed(offline_suite: Suite) -> None:
    """Without any target a server of our own serves the run, is named, and is gone afterwards."""
    offline_suite.write("""
        import pathlib
        import pytest

        def test_plain(request):
            assert not list(pathlib.Path(request.config.rootpath).glob("started"))

        @pytest.mark.stormdb(iterations=5, workers=2)
        def test_load(worker, stormdb_dsn):
            assert worker.conn.execute("SELECT 1").fetchone() == (1,)
            (pathlib.Path(__file__).parent / "started").write_text(stormdb_dsn)
    """)
    result = offline_suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["PostgreSQL * (embedded on this machine, which these numbers measure too); fsync on,*"]
    )
    (run,) = offline_suite.runs()
    assert run["server"]["embedded"] is True
    assert run["totals"]["operations"] == 10
    dsn = (offline_suite.path / "started").read_text()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)


def test_a_foreign_server_is_said_to_be_foreign(suite: Suite) -> None:
    """A server that we did not start is not ours, and the report says so."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=1)
        def test_load(worker):
            pass
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.stdout.fnmatch_lines(["PostgreSQL * (not embedded); fsync on, shared_buffers 128MB"])
    assert suite.runs()[0]["server"]["embedded"] is False


def test_no_server_starts_for_an_ordinary_suite(offline_suite: Suite) -> None:
    """A suite without workloads starts no server, loads no driver or reader of settings, and has no section of ours."""
    offline_suite.write("""
        import sys

        def test_plain():
            ours = {f"pytest_stormdb.{name}" for name in ("configuration", "packages.checksums", "packages.discovery")}
            assert not {"psycopg", *ours} & sys.modules.keys()
    """)
    result = offline_suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*stormdb =*")


def test_fixtures_live_around_the_workers(suite: Suite) -> None:
    """Module fixtures are set up once in the parent before any worker, and finalised after the last one ended."""
    suite.write("""
        import os
        import time
        import pytest

        def note(what):
            with open("journal", "a") as journal:
                journal.write(f"{what} {os.getpid()} {time.monotonic_ns()}\\n")

        @pytest.fixture(scope="module")
        def stock():
            note("up")
            yield {"apples": 3}
            note("down")

        @pytest.fixture
        def basket(stock):
            note("function up")
            yield [stock]
            note("function down")

        @pytest.mark.stormdb(iterations=4, workers=3)
        def test_one(worker, basket):
            note("iteration")

        @pytest.mark.stormdb(iterations=1, workers=1)
        def test_two(worker, stock):
            note("iteration")
    """)
    suite.run().assert_outcomes(passed=2)
    lines = [line.rsplit(" ", 2) for line in (suite.path / "journal").read_text().splitlines()]
    whats = [what for what, _, _ in sorted(lines, key=lambda line: int(line[2]))]
    assert whats == ["up", "function up", *["iteration"] * 12, "function down", "iteration", "down"]
    parents = {pid for what, pid, _ in lines if what != "iteration"}
    workers = {pid for what, pid, _ in lines if what == "iteration"}
    assert (len(parents), len(workers)) == (1, 4)
    assert not parents & workers


def test_the_worker_is_as_promised(suite: Suite) -> None:
    """Ids, counts, iterations, an autocommit connection in the workload's database, a dsn that leads there too."""
    suite.write("""
        import psycopg
        import pytest

        @pytest.fixture(scope="module")
        def seen(stormdb_connection):
            stormdb_connection.execute("CREATE TABLE seen (id int, iteration int, pid int, draw float)")
            yield
            rows = stormdb_connection.execute("SELECT id, iteration FROM seen ORDER BY 1, 2").fetchall()
            assert rows == [(i, k) for i in range(3) for k in range(4)]
            pids = stormdb_connection.execute("SELECT count(DISTINCT pid), count(DISTINCT draw) FROM seen").fetchone()
            assert pids == (3, 12)

        @pytest.mark.stormdb(iterations=4, workers=3)
        def test_look(worker, seen):
            assert worker.count == 3
            assert worker.conn.autocommit
            row = [worker.id, worker.iteration, worker.conn.info.backend_pid, worker.rng.random()]
            worker.conn.execute("INSERT INTO seen VALUES (%s, %s, %s, %s)", row)
            with psycopg.connect(worker.dsn) as mine:
                assert mine.execute("SELECT current_database()").fetchone() == ("stormdb_it",)
            assert worker.prepare("SELECT $1::int + 1").fetchval(4) == 5
    """)
    suite.run().assert_outcomes(passed=1)


@pytest.mark.slow
def test_the_same_seed_draws_the_same(suite: Suite) -> None:
    """Two runs of one plan see the same numbers in every worker; another seed sees others."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=3, workers=2)
        def test_draw(worker):
            with open(f"draws-{worker.id}", "a") as out:
                out.write(f"{worker.rng.random()}\\n")
    """)
    for seed in (5, 5, 6):
        suite.run(f"--stormdb-seed={seed}").assert_outcomes(passed=1)
    for worker in (0, 1):
        draws = (suite.path / f"draws-{worker}").read_text().split()
        assert draws[:3] == draws[3:6]
        assert not set(draws[6:]) & set(draws[:6])
    assert (suite.path / "draws-0").read_text() != (suite.path / "draws-1").read_text()


def test_worker_fixtures_live_in_every_worker(suite: Suite) -> None:
    """A per-worker resource is set up once in each worker and torn down there; it may use ordinary fixtures."""
    suite.write("""
        import os
        import pytest
        import pytest_stormdb

        @pytest.fixture(scope="module")
        def size():
            return 7

        @pytest_stormdb.worker_fixture
        def pool(worker, size):
            with open(f"pool-{worker.id}", "a") as journal:
                journal.write(f"up {os.getpid()} ")
                yield [worker.id] * size
                journal.write(f"down {os.getpid()}")

        @pytest_stormdb.worker_fixture
        def cache(pool):
            yield (pool, "cache")

        @pytest.mark.stormdb(iterations=5, workers=2)
        def test_it(worker, cache, pool):
            assert cache == (pool, "cache")
            assert cache[0] is pool
            assert pool == [worker.id] * 7
    """)
    suite.run().assert_outcomes(passed=1)
    journals = [(suite.path / f"pool-{worker}").read_text().split() for worker in (0, 1)]
    assert [(up, down, first == second) for up, first, down, second in journals] == [("up", "down", True)] * 2
    assert journals[0][1] != journals[1][1]


def test_parameters_reach_the_workload(suite: Suite) -> None:
    """``--stormdb-param`` values are typed, checked by a model, and a bad one is one sentence."""
    suite.write("""
        import pydantic
        import pytest

        class Shop(pydantic.BaseModel):
            scale: int = pydantic.Field(default=1, gt=0)
            name: str = "corner"

        @pytest.fixture(scope="module")
        def shop(stormdb_parameters):
            return stormdb_parameters(Shop)

        @pytest.mark.stormdb(iterations=1)
        def test_it(worker, shop):
            assert (shop.scale, shop.name) == (20, "super")
    """)
    suite.run("--stormdb-param=scale=20", "--stormdb-param", "name=super").assert_outcomes(passed=1)
    result = suite.run("--stormdb-param=scale=-3")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*--stormdb-param: parameter scale: Input should be greater than 0, not -3"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")

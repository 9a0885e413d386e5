"""pgbench scripts as tests: collected, marked, parametrized, judged and reported like any workload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pytest_stormdb.database.activity import OF_SERVICE, WITH_SET_UP
from pytest_stormdb.database.costs import FLUSHES_FROM
from tests.conftest import Suite

BANK = """
    import pytest

    from pytest_stormdb import pgbench

    @pytest.fixture(scope="module")
    def accounts(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)")
        stormdb_connection.execute("INSERT INTO account SELECT i, 100 FROM generate_series(1, 100) i")
        yield
        total = stormdb_connection.execute("SELECT sum(balance) FROM account").fetchone()[0]
        assert total == 100 * 100
"""
TRANSFER = """\\set a random(1, 99)
\\set b random(:a + 1, 100)
BEGIN;
UPDATE account SET balance = balance - 1 WHERE id = :a;
UPDATE account SET balance = balance + 1 WHERE id = :b;
END;
"""
QUICK = ("--stormdb-duration=500ms", "--stormdb-json=runs.json")


@pytest.fixture
def bank(suite: Suite) -> Suite:
    """Scripts and the fixture that makes their table."""
    (suite.path / "transfer.sql").write_text(TRANSFER)
    (suite.path / "balance.sql").write_text("\\set a random(1, 100)\nSELECT balance FROM account WHERE id = :a;\n")
    (suite.path / "two.sql").write_text("SELECT 1 / (2 - :n);\n")
    return suite


def properties(suite: Suite) -> dict[str, Any]:
    import xml.etree.ElementTree as ElementTree

    tree = ElementTree.parse(suite.path / "junit.xml")
    return {str(each.get("name")): each.get("value") for each in tree.iter("property")}


def test_scripts_are_one_test_and_a_mix_of_operations(bank: Suite) -> None:
    """Marks by calling, thresholds for all and for one script, fixtures by usefixtures; JSON and JUnit as ever."""
    bank.write(
        BANK
        + """
    test_bank = pytest.mark.usefixtures("accounts")(
        pytest.mark.stormdb(workers=3, seed=5)(
            pytest.mark.stormdb_slo("errors == 0%")(
                pytest.mark.stormdb_slo("p50 < 10s", operation="transfer")(pgbench("transfer.sql@1", "balance.sql@4"))
            )
        )
    )
    """
    )
    bank.run(*QUICK, "--junitxml=junit.xml", "-ojunit_family=xunit1").assert_outcomes(passed=1)
    (run,) = bank.runs()
    assert run["nodeid"] == "test_it.py::test_bank"
    assert run["outcome"] == "passed"
    assert set(run["operations"]) == {"transfer", "balance"}
    assert run["operations"]["balance"]["count"] > 2 * run["operations"]["transfer"]["count"] > 0
    assert sum(run["plan"]["layout"]) == 3
    assert run["plan"]["workers"] == 3
    assert run["engine"].startswith("pgbench ")
    assert {each["operation"]: each["verdict"] for each in run["thresholds"]} == {"transfer": "pass", None: "pass"}
    found = properties(bank)
    assert found["stormdb.operations"] == str(run["totals"]["operations"])
    assert "stormdb.transfer.p99_ms" in found


def test_a_builtin_has_its_tables(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """pgbench -i makes them to scale before the fixtures that look at them; they go with the workload's own place."""
    suite.write("""
        import pathlib
        import pytest
        from pytest_stormdb import pgbench

        @pytest.fixture
        def moved(stormdb_connection):
            def history():
                return stormdb_connection.execute("SELECT count(*) FROM pgbench_history").fetchone()[0]
            branches = stormdb_connection.execute("SELECT count(*) FROM pgbench_branches").fetchone()[0]
            before = history()
            yield
            pathlib.Path("moved").write_text(f"{branches} {history() - before}")

        test_tpcb = pytest.mark.usefixtures("moved")(pgbench(builtin="tpcb-like", scale=2))
        """)
    suite.run("--stormdb-iterations=40", "--stormdb-workers=3", "--stormdb-json=runs.json").assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert (suite.path / "moved").read_text() == "2 120"
    assert run["totals"]["operations"] == run["operations"]["tpcb-like"]["count"] == 120
    assert database.execute("SELECT to_regclass('pgbench_history')").fetchone() == (None,)


def test_nothing_is_made_where_nothing_may_be(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """pgbench -i drops tables first: with isolation "none" they may be anybody's, and it is refused."""
    database.execute("CREATE TABLE pgbench_branches AS SELECT 1 AS precious")
    try:
        (suite.path / "own.sql").write_text("SELECT precious FROM pgbench_branches;\n")
        suite.write("""
            import pytest
            from pytest_stormdb import pgbench

            pytestmark = pytest.mark.stormdb(isolation="none", iterations=3)
            test_tpcb = pgbench(builtin="tpcb-like")
            test_own = pgbench("own.sql")
            """)
        result = suite.run()
        result.assert_outcomes(errors=1, passed=1)
        result.stdout.fnmatch_lines(["*isolation='none' does neither; give initialize=False*"])
        assert database.execute("SELECT precious FROM pgbench_branches").fetchone() == (1,)
    finally:
        database.execute("DROP TABLE pgbench_branches")


def test_parametrize_and_parameters_become_variables(bank: Suite) -> None:
    """A parametrized name is a variable, or the scale; a parameter of the run is stronger than both."""
    bank.write("""
        import pytest
        from pytest_stormdb import pgbench

        test_n = pytest.mark.parametrize("n", [2, 3])(pgbench("two.sql", variables={"n": 1}))
        test_own = pgbench("two.sql", variables={"n": 1})
        """)
    result = bank.run(*QUICK)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*test_n?2?*", "*pgbench: client 0 *division by zero", f"*at {bank.path}/two.sql:1"])
    bank.run(*QUICK, "--stormdb-param=n=5").assert_outcomes(passed=3)
    result = bank.run(*QUICK, "--stormdb-param=n-m=5")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*parameters: 'n-m' cannot be a variable of pgbench*"])


def test_scale_by_parametrize(suite: Suite) -> None:
    """Tables of another scale are made anew."""
    suite.write("""
        import pytest
        from pytest_stormdb import pgbench

        @pytest.fixture
        def told(stormdb_connection):
            with open("branches", "a") as file:
                print(stormdb_connection.execute("SELECT count(*) FROM pgbench_branches").fetchone()[0], file=file)

        test_scale = pytest.mark.usefixtures("told")(
            pytest.mark.parametrize("scale", [1, 2])(pgbench(builtin="select-only"))
        )
        """)
    suite.run(*QUICK).assert_outcomes(passed=2)
    assert (suite.path / "branches").read_text().split() == ["1", "2"]


def test_a_file_is_a_workload_without_any_python(suite: Suite) -> None:
    """A file *.pgbench.sql under the test paths, or named on the command line, is one test, named like the file."""
    folder = suite.path / "load"
    folder.mkdir()
    (folder / "bank.pgbench.sql").write_text("\\set a random(1, 100)\nSELECT :a::int + :scale;\n")
    (folder / "other.sql").write_text("no workload")
    suite.run(*QUICK).assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert (run["nodeid"], run["workload"]["name"]) == ("load/bank.pgbench.sql::bank", "bank")
    assert set(run["operations"]) == {"bank"}
    result = suite.run(str(folder / "bank.pgbench.sql"), "--stormdb-workers=2", "-m", "stormdb", *QUICK)
    result.assert_outcomes(passed=1)
    assert suite.runs()[0]["plan"]["workers"] == 2
    suite.run("load/bank.pgbench.sql::bank", "--stormdb-slo=p50 > 1h", *QUICK).assert_outcomes(failed=1)
    suite.run("-k", "elsewhere", *QUICK).assert_outcomes(deselected=1)


def test_a_file_that_runs_a_shell_is_refused(suite: Suite) -> None:
    """What looks like data starts no programs."""
    (suite.path / "evil.pgbench.sql").write_text("SELECT 1;\n\\shell touch harmed\n")
    result = suite.run(*QUICK)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*evil.pgbench.sql:2: the script runs a shell command; allow it with*"])
    assert not (suite.path / "harmed").exists()


def test_stages_and_warm_up(bank: Suite) -> None:
    """Stages are runs one after the other, with figures of their own; the warm-up of iterations is one too."""
    bank.write("""
        import pytest
        from pytest_stormdb import pgbench

        test_stages = pytest.mark.stormdb(stages="1:1s,3:1s", warmup="300ms")(pgbench("two.sql", variables={"n": 1}))
        test_rates = pytest.mark.stormdb(stages="50/s:1s,200/s:1s", workers=2)(pgbench("two.sql", variables={"n": 1}))
        test_counted = pytest.mark.stormdb(iterations=30, warmup="300ms", workers=2)(
            pgbench("two.sql", variables={"n": 1})
        )
        """)
    bank.run("--stormdb-json=runs.json").assert_outcomes(passed=3)
    stages, rates, counted = bank.runs()
    assert [stage["operations"] > 50 for stage in stages["stages"]] == [True, True]
    assert sum(stage["operations"] for stage in stages["stages"]) == stages["totals"]["operations"]
    assert len(stages["timeline"]) >= 2
    slow, fast = (stage["operations"] for stage in rates["stages"])
    assert 20 < slow < 90
    assert 130 < fast < 280
    assert counted["totals"]["operations"] == 60


def test_an_open_loop_is_poisson_by_default(bank: Suite) -> None:
    """Response counts from the schedule, lag is reported, and nothing need be said of the arrivals."""
    bank.write("""
        import pytest
        from pytest_stormdb import pgbench

        test_open = pytest.mark.stormdb(rate="100/s", workers=2, duration="2s")(pgbench("two.sql", variables={"n": 1}))
        """)
    bank.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    (run,) = bank.runs()
    assert run["plan"]["arrivals"] == "poisson"
    assert 130 < run["totals"]["operations"] < 280
    operation = run["operations"]["two"]
    assert operation["lag"]["mean_s"] > 0
    assert operation["response"]["mean_s"] == pytest.approx(
        operation["service"]["mean_s"] + operation["lag"]["mean_s"], rel=1e-6
    )


def test_what_is_skipped_is_dropped(suite: Suite) -> None:
    """Beyond capacity, transactions that are too late to start are dropped, by name in the finding."""
    suite.write("""
        import pytest
        from pytest_stormdb import pgbench

        test_over = pytest.mark.stormdb(rate="300000/s", workers=2, duration="1s")(
            pytest.mark.stormdb_slo("dropped > 100", "metrics.late >= 0")(
                pgbench(builtin="select-only", latency_limit="2ms")
            )
        )
        """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert run["totals"]["dropped"] > 100
    assert any("rate not reached" in finding for finding in run["validity"]["findings"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("think_time='10ms'", "think_time: pgbench has none of its own; write *sleep in the script"),
        ("rate='10/s', arrivals='uniform'", "arrivals: pgbench's are Poisson; 'uniform' cannot be had"),
        ("stages='1->5:2s'", "stages: pgbench cannot go from 1->5 workers for 2 s; give steps"),
        ("batch_size=5", "batch_size: a pgbench script is one transaction"),
    ],
)
def test_what_cannot_be_had_is_refused(bank: Suite, options: str, sentence: str) -> None:
    """Before any load, by the option's name."""
    bank.write(f"""
        import pytest
        from pytest_stormdb import pgbench

        test_it = pytest.mark.stormdb({options})(pgbench("two.sql", variables={{"n": 1}}))
        """)
    result = bank.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{sentence}*"])


def test_the_result_in_hand(bank: Suite) -> None:
    """stormdb.run takes scripts as it takes a function."""
    bank.write("""
        from pytest_stormdb import pgbench

        def test_it(stormdb):
            scripts = pgbench("two.sql@1", builtin="select-only@1", variables={"n": 1})
            result = stormdb.run(scripts, iterations=50)
            assert result.operations == 50
            assert result.failures == 0
            assert result.operation("select-only").operations + result.operation("two").operations == 50
            assert 0 <= result.p50 <= result.p99 < 10  # what was there when pgbench looked has taken no time
        """)
    bank.run().assert_outcomes(passed=1)


def test_smoke_runs_each_script_once(bank: Suite) -> None:
    """Without load, each script is a plain test, whatever its weight; a failure has its file and line."""
    bank.write(
        BANK
        + """
    test_bank = pytest.mark.usefixtures("accounts")(pgbench("transfer.sql@1", "balance.sql@0"))
    test_bad = pgbench("two.sql", variables={"n": 2})
    """
    )
    result = bank.run("--stormdb-smoke")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*division by zero", f"*at {bank.path}/two.sql:1"])


def test_a_sweep(bank: Suite) -> None:
    """The same scripts at several numbers of clients."""
    (bank.path / "one.pgbench.sql").write_text("SELECT 1;\n")
    bank.run("--stormdb-sweep=1,2", *QUICK).assert_outcomes(passed=1)
    assert [run["plan"]["workers"] for run in bank.runs()] == [1, 2]


def test_failures_and_retries_are_judged(suite: Suite) -> None:
    """Serialization failures have their SQLSTATE, and count against a threshold on errors."""
    (suite.path / "hot.sql").write_text("BEGIN ISOLATION LEVEL REPEATABLE READ;\nUPDATE hot SET n = n + 1;\nEND;\n")
    suite.write("""
        import pytest
        from pytest_stormdb import pgbench

        @pytest.fixture(scope="module")
        def hot(stormdb_connection):
            stormdb_connection.execute("CREATE TABLE hot AS SELECT 0 AS n")

        test_hot = pytest.mark.usefixtures("hot")(pytest.mark.stormdb(workers=4, iterations=50)(pgbench("hot.sql")))
        test_again = pytest.mark.usefixtures("hot")(
            pytest.mark.stormdb(workers=4, iterations=50, retries=100)(pgbench("hot.sql"))
        )
        """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*of 200 iterations failed: * x 40001"])
    hot, again = suite.runs()
    assert hot["operations"]["hot"]["errors"][0]["code"] == "40001"
    assert (again["totals"]["operations"], again["totals"]["retries"] > 0) == (200, True)


def test_mistakes_are_told_before_the_load(suite: Suite) -> None:
    """A file that is not there, a syntax error, a class that holds scripts, a name that is no script."""
    (suite.path / "wrong.sql").write_text("\\set a 1 +\nSELECT 1;\n")
    suite.write("""
        from pytest_stormdb import pgbench

        test_nowhere = pgbench("nowhere.sql")
        test_wrong = pgbench("wrong.sql")
        """)
    result = suite.run(*QUICK)
    result.assert_outcomes(errors=1, failed=1)
    result.stdout.fnmatch_lines_random(
        ["*pgbench script nowhere.sql: No such file or directory; looked for *", "*wrong.sql:1: syntax error in *"]
    )
    suite.write("""
        from pytest_stormdb import pgbench

        class TestIt:
            test_wrong = pgbench("wrong.sql")
        """)
    suite.run().stdout.fnmatch_lines(["*test_wrong: pgbench scripts are workloads of a module, not of a class*"])
    suite.write("""
        from pytest_stormdb import pgbench

        test_it = pgbench("a.sql@x")
        """)
    suite.run().stdout.fnmatch_lines(["*pgbench: 'a.sql@x': the weight 'x' is not a whole number of 0 or more"])


def test_a_password_is_in_no_list_of_processes(suite: Suite, dsn: str, database: psycopg.Connection[Any]) -> None:
    """pgbench gets it by its environment."""
    database.execute("DROP ROLE IF EXISTS keeper")
    database.execute("CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'open sesame'")
    try:
        (suite.path / "look.pgbench.sql").write_text("SELECT pg_sleep(0.1);\n")
        suite.write("""
            import pathlib, threading, time, pytest

            @pytest.fixture(autouse=True)
            def looking():
                seen, stop = set(), threading.Event()
                def look():
                    while not stop.wait(0.05):
                        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                            try:
                                seen.add(path.read_bytes().decode(errors="replace"))
                            except OSError:
                                pass
                thread = threading.Thread(target=look)
                thread.start()
                yield
                stop.set()
                thread.join()
                assert any("pgbench" in line and "keeper" in line for line in seen)
                assert not any("sesame" in line for line in seen if "pgbench" in line and "--client" in line)
            """, conftest="from test_it import looking\n")  # fmt: skip
        suite.env.setenv("STORMDB_DSN", make_conninfo(dsn, user="keeper", password="open sesame"))
        suite.run("look.pgbench.sql", *QUICK).assert_outcomes(passed=1)
    finally:
        database.execute("DROP ROLE keeper")


def test_the_order_of_tests_is_that_of_the_module(bank: Suite) -> None:
    """Scripts and functions are collected in the order in which they are written."""
    bank.write("""
        from pytest_stormdb import pgbench

        def test_first(): pass
        test_second = pgbench("two.sql")
        def test_third(): pass
        """)
    lines = bank.run("--collect-only", "-q").outlines
    assert [line for line in lines if "::" in line] == [f"test_it.py::test_{n}" for n in ("first", "second", "third")]
    assert Path(bank.path, "two.sql").exists()


@pytest.mark.slow
def test_two_scripts_are_compared(suite: Suite) -> None:
    """stormdb.compare takes scripts: a pgbench in each block, blocks long enough for its start, arms named by files."""
    (suite.path / "quick.sql").write_text("SELECT pg_sleep(0.002);\n")
    (suite.path / "slow.sql").write_text("SELECT pg_sleep(0.2);\n")
    suite.write("""
        from pytest_stormdb import pgbench

        def test_it(stormdb):
            compared = stormdb.compare(
                pgbench("quick.sql"), pgbench("slow.sql"), metric="p50", margin=0.10, budget="30s", workers=2
            )
            assert compared.verdict == "slower"
            assert compared.ratio() > 2
            assert compared.pairs >= 12
            assert compared.record["arms"] == ["quick", "slow"]
            assert compared.record["block_s"] == 2.0
            assert compared.epochs >= 3
        """)
    suite.run(limit_s=240).assert_outcomes(passed=1)


def test_an_undecided_run_goes_on(suite: Suite) -> None:
    """With --stormdb-until-decided, pgbench goes on until there are calls enough for a percentile."""
    (suite.path / "it.pgbench.sql").write_text("SELECT pg_sleep(0.001);\n")
    options = ("--stormdb-duration=1s", "--stormdb-workers=1", "--stormdb-slo=p99 < 1m", "--stormdb-json=runs.json")
    suite.run("--stormdb-until-decided=30s", *options).assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert run["totals"]["operations"] >= 1000
    assert run["elapsed_s"] > 1.5


def test_a_hopeless_run_ends_early(suite: Suite) -> None:
    """A threshold with abort=True is judged by what pgbench has logged so far, and its miss ends the load."""
    (suite.path / "one.sql").write_text("SELECT count(*) FROM generate_series(1, 1000);\n")
    suite.write("""
        import pytest
        from pytest_stormdb import pgbench

        test_one = pytest.mark.stormdb(workers=2, duration="60s")(
            pytest.mark.stormdb_slo("throughput > 100000000/s", abort=True)(pgbench("one.sql"))
        )
        """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*aborted after * s: throughput > 100000000/s*"])
    (run,) = suite.runs()
    assert run["elapsed_s"] < 40
    assert run["totals"]["operations"] > 1000


def test_what_the_server_did_is_known(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """pgbench's sessions are looked at like those of workers: what each transaction cost the server, and its waits.

    The set-up of the sessions can be told from their work, but with PostgreSQL 14, whose counters are late.
    """
    suite.write("""
        import pytest
        from pytest_stormdb import pgbench

        test_tpcb = pytest.mark.stormdb(workers=3, duration="4s")(pgbench(builtin="tpcb-like"))
        """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    (run,) = suite.runs()
    activity = run["server_activity"]
    assert activity["rows_per_op"] > 1
    assert activity["wal_bytes_per_op"] > 100
    assert activity["samples"] > 10
    assert not any("hidden" in note for note in activity["notes"])
    is_late = database.info.server_version < FLUSHES_FROM
    assert [note for note in activity["notes"] if "counters" in note] == [WITH_SET_UP] * is_late


HOT = """
    import pytest
    from pytest_stormdb import pgbench

    @pytest.fixture(scope="module")
    def account(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE account (id int PRIMARY KEY, n bigint NOT NULL)")
        stormdb_connection.execute("INSERT INTO account VALUES (1, 0)")

    test_hot = pytest.mark.usefixtures("account")(
        pytest.mark.stormdb_slo("server.wait.Lock < 5%")(pgbench("hot.sql"))
    )
"""


@pytest.mark.parametrize("rate", [(), ("--stormdb-rate=200/s",)])
def test_a_hot_row_is_a_wait_for_locks(suite: Suite, rate: tuple[str, ...]) -> None:
    """Sessions of pgbench are always at work for a transaction: what they wait for is where its time went, also where
    a rate lets some of them rest."""
    (suite.path / "hot.sql").write_text("BEGIN;\nUPDATE account SET n = n + 1 WHERE id = 1;\n\\sleep 20 ms\nEND;\n")
    suite.write(HOT)
    options = ("--stormdb-workers=8", "--stormdb-duration=3s", "--stormdb-json=runs.json")
    result = suite.run(*options, *rate)
    result.assert_outcomes(failed=1)
    (run,) = suite.runs()
    activity = run["server_activity"]
    (lock,) = (each for each in activity["wait_classes"] if each["event"] == "Lock")
    assert lock["share"] > 0.6
    assert all(blocker["is_ours"] for blocker in activity["blockers"])
    assert any("UPDATE account" in blocker["waiting"] for blocker in activity["blockers"])
    assert [each["verdict"] for each in run["thresholds"]] == ["fail"]
    assert [note for note in activity["notes"] if note.startswith("waits")] == [OF_SERVICE] * bool(rate)
    result.stdout.fnmatch_lines(["  server: * % of response time waits on Lock*"])


def test_counters_after_a_warm_up_are_said_to_be_late(suite: Suite) -> None:
    """pgbench's sessions hand in their counters when they like: after a warm-up, a note says what that is worth."""
    (suite.path / "it.pgbench.sql").write_text("SELECT 1;\n")
    options = ("--stormdb-duration=500ms", "--stormdb-warmup=300ms", "--stormdb-json=runs.json")
    suite.run(*options).assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert any("up to a second of the warm-up is in them" in note for note in run["server_activity"]["notes"])

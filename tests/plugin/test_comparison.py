"""Comparisons end to end: real arms on a real server, taking turns."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ..conftest import Suite

ARMS = """
    import pytest

    def quick(worker):
        worker.conn.execute("SELECT pg_sleep(0.002)")

    def slow(worker):
        worker.conn.execute("SELECT pg_sleep(0.04)")

    SHORT = dict(budget="8s", workers=2, metric="p50")
"""


def comparisons(suite: Suite) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((suite.path / "runs.json").read_text())["comparisons"]
    return found


@pytest.mark.slow
def test_a_slower_arm_fails_the_check(suite: Suite) -> None:
    """Twenty times as slow is found; the sentence is the failure, and everything is in the terminal, JSON and JUnit."""
    suite.write(
        ARMS
        + """
    def test_it(stormdb):
        comparison = stormdb.compare(quick, slow, seed=5, **SHORT)
        assert comparison.verdict == "slower"
        assert 2 < comparison.ratio() < 40
        assert 0.02 < comparison.ratio("throughput") < 0.5
        low, high = comparison.interval()
        assert low < comparison.ratio() < high
        low, high = comparison.interval("throughput")
        assert low < comparison.ratio("throughput") < high
        comparison.check()
    """
    )
    result = suite.run("--stormdb-json=runs.json", "--junitxml=r.xml")
    result.assert_outcomes(failed=1)
    sentence = "slow is * % slower than quick at p50*(slower than +10 %: certain at 0.5 %), * pairs"
    result.stdout.fnmatch_lines([f"E * AssertionError: {sentence}"])
    result.stdout.fnmatch_lines(["*test_it.py::test_it, comparison*", "  quick *", "  slow *"])
    result.stdout.fnmatch_lines(["* slow is * % slower than quick at p50 *", "  * epochs, blocks of * ms, seed 5, *"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/run*")
    (found,) = comparisons(suite)
    assert (found["verdict"], found["arms"], found["metric"], found["seed"]) == ("slower", ["quick", "slow"], "p50", 5)
    assert found["epochs"] >= 3
    assert found["pairs"] == len(found["effects"]) >= 9
    assert found["low"] < found["ratio"] < found["high"]
    quick, slow = found["operations"]
    assert quick["response"]["p50_s"] < 0.04 < slow["response"]["p50_s"]
    properties = {p.attrib["name"]: p.attrib["value"] for p in ET.parse(suite.path / "r.xml").findall(".//property")}
    assert properties["stormdb.verdict"] == "slower"
    assert float(properties["stormdb.comparison.ratio"]) == pytest.approx(found["ratio"], abs=1e-5)


@pytest.mark.slow
def test_an_improvement_is_claimed_and_proven(suite: Suite) -> None:
    """Half as fast again is proven of an arm twenty times as fast, and four hundred times is not."""
    suite.write(
        ARMS
        + """
    def test_twice(stormdb):
        comparison = stormdb.compare(slow, quick, min_improvement=1.5, **SHORT)
        assert comparison.verdict == "faster"
        comparison.check()

    def test_more(stormdb):
        stormdb.compare(slow, quick, min_improvement=400, **SHORT).check()
    """
    )
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["E * quick is * x as fast as slow at p50*(not faster than 400 x: certain at 0.25 %), *"]
    )


@pytest.mark.slow
def test_arms_in_databases_of_their_own(suite: Suite) -> None:
    """``before`` and ``after`` make each arm's objects, in every epoch anew and in the other order; nothing is left."""
    suite.write("""
        import pathlib

        SHORT = dict(budget="8s", metric="p50", min_improvement=2)

        def made(conn, name):
            conn.execute("CREATE TABLE t AS SELECT i FROM generate_series(1, 60000) i")
            with open("order.txt", "a") as out:
                out.write(name)

        def plain(conn):
            made(conn, "p")

        def indexed(conn):
            made(conn, "i")
            conn.execute("CREATE UNIQUE INDEX ON t (i)")

        def look(worker):
            assert worker.conn.execute("SELECT i FROM t WHERE i = 777").fetchone() == (777,)

        def test_it(stormdb):
            comparison = stormdb.compare(look, before=plain, after=indexed, **SHORT)
            assert comparison.verdict == "faster"
            order = pathlib.Path("order.txt").read_text()
            assert order.startswith("pipiippi")
    """)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    assert comparisons(suite)[0]["arms"] == ["plain", "indexed"]


@pytest.mark.slow
def test_both_arms_draw_the_same(suite: Suite) -> None:
    """In each pair, a worker of either arm begins with the same draws, and with others in the next pair."""
    suite.write("""
        import json

        DRAWS = {}

        def record(worker, arm):
            number = worker.rng.random()
            with open(f"{arm}-{worker.id}.txt", "a") as out:
                out.write(f"{number}\\n")
            worker.conn.execute("SELECT pg_sleep(0.02)")

        def one(worker):
            record(worker, "one")

        def other(worker):
            record(worker, "other")

        def test_it(stormdb):
            stormdb.compare(one, other, budget="3s", metric="p50", workers=2, margin=3)
            for worker in (0, 1):
                drawn = [open(f"{arm}-{worker}.txt").read().split() for arm in ("one", "other")]
                common = set(drawn[0]) & set(drawn[1])
                # of each pair, the arm that had less of the machine drew the first of the other's numbers
                assert len(common) > 0.5 * min(map(len, map(set, drawn)))
                assert len(common) > 20
            assert not set(open("one-0.txt").read().split()) & set(open("one-1.txt").read().split())
    """)
    suite.run("-W", "ignore").assert_outcomes(passed=1)


@pytest.mark.slow
def test_arms_of_an_open_loop_are_compared(suite: Suite) -> None:
    """At a rate, each arm gets as many arrivals in its blocks, and response counts from the intended start."""
    suite.write(
        ARMS
        + """
    def test_it(stormdb):
        comparison = stormdb.compare(quick, slow, metric="p50", workers=6, rate="100/s", budget="20s")
        assert comparison.verdict == "slower"
        assert 1.5 < comparison.ratio() < 20
    """
    )
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    (found,) = comparisons(suite)
    assert found["plan"]["rate_per_s"] == 100
    for arm in found["operations"]:
        assert arm["throughput_per_s"] == pytest.approx(100, rel=0.3)
        assert arm["lag"]["mean_s"] > 0
        assert arm["response"]["p50_s"] >= arm["service"]["p50_s"]


@pytest.mark.slow
def test_costs_are_compared(suite: Suite) -> None:
    """Twice the rows are twice the rows in every epoch, whatever the machine does; the same query is no change."""
    suite.write("""
        import pytest

        @pytest.fixture(scope="module")
        def item(stormdb_connection):
            stormdb_connection.execute("CREATE TABLE item (i int) WITH (autovacuum_enabled = off)")
            stormdb_connection.execute("INSERT INTO item SELECT generate_series(1, 20000)")
            stormdb_connection.execute("CREATE UNIQUE INDEX ON item (i)")
            stormdb_connection.execute("VACUUM ANALYZE item")

        def look(worker, rows):
            key = worker.rng.randint(1, 19000)
            query = "SELECT i FROM item WHERE i BETWEEN %s AND %s"
            assert len(worker.conn.execute(query, [key, key + rows - 1]).fetchall()) == rows

        def one(worker):
            look(worker, 10)

        def two(worker):
            look(worker, 20)

        def test_rows(stormdb, item):
            comparison = stormdb.compare(one, two, metric="server.rows_per_op", workers=2, budget="10s")
            assert comparison.verdict == "slower"
            assert comparison.ratio() == pytest.approx(2, rel=0.05)
            assert comparison.epochs == 3
            comparison.check()

        def test_the_same(stormdb, item):
            comparison = stormdb.compare(one, one, metric="server.blocks_per_op", workers=2, budget="10s")
            assert comparison.verdict == "not slower"
            assert comparison.ratio() == pytest.approx(1, rel=0.02)
            low, high = comparison.interval()
            assert 0.98 < low <= comparison.ratio() <= high < 1.02

        def test_beside_a_latency(stormdb, item):
            comparison = stormdb.compare(one, two, metric="p50", workers=2, budget="4s")
            assert comparison.ratio("server.rows_per_op") == pytest.approx(2, rel=0.05)
            assert comparison.interval("server.rows_per_op") == (0, float("inf"))
    """)
    result = suite.run("--stormdb-json=runs.json", "--stormdb-html=page.html")
    result.assert_outcomes(failed=1, passed=2)
    sentence = "two costs * % more rows per operation than one: 2* against 1* (slower than +10 % in each of 3 epochs)"
    result.stdout.fnmatch_lines([f"E * AssertionError: {sentence}"])
    result.stdout.fnmatch_lines(["  one, server, per operation: * blocks (*), 1* rows, *", "  two, * 2* rows, *"])
    rows = comparisons(suite)[0]
    assert [effect["ratio"] for effect in rows["effects"]] == pytest.approx([2, 2, 2], rel=0.05)
    assert rows["costs"]["server.rows_per_op"]["ratio"] == rows["ratio"]
    one, two = (activity["database"] for activity in rows["server_activity"])
    assert one["commits"] > 0 < two["commits"]


def test_failing_arms_are_not_compared(suite: Suite) -> None:
    """An arm whose iterations fail ends the comparison at once, with the failure and its traceback."""
    suite.write("""
        def fine(worker):
            worker.conn.execute("SELECT 1")

        def broken(worker):
            worker.conn.execute("SELECT no_such_column")

        def test_it(stormdb):
            stormdb.compare(fine, broken, budget="60s")
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["stormdb.compare: broken: * of * iterations failed: * x 42703", "*no_such_column*"])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("stormdb.compare(one)", "stormdb.compare in test_it: give two callables, or one with both before= and after="),
        (
            "stormdb.compare(one, one, before=one, after=one)",
            "*give two callables, or one with both before= and after=",
        ),
        ("stormdb.compare(one, one, metric='speed')", "*metric='speed' is none of p50 p90 p95 p99 mean min max *"),
        ("stormdb.compare(one, one, margin=0)", "*margin=0 is no share above zero; write 0.1 or '10%'"),
        ("stormdb.compare(one, one, margin='ten')", "*margin: 'ten' is not a ratio; write it as '0.1%' or '0.001'"),
        ("stormdb.compare(one, one, min_improvement=0.5)", "*min_improvement=0.5 is no factor above 1"),
        ("stormdb.compare(one, one, budget='soon')", "budget: 'soon' is not a duration;*"),
        (
            "stormdb.compare(one, one, wrkers=2)",
            "stormdb.compare in test_it: unknown option 'wrkers'; did you mean 'workers'?",
        ),
    ],
)
def test_bad_arguments_are_told_at_once(suite: Suite, call: str, sentence: str) -> None:
    """What cannot be compared is refused in one line, before any load."""
    suite.write(f"""
        def one(worker):
            raise AssertionError("ran")

        def test_it(stormdb):
            {call}
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([sentence])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_an_undecided_comparison_warns_or_fails(suite: Suite) -> None:
    """Too little to tell, it passes with a warning and is counted in the last line, under -W error too; or it fails."""
    suite.write("""
        def one(worker):
            worker.conn.execute("SELECT 1")

        def test_it(stormdb):
            stormdb.compare(one, one, budget="1s", metric="p50", margin=0.001).check()
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*InconclusiveWarning: new is * old at p50*(inconclusive against +0.1 %: *"])
    result.stdout.fnmatch_lines(["*= 1 passed, 1 warning, 1 inconclusive in *"])
    suite.run("--stormdb-inconclusive=fail").assert_outcomes(failed=1)


def test_nothing_is_compared_in_a_smoke_run(suite: Suite) -> None:
    """Without load, both arms run once, and the test is skipped where it asks for the comparison."""
    suite.write("""
        def one(worker):
            with open("ran.txt", "a") as out:
                out.write("x")

        def test_it(stormdb):
            stormdb.compare(one, one)
    """)
    suite.run("--stormdb-smoke").assert_outcomes(skipped=1)
    assert (suite.path / "ran.txt").read_text() == "xx"

"""What is reported is what the database holds: every operation, no more and no fewer."""

from __future__ import annotations

import pytest

from ..conftest import Suite

INSERT = """
    import pathlib
    import pytest

    @pytest.fixture(scope="module")
    def table(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE load (worker int, iteration int, PRIMARY KEY (worker, iteration))")
        yield
        rows = stormdb_connection.execute("SELECT count(*), count(DISTINCT worker) FROM load").fetchone()
        pathlib.Path("rows").write_text(f"{rows[0]} {rows[1]}")

    @pytest.mark.stormdb(warmup=0)
    @pytest.mark.stormdb_slo("errors < 100%")
    def test_insert(worker, table):
        with worker.conn.transaction():
            worker.conn.execute("INSERT INTO load VALUES (%s, %s)", [worker.id, worker.iteration])
            if FAILS:
                raise ValueError("changed my mind")
"""


@pytest.mark.parametrize("workers", [1, 2, 10, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fails", ["False", "(worker.id + worker.iteration) % 3 == 1"])
def test_operations_are_rows(suite: Suite, workers: int, fails: str) -> None:
    """One row per successful iteration, and none per failed one, for any number of workers."""
    suite.write(INSERT.replace("FAILS", fails))
    result = suite.run(f"--stormdb-workers={workers}", "--stormdb-duration=500ms", "--stormdb-json=runs.json")
    result.assert_outcomes(passed=1)
    (run,) = suite.runs()
    rows, seen = map(int, (suite.path / "rows").read_text().split())
    assert run["totals"]["operations"] == run["operations"]["test_insert"]["count"] == rows
    assert 1 <= seen <= workers
    assert (run["totals"]["failures"] > 0) is (fails != "False")
    assert sum(interval["operations"] for interval in run["timeline"]) == rows


def test_iterations_are_exact(suite: Suite) -> None:
    """Seven iterations of three workers are twenty-one rows; the warm-up's come on top and are not reported."""
    suite.write(INSERT.replace("FAILS", "False"))
    options = ("--stormdb-workers=3", "--stormdb-iterations=7", "--stormdb-json=runs.json")
    suite.run(*options).assert_outcomes(passed=1)
    assert suite.runs()[0]["totals"]["operations"] == 21
    assert (suite.path / "rows").read_text() == "21 3"
    suite.run(*options, "--stormdb-warmup=100ms").assert_outcomes(passed=1)
    assert suite.runs()[0]["totals"]["operations"] == 21
    assert int((suite.path / "rows").read_text().split()[0]) > 21


def test_an_open_loop_is_exact(suite: Suite) -> None:
    """Every arrival is a row, a failure or dropped."""
    suite.write(INSERT.replace("FAILS", "worker.iteration == 2"))
    options = ("--stormdb-workers=4", "--stormdb-rate=200/s", "--stormdb-duration=500ms", "--stormdb-json=runs.json")
    suite.run(*options).assert_outcomes(passed=1)
    totals = suite.runs()[0]["totals"]
    assert int((suite.path / "rows").read_text().split()[0]) == totals["operations"]
    assert totals["operations"] + totals["failures"] + totals["dropped"] == 100

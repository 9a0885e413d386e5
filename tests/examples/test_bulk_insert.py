"""The packaged workload ``bulk_insert``: every way brings in the same rows, and each is accounted for."""

from __future__ import annotations

import random

import psycopg
import pytest

from tests.conftest import Suite

from .packages import Package, module_of, params

LOSING = """
import pytest

@pytest.fixture(autouse=True)
def vandal(stormdb_connection, target):
    yield
    stormdb_connection.execute(STATEMENT)
"""


@pytest.fixture
def bulk_insert(suite: Suite) -> Package:
    """A copy of the package."""
    return Package("bulk_insert", suite)


@pytest.mark.slow
def test_every_method_passes_and_reports_its_rows(bulk_insert: Package) -> None:
    """Batches up to a thousand rows come in by each method; the larger ones are skipped at this scale."""
    bulk_insert.suite.run("bulk_insert", "--stormdb-json=runs.json", "--stormdb-duration=200ms", *params(scale=1000))
    runs = {str(run["nodeid"]).rpartition("::")[2]: run for run in bulk_insert.suite.runs()}
    assert {name.partition("[")[2].partition("-")[0] for name in runs} == {
        *("single", "multi_row", "pipelined", "arrays", "copy")
    }
    assert len(runs) == 10
    for name, run in runs.items():
        size = int(name.rstrip("]").rpartition("-")[2])
        operation = run["operations"]["test_insert"]
        assert operation["rows"] == size * operation["count"] > 0
        assert run["totals"]["failures"] == 0
        assert run["outcome"] == "passed"


@pytest.mark.slow
def test_a_batch_of_more_rows_than_a_statement_has_room_for(bulk_insert: Package) -> None:
    """Ten thousand rows have 180,000 values: more than one INSERT takes, and more than one is sent."""
    options = ("--stormdb-smoke", "-k", "10000", *params(scale=10_000, body_words=1, payload_bytes=0))
    bulk_insert.suite.run("bulk_insert", *options).assert_outcomes(passed=3, deselected=12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM bulk_insert_test WHERE id = (SELECT min(id) FROM bulk_insert_test)", "rows in the table"),
        ("UPDATE bulk_insert_test SET quantity = -1", "rows that are as they were made"),
    ],
    ids=["lost", "changed"],
)
def test_rows_lost_or_changed_are_noticed(bulk_insert: Package, statement: str, words: str) -> None:
    """The invariants count the rows, and compare them."""
    bulk_insert.suite.write(conftest=LOSING.replace("STATEMENT", repr(statement)))
    result = bulk_insert.suite.run(
        "bulk_insert", "--stormdb-smoke", "-k", "copy-100 and not copy-1000", *params(scale=200)
    )
    result.assert_outcomes(passed=1, errors=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines([f"*{words}*"])


def test_a_row_in_copy_format_and_as_array_means_itself(database: psycopg.Connection[tuple[object, ...]]) -> None:
    """What PostgreSQL must have quoted comes back as it was."""
    module = module_of("bulk_insert")
    words = module._WORDS
    assert database.execute("SELECT %s::text[]", [module._array(words)]).fetchone() == (list(words),)
    row = module._make_row(random.Random(1), module.BulkInsert())
    width = len(module._COLUMNS)
    assert len(row) == width == 18
    with database.transaction(force_rollback=True):
        database.execute("CREATE TABLE lines (" + ", ".join(f"c{n} text" for n in range(width)) + ")")
        with database.cursor().copy("COPY lines FROM STDIN") as copy:
            copy.write(module._copy_line(row))
        assert database.execute("SELECT * FROM lines").fetchone() == row

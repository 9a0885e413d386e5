"""The packaged workload ``simple``: it passes, refuses what it should, and notices when rows are lost."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.conftest import Suite

from .packages import Package, model_of, params

DELETING = """
import pytest

@pytest.fixture(autouse=True)
def vandal(stormdb_connection, table):
    yield
    stormdb_connection.execute("DELETE FROM loadtest WHERE id = 7")
"""


@pytest.fixture
def simple(suite: Suite) -> Package:
    """A copy of the package."""
    return Package("simple", suite)


@pytest.mark.slow
def test_it_passes_and_reports_each_operation(simple: Package) -> None:
    """Reads, writes, the mix and the batches run without a failed operation."""
    runs = simple.load_test(*params(scale=300), passed=4)
    assert set(runs["test_read"]["operations"]) == {"test_read"}
    assert set(runs["test_write"]["operations"]) == {"test_write"}
    assert set(runs["TestMixed"]["operations"]) == {"read", "write"}
    counts = {name: operation["count"] for name, operation in runs["TestMixed"]["operations"].items()}
    assert 0.35 < counts["read"] / sum(counts.values()) < 0.65
    selected = runs["test_configured"]["operations"]["select"]
    assert selected["rows"] == 10 * selected["count"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation_type", "operations"),
    [
        ("insert", {"insert"}),
        ("update", {"update"}),
        ("delete", {"delete and put back", "delete", "put back"}),
    ],
)
def test_each_operation_type_touches_a_batch_of_rows(
    simple: Package, operation_type: str, operations: set[str]
) -> None:
    """The configured kind of statement runs, in a table whose name needs quotes."""
    options = params(scale=300, operation_type=operation_type, batch_size=20, table_name="Select", timeout="5s")
    run = simple.load_test("-k", "configured", *options, passed=1)["test_configured"]
    assert set(run["operations"]) == operations
    assert sum(operation["rows"] for operation in run["operations"].values()) == 20 * run["totals"]["operations"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"operation_type": "drop"},
        {"batch_size": 0},
        {"batch_size": 1001},
        {"timeout": "301s"},
        {"timeout": "500ms"},
        {"timeout": "soon"},
        {"table_name": 'x"; DROP TABLE y'},
        {"tabel_name": "x"},
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_name(wrong: dict[str, object]) -> None:
    """What the model does not allow is an error that names the parameter."""
    with pytest.raises(ValidationError) as refusal:
        model_of("simple")(**wrong)
    assert [detail["loc"] for detail in refusal.value.errors()] == [tuple(wrong)]


@pytest.mark.parametrize(("given", "seconds"), [("1s", 1), ("2500ms", 2.5), ("5m", 300), (30, 30)])
def test_a_timeout_is_a_duration(given: object, seconds: float) -> None:
    """As people write it, or in seconds."""
    assert model_of("simple")(timeout=given).timeout == seconds


@pytest.mark.slow
def test_a_batch_larger_than_the_table_is_refused(simple: Package) -> None:
    """Distinct rows cannot be more than there are; the run says so in one sentence."""
    result = simple.suite.run("simple", "--stormdb-smoke", "-k", "test_read", *params(scale=5))
    result.assert_outcomes(errors=1, deselected=3)
    result.stdout.fnmatch_lines(["*batch_size 10 needs as many rows, but scale is 5*"])


@pytest.mark.slow
def test_a_lost_row_is_noticed_after_the_load(simple: Package) -> None:
    """The invariant fails when somebody deletes behind the workload's back."""
    simple.suite.write(conftest=DELETING)
    result = simple.suite.run("simple", "--stormdb-smoke", "-k", "test_read", *params(scale=300))
    result.assert_outcomes(passed=1, errors=1, deselected=3)
    result.stdout.fnmatch_lines(["*assert 299 == *300*"])

"""The packaged workload ``connection``: what is timed for each kind of connection, and that none is left behind."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.conftest import Suite

from .packages import Package, params

STATEMENTS = {"select", "insert", "update", "delete"}


@pytest.fixture
def connection(suite: Suite) -> Package:
    """A copy of the package."""
    return Package("connection", suite)


@pytest.mark.slow
def test_it_passes_and_times_the_parts_of_each_kind(
    connection: Package, database: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """Connect and close, or wait and return, are operations of their own, once for each statement."""
    runs = connection.load_test(*params(scale=300, pool_size=1), "--stormdb-duration=1s", passed=3)
    parts = {
        "persistent": {"execute"},
        "transient": {"connect", "execute", "close"},
        "pooled": {"wait", "execute", "return"},
    }
    for kind, names in parts.items():
        run = runs[f"TestConnection[{kind}]"]
        operations = run["operations"]
        assert {name for name, operation in operations.items() if operation["is_part"]} == names
        assert {name for name, operation in operations.items() if not operation["is_part"]} <= STATEMENTS
        assert {operations[name]["count"] for name in names} == {run["totals"]["operations"]}
    assert runs["TestConnection[pooled]"]["plan"]["processes"] == 2
    left = database.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ).fetchone()
    assert left == (0,)


@pytest.mark.slow
def test_without_the_pool_s_package_its_test_is_skipped(connection: Package) -> None:
    """The other kinds of connection can still be compared."""
    (connection.folder / "connection.yaml").unlink()  # it says that the package is needed
    (connection.folder / "connection.sha256").unlink()
    connection.suite.write(conftest="import sys\nsys.modules['psycopg_pool'] = None")
    result = connection.suite.run("connection", "--stormdb-smoke", "-rs", *params(scale=300))
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*psycopg_pool*"])

"""The packaged workload tpcb: it passes, its data is reproducible, and its invariants notice what is wrong."""

from __future__ import annotations

from importlib import import_module

import pytest

from pytest_stormdb.embedded.server import EmbeddedServer
from tests.conftest import ROOT, Suite
from tests.examples.tpc import checksums, near, schema, sha256sum_complains

FOLDER = ROOT / "example_workloads" / "tpcb"
TABLES = ("pgbench_accounts", "pgbench_branches", "pgbench_history", "pgbench_tellers")
QUICK = ("--stormdb-workers=3", "--stormdb-duration=1s", "--stormdb-param=scale=1")


@pytest.mark.slow
def test_it_passes_without_a_failed_operation(suite: Suite) -> None:
    """All tests of the sealed folder pass, by our workers and by pgbench, and the mixes have their weights."""
    suite.ini("[pytest]")
    options = ("-c", "pytest.ini", "--stormdb-checksums=require", "--stormdb-json=runs.json", *QUICK)
    suite.run(str(FOLDER), *options).assert_outcomes(passed=7)
    runs = suite.runs()
    assert [run["outcome"] for run in runs] == ["passed"] * 7
    assert [run["totals"]["failures"] for run in runs] == [0] * 7
    names = [set(run["operations"]) for run in runs]
    assert names == [
        {"test_tpcb_like"}, {"test_simple_update"}, {"test_select_only"}, {"select_only", "tpcb_like"},
        {"tpcb-like"}, {"select-only"}, {"select-only", "tpcb-like"},
    ]  # fmt: skip
    assert ["pgbench" in (run["engine"] or "") for run in runs] == [False] * 4 + [True] * 3
    mix = {name: figures["count"] for name, figures in runs[3]["operations"].items()}
    assert near(mix["tpcb_like"] / sum(mix.values()), 0.1, sum(mix.values()))


@pytest.mark.slow
def test_money_that_appears_from_nowhere_is_noticed(suite: Suite) -> None:
    """A transaction that gives a branch one too much succeeds; its health check and its invariants do not hold."""
    module = FOLDER / "test_tpcb.py"
    suite.write(module.read_text().replace("bbalance = bbalance + $1", "bbalance = bbalance + $1 + 1"))
    result = suite.run("-k", "test_tpcb_like", *QUICK)
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines_random(
        [
            "health check tellers_and_branches_agree failed after the run: *",
            "*the four balance sums moved apart: *",
            "*tellers and branches disagree: *",
        ]
    )


def test_two_loads_are_identical(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scale gives the same tables, of pgbench's sizes."""
    monkeypatch.syspath_prepend(FOLDER)
    tpcb = import_module("test_tpcb")
    found = []
    for name in ("tpcb_first", "tpcb_second"):
        with schema(server.dsn, name) as conn:
            tpcb.load(conn, tpcb.Parameters(scale=1))
            counts = conn.execute(
                "SELECT (SELECT count(*) FROM pgbench_accounts), (SELECT count(*) FROM pgbench_tellers),"
                " (SELECT count(*) FROM pgbench_branches), (SELECT count(*) FROM pgbench_history)"
            ).fetchone()
            assert counts == (100_000, 10, 1, 0)
            found.append(checksums(conn, TABLES))
    assert found[0] == found[1]


def test_its_seal_is_whole() -> None:
    """sha256sum finds every sealed file as it was."""
    assert sha256sum_complains(FOLDER) == ""

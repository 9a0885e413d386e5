"""The packaged workload tpcc: it passes, its data is reproducible, and its conditions hold and are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from xml.etree import ElementTree

import psycopg
import pytest
from psycopg import sql

from pytest_stormdb.embedded.server import EmbeddedServer
from tests.conftest import ROOT, Suite
from tests.examples.tpc import Connection, checksums, near, schema, sha256sum_complains, value

FOLDER = ROOT / "example_workloads" / "tpcc"
WEIGHTS = {"new_order": 45, "payment": 43, "order_status": 4, "delivery": 4, "stock_level": 4}
TINY = {"scale": 2, "items": 1000, "customers_per_district": 50}
SMALL = (*(f"--stormdb-param={name}={number}" for name, number in TINY.items()), "--stormdb-checksums=require")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The workload's helper modules, imported as pytest imports them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield {name: import_module(f"tpcc_{name}") for name in ("data", "conditions")}


@pytest.fixture(scope="module")
def loaded(server: EmbeddedServer, modules: dict[str, ModuleType]) -> Iterator[Connection]:
    """A connection to a tiny data set, for tests that leave it as it is."""
    with schema(server.dsn, "tpcc_loaded") as conn:
        modules["data"].load(conn, modules["data"].Parameters(**TINY))
        yield conn


def packaged(suite: Suite) -> tuple[str, ...]:
    """The folder, run without the project's own configuration."""
    suite.ini("[pytest]")
    return "-c", str(suite.path / "pytest.ini"), str(FOLDER)


# -- under load ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_passes_without_a_failed_operation(suite: Suite) -> None:
    """The sealed folder passes, with all five transactions in the shares of the specification."""
    options = ("--stormdb-workers=4", "--stormdb-duration=3s", f"--stormdb-json={suite.path}/runs.json")
    suite.run(*packaged(suite), *SMALL, *options).assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert run["outcome"] == "passed"
    assert run["totals"]["failures"] == 0
    counts = {name: figures["count"] for name, figures in run["operations"].items()}
    total = sum(counts.values())
    assert counts.keys() == WEIGHTS.keys()
    assert all(near(counts[name] / total, weight / 100, total) for name, weight in WEIGHTS.items()), counts
    (aborts,) = run["operations"]["new_order"]["aborts"] or [{"reason": "unused item", "count": 0}]
    assert aborts["reason"] == "unused item"
    tried = counts["new_order"] + aborts["count"]
    assert near(aborts["count"] / tried, 0.01, tried)


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_it_passes_at_every_isolation_level(suite: Suite, isolation: str) -> None:
    """Transactions that cannot be serialised are tried again, and all succeed."""
    config = suite.path / "config.yaml"
    parameters = "\n".join(f"  {name}: {text}" for name, text in {**TINY, "isolation": isolation}.items())
    config.write_text(f"plugin: tpcc\nparameters:\n{parameters}\nworkers: 4\nduration: 2s\nretries: 100\n")
    result = suite.run(*packaged(suite), f"--stormdb-config={config}", f"--stormdb-json={suite.path}/runs.json")
    result.assert_outcomes(passed=1)
    totals = suite.runs()[0]["totals"]
    assert totals["failures"] == 0
    assert totals["retries"] > 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_the_conditions_hold_after_a_worker_was_killed(suite: Suite) -> None:
    """A worker killed in the middle fails the run by its name; the tables stay consistent."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "stormdb", *packaged(suite), *SMALL]
    command += ["--stormdb-workers=4", "--stormdb-duration=4s", "--junitxml=junit.xml"]
    command += [f"--stormdb-json={suite.path}/runs.json"]
    with subprocess.Popen(command, cwd=suite.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        victim = await_workers(process.pid, 4)
        time.sleep(1)
        os.kill(victim, signal.SIGKILL)
        output, _ = process.communicate(timeout=90)
    (run,) = suite.runs()
    assert run["outcome"] == "error", output.decode()
    assert len(run["lost"]) == 1
    assert "SIGKILL" in run["lost"][0]
    assert run["totals"]["operations"] > 0
    assert junit_counts(suite.path / "junit.xml") == (1, 1, 0), output.decode()  # an error would be a violation


def await_workers(parent: int, count: int) -> int:
    """Wait until a pytest process has forked that many workers; the process id of the last."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        children = [int(pid) for pid, ppid in map(str.split, listing.splitlines()) if int(ppid) == parent]
        if len(children) >= count:
            return max(children)
        time.sleep(0.05)
    raise AssertionError("the workers did not start")


def junit_counts(path: Path) -> tuple[int, ...]:
    """Tests, failures and errors."""
    suite = ElementTree.parse(path).getroot().find("testsuite")
    assert suite is not None
    return tuple(int(suite.attrib[name]) for name in ("tests", "failures", "errors"))


# -- the data ------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_identical_data(
    server: EmbeddedServer, loaded: Connection, modules: dict[str, ModuleType]
) -> None:
    """Two loads agree in every table; another seed gives other rows."""
    data = modules["data"]
    first = checksums(loaded, data.GENERATORS)
    with schema(server.dsn, "tpcc_again") as conn:
        data.load(conn, data.Parameters(**TINY))
        assert checksums(conn, data.GENERATORS) == first
    with schema(server.dsn, "tpcc_other") as conn:
        data.load(conn, data.Parameters(**TINY, seed=1))
        other = checksums(conn, data.GENERATORS)
    assert {table for table in first if first[table] == other[table]} == {"new_order"}  # its keys, nothing drawn


def test_the_initial_data_has_the_sizes_of_the_specification(
    loaded: Connection, modules: dict[str, ModuleType]
) -> None:
    """Per district 50 customers instead of 3,000, of whose orders 15 instead of 900 are new."""
    counts = {
        table: value(loaded, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        for table in modules["data"].GENERATORS
    }
    assert 20 * 50 * 5 < counts.pop("order_line") < 20 * 50 * 15
    assert counts == {
        "warehouse": 2,
        "district": 20,
        "item": 1000,
        "stock": 2000,
        "customer": 1000,
        "history": 1000,
        "orders": 1000,
        "new_order": 300,
    }


def test_the_constants_of_load_and_run_differ_as_specified(modules: dict[str, ModuleType]) -> None:
    """For last names they are 65 to 119 apart, but neither 96 nor 112."""
    drawn = [modules["data"].Constants.drawn(Random(seed)) for seed in range(300)]
    deltas = {abs(constants.last_name_run - constants.last_name_load) for constants in drawn}
    assert deltas <= set(range(65, 120)) - {96, 112}
    assert len(deltas) > 30


def test_uneven_draws_stay_in_their_range_and_are_uneven(modules: dict[str, ModuleType]) -> None:
    """NURand(1023, 1, 3000) hits every tenth of its range, and some customers far more often than others."""
    rng = Random(1)
    drawn = [modules["data"].uneven(rng, 1023, 1, 3000, 259) for _ in range(60_000)]
    assert (min(drawn), max(drawn)) >= (1, 2000)
    assert max(drawn) <= 3000
    assert Counter(drawn).most_common(1)[0][1] > 4 * 60_000 / 3000


def test_last_names_are_made_of_syllables(loaded: Connection, modules: dict[str, ModuleType]) -> None:
    """Number 371 is PRICALLYOUGHT, as in the specification's example."""
    assert modules["data"].LAST_NAMES[371] == "PRICALLYOUGHT"
    assert value(loaded, sql.SQL("SELECT max(c_last) FROM customer WHERE c_id = 1")) == "BARBARBAR"


# -- the conditions ------------------------------------------------------------------------------------------------

DAMAGE = {
    1: "UPDATE district SET d_ytd = d_ytd + 1 WHERE d_w_id = 1 AND d_id = 1",
    2: "UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = 1 AND d_id = 1",
    3: "DELETE FROM new_order WHERE no_w_id = 1 AND no_d_id = 1 AND no_o_id = 40",
    4: "DELETE FROM order_line WHERE ol_w_id = 1 AND ol_d_id = 1 AND ol_o_id = 40",
    5: "UPDATE orders SET o_carrier_id = 1 WHERE o_w_id = 1 AND o_d_id = 1 AND o_id = 40",
    6: "UPDATE orders SET o_ol_cnt = o_ol_cnt + 1 WHERE o_w_id = 1 AND o_d_id = 1 AND o_id = 40",
    7: "UPDATE order_line SET ol_delivery_d = localtimestamp WHERE ol_w_id = 1 AND ol_d_id = 1 AND ol_o_id = 40",
    8: "UPDATE warehouse SET w_ytd = w_ytd + 1 WHERE w_id = 1",
    9: "UPDATE history SET h_d_id = 2 WHERE h_w_id = 1 AND h_d_id = 1 AND h_c_id = 1",
    10: "UPDATE customer SET c_balance = c_balance + 1 WHERE c_w_id = 1 AND c_d_id = 1 AND c_id = 1",
    12: "UPDATE customer SET c_ytd_payment = c_ytd_payment + 1 WHERE c_w_id = 1 AND c_d_id = 1 AND c_id = 1",
}


def test_the_initial_data_is_consistent(loaded: Connection, modules: dict[str, ModuleType]) -> None:
    """All conditions hold after the load, number 11 included: 35 orders of each district are delivered."""
    assert modules["conditions"].violations(loaded) == []
    assert value(loaded, sql.SQL("SELECT (SELECT count(*) FROM orders) - (SELECT count(*) FROM new_order)")) == 20 * 35


@pytest.mark.parametrize("number", DAMAGE)
def test_each_condition_notices_its_violation(loaded: Connection, modules: dict[str, ModuleType], number: int) -> None:
    """One wrong row is found, and told by the number of the condition."""
    conditions = modules["conditions"]
    with loaded.transaction():
        assert loaded.execute(DAMAGE[number].encode()).rowcount > 0
        told = [conditions.violation(loaded, condition) for condition in conditions.CONDITIONS]
        raise psycopg.Rollback
    assert any(text and text.startswith(f"TPC-C consistency condition {number} is violated: ") for text in told)


def test_its_seal_is_whole() -> None:
    """sha256sum finds every sealed file as it was."""
    assert sha256sum_complains(FOLDER) == ""

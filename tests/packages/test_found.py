"""Packaged workloads are found by --stormdb-path and in the test paths, run once, and err where something is unmet."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from .conftest import Suite

PASSES = "def test_it():\n    pass\n"


def passing(suite: Suite, path: str) -> None:
    suite.sealed(path, module=suite.canary(path.rpartition("/")[2]) + PASSES)


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_path_is_searched_recursively(suite: Suite, mode: str) -> None:
    """--stormdb-path finds workloads at any depth, beside what the test paths hold; folders may be given again."""
    suite.write("pytest.ini", "[pytest]\ntestpaths = tests\n")
    suite.write("tests/test_own.py", suite.canary("own") + PASSES)
    passing(suite, "shared/shop")
    passing(suite, "shared/by/kind/bakery")
    passing(suite, "more/market")
    suite.write("shared/test_stray.py", suite.canary("stray") + PASSES)
    ran = suite.run(f"--import-mode={mode}", "--stormdb-path=shared", "--stormdb-path=more")
    assert ran.counts == {"passed": 4}
    assert sorted(ran.canaries) == ["bakery", "market", "own", "shop"]
    assert "stormdb workloads: bakery 1.0.0 verified, market 1.0.0 verified, shop 1.0.0 verified" in ran.text


def test_path_outside_of_the_suite(suite: Suite) -> None:
    """The folder may lie elsewhere, and be given relative to where pytest starts."""
    passing(suite, "elsewhere/shop")
    suite.write("mine/pytest.ini", "[pytest]\n")
    suite.write("mine/test_own.py", suite.canary("own") + PASSES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(suite.folder / "mine")
        ran = suite.run("--stormdb-path=../elsewhere")
    assert ran.counts == {"passed": 2}
    assert ran.canaries == ["own", "shop"]
    assert "stormdb workloads: shop 1.0.0 verified" in ran.text


def test_path_of_the_ini_file(suite: Suite) -> None:
    """The ini file's folders count from the ini file."""
    suite.write("pytest.ini", "[pytest]\ntestpaths = tests\nstormdb_path =\n    shared\n    more\n")
    suite.write("tests/test_own.py", PASSES)
    passing(suite, "shared/shop")
    passing(suite, "more/bakery")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(suite.folder / "tests")
        assert suite.run().counts == {"passed": 3}


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
@pytest.mark.parametrize(
    "arguments",
    [[], ["shared"], ["shared/shop"], ["."], ["shared/../shared/shop"], ["shared/shop/test_shop.py"]],
    ids=["none", "above", "itself", "all", "dots", "its file"],
)
def test_named_twice_runs_once(suite: Suite, mode: str, arguments: list[str]) -> None:
    """A workload in the test paths as well as in --stormdb-path runs once."""
    passing(suite, "shared/shop")
    ran = suite.run(f"--import-mode={mode}", "--stormdb-path=./shared/", *arguments)
    assert ran.counts == {"passed": 1}
    assert ran.canaries == ["shop"]
    assert ran.text.count("shop 1.0.0 verified") == 1


def test_through_a_link(suite: Suite) -> None:
    """A workload whose folder is reached by a link is the same one, not a second of its name."""
    passing(suite, "shared/shop")
    (suite.folder / "linked").symlink_to(suite.folder / "shared")
    ran = suite.run("--stormdb-path=linked", "linked/shop")
    assert ran.counts == {"passed": 1}
    assert "verified" in ran.text


def test_path_that_is_none(suite: Suite) -> None:
    """A folder that does not exist is a usage error that names it."""
    ran = suite.run("--stormdb-path=missing")
    assert ran.status == 4
    assert f"ERROR: --stormdb-path: {suite.folder / 'missing'}: not a folder" in ran.text


def test_two_of_one_name_on_the_path(suite: Suite) -> None:
    """Two workloads of one name are a usage error that names both folders, - and _ being the same."""
    passing(suite, "one/my-shop")
    passing(suite, "two/my_shop")
    ran = suite.run("--stormdb-path=one", "--stormdb-path=two")
    assert (ran.status, ran.canaries) == (4, [])
    assert "two workloads are called my" in ran.text
    assert str(suite.folder / "one/my-shop") in ran.text
    assert str(suite.folder / "two/my_shop") in ran.text


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_two_of_one_name_in_the_test_paths(suite: Suite, mode: str) -> None:
    """In the test paths the second of a name is an error that names both; nothing of it is imported."""
    suite.sealed("one/shop", module=suite.canary("first") + PASSES)
    suite.sealed("two/shop", {"conftest.py": suite.canary("conftest")}, module=suite.canary("second") + PASSES)
    ran = suite.run(f"--import-mode={mode}")
    assert (ran.status, ran.counts, ran.canaries) == (1, {"passed": 1, "errors": 1}, ["first"])
    first, second = suite.folder / "one/shop", suite.folder / "two/shop"
    assert f"two workloads are called shop: {first} and {second}; rename one" in ran.text


def test_other_errors_still_stop(suite: Suite) -> None:
    """Beside a refused workload, a module that cannot be imported stops the session as it always does."""
    passing(suite, "shop")
    (suite.folder / "shop/README.md").write_text("added")
    suite.write("test_broken.py", "import no_such_module\n")
    suite.write("test_fine.py", PASSES)
    ran = suite.run()
    assert (ran.status, ran.counts) == (2, {"errors": 2})


def test_a_refused_workload_that_is_ignored(suite: Suite) -> None:
    """A refused workload that is not collected neither fails the session nor hides another's error."""
    passing(suite, "shop")
    (suite.folder / "shop/README.md").write_text("added")
    suite.write("test_fine.py", PASSES)
    assert suite.run("--ignore=shop").counts == {"passed": 1}
    suite.write("test_broken.py", "import no_such_module\n")
    ran = suite.run("--ignore=shop")
    assert (ran.status, ran.counts) == (2, {"errors": 1})


@pytest.mark.slow
def test_under_xdist(suite: Suite) -> None:
    """Every process of pytest-xdist verifies for itself: the error is there once, the others ran."""
    passing(suite, "shop")
    passing(suite, "bakery")
    (suite.folder / "shop/README.md").write_text("added")
    ran = suite.run("-p", "xdist", "-n2")
    assert ran.canaries.count("shop") == 0
    assert "bakery" in ran.canaries
    assert ran.status == 1
    assert ran.counts["passed"] == 1
    assert ran.counts["errors"] == 1
    assert "workload shop: added: README.md" in ran.text


def test_collected_only(suite: Suite) -> None:
    """--collect-only shows the refused workload as an error, and its neighbours."""
    passing(suite, "shop")
    passing(suite, "bakery")
    (suite.folder / "shop/README.md").write_text("added")
    ran = suite.run("--collect-only", "-q")
    assert (ran.status, ran.canaries) == (1, ["bakery"])
    assert "bakery/test_bakery.py::test_it" in ran.text
    assert "workload shop: added: README.md" in ran.text


# -- dependencies ----------------------------------------------------------------------------------------------------

UNMET = {
    "no distribution": ("no-such-thing: '>=1'", "needs no-such-thing >=1, but no-such-thing is not installed"),
    "as PEP 508": ("'no-such-thing>=1'", "needs no-such-thing >=1, but no-such-thing is not installed"),
    "an old one": ("pytest: '>=1000'", f"needs pytest >=1000, but pytest {pytest.__version__} is installed"),
    "this package": ("stormdb-core: '>=1000'", "needs stormdb-core >=1000, but pytest-stormdb "),
    "the driver": (
        "postgresql-driver: '>=1000'",
        f"needs postgresql-driver >=1000, but psycopg {psycopg.__version__} is installed",
    ),
}


@pytest.mark.parametrize(("dependency", "sentence"), UNMET.values(), ids=UNMET)
def test_unmet_before_import(suite: Suite, dependency: str, sentence: str) -> None:
    """What Python lacks is the workload's one error, with needed and found; nothing of it was imported."""
    metadata = f"dependencies:\n  - {dependency}\n"
    module = suite.canary("module") + PASSES
    suite.sealed("test_shop", {"conftest.py": suite.canary("conftest")}, metadata=metadata, module=module)
    passing(suite, "bakery")
    ran = suite.run()
    assert (ran.status, ran.counts, ran.canaries) == (1, {"passed": 1, "errors": 1}, ["bakery"])
    assert f"workload test_shop: {sentence}" in ran.text


SERVER = {
    "version": ("postgresql: '>=1000'", "needs postgresql >=1000, but the server is PostgreSQL "),
    "extension": ("'extension:no_such': ''", "needs extension:no_such, but the server has no extension no_such"),
    "version of an extension": ("'extension:plpgsql': '>=1000'", "needs extension:plpgsql >=1000, but the server has "),
}
LOADED = """
import pytest

@pytest.fixture(scope="module")
def table(stormdb_connection):
    stormdb_connection.execute("CREATE TABLE public.made ()")

@pytest.mark.stormdb(iterations=1)
def test_one(worker, table):
    worker.conn.execute("SELECT 1")

def test_two(stormdb_connection):
    pass
"""


@pytest.mark.parametrize(("dependency", "sentence"), SERVER.values(), ids=SERVER)
def test_unmet_on_the_server(suite: Suite, database: psycopg.Connection[Any], dependency: str, sentence: str) -> None:
    """What the server lacks is the set-up error of every test of the workload, before anything is made on it."""
    suite.sealed("shop", metadata=f"dependencies:\n  - {dependency}\n", module=LOADED)
    ran = suite.run()
    assert (ran.status, ran.counts) == (1, {"errors": 2})
    assert f"workload shop: {sentence}" in ran.text
    assert database.execute("SELECT to_regclass('public.made') IS NULL").fetchone() == (True,)
    assert database.execute("SELECT count(*) FROM pg_namespace WHERE nspname ~ '^stormdb'").fetchone() == (0,)


def test_all_met(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A workload whose needs are all met runs."""
    lines = ["stormdb-core: '>=0.1'", "postgresql-driver: '>=3'", "postgresql: '>=12'", "'extension:plpgsql': '>=1'"]
    metadata = "dependencies:\n" + "".join(f"  - {line}\n" for line in [*lines, "'pytest>=8'"])
    suite.sealed("shop", metadata=metadata, module=LOADED)
    assert suite.run().counts == {"passed": 2}

"""A suite without load tests, in an environment with the plugin: what is loaded, and when the rest comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.packages import importer
from pytest_stormdb.packages.discovery import recognise
from pytest_stormdb.plugin import lookout
from pytest_stormdb.plugin.lookout import may_hold_workload
from pytest_stormdb.plugin.rewriting import PYTEST_DOOR

from ..conftest import Suite

PLAIN = """
    def test_plain():
        pass
"""
LISTED = """
    import sys

    def pytest_unconfigure(config):
        ours = sorted(name for name in sys.modules if name.startswith("pytest_stormdb."))
        plugins = sorted(name for name, _ in config.pluginmanager.list_name_plugin() if name.startswith("stormdb"))
        loader = type(sys.modules["pytest_stormdb.plugin.options"].__loader__).__name__
        print("modules", *ours, sep="\\n", file=sys.stderr)
        print("plugins:", *plugins, "loader:", loader, file=sys.stderr)
"""
ALWAYS = """
    load load.option load.options packages packages.names
    plugin plugin.early plugin.fixtures plugin.hooks plugin.lookout plugin.marks plugin.options plugin.secrecy
"""


def modules(result: pytest.RunResult) -> list[str]:
    """The modules of ours that a session had loaded at its end."""
    lines = result.stderr.lines
    return [name.removeprefix("pytest_stormdb.") for name in lines if name.startswith("pytest_stormdb.")]


@pytest.mark.parametrize("options", [(), ("--collect-only",)])
def test_next_to_nothing_is_loaded(suite: Suite, options: tuple[str, ...]) -> None:
    """A dozen of two hundred modules are loaded, and no hook of ours is around the tests; a YAML file is no reason."""
    suite.env.delenv("STORMDB_DSN")
    suite.write(PLAIN, conftest=LISTED)
    (suite.path / "compose.yaml").write_text("name: other\n")
    result = suite.run(*options)
    assert result.ret == pytest.ExitCode.OK
    assert set(modules(result)) <= set(ALWAYS.split())
    assert "plugins: stormdb stormdb secrecy loader:" in str(result.stderr)


def test_what_a_module_holds_is_not_asked(suite: Suite) -> None:
    """A proxy in a test module that raises at whatever it is asked for keeps nobody from being collected."""
    suite.write(
        PLAIN
        + """
    class Proxy:
        def __getattribute__(self, name):
            if name != "__class__":
                raise RuntimeError(f"no application, so no {name}")
            return object.__getattribute__(self, name)

    test_proxy = proxy = Proxy()
    """
    )
    suite.run("-W", "ignore", "-k", "plain").assert_outcomes(passed=1)


def test_our_modules_are_imported_as_they_are(suite: Suite) -> None:
    """pytest rewrites the assertions of every plugin that it loads by itself, but not of ours, which have none."""
    suite.env.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    suite.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    suite.write(PLAIN, conftest=LISTED)
    result = suite.run(plugins=())
    result.assert_outcomes(passed=1)
    assert "loader: SourceFileLoader" in str(result.stderr)


def test_the_rest_comes_with_the_first_use(suite: Suite) -> None:
    """A plain test that asks for a connection in its middle gets one, and the session ends as one with load tests."""
    suite.write(
        """
        def test_plain(request):
            connection = request.getfixturevalue("stormdb_connection")
            assert connection.execute("SELECT current_database()").fetchone() == ("stormdb_it",)
        """,
        conftest=LISTED,
    )
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert "plugins: stormdb stormdb running stormdb secrecy loader:" in str(result.stderr)


def test_the_look_stands_in_the_doors_of_the_guard() -> None:
    """What is looked at until there is a workload are the very functions that are guarded from then on."""
    looked_at = {(owner, name) for owner, name, _ in lookout._DOORS}
    assert looked_at == {(owner, name) for owner, name, _ in (*importer._DOORS, PYTEST_DOOR)}


FILES = st.sampled_from(
    ["shop.yaml", "Shop.yaml", "test_shop.py", "shop.sha256", "shop.sha256.asc", "a-b.yaml", "test_a_b.py", "x.txt"]
)
LISTING = f"{'0' * 64}  shop.yaml\n{'0' * 64}  test_shop.py\n"


@given(files=st.sets(FILES), text=st.sampled_from(["name: shop\n", "name: a-b\n", LISTING, ""]))
def test_the_look_misses_no_workload(tmp_path_factory: pytest.TempPathFactory, files: set[str], text: str) -> None:
    """Wherever a packaged workload is recognised, or two are, the look at the folder's names says that one may be."""
    folder = tmp_path_factory.mktemp("look")
    for file in files:
        (folder / file).write_text(text)
    try:
        is_one = recognise(folder) is not None
    except WorkloadError:
        is_one = True
    assert may_hold_workload(str(folder)) or not is_one


def test_a_session_within_a_session(suite: Suite) -> None:
    """A session that runs another in its process, and both meet a packaged workload there, imports as before then."""
    suite.write(
        """
        import importlib
        import pytest

        def test_inner(tmp_path, monkeypatch):
            shop = tmp_path / "shop"
            shop.mkdir()
            (shop / "shop.yaml").write_text("name: shop\\nversion: 1.0.0\\n")
            (shop / "test_shop.py").write_text("def test_it(): pass\\n")
            (shop / "late.py").write_text("VALUE = 1\\n")
            assert pytest.main(["-q", "-p", "stormdb", "-p", "no:cacheprovider", str(shop)]) == 0
            monkeypatch.syspath_prepend(shop)
            assert importlib.import_module("late").VALUE == 1
        """
    )
    suite.run().assert_outcomes(passed=1)


def test_the_look_follows_links(suite: Suite) -> None:
    """A plain folder's link to a module of a refused workload is refused, though nothing near is a workload."""
    shop = Path(suite.path / "elsewhere" / "deep" / "shop")
    shop.mkdir(parents=True)
    (shop / "shop.yaml").write_text("name: shop\nversion: 1.0.0\n")
    (shop / "test_shop.py").write_text("raise SystemExit('executed')\n")
    (shop / "shop.sha256").write_text(LISTING)
    tests = suite.path / "tests"
    tests.mkdir()
    (tests / "test_linked.py").symlink_to(shop / "test_shop.py")
    result = suite.run("tests")
    assert "executed" not in str(result.stdout) + str(result.stderr)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["workload shop: *"])

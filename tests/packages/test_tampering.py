"""A workload that is not as it was sealed does not run, whatever was changed, wherever it lies; its neighbours do."""

from __future__ import annotations

import marshal
import os
import py_compile
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_stormdb.cli import main
from pytest_stormdb.packages.checksums import seal

from .conftest import Ran, Suite

pytestmark = pytest.mark.skipif(os.name == "nt", reason="symbolic links and paths are POSIX")

IMPORTS = {
    "plain": "import helper",
    "package": "from . import helper",
    "by-path": """\
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("shop_helper", pathlib.Path(__file__).with_name("helper.py"))
helper = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helper)""",
}
CACHE_TAG = str(sys.implementation.cache_tag)
EVERYTHING = ["conftest", "helper", "module"]


@dataclass(frozen=True)
class World:
    """An import mode of pytest, and a way to lay out a workload's modules that works in it."""

    mode: str
    layout: str

    def files(self, suite: Suite, name: str = "shop") -> dict[str, str]:
        """A workload of every kind of file, each leaving its name when it runs."""
        fixture = "import pytest\n@pytest.fixture\ndef rate():\n    return 1\n"
        test = f"{IMPORTS[self.layout]}\ndef test_{name}(rate):\n    assert helper.RATE == rate\n"
        files = {
            f"test_{name}.py": suite.canary("module") + test,
            "helper.py": suite.canary("helper") + "RATE = 1\n",
            "conftest.py": suite.canary("conftest") + fixture,
            "rows.sql": "SELECT 1;\n",
            "queries/top.sql": "SELECT 2;\n",
        }
        return files | ({"__init__.py": suite.canary("init")} if self.layout == "package" else {})

    def loaded(self) -> list[str]:
        """The canaries of a whole run of `files`, in alphabetical order."""
        return sorted([*EVERYTHING, "init"] if self.layout == "package" else EVERYTHING)

    def run(self, suite: Suite, *arguments: str) -> Ran:
        return suite.run(f"--import-mode={self.mode}", *arguments)


WORLDS = [
    World("prepend", "plain"),
    World("prepend", "package"),
    World("importlib", "package"),
    World("importlib", "by-path"),
    World("append", "package"),  # an install in development puts the conftest of this project before plain ones
]
worlds = pytest.mark.parametrize(
    "world",
    [
        pytest.param(WORLDS[0], id="prepend-plain"),
        pytest.param(WORLDS[1], id="prepend-package", marks=pytest.mark.slow),
        pytest.param(WORLDS[2], id="importlib-package"),
        pytest.param(WORLDS[3], id="importlib-by-path", marks=pytest.mark.slow),
        pytest.param(WORLDS[4], id="append-package", marks=pytest.mark.slow),
    ],
)


def neighbours(suite: Suite, folder: str = "workloads") -> None:
    """A plain test, and an intact workload."""
    suite.write(f"{folder}/test_neighbour.py", "def test_neighbour():\n    pass\n")
    suite.sealed(f"{folder}/bakery", module="def test_bakery():\n    pass\n")


def assert_refused(ran: Ran, *sentences: str, neighbours: int = 2, name: str = "shop") -> None:
    """One collection error with these sentences, nothing of the workload run, and its neighbours passed."""
    assert ran.counts == ({"passed": neighbours} if neighbours else {}) | {"errors": 1}
    assert ran.status == 1
    assert ran.canaries == []
    for sentence in sentences:
        assert f"workload {name}: {sentence}" in ran.text
    assert "INTERNAL" not in ran.text


@worlds
def test_an_intact_workload_runs(suite: Suite, world: World) -> None:
    """As it was sealed, every module of a workload is imported once, and its test passes."""
    suite.sealed("workloads/shop", world.files(suite))
    neighbours(suite)
    ran = world.run(suite)
    assert ran.counts == {"passed": 3}
    assert sorted(ran.canaries) == world.loaded()
    assert "stormdb workloads: bakery 1.0.0 verified, shop 1.0.0 verified" in ran.text


def change(file: str) -> Callable[[Suite, Path], None]:
    def append(suite: Suite, folder: Path) -> None:
        with (folder / file).open("a") as opened:
            opened.write("\n")

    return append


def add(file: str) -> Callable[[Suite, Path], None]:
    def write(suite: Suite, folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("1\n")

    return write


def remove(file: str) -> Callable[[Suite, Path], None]:
    return lambda suite, folder: (folder / file).unlink()


def change_checksum(suite: Suite, folder: Path) -> None:
    listing = folder / "shop.sha256"
    lines = listing.read_text().splitlines(keepends=True)
    listing.write_text("".join("01234567" + line[8:] if "rows.sql" in line else line for line in lines))


def point_outside(suite: Suite, folder: Path) -> None:
    elsewhere = suite.write("elsewhere.sql", (folder / "rows.sql").read_text())
    (folder / "rows.sql").unlink()
    (folder / "rows.sql").symlink_to(elsewhere)


def link_folder_outside(suite: Suite, folder: Path) -> None:
    shutil.move(folder / "queries", suite.folder / "queries")
    (folder / "queries").symlink_to(suite.folder / "queries")


def plant_sourceless(suite: Suite, folder: Path) -> None:
    source = suite.write("evil.py", suite.canary("planted"))
    py_compile.compile(str(source), str(folder / "helper.pyc"), doraise=True)


def climb(suite: Suite, folder: Path) -> None:
    with (folder / "shop.sha256").open("a") as opened:
        opened.write(f"{'0' * 64}  ../elsewhere.sql\n")


def plant_ini(suite: Suite, folder: Path) -> None:
    (folder / "pytest.ini").write_text("[pytest]\n")


def rename_away(suite: Suite, folder: Path) -> None:
    """What is left tells by no name that it is a workload."""
    (folder / "shop.yaml").unlink()
    (folder / "test_shop.py").rename(folder / "test_other.py")


def leave_the_signature(suite: Suite, folder: Path) -> None:
    (folder / "shop.sha256").rename(folder / "shop.sha256.asc")
    rename_away(suite, folder)


def rename_the_checksums(suite: Suite, folder: Path) -> None:
    (folder / "shop.sha256").rename(folder / "notes.sha256")
    rename_away(suite, folder)


TAMPERINGS = {
    "main module": (change("test_shop.py"), "changed: test_shop.py"),
    "helper": (change("helper.py"), "changed: helper.py"),
    "conftest": (change("conftest.py"), "changed: conftest.py"),
    "metadata": (change("shop.yaml"), "changed: shop.yaml"),
    "data file": (change("rows.sql"), "changed: rows.sql"),
    "data file below": (change("queries/top.sql"), "changed: queries/top.sql"),
    "added file": (add("more.txt"), "added: more.txt"),
    "added conftest": (add("queries/conftest.py"), "added: queries/conftest.py"),
    "added test module": (add("test_more.py"), "added: test_more.py"),
    "removed file": (remove("rows.sql"), "missing: rows.sql"),
    "removed main module": (remove("test_shop.py"), "missing: test_shop.py"),
    "removed metadata": (remove("shop.yaml"), "missing: shop.yaml"),
    "checksum file": (change_checksum, "changed: rows.sql"),
    "path with ..": (climb, "path: ../elsewhere.sql (line "),
    "symlink out": (point_outside, "symlink: rows.sql (leads out of the folder)"),
    "symlink to a folder": (link_folder_outside, "symlink: queries (a link to a folder; "),
    "added in a hidden folder": (add(".hidden/more.sql"), "added: .hidden/more.sql"),
    "added in a cache": (add(".pytest_cache/more.sql"), "added: .pytest_cache/ (pytest's cache; remove the folder)"),
    "added in version control": (add(".git/more.sql"), "added: .git/ (version control, which changes by itself; "),
    "added beside bytecode": (add("__pycache__/more.sql"), "added: __pycache__/more.sql (not bytecode, "),
    "added in a folder called as the signature": (
        add("shop.sha256.asc/more.sql"),
        "added: shop.sha256.asc/more.sql",
    ),
    "added by an editor": (add("rows.sql~"), "added: rows.sql~ (an editor's backup; remove it)"),
    "added ini file": (plant_ini, "added: pytest.ini"),
    "renamed away": (rename_away, "missing: shop.yaml"),
    "only the signature left": (leave_the_signature, "missing: shop.sha256 (its signature is there)"),
    "checksum file renamed": (rename_the_checksums, "missing: shop.sha256 (its checksums are in notes.sha256)"),
    "sourceless helper.pyc": (plant_sourceless, "added: helper.pyc"),
}


@worlds
@pytest.mark.parametrize(("tamper", "sentence"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampered(
    suite: Suite,
    world: World,
    tamper: Callable[[Suite, Path], None],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each way to change a sealed workload is one collection error that names the file; `verify` says the same."""
    folder = suite.sealed("workloads/shop", world.files(suite))
    neighbours(suite)
    tamper(suite, folder)
    ran = world.run(suite)
    assert_refused(ran, sentence)
    assert "shop refused" in ran.text
    capsys.readouterr()
    assert main(["verify", str(folder)]) == 1
    headline, *problems = capsys.readouterr().out.splitlines()
    assert headline == "shop: mismatch"
    assert {f"workload shop: {problem.strip()}" for problem in problems} == told_by(ran)


def told_by(ran: Ran) -> set[str]:
    """The lines of the collection error."""
    lines = (line.removeprefix("E").strip() for line in ran.text.splitlines())
    return {line for line in lines if line.startswith("workload shop: ")}


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_tampered_package_file(suite: Suite, mode: str) -> None:
    """The `__init__.py` of a workload that is a package does not run either."""
    folder = suite.sealed("workloads/shop", World(mode, "package").files(suite))
    neighbours(suite)
    change("__init__.py")(suite, folder)
    assert_refused(World(mode, "package").run(suite), "changed: __init__.py")


def test_all_that_is_wrong_is_named(suite: Suite) -> None:
    """Several changes are still one error, with a line for each file."""
    folder = suite.sealed("workloads/shop", WORLDS[0].files(suite))
    neighbours(suite)
    for tamper in (change("helper.py"), add("more.txt"), remove("rows.sql")):
        tamper(suite, folder)
    assert_refused(WORLDS[0].run(suite), "changed: helper.py", "added: more.txt", "missing: rows.sql")


ARGUMENTS = {
    "nothing": ("workloads/shop", []),
    "the folder above": ("workloads/shop", ["workloads"]),
    "far above": ("workloads/far/down/shop", ["workloads"]),
    "the workload and its neighbours": ("shop", ["shop", "workloads"]),
    "with dots and slashes": ("workloads/shop", ["workloads/../workloads/./shop/", "workloads"]),
    "called test_something": ("test_shop", []),
    "called test_something, below the argument": ("workloads/test_shop", ["workloads"]),
    "its file": ("workloads/shop", ["workloads/shop/test_shop.py", "workloads/test_neighbour.py", "workloads/bakery"]),
    "its test": ("workloads/shop", ["workloads/shop/test_shop.py::test_shop", "workloads"]),
    "a folder in it": ("workloads/shop", ["workloads/shop/queries", "workloads"]),
    "a pattern of test paths": ("workloads/test_shop", ["-o", "testpaths=work*", "--rootdir=."]),
    "no such file": ("test_shop", ["-o", "testpaths=missing*"]),
}


@worlds
@pytest.mark.parametrize(("path", "arguments"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_wherever_it_lies(suite: Suite, world: World, path: str, arguments: list[str]) -> None:
    """However pytest comes to a changed workload, it refuses it before it imports even its conftest."""
    name = Path(path).name
    files = world.files(suite, name)
    folder = suite.sealed(path, files)
    neighbours(suite)
    change("conftest.py")(suite, folder)
    if "testpaths=missing*" in arguments:
        suite.write("pytest.ini", "[pytest]\nfilterwarnings = ignore:No files were found in testpaths\n")
        arguments = [*arguments, "-W", "ignore::pytest.PytestConfigWarning"]
    assert_refused(world.run(suite, *arguments), "changed: conftest.py", name=name)


@worlds
def test_alone(suite: Suite, world: World) -> None:
    """A changed workload that is the only argument is one error and no test."""
    folder = suite.sealed("shop", world.files(suite))
    change("helper.py")(suite, folder)
    for argument in ("shop", "shop/test_shop.py", "shop/test_shop.py::test_shop"):
        assert_refused(world.run(suite, argument), "changed: helper.py", neighbours=0)


def test_from_inside(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest started in the folder of a changed workload refuses it too."""
    folder = suite.sealed("shop", WORLDS[0].files(suite))
    change("conftest.py")(suite, folder)
    monkeypatch.chdir(folder)
    ran = suite.run()
    assert (ran.status, ran.canaries) == (1, [])
    assert "workload shop: changed: conftest.py" in ran.text


# -- bytecode --------------------------------------------------------------------------------------------------------


def forge(suite: Suite, source: Path, tag: str) -> Path:
    """Bytecode that says it is of this source, with the header that an import takes for valid, and is not."""
    cache = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
    assert cache.exists(), f"{cache.name} among {sorted(path.name for path in cache.parent.iterdir())}"
    code = compile(suite.canary("planted"), str(source), "exec")
    cache.write_bytes(cache.read_bytes()[:16] + marshal.dumps(code))
    return cache


def warm(suite: Suite, world: World, folder: Path) -> None:
    """Let Python and pytest write all their bytecode, headers included, by a run that nothing guards."""
    away = (folder / "shop.sha256").rename(suite.folder / "away")
    assert world.run(suite).status == 0
    away.rename(folder / "shop.sha256")
    (suite.folder / "canary.txt").unlink()


@worlds
def test_planted_bytecode_does_not_run(suite: Suite, world: World) -> None:
    """Forged files in `__pycache__`, pytest's own and ordinary ones, are passed over: the sealed source runs."""
    folder = suite.sealed("workloads/shop", world.files(suite))
    warm(suite, world, folder)
    plain = CACHE_TAG
    rewritten = f"{plain}-pytest-{pytest.__version__}"
    forge(suite, folder / "test_shop.py", rewritten)
    forge(suite, folder / "conftest.py", rewritten)
    forge(suite, folder / "helper.py", plain)
    if world.layout == "package":
        forge(suite, folder / "__init__.py", plain)
    ran = world.run(suite)
    assert ran.counts == {"passed": 1}
    assert sorted(ran.canaries) == world.loaded()


def test_planted_bytecode_does_not_run_late(suite: Suite) -> None:
    """Neither does it when the test itself, or a fixture of it, is what loads the module."""
    late = IMPORTS["by-path"].replace("\n", "\n    ")
    module = f"def test_shop():\n    {late}\n    assert helper.RATE == 1\n"
    folder = suite.sealed("shop", {"helper.py": suite.canary("helper") + "RATE = 1\n"}, module=module)
    warm(suite, WORLDS[0], folder)
    forge(suite, folder / "helper.py", CACHE_TAG)
    ran = suite.run()
    assert (ran.counts, ran.canaries) == ({"passed": 1}, ["helper"])


@worlds
def test_the_forgery_would_run(suite: Suite, world: World) -> None:
    """The planted bytecode of these tests is good: without a seal, Python does run it."""
    folder = suite.workload("workloads/shop", world.files(suite))
    assert world.run(suite).status == 0
    (suite.folder / "canary.txt").unlink()
    forge(suite, folder / "helper.py", CACHE_TAG)
    ran = world.run(suite)
    assert "planted" in ran.canaries


# -- changed between verification and import -------------------------------------------------------------------------


def saboteur(suite: Suite, target: Path, content: str) -> str:
    """Code that changes a file, when it is imported."""
    return f"import pathlib\npathlib.Path({str(target)!r}).write_text({content!r})\n"


@worlds
@pytest.mark.parametrize("file", ["test_shop.py", "helper.py", "conftest.py", "__init__.py"])
def test_changed_by_a_neighbour(suite: Suite, world: World, file: str) -> None:
    """A file that is changed after it was verified is not executed, and the error names it."""
    if file == "__init__.py" and world.layout != "package":
        pytest.skip("this layout has none")
    folder = suite.sealed("workloads/shop", world.files(suite))
    evil = suite.canary("evil")
    suite.write("workloads/a_first/test_early.py", saboteur(suite, folder / file, evil) + "def test_early(): pass\n")
    suite.write("workloads/test_late.py", "def test_late(): pass\n")
    ran = world.run(suite)
    assert "evil" not in ran.canaries
    assert f"{file} changed after its checksum was verified" in ran.text
    assert ran.counts == {"passed": 2, "errors": 1}
    assert ran.status == 1


@worlds
@pytest.mark.parametrize("hook", ["pytest_configure", "pytest_collection", "pytest_collection_modifyitems"])
@pytest.mark.parametrize("name", ["shop", pytest.param("test_shop", marks=pytest.mark.slow)])
def test_changed_by_a_plugin(suite: Suite, world: World, hook: str, name: str) -> None:
    """A plugin that changes a file in the middle of the session gets nothing of it executed."""
    folder = suite.sealed(f"workloads/{name}", world.files(suite, name))
    evil = suite.canary("evil")
    content = f"def {hook}():\n    " + saboteur(suite, folder / "conftest.py", evil).replace("\n", "\n    ")
    suite.write("saboteur.py", content)
    neighbours(suite)
    ran = world.run(suite, "-p", "saboteur", "workloads")
    assert "evil" not in ran.canaries
    if hook == "pytest_collection_modifyitems":
        assert ran.counts == {"passed": 3}  # imported before, as it was verified
        return
    assert "conftest.py changed after its checksum was verified" in ran.text or name == "test_shop"
    assert ran.counts in ({"passed": 2, "errors": 1}, {"passed": 3})


@worlds
def test_changed_before_the_first_conftests(suite: Suite, world: World) -> None:
    """A conftest above, imported before those of the arguments, does not get a changed one executed either."""
    folder = suite.sealed("test_shop", world.files(suite, "test_shop"))
    suite.write("conftest.py", saboteur(suite, folder / "conftest.py", suite.canary("evil")))
    neighbours(suite)
    ran = world.run(suite)
    assert ran.canaries in ([], ["init"])  # which is still as it was sealed
    assert ran.counts == {"passed": 2, "errors": 1}
    assert "conftest.py changed after its checksum was verified" in ran.text


@pytest.mark.parametrize("planted", ["colorsys.py", "colorsys/__init__.py", "helper/__init__.py"])
def test_added_after_verification(suite: Suite, planted: str) -> None:
    """A module that is put into the folder after its verification is not found by what the workload imports."""
    world = WORLDS[0]
    files = world.files(suite)
    files["test_shop.py"] = "import colorsys\n" + files["test_shop.py"]
    folder = suite.sealed("workloads/shop", files)
    plan = (
        f"import pathlib\ntarget = pathlib.Path({str(folder / planted)!r})\n"
        f"target.parent.mkdir(exist_ok=True)\ntarget.write_text({suite.canary('evil')!r})\n"
    )
    suite.write("workloads/a_first/test_early.py", f"{plan}def test_early(): pass\n")
    ran = world.run(suite)
    assert "evil" not in ran.canaries
    assert ran.counts == {"passed": 1, "errors": 1}
    assert f"{planted} changed after its checksum was verified" in ran.text


def test_an_optional_import_is_no_way_round(suite: Suite) -> None:
    """A workload that goes on without a module that cannot be imported does not go on without a changed one."""
    module = "try:\n    import helper\nexcept ImportError:\n    pass\ndef test_shop(): pass\n"
    folder = suite.sealed("workloads/shop", {"helper.py": ""}, module=module)
    early = saboteur(suite, folder / "helper.py", suite.canary("evil")) + "def test_early(): pass\n"
    suite.write("workloads/a_first/test_early.py", early)
    ran = suite.run()
    assert (ran.status, ran.counts, ran.canaries) == (1, {"passed": 1, "errors": 1}, [])
    assert "workload shop: helper.py changed after its checksum was verified" in ran.text


def test_nothing_comes_from_a_refused_folder(suite: Suite) -> None:
    """A neighbour that imports from the folder of a refused workload gets none of its code."""
    folder = suite.sealed("shop", WORLDS[0].files(suite))
    change("rows.sql")(suite, folder)
    py_compile.compile(str(folder / "helper.py"), str(folder / "compiled.pyc"), doraise=True)
    suite.write("test_thief.py", f"import sys\nsys.path.insert(0, {str(folder)!r})\nimport helper, compiled\n")
    ran = suite.run()
    assert ran.canaries == []
    assert "changed: rows.sql" in ran.text


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_a_sealed_package_finds_its_data(suite: Suite, mode: str) -> None:
    """`importlib.resources` and `inspect` work in a sealed workload as in any other."""
    module = """\
import importlib.resources, inspect
from . import helper
def test_shop():
    assert (importlib.resources.files(__package__) / "rows.sql").read_text() == "SELECT 1;\\n"
    assert inspect.getsource(helper.twice).startswith("def twice(number):")
    assert helper.twice(1) == 3
"""
    helper = "def twice(number):\n    return 2 * number\n"
    suite.sealed("shop", {"__init__.py": "", "helper.py": helper, "rows.sql": "SELECT 1;\n"}, module=module)
    ran = World(mode, "package").run(suite)
    assert ran.counts == {"failed": 1}
    assert "E       assert 2 == 3" in ran.text
    assert "+  where 2 = " in ran.text  # and assertions are explained


def test_seals_of_every_layout_are_alike(suite: Suite) -> None:
    """Sealing again what is intact changes nothing."""
    folder = suite.sealed("shop", WORLDS[1].files(suite))
    before = (folder / "shop.sha256").read_bytes()
    assert seal(folder).read_bytes() == before

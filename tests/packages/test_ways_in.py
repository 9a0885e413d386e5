"""However code of a sealed workload is come by, and wherever: only the bytes of its checksum file are executed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_stormdb.packages.checksums import seal

from .conftest import Suite
from .test_tampering import CACHE_TAG, IMPORTS, assert_refused, change, forge

pytestmark = pytest.mark.skipif(os.name == "nt", reason="symbolic links and paths are POSIX")

modes = pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
PLAIN = "def test_shop():\n    pass\n"
BY_PATH = IMPORTS["by-path"].replace("\n", "\n    ")


@modes
@pytest.mark.parametrize("argument", ["shop.test_shop", "shop", "shop.bank.test_bank"])
def test_by_a_dotted_name(suite: Suite, monkeypatch: pytest.MonkeyPatch, mode: str, argument: str) -> None:
    """With --pyargs a changed `__init__.py` does not run either, and the neighbours do."""
    files = {"__init__.py": "", "bank/__init__.py": "", "bank/test_bank.py": "def test_bank(): pass\n"}
    folder = suite.sealed("site/shop", files, module=PLAIN)
    (folder / "__init__.py").write_text(suite.canary("init"))
    suite.write("test_near.py", "def test_near(): pass\n")
    monkeypatch.setenv("PYTHONPATH", str(suite.folder / "site"), prepend=os.pathsep)
    ran = suite.run(f"--import-mode={mode}", "--pyargs", argument, "test_near.py")
    assert_refused(ran, "changed: __init__.py", neighbours=1)


def test_a_dotted_name_of_an_intact_one(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sealed package that is as it was runs by its dotted name."""
    suite.sealed("site/shop", {"__init__.py": suite.canary("init")}, module=PLAIN)
    monkeypatch.setenv("PYTHONPATH", str(suite.folder / "site"), prepend=os.pathsep)
    ran = suite.run("--pyargs", "shop.test_shop")
    assert (ran.counts, ran.canaries) == ({"passed": 1}, ["init"])


OTHERS = {
    "pytest_plugins": ("conftest.py", "pytest_plugins = ['helper']\n"),
    "a conftest above": ("conftest.py", "import helper\n"),
    "a neighbour": ("test_thief.py", "import helper\ndef test_thief(): pass\n"),
    "a file run as a program": ("test_thief.py", "import runpy\ndef test_thief(): runpy.run_path(HELPER)\n"),
    "a module loaded late": ("test_thief.py", "def test_thief():\n    import helper\n"),
}


@pytest.mark.parametrize(("file", "code"), OTHERS.values(), ids=OTHERS)
def test_by_others(suite: Suite, monkeypatch: pytest.MonkeyPatch, file: str, code: str) -> None:
    """Who imports from a changed workload that is not even collected gets none of its code, and is told why."""
    folder = suite.sealed("elsewhere/shop", {"helper.py": ""}, module=PLAIN)
    (folder / "helper.py").write_text(suite.canary("helper"))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    suite.write("test_near.py", "def test_near(): pass\n")
    suite.write(file, code.replace("HELPER", repr(str(folder / "helper.py"))))
    ran = suite.run(*(["test_near.py", file] if file != "conftest.py" else ["test_near.py"]))
    assert ran.status == (4 if file == "conftest.py" else 1)
    assert ran.canaries == []
    assert "workload shop: changed: helper.py" in ran.text
    assert file != "conftest.py" or "_pytest" not in ran.text


@pytest.mark.parametrize("hook", ["pytest_configure(config)", "pytest_generate_tests(metafunc)"])
def test_bytecode_in_a_late_hook(suite: Suite, hook: str) -> None:
    """Forged bytecode of a module that a hook of the workload loads by its path is passed over."""
    helper = suite.canary("helper") + "RATE = 1\n"
    conftest = f"def {hook}:\n    {BY_PATH}\n"
    folder = suite.sealed("shop", {"helper.py": helper, "conftest.py": conftest}, module=PLAIN)
    plant(suite, folder)
    ran = suite.run("shop")
    assert (ran.counts, set(ran.canaries)) == ({"passed": 1}, {"helper"})


def plant(suite: Suite, folder: Path) -> None:
    """Forged bytecode for the helper, with a header that an import takes for valid."""
    import py_compile

    py_compile.compile(str(folder / "helper.py"), importlib.util.cache_from_source(str(folder / "helper.py")))
    forge(suite, folder / "helper.py", CACHE_TAG)


CHILD = """\
import multiprocessing, helper
def test_shop():
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        assert pool.map(helper.work, [1]) == [1]
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_bytecode_in_a_child(suite: Suite, method: str) -> None:
    """Forged bytecode does not run in a process that multiprocessing starts anew."""
    helper = suite.canary("helper") + "def work(x): return x\n"
    folder = suite.sealed("shop", {"helper.py": helper}, module=CHILD.format(method=method))
    plant(suite, folder)
    ran = suite.run("shop")
    assert (ran.counts, set(ran.canaries)) == ({"passed": 1}, {"helper"})


def test_source_changed_before_a_child_reads_it(suite: Suite) -> None:
    """A module that changes after its verification is not executed in a child either."""
    module = """\
import concurrent.futures, multiprocessing, pathlib, pytest, helper
def test_shop():
    pathlib.Path(helper.__file__).write_text({evil!r})
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool, pytest.raises(Exception):
        pool.submit(helper.work, 1).result(timeout=50)
"""
    evil = suite.canary("evil") + "def work(x): return x\n"
    suite.sealed("shop", {"helper.py": "def work(x): return x\n"}, module=module.format(evil=evil))
    ran = suite.run("shop")
    assert (ran.counts, ran.canaries) == ({"passed": 1}, [])


@pytest.mark.parametrize("what", ["helper.py", "test_shop.py", ""])
def test_replaced_by_a_link(suite: Suite, what: str) -> None:
    """A file, or the whole folder, that becomes a link to elsewhere after the verification is refused."""
    folder = suite.sealed("w/shop", {"helper.py": ""}, module="import helper\ndef test_shop(): pass\n")
    evil = suite.write("elsewhere/helper.py", suite.canary("evil")).parent
    suite.write("elsewhere/test_shop.py", suite.canary("evil") + "def test_shop(): pass\n")
    place, target = folder / what, evil / what
    away = suite.folder / "old"
    swap = f"import os\nos.rename({str(place)!r}, {str(away)!r})\nos.symlink({str(target)!r}, {str(place)!r})\n"
    suite.write("w/a_first/test_early.py", f"{swap}def test_early(): pass\n")
    ran = suite.run("w", "--stormdb-checksums=require")
    assert (ran.status, ran.counts, ran.canaries) == (1, {"passed": 1, "errors": 1}, [])
    assert "changed after its checksum was verified (" in ran.text


def test_a_text_that_changes_before_it_is_collected(suite: Suite) -> None:
    """A doctest in a text file of a sealed workload is compared again when it is read."""
    folder = suite.sealed("w/shop", {"story.txt": ">>> 1\n1\n"}, module=PLAIN)
    evil = f">>> {suite.canary('evil')}"
    early = (
        f"import pathlib\npathlib.Path({str(folder / 'story.txt')!r}).write_text({evil!r})\ndef test_early(): pass\n"
    )
    suite.write("w/a_first/test_early.py", early)
    ran = suite.run("w", "--doctest-glob=*.txt")
    assert ran.canaries == []
    assert ran.status == 1
    assert "workload shop: story.txt changed after its checksum was verified" in ran.text


def test_another_way_to_a_folder(suite: Suite) -> None:
    """A workload that is reached by a link to its folder is the same workload, and verified as it is."""
    folder = suite.sealed("real/shop", {"helper.py": ""}, module="import helper\ndef test_shop(): pass\n")
    (suite.folder / "link").symlink_to(folder.parent)
    assert suite.run("link/shop", "real/shop").counts == {"passed": 2}
    change("helper.py")(suite, folder)
    ran = suite.run("link/shop")
    assert ran.counts == {"errors": 1}
    assert "changed: helper.py" in ran.text


# -- what is judged does not choose its judge --------------------------------------------------------------------------

WEAKENED = {
    "ini key": "stormdb_checksums = off\n",
    "addopts": "addopts = --stormdb-checksums=off\n",
    "addopts that overrides": "addopts = -o stormdb_checksums=off\n",
}


@modes
@pytest.mark.parametrize("ini", WEAKENED.values(), ids=WEAKENED)
def test_an_ini_file_planted_in_a_workload(suite: Suite, mode: str, ini: str) -> None:
    """It is a changed file, nothing runs under it, and the error says how to give one of one's own."""
    folder = suite.sealed("shop", module=PLAIN)
    (folder / "conftest.py").write_text(suite.canary("evil"))
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}")
    ran = suite.run("shop", f"--import-mode={mode}")
    assert (ran.status, ran.canaries) == (4, [])
    assert "added: pytest.ini" in ran.text
    assert "give an ini file of your own: -c FILE --rootdir DIR" in ran.text
    ran = suite.run("shop", "-c", "pytest.ini", "--rootdir=.")
    assert (ran.status, ran.canaries) == (1, [])
    assert "workload shop: added: conftest.py" in ran.text


def with_its_own_ini(suite: Suite, *arguments: str) -> tuple[int, str, bool]:
    """Run pytest on the folder shop as anybody would, all plugins on: exit status, text, whether a canary ran."""
    command = [sys.executable, "-m", "pytest", "shop", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
    done = subprocess.run(command, cwd=suite.folder, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr, (suite.folder / "canary.txt").exists()


BEFORE_US = {
    "without us": "addopts = -p no:stormdb\n",
    "without plugins": "addopts = --disable-plugin-autoload\n",
    "a plugin of its own": "pythonpath = .\naddopts = -p evil\n",
    "a module in the place of a plugin's": "pythonpath = .\n",
}


@pytest.mark.parametrize("is_sealed", [False, True], ids=["planted", "sealed"])
@pytest.mark.parametrize("ini", BEFORE_US.values(), ids=BEFORE_US)
def test_what_an_ini_file_loads_before_us(suite: Suite, ini: str, is_sealed: bool) -> None:
    """Nothing of a changed workload runs, whatever plugins its ini file names, and also if that was sealed with it."""
    files = {"pytest.ini": f"[pytest]\n{ini}", "evil.py": "", "pytest_asyncio.py": "", "conftest.py": ""}
    folder = suite.sealed("shop", files if is_sealed else {}, module=PLAIN)
    for file in ("evil.py", "pytest_asyncio.py", "conftest.py"):
        (folder / file).write_text(suite.canary("evil"))
    (folder / "pytest.ini").write_text(files["pytest.ini"])
    status, text, has_run = with_its_own_ini(suite)
    assert (status, has_run) == (4, False), text
    assert f"{folder / 'pytest.ini'}: this ini file is part of workload shop and " in text
    assert "give an ini file of your own: -c FILE --rootdir DIR" in text
    assert "Traceback" not in text


def test_what_an_intact_ini_file_may_load(suite: Suite) -> None:
    """A workload that is as it was sealed loads a plugin of its own, and does not switch us off."""
    files = {"pytest.ini": "[pytest]\npythonpath = .\naddopts = -p mine\n", "mine.py": suite.canary("mine")}
    folder = suite.sealed("shop", files, module=PLAIN)
    status, text, has_run = with_its_own_ini(suite)
    assert (status, has_run) == (0, True), text
    assert "shop 1.0.0 verified" in text
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:stormdb\n")
    (folder / "shop.sha256").unlink()
    seal(folder)
    status, text, _ = with_its_own_ini(suite)
    assert status == 4
    assert "is part of workload shop and switches stormdb off (addopts = -p no:stormdb): give an ini file" in text
    status, text, _ = with_its_own_ini(suite, "-p", "no:stormdb")
    assert (status, "1 passed" in text) == (0, True), "what is typed is one's own word"


def test_no_other_python_pays(suite: Suite) -> None:
    """What waits for pytest is installed with us, and a Python that runs something else imports nothing of it."""
    installed = [file.name for file in importlib.metadata.files("pytest-stormdb") or ()]
    assert "pytest_stormdb.pth" in installed
    code = "import sys; print([name for name in sys.modules if 'stormdb' in name])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_plugin_of_a_changed_workload(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `-p` loads has run before us, but the session ends there and says so."""
    folder = suite.sealed("elsewhere/shop", {"helper.py": ""}, module=PLAIN)
    suite.write("test_near.py", "def test_near(): pass\n")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    assert suite.run("-p", "helper", "test_near.py").counts == {"passed": 1}
    change("helper.py")(suite, folder)
    ran = suite.run("-p", "helper", "test_near.py")
    assert ran.status == 4
    assert "workload shop: changed: helper.py; its helper.py was loaded as a plugin" in ran.text
    assert f"run 'stormdb verify {folder}' first" in ran.text


def documented() -> list[str]:
    """The commands that the documentation gives for a package that nobody trusts."""
    text = (Path(__file__).parents[2] / "docs/security.md").read_text(encoding="utf-8")
    block = next(block for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) if "-c pytest.ini" in block)
    return re.findall(r"^\$ (.*)$", block, re.MULTILINE)


EVIL = {
    "ini key": "stormdb_checksums = off\n",
    "without us": "addopts = -p no:stormdb\n",
    "before us": "pythonpath = .\naddopts = -p evil\n",
}


@pytest.mark.parametrize("ini", EVIL.values(), ids=EVIL)
def test_the_documented_commands_hold(suite: Suite, monkeypatch: pytest.MonkeyPatch, ini: str) -> None:
    """They keep back what is planted, also where we are not asked before a plugin: not a line of it runs."""
    folder = suite.sealed("checked", module="def test_checked(): pass\n")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_stormdb.plugin.hooks")

    def run(*commands: str) -> subprocess.CompletedProcess[str]:
        script = "set -e\n" + "\n".join(commands)
        return subprocess.run(["bash", "-c", script], cwd=suite.folder, capture_output=True, text=True, timeout=60)

    commands = documented()
    assert [command.split()[0] for command in commands] == ["echo", "stormdb", "pytest"]
    done = run(*commands)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    for file in ("conftest.py", "evil.py"):
        (folder / file).write_text(suite.canary(file))
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}")
    done = run(*commands)
    assert (done.returncode, (suite.folder / "canary.txt").exists()) == (1, False)
    assert done.stdout.splitlines() == [
        "checked: mismatch", "  added: conftest.py", "  added: evil.py", "  added: pytest.ini"
    ]  # fmt: skip
    done = run(commands[0], commands[2])
    assert (done.returncode, (suite.folder / "canary.txt").exists()) == (1, False)
    assert "workload checked: added: conftest.py" in done.stdout


@pytest.mark.parametrize("ini", WEAKENED.values(), ids=WEAKENED)
def test_a_sealed_ini_file_weakens_nothing(suite: Suite, ini: str) -> None:
    """Neither does one that was sealed with the workload."""
    suite.sealed("shop", {"pytest.ini": f"[pytest]\n{ini}"}, module=PLAIN)
    ran = suite.run("shop")
    assert ran.counts == {"passed": 1}
    assert "shop 1.0.0 verified" in ran.text
    suite.workload("other", {"pytest.ini": f"[pytest]\n{ini}"}, module=PLAIN)
    ran = suite.run("other", "--stormdb-checksums=require")
    assert ran.counts == {"errors": 1}
    assert "unsealed: no other.sha256" in ran.text


def test_ones_own_ini_file_and_word_count(suite: Suite) -> None:
    """An ini file that lies in no workload may switch the check off, and so may who types it."""
    folder = suite.sealed("shop", {"pytest.ini": "[pytest]\n"}, module=PLAIN)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q\n")
    ran = suite.run("shop", "--stormdb-checksums=off")
    assert ran.counts == {"passed": 1}
    suite.write("pytest.ini", "[pytest]\nstormdb_checksums = off\n")
    assert suite.run("shop", "-c", "pytest.ini").counts == {"passed": 1}


def test_a_path_that_holds_no_workload(suite: Suite) -> None:
    """A folder given by --stormdb-path whose workload was taken apart is refused, not run as an ordinary one."""
    suite.write("w/conftest.py", suite.canary("conftest"))
    suite.write("w/test_other.py", suite.canary("module") + PLAIN)
    suite.write("test_near.py", "def test_near(): pass\n")
    ran = suite.run("test_near.py", "--stormdb-path=w")
    assert (ran.counts, ran.canaries) == ({"passed": 1, "errors": 1}, [])
    assert "workload w: no packaged workload is in this folder, which --stormdb-path names" in ran.text


def test_checksums_of_data_are_no_package(suite: Suite) -> None:
    """A folder of tests with checksums of its own data is an ordinary folder."""
    suite.write("data/model.sha256", f"{'0' * 64}  model.bin\n")
    suite.write("data/notes.sha256", f"{'0' * 64}\n")
    suite.write("data/test_data.py", "def test_data(): pass\n")
    ran = suite.run("--stormdb-checksums=require")
    assert ran.counts == {"passed": 1}
    assert "stormdb workloads" not in ran.text


# -- sealed or not, a workload behaves the same ------------------------------------------------------------------------

FAILS = "def check_shop():\n    rate = 1\n    assert rate == 2\n"


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    ("options", "explained"),
    [((), True), (("--assert=plain",), False), (("-p", "no:assertion"), False)],
)
def test_assertions_are_explained_alike(suite: Suite, sealed: bool, options: tuple[str, ...], explained: bool) -> None:
    """Modules that only `python_files` names keep introspection, and who switches it off has it off."""
    suite.write("pytest.ini", "[pytest]\npython_files = check_*.py test_*.py\npython_functions = check_* test_*\n")
    folder = suite.workload("shop", {"check_shop.py": FAILS}, module=PLAIN)
    if sealed:
        from pytest_stormdb.packages.checksums import seal

        seal(folder)
    ran = suite.run("-c", "pytest.ini", "shop", *options)
    assert ran.counts == {"passed": 1, "failed": 1}
    assert ("assert 1 == 2" in ran.text) is explained


def archive(folder: Path, code: str) -> None:
    with zipfile.ZipFile(folder / "vendor.zip", "w") as made:
        made.writestr("vendored/__init__.py", "from .inner import RATE\n")
        made.writestr("vendored/inner.py", code)


def test_a_zipped_package(suite: Suite) -> None:
    """A package in an archive of the workload is imported from the verified bytes of the archive."""
    module = (
        "import pathlib, sys\nsys.path.insert(0, str(pathlib.Path(__file__).with_name('vendor.zip')))\n"
        "import vendored\ndef test_shop(): assert vendored.RATE == 1\n"
    )
    folder = suite.workload("w/shop", module=module)
    archive(folder, "RATE = 1\n")
    from pytest_stormdb.packages.checksums import seal

    seal(folder)
    assert suite.run("w").counts == {"passed": 1}
    evil = suite.folder / "evil"
    evil.mkdir()
    archive(evil, suite.canary("evil") + "RATE = 1\n")
    swap = f"import shutil\nshutil.copy({str(evil / 'vendor.zip')!r}, {str(folder)!r})\ndef test_early(): pass\n"
    suite.write("w/a_first/test_early.py", swap)
    ran = suite.run("w")
    assert (ran.counts, ran.canaries) == ({"passed": 1, "errors": 1}, [])


def test_a_run_leaves_the_seal_whole(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no ini file the workload's folder is the root of a session; its cache goes elsewhere all the same."""
    (suite.folder / "pytest.ini").unlink()
    folder = suite.sealed("shop", {"helper.py": ""}, module="import helper\ndef test_shop(): assert 0\n")
    for _ in range(2):
        ran = suite.run("shop", "--stormdb-checksums=require")
        assert ran.counts == {"failed": 1}
    assert sorted(path.name for path in folder.iterdir()) == ["helper.py", "shop.sha256", "shop.yaml", "test_shop.py"]
    assert (suite.folder / ".pytest_cache").is_dir()


# -- scripts -----------------------------------------------------------------------------------------------------------


def change_early(suite: Suite, script: Path, when: str) -> None:
    """Write another script over this one, when a neighbour is collected or when its test runs."""
    write = f"pathlib.Path({str(script)!r}).write_text('SELECT * FROM evil;')"
    code = f"{write}\ndef test_early(): pass\n" if when == "collected" else f"def test_early(): {write}\n"
    suite.write("w/a_first/test_early.py", f"import pathlib\n{code}")


@pytest.mark.parametrize("when", ["collected", "run"])
@pytest.mark.parametrize("options", [("--stormdb-smoke",), ("--stormdb-iterations=2",)], ids=["smoke", "load"])
@pytest.mark.usefixtures("database")
def test_a_script_that_changes_after_its_verification(suite: Suite, when: str, options: tuple[str, ...]) -> None:
    """pgbench is never given a script of a sealed workload that is not as it was sealed."""
    module = 'from pytest_stormdb import pgbench\ntest_shop = pgbench("queries/a.sql")\n'
    folder = suite.sealed("w/shop", {"queries/a.sql": "SELECT 1;\n"}, module=module)
    assert suite.run("w", *options).counts == {"passed": 1}
    change_early(suite, folder / "queries/a.sql", when)
    ran = suite.run("w", *options)
    assert (ran.status, ran.counts) == (1, {"passed": 1, "errors": 1})
    assert "workload shop: queries/a.sql changed after its checksum was verified" in ran.text
    assert "evil" not in ran.text


@pytest.mark.parametrize("when", ["collected", "run"])
@pytest.mark.usefixtures("database")
def test_a_script_file_that_changes_after_its_verification(suite: Suite, when: str) -> None:
    """Neither is it given a `*.pgbench.sql` that is a workload by itself."""
    folder = suite.sealed("w/shop", {"top.pgbench.sql": "SELECT 1;\n"}, module=PLAIN)
    options = ("w", "--stormdb-iterations=2")
    assert suite.run(*options).counts == {"passed": 2}
    change_early(suite, folder / "top.pgbench.sql", when)
    ran = suite.run(*options)
    assert (ran.status, ran.counts) == (1, {"passed": 2, "errors": 1})
    assert "workload shop: top.pgbench.sql changed after its checksum was verified" in ran.text
    (folder / "top.pgbench.sql").write_text("SELECT * FROM evil;\n")
    ran = suite.run("w/shop", "--stormdb-iterations=2")
    assert (ran.status, ran.counts) == (1, {"errors": 1})
    assert "workload shop: changed: top.pgbench.sql" in ran.text

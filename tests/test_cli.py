"""The `stormdb` command, called as a user calls it."""

from __future__ import annotations

import ast
import json
import os
import select
import subprocess
import sys
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_stormdb.cli import main
from pytest_stormdb.configuration.file import load_configuration
from pytest_stormdb.packages.metadata import load_metadata
from pytest_stormdb.packages.scaffold import scaffold
from pytest_stormdb.packages.static_analysis import operations, parameter_model, parse
from pytest_stormdb.record import SessionRecord
from pytest_stormdb.reports.document import document
from pytest_stormdb.reports.document import write as write_document

from .records import rich_record

ROOT = Path(__file__).parents[1]
NO_SCHEMA = "shop/test_shop.py: no schema of X: "
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in an empty folder; its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_new_writes_a_workload(run: Run, tmp_path: Path) -> None:
    """The scaffold has the files of the guide's deployment structure, and says what comes next."""
    assert run("new", "my-shop") == (
        0,
        "wrote my-shop; run it with 'pytest my-shop', seal it with 'stormdb seal my-shop'\n",
        "",
    )
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "my-shop/README.md",
        "my-shop/examples/advanced-config.yaml",
        "my-shop/examples/basic-config.yaml",
        "my-shop/my-shop.yaml",
        "my-shop/test_my_shop.py",
    ]
    for path in files:
        assert "NAME" not in Path(path).read_text(), path


def test_what_new_writes_can_be_read(run: Run) -> None:
    """The scaffold's metadata and both of its configurations load and belong together."""
    run("new", "my-shop")
    metadata = load_metadata(Path("my-shop/my-shop.yaml"))
    assert (metadata.name, metadata.version) == ("my-shop", "0.1.0")
    basic = load_configuration(Path("my-shop/examples/basic-config.yaml"), {})
    advanced = load_configuration(Path("my-shop/examples/advanced-config.yaml"), {"PGPASSWORD": "x"})
    for configuration in (basic, advanced):
        configuration.check_version(metadata.name, metadata.version)
    assert basic.load == {"workers": 2, "duration": "5s"}
    assert advanced.slo == ("p99 < 50ms", "errors < 0.1%")
    assert advanced.database is not None
    assert advanced.database.connection_options()["host"] == "localhost"


def test_what_new_writes_is_clean_python(run: Run) -> None:
    """The scaffold's module passes the linter with this project's rules."""
    run("new", "my-shop")
    config = ROOT / "pyproject.toml"
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--config",
        str(config),
        "--ignore",
        "INP",
    ]
    checked = subprocess.run([*command, "my-shop"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_what_new_writes_has_no_stray_placeholder(run: Run) -> None:
    """Every percent sign in the scaffold's SQL is a placeholder, as psycopg takes it for one."""
    run("new", "my-shop")
    calls = [node for node in ast.walk(parse(Path("my-shop/test_my_shop.py"))) if isinstance(node, ast.Call)]
    texts = [ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func).endswith(".execute")]
    assert len(texts) == 5
    assert [text.count("%") for text in texts] == [text.count("%s") for text in texts]
    assert sum(text.count("%s") for text in texts) == 2


@pytest.mark.parametrize("name", ["", "a b", "-", "../x", "a/b", "a.b", "é", "a--b", "x" * 49, "a-"])
def test_new_refuses_bad_names(run: Run, tmp_path: Path, name: str) -> None:
    """A name that cannot be a folder, a module and a schema is refused, and nothing is written."""
    status, out, err = run("new", "--", name)
    assert (status, out) == (2, "")
    assert err == (
        f"stormdb new: {name!r} is no name for a workload: letters and digits, joined by - or _, at most 48\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_new_refuses_what_exists(run: Run) -> None:
    """An existing folder is left as it is."""
    Path("shop").mkdir()
    assert run("new", "shop") == (
        2,
        "",
        "stormdb new: shop: exists already; choose another name, or remove it\n",
    )


def test_seal_and_verify(run: Run) -> None:
    """What was sealed verifies; what changed since is told file by file, with status 1."""
    run("new", "shop")
    assert run("verify", "shop") == (1, "shop: unsealed\n", "")
    assert run("seal", "shop") == (0, "sealed shop/shop.sha256\n", "")
    assert run("verify", "shop") == (0, "shop: verified\n", "")
    Path("shop/README.md").write_text("changed")
    Path("shop/new\nfile").write_text("added")
    Path("shop/examples/basic-config.yaml").unlink()
    assert run("verify", ".") == (
        1,
        "shop: mismatch\n  changed: README.md\n  missing: examples/basic-config.yaml\n  added: new\\nfile\n",
        "",
    )


def test_sealing_again_reminds_of_the_signature(run: Run) -> None:
    """A signature of the checksums before is said to be out of date, one of the same checksums is not."""
    run("new", "shop")
    run("seal", "shop")
    Path("shop/shop.sha256.asc").write_text("signature")
    assert run("seal", "shop")[1] == "sealed shop/shop.sha256\n"
    Path("shop/README.md").write_text("changed")
    assert run("seal", "shop")[1] == (
        "sealed shop/shop.sha256\nsign it again: shop/shop.sha256.asc is of the checksums before\n"
    )


def test_seal_refuses_what_would_not_verify(run: Run) -> None:
    """A wrong security.checksum, broken metadata and a link out of the folder are refused at sealing."""
    run("new", "shop")
    path = Path("shop/shop.yaml")
    good = path.read_text()
    path.write_text(f"{good}checksum: sha256:{'0' * 64}\n")
    status, out, err = run("seal", "shop")
    assert (status, out) == (2, "")
    assert err.startswith("stormdb seal: shop/shop.yaml: correct it, then seal: changed: test_shop.py (security.")
    path.write_text(f"{good}wersion: 1\n")
    assert run("seal", "shop")[2] == "stormdb seal: shop/shop.yaml:10: unknown key 'wersion'; did you mean 'version'?\n"
    path.write_text(good)
    Path("shop/p").symlink_to("/etc/passwd")
    assert run("seal", "shop")[2] == "stormdb seal: shop cannot be sealed: symlink: p (leads out of the folder)\n"
    assert not Path("shop/shop.sha256").exists()


def test_verify_with_a_keyring_requires_a_signature(run: Run, tmp_path: Path) -> None:
    """With a keyring an unsigned workload is not enough, and a keyring that is missing is an error."""
    run("new", "shop")
    run("seal", "shop")
    (tmp_path / "keys").write_text("")
    assert run("verify", "shop", "--keyring", "keys") == (1, "shop: refused\n  not signed\n", "")
    assert run("verify", "shop", "--keyring", "none") == (
        2,
        "",
        "stormdb verify: keyring none: cannot be read: No such file or directory\n",
    )


def test_list_shows_each_workload(run: Run) -> None:
    """The list has name, version, integrity, description, tags, operations and place, and imports nothing."""
    run("new", "shop")
    with Path("shop/test_shop.py").open("a") as module:
        module.write("raise SystemExit('imported')\n")
    run("seal", "shop")
    run("new", "bare")
    Path("bare/bare.yaml").write_text("name: bare\nversion: 2\n")
    Path("bare/test_bare.py").write_text("")
    assert run("list", ".") == (
        0,
        "bare 2  unsealed\n"
        "  operations: none\n"
        "  in bare\n"
        "shop 0.1.0  verified\n"
        "  Reads one row at a time by its primary key\n"
        "  tags: postgresql, read-only\n"
        "  operations: test_read_item\n"
        "  in shop\n",
        "",
    )


def test_what_is_wrong_with_one_does_not_hide_the_others(run: Run) -> None:
    """A list goes on after a broken workload and a changed one, and ends with the worst status."""
    for name in ("a", "b", "c"):
        run("new", name)
    Path("a/a.yaml").write_text("name: a\n")
    run("seal", "b")
    Path("b/README.md").write_text("changed")
    status, out, err = run("list", ".")
    assert status == 2
    assert out.splitlines()[:3] == ["b  mismatch", "  see 'stormdb verify b'", "c 0.1.0  unsealed"]
    assert err == "a: a/a.yaml:1: the key 'version' is missing; a packaged workload has a name and a version\n"


@pytest.mark.parametrize("command", ["seal", "verify", "list", "schema"])
def test_no_workload_is_an_error(run: Run, tmp_path: Path, command: str) -> None:
    """A path without workloads, and one that is no folder, are told apart."""
    assert run(command, ".")[::2] == (
        2,
        f"stormdb {command}: .: no packaged workload; one is NAME.yaml with a line 'name: NAME', and test_NAME.py\n",
    )
    assert run(command, "none")[2].startswith(f"stormdb {command}: none: not a folder")


def alone(*arguments: str) -> tuple[int, str, str]:
    """Runs the command in a Python of its own, where no pytest knows of marks."""
    code = "import sys; from pytest_stormdb.cli import main; sys.exit(main(sys.argv[1:]))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=environ
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_schema_prints_the_parameters(run: Run) -> None:
    """The JSON Schema is that of the model the module asks for, and no bytecode stays behind."""
    run("new", "shop")
    run("seal", "shop")
    status, out, err = alone("schema", "shop")
    assert (status, err) == (0, "")
    schema = json.loads(out)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["rows"]["default"] == 10_000
    assert schema["properties"]["rows"]["minimum"] == 1
    assert not list(Path("shop").rglob("__pycache__"))
    assert run("verify", "shop")[0] == 0


def test_schema_of_a_model_in_a_helper(run: Run) -> None:
    """A model from beside the main module is found, in a package too; nothing of the import stays."""
    run("new", "shop")
    Path("shop/__init__.py").write_text("")
    Path("shop/models.py").write_text("from pydantic import BaseModel\nclass Shop(BaseModel):\n    rows: int = 7\n")
    Path("shop/test_shop.py").write_text(
        "from . import models\ndef f(stormdb_parameters):\n    stormdb_parameters(models.Shop)\n"
    )
    before = sys.path[:], sys.pycache_prefix
    status, out, _ = run("schema", "shop")
    assert status == 0
    assert json.loads(out)["properties"]["rows"]["default"] == 7
    assert (sys.path, sys.pycache_prefix) == before
    assert not [name for name in sys.modules if name.startswith("shop")]


def test_schema_imports_nothing_that_was_changed(run: Run) -> None:
    """A changed workload is refused with what changed, and no line of it runs."""
    run("new", "shop")
    run("seal", "shop")
    with Path("shop/test_shop.py").open("a") as module:
        module.write("open('ran', 'w')\n")
    assert run("schema", "shop") == (
        2,
        "",
        "stormdb schema: shop: not imported: changed: test_shop.py\n",
    )
    assert not Path("ran").exists()


def test_schema_does_not_run_planted_bytecode(run: Run) -> None:
    """Bytecode planted for a verified helper stays unread."""
    run("new", "shop")
    module = Path("shop/test_shop.py")
    module.write_text(f"import shop_helper\n{module.read_text()}")
    helper = Path("shop/shop_helper.py")
    helper.write_text("open('ran', 'w')\n")
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "shop"],
        check=True,
    )
    helper.write_text("")
    run("seal", "shop")
    assert alone("schema", "shop")[0] == 0
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(:", "shop/test_shop.py:1: not Python: "),
        ("x = 1", "shop/test_shop.py: no call of stormdb_parameters(MODEL), so no schema"),
        ("import no_such_thing\nstormdb_parameters(X)", f"{NO_SCHEMA}ModuleNotFoundError: No module"),
        ("def f(stormdb_parameters): stormdb_parameters(X)", f"{NO_SCHEMA}AttributeError: "),
        (
            "import pytest\npytest.skip('no', allow_module_level=True)\nstormdb_parameters(X)",
            f"{NO_SCHEMA}Skipped",
        ),
    ],
)
def test_schema_says_why_there_is_none(run: Run, source: str, said: str) -> None:
    """A module that is broken, asks for no model or cannot be imported gives its reason."""
    run("new", "shop")
    Path("shop/test_shop.py").write_text(source)
    status, out, err = run("schema", "shop")
    assert (status, out) == (2, "")
    assert err.startswith(f"stormdb schema: {said}")


def test_schema_checks_what_the_workload_needs_first(run: Run) -> None:
    """An unmet dependency is told before the import that would fail for it."""
    run("new", "shop")
    Path("shop/shop.yaml").write_text("name: shop\nversion: 1\ndependencies: [no-such-thing>=2]\n")
    assert run("schema", "shop")[2] == (
        "stormdb schema: shop: not imported: needs no-such-thing >=2, but no-such-thing is not installed\n"
    )


def test_schema_is_of_one_workload(run: Run) -> None:
    """A folder of several workloads has no one schema."""
    run("new", "a")
    run("new", "b")
    assert run("schema", ".")[2] == "stormdb schema: .: holds 2 workloads; give the folder of one\n"


def test_operations_are_read_from_the_source(tmp_path: Path) -> None:
    """Marked functions, methods and mixes are operations; helpers and unmarked tests are not."""
    module = tmp_path / "test_x.py"
    module.write_text("""
import pytest
from pytest import mark

def helper(): pass
def test_plain(): pass
@pytest.mark.stormdb
def test_bare(worker): pass
@mark.stormdb(workers=2)
@pytest.mark.parametrize("n", [1])
async def test_async(worker, n): pass
@pytest.mark.stormdb_slo("p99 < 1s")
def test_only_slo(): pass
@pytest.mark.stormdb(duration="1s")
class TestMix:
    @pytest.mark.stormdb_operation(weight=45)
    def read(self, worker): pass
    @pytest.mark.stormdb_operation(weight=5)
    def write(self, worker): pass
    def help(self): pass
@pytest.mark.stormdb
class TestMarked:
    def test_one(self, worker): pass
    def setup(self): pass
class TestPlain:
    @pytest.mark.stormdb
    def test_two(self, worker): pass
    def test_three(self): pass
""")
    assert operations(parse(module)) == ["test_bare", "test_async", "read", "write", "test_one", "test_two"]
    module.write_text("import pytest\npytestmark = [pytest.mark.x, pytest.mark.stormdb()]\ndef test_a(worker): pass\n")
    assert operations(parse(module)) == ["test_a"]
    module.write_text(
        "from pytest_stormdb import pgbench\ntest_a = pgbench('a.sql')\ntest_b = other('a.sql')\n"
        "test_c = pytest.mark.x(pytest.mark.stormdb(workers=4)(pytest_stormdb.pgbench(builtin='tpcb-like')))\n"
    )
    assert operations(parse(module)) == ["test_a", "test_c"]


def test_the_model_is_read_from_the_source(tmp_path: Path) -> None:
    """The model is the argument of the first call of `stormdb_parameters`, wherever that stands."""
    module = tmp_path / "test_x.py"
    module.write_text("def p(stormdb_parameters):\n    return stormdb_parameters(models.Shop)\n")
    assert parameter_model(parse(module)) == "models.Shop"
    module.write_text("def p(stormdb_parameters):\n    return stormdb_parameters\n")
    assert parameter_model(parse(module)) is None


def test_the_command_is_installed_under_its_name() -> None:
    """The project's metadata lead the command `stormdb` to `main`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"stormdb": "pytest_stormdb.cli:main"}


def test_help_and_mistakes(run: Run) -> None:
    """Without a command, and with an unknown one, the usage is shown with status 2."""
    for arguments in ([], ["fly"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def stormdb(*words: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a shell would run it."""
    code = "import sys; from pytest_stormdb.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **streams.pop("environment", {})}
    return subprocess.run([sys.executable, "-c", code, *words], text=True, env=environment, timeout=60, **streams)


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """Where the reader of the list hangs up, the command ends without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = stormdb("list", str(ROOT / "example_workloads"), stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert ended.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_full() -> None:
    """What cannot be written is one sentence, and status 2."""
    with open("/dev/full", "w") as full:
        ended = stormdb("list", str(ROOT / "example_workloads"), stdout=full, stderr=subprocess.PIPE)
    assert ended.stderr == "stormdb list: cannot write: No space left on device\n"
    assert ended.returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="no terminals of POSIX")
def test_a_narrow_terminal() -> None:
    """Lines are broken between words, and the list is all there."""
    words = ("list", str(ROOT / "example_workloads"))
    plain = stormdb(*words, capture_output=True).stdout
    terminal, slave = os.openpty()
    with ThreadPoolExecutor() as reader:
        ended = reader.submit(stormdb, *words, stdout=slave, stderr=slave, environment={"COLUMNS": "70"})
        shown = b""
        while not ended.done() or select.select([terminal], [], [], 0)[0]:
            if select.select([terminal], [], [], 0.05)[0]:
                shown += os.read(terminal, 65_536)
    assert ended.result().returncode == 0
    assert shown.decode().split() == plain.split()
    assert max(map(len, shown.decode().splitlines())) <= 70 < max(map(len, plain.splitlines()))


def test_a_terminal_that_knows_ascii_only(tmp_path: Path) -> None:
    """A description with letters that the terminal does not have is shown with escapes."""
    scaffold("shop", tmp_path)
    metadata = tmp_path / "shop" / "shop.yaml"
    metadata.write_text(metadata.read_text().replace("Reads one row", "Größe"), encoding="utf-8")
    ended = stormdb("list", str(tmp_path), capture_output=True, environment={"PYTHONIOENCODING": "ascii"})
    assert "Gr\\xf6\\xdfe" in ended.stdout
    assert ended.returncode == 0


def test_report_renders_a_record_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``stormdb report`` writes page and table of a stored record, and says where."""
    stored = tmp_path / "run.json"
    write_document(document(SessionRecord((rich_record(),))), stored)
    html, table = tmp_path / "page.html", tmp_path / "table.md"
    assert main(["report", str(stored), "--html", str(html), "--markdown", str(table)]) == 0
    assert capsys.readouterr().out == f"wrote {html}\nwrote {table}\n"
    assert "test_shop.py::test_mix" in html.read_text(encoding="utf-8")
    assert "test_shop.py::test_mix" in table.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("[]", ["--html=o"], "{path}: is no run record; one is written by pytest --stormdb-json=run.json"),
        ('{"format": "stormdb-run/1", "runs": [{}]}', ["--html=o"], "{path}: is damaged: KeyError: 'outcome'"),
        ('{"format": "stormdb-run/1", "runs": []}', [], "say what to write: --html OUT, --markdown OUT, or both"),
        ('{"format": "stormdb-run/1", "runs": []}', ["--html=."], "cannot write .: Is a directory"),
    ],
)
def test_report_refuses_in_one_sentence(
    text: str, options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no record, is damaged, or cannot be written, is told without a traceback; exit status 2."""
    stored = tmp_path / "run.json"
    stored.write_text(text)
    assert main(["report", str(stored), *options]) == 2
    assert capsys.readouterr().err == f"stormdb report: {complaint.format(path=stored)}\n"

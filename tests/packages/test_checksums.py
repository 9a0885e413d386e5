"""Sealing and verifying: what a checksum file covers, and every way to tamper with a folder."""

from __future__ import annotations

import builtins
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.packages.checksums import (
    Problem,
    check_main_module,
    digests,
    seal,
    verify,
)
from pytest_stormdb.packages.metadata import Metadata, Security

FILES = {
    "simple.yaml": "name: simple\nversion: 1.0.0\n",
    "test_simple.py": "import helper\n",
    "helper.py": "X = 1\n",
    "conftest.py": "",
    "__init__.py": "",
    "data/rows.csv": "1,2\n",
    "examples/basic-config.yaml": "workers: 1\n",
}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A packaged workload that is sealed."""
    folder = tmp_path / "simple"
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    seal(folder)
    return folder


def problems(folder: Path) -> list[str]:
    """What is wrong, one line each; the state agrees."""
    verification = verify(folder)
    assert verification.state == ("mismatch" if verification.problems else "verified")
    return [str(problem) for problem in verification.problems]


def test_a_seal_lists_every_file_in_order(folder: Path) -> None:
    """The checksum file is sha256sum's, sorted by path, with POSIX slashes."""
    lines = [f"{sha256(FILES[path])}  {path}\n" for path in sorted(FILES)]
    assert (folder / "simple.sha256").read_text() == "".join(lines)


def test_what_was_verified_can_be_checked_again(folder: Path) -> None:
    """A verification carries the digest of every file and the checksum file's own bytes."""
    verification = verify(folder)
    assert verification.state == "verified"
    assert verification.digests == {path: sha256(content) for path, content in FILES.items()}
    assert verification.checksums == (folder / "simple.sha256").read_bytes()
    assert digests(folder) == verification.digests


def test_sealing_again_changes_nothing(folder: Path) -> None:
    """A seal does not cover itself or its signature, and leaves nothing else behind."""
    before = (folder / "simple.sha256").read_bytes()
    (folder / "simple.sha256.asc").write_text("signature")
    assert seal(folder) == folder / "simple.sha256"
    assert (folder / "simple.sha256").read_bytes() == before
    assert sorted(path.name for path in folder.glob("*.sha256*")) == ["simple.sha256", "simple.sha256.asc"]


def test_a_folder_without_checksums_is_unsealed(folder: Path) -> None:
    """No checksum file, no claim: nothing is read and nothing is wrong."""
    (folder / "simple.sha256").unlink()
    verification = verify(folder)
    assert (verification.state, verification.problems, verification.digests) == ("unsealed", (), {})


def test_the_name_need_not_be_the_folders(folder: Path) -> None:
    """The checksum file is called as the workload is, whatever the folder's name."""
    moved = folder.rename(folder.parent / "elsewhere")
    assert verify(moved).state == "unsealed"
    assert verify(moved, "simple").state == "verified"


def append(path: str) -> Callable[[Path], object]:
    def tamper(folder: Path) -> None:
        with (folder / path).open("a") as file:
            file.write("#")

    return tamper


def write(path: str, content: str = "X = 2\n") -> Callable[[Path], object]:
    def tamper(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)

    return tamper


def listed(line: str) -> Callable[[Path], object]:
    def tamper(folder: Path) -> None:
        with (folder / "simple.sha256").open("a") as file:
            file.write(f"{line}\n")

    return tamper


def linked(path: str, target: str) -> Callable[[Path], object]:
    def tamper(folder: Path) -> None:
        (folder / path).unlink(missing_ok=True)
        (folder / path).symlink_to(target)

    return tamper


def fifo(folder: Path) -> None:
    (folder / "helper.py").unlink()
    os.mkfifo(folder / "helper.py")


def emptied(folder: Path) -> None:
    (folder / "simple.sha256").write_bytes(b"")


def linked_checksums(folder: Path) -> None:
    (folder / "simple.sha256").rename(folder.parent / "elsewhere")
    (folder / "simple.sha256").symlink_to("../elsewhere")


def removed_checksums(folder: Path) -> None:
    (folder / "simple.sha256").rename(folder / "simple.sha256.asc")


H = "0" * 64
TAMPERING: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "main module": (append("test_simple.py"), ["changed: test_simple.py"]),
    "helper": (append("helper.py"), ["changed: helper.py"]),
    "conftest": (append("conftest.py"), ["changed: conftest.py"]),
    "package": (append("__init__.py"), ["changed: __init__.py"]),
    "metadata": (append("simple.yaml"), ["changed: simple.yaml"]),
    "data": (append("data/rows.csv"), ["changed: data/rows.csv"]),
    "added": (write("data/conftest.py"), ["added: data/conftest.py"]),
    "added bytecode": (write("random.pyc"), ["added: random.pyc"]),
    "source among bytecode": (
        write("__pycache__/x.py"),
        ["added: __pycache__/x.py (not bytecode, which alone may lie here; remove it)"],
    ),
    "another checksum file": (write("data/simple.sha256"), ["added: data/simple.sha256"]),
    "removed": (lambda folder: (folder / "helper.py").unlink(), ["missing: helper.py"]),
    "renamed": (
        lambda folder: (folder / "helper.py").rename(folder / "renamed.py"),
        ["missing: helper.py", "added: renamed.py"],
    ),
    "line removed": (emptied, [f"added: {path}" for path in sorted(FILES)]),
    "line added": (listed(f"{H}  gone.py"), ["missing: gone.py"]),
    "line twice": (listed(f"{H}  helper.py"), ["format: simple.sha256 (line 8 lists 'helper.py' again)"]),
    "line malformed": (listed("hello"), ["format: simple.sha256 (line 8 is not a checksum and a path)"]),
    "line empty": (listed(""), ["format: simple.sha256 (line 8 is not a checksum and a path)"]),
    "bad escape": (listed(f"\\{H}  a\\t"), ["format: simple.sha256 (line 8 is not a checksum and a path)"]),
    "parent": (
        listed(f"{H}  ../simple/helper.py"),
        ["path: ../simple/helper.py (line 8: a path must stay inside the folder)"],
    ),
    "absolute": (
        listed(f"{H}  /etc/passwd"),
        ["path: /etc/passwd (line 8: a path must stay inside the folder)"],
    ),
    "not canonical": (
        listed(f"{H}  data//rows.csv"),
        ["path: data//rows.csv (line 8: a path must stay inside the folder)"],
    ),
    "link out": (linked("helper.py", "/etc/passwd"), ["symlink: helper.py (leads out of the folder)"]),
    "link up": (linked("helper.py", "../secret"), ["symlink: helper.py (leads out of the folder)"]),
    "link nowhere": (linked("new", "nothing"), ["symlink: new (leads nowhere)"]),
    "link to itself": (linked("new", "new"), ["symlink: new (leads nowhere)"]),
    "link to a folder": (
        linked("new", "data"),
        ["symlink: new (a link to a folder; only links to files inside are read)"],
    ),
    "link added": (linked("new.py", "helper.py"), ["added: new.py"]),
    "link to another": (linked("helper.py", "conftest.py"), ["changed: helper.py"]),
    "pipe": (fifo, ["path: helper.py (not a regular file)"]),
    "checksums linked": (linked_checksums, ["symlink: simple.sha256 (the checksum file must not be a link)"]),
    "checksums taken": (removed_checksums, ["missing: simple.sha256 (its signature is there)"]),
}


@pytest.mark.parametrize("case", TAMPERING)
def test_tampering_is_named_file_by_file(folder: Path, case: str) -> None:
    """Every change to a sealed folder is a mismatch that names the file and how it differs."""
    (folder.parent / "secret").write_text("secret")
    tamper, said = TAMPERING[case]
    tamper(folder)
    assert problems(folder) == said


def test_links_inside_are_read(folder: Path) -> None:
    """A link to a file inside counts as a file with its target's content."""
    linked("also.py", "helper.py")(folder)
    seal(folder)
    assert problems(folder) == []
    assert digests(folder)["also.py"] == sha256(FILES["helper.py"])
    append("helper.py")(folder)
    assert problems(folder) == ["changed: also.py", "changed: helper.py"]


def test_bytecode_in_its_place_is_not_covered(folder: Path) -> None:
    """Bytecode in `__pycache__` may come and go: nothing reads it."""
    for path in (
        "__pycache__/helper.cpython-311.pyc",
        "data/__pycache__/x.cpython-311-pytest-9.2.0.pyc",
        "__pycache__/helper.cpython-311.pyc.1234",
    ):
        write(path)(folder)
    assert problems(folder) == []
    assert set(digests(folder)) == set(FILES)


LEFT = {
    ".git/config": ".git/ (version control, which changes by itself; seal and run an export without it, or keep",
    ".pytest_cache/v/cache/lastfailed": ".pytest_cache/ (pytest's cache; remove the folder)",
    "data/.mypy_cache/x": "data/.mypy_cache/ (mypy's cache; remove the folder)",
    ".rows.sql.swp": ".rows.sql.swp (an editor's; close the file there, or remove it)",
    "stormdb-metrics.jsonl": "stormdb-metrics.jsonl (metrics of a run; remove it, and start runs from another folder)",
}


@pytest.mark.parametrize(("path", "said"), LEFT.items())
def test_what_tools_leave_behind_is_named(folder: Path, path: str, said: str) -> None:
    """It breaks a seal, since a workload may read it, and is not sealed; each time the way out is told."""
    write(path)(folder)
    (problem,) = problems(folder)
    assert problem.startswith(f"added: {said}")
    with pytest.raises(WorkloadError, match=f"cannot be sealed: added: {re.escape(said)}"):
        seal(folder)


def test_a_file_that_cannot_be_read_is_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system refuses to open is named with the reason."""

    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("pytest_stormdb.packages.checksums.read_inside", lambda folder, name: b"")
    assert "path: helper.py (cannot be read: Permission denied)" in problems(folder)


def test_an_unfit_folder_cannot_be_sealed(folder: Path) -> None:
    """A seal over a link out of the folder is refused, and the old one stays."""
    before = (folder / "simple.sha256").read_bytes()
    linked("p", "/etc/passwd")(folder)
    with pytest.raises(WorkloadError, match=r"cannot be sealed: symlink: p \(leads out of the folder\)$"):
        seal(folder)
    assert (folder / "simple.sha256").read_bytes() == before


def test_a_folder_must_be_one(tmp_path: Path) -> None:
    """What is not a folder is neither sealed nor verified."""
    for action in (seal, verify, digests):
        with pytest.raises(WorkloadError, match=r"nowhere: not a folder$"):
            action(tmp_path / "nowhere")


AWKWARD = [
    "a b",
    "new\nline",
    "back\\slash",
    "return\r",
    "\\n",
    " lead",
    "trail ",
    "*star",
    "é",
    "# hash",
    "-n",
]


def coreutils(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    return subprocess.run(["sha256sum", *arguments], cwd=folder, capture_output=True, check=False)


def test_coreutils_verifies_our_seal(folder: Path) -> None:
    """`sha256sum --check --strict` accepts what we write, whatever the files are called, and sees changes."""
    for name in AWKWARD:
        write(name, name)(folder)
    (folder / os.fsdecode(b"\xff")).write_text("not UTF-8")
    seal(folder)
    assert problems(folder) == []
    assert coreutils(folder, "--check", "--strict", "--status", "simple.sha256").returncode == 0
    append("new\nline")(folder)
    assert problems(folder) == ["changed: new\\nline"]
    assert coreutils(folder, "--check", "--strict", "--status", "simple.sha256").returncode == 1


@pytest.mark.parametrize("options", [[], ["--binary"]])
def test_we_verify_the_seal_of_coreutils(folder: Path, options: list[str]) -> None:
    """What sha256sum writes, in text or binary mode, with or without ``./``, verifies here."""
    (folder / "simple.sha256").unlink()
    for name in AWKWARD:
        write(name, name)(folder)
    for prefix in ("./", ""):
        paths = [f"{prefix}{path}" for path in digests(folder)]
        listing = coreutils(folder, *options, "--", *paths).stdout
        (folder / "simple.sha256").write_bytes(listing)
        assert problems(folder) == []
        (folder / "simple.sha256").write_bytes(listing[:64].upper() + listing[64:].removesuffix(b"\n"))
        assert problems(folder) == []
        (folder / "simple.sha256").unlink()


PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "/",
        "secret",
        "simple",
        "helper.py",
        "etc",
        "passwd",
        "\\n",
        "\\\\",
        "\0",
        "\r",
        "~",
        "*",
    ]
)
PATHS = st.one_of(
    st.lists(PARTS, max_size=8).map("/".join),
    st.lists(PARTS, max_size=8).map("".join),
    st.text(),
    st.sampled_from(["../secret", "/etc/passwd", "data/../../secret", "./../secret", "~/x"]),
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PATHS, st.sampled_from(["", "\\"]), st.sampled_from(["  ", " *"])), min_size=1, max_size=5))
def test_no_path_in_a_checksum_file_is_ever_opened(folder: Path, lines: list[tuple[str, str, str]]) -> None:
    """Whatever a checksum file lists, only files inside the folder are opened, and it is a mismatch."""
    outside = folder.parent / "secret"
    outside.write_text("secret")
    sealed = b"".join(f"{sha256(content)}  {path}\n".encode() for path, content in sorted(FILES.items()))
    extra = "".join(f"{mark}{sha256('secret')}{mode}{path}\n" for path, mark, mode in lines)
    (folder / "simple.sha256").write_bytes(sealed + extra.encode(errors="surrogatepass"))
    opened: list[str] = []
    really_open = os.open

    def watched(path: Any, *arguments: Any, **options: Any) -> int:
        opened.append(os.fspath(path))
        return really_open(path, *arguments, **options)

    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("files are opened by os.open only")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", watched)
        patch.setattr(builtins, "open", refused)
        verification = verify(folder)
    assert verification.state == "mismatch"
    assert {Path(path) for path in opened} == {folder / path for path in (*FILES, "simple.sha256")}


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
def test_no_checksum_file_breaks_the_verification(folder: Path, content: bytes) -> None:
    """Any bytes at all for a checksum file are a mismatch, said in words that can be printed."""
    (folder / "simple.sha256").write_bytes(content)
    assert all(line.isprintable() for line in problems(folder))
    assert verify(folder).state == "mismatch"


def test_the_main_modules_checksum_of_the_metadata(folder: Path) -> None:
    """`security.checksum` is compared with the main module where it is given."""
    digest = sha256(FILES["test_simple.py"])
    assert check_main_module(Metadata("simple", "1"), folder) is None
    assert check_main_module(Metadata("simple", "1", security=Security(digest)), folder) is None
    assert check_main_module(Metadata("simple", "1", security=Security("0" * 64)), folder) == Problem(
        "changed", "test_simple.py", f"security.checksum is not its sha256:{digest}"
    )
    assert check_main_module(Metadata("no-such", "1", security=Security("0" * 64)), folder) == Problem(
        "missing", "test_no_such.py", "no such file"
    )

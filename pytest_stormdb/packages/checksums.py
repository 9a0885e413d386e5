"""Checksums of a packaged workload's folder: written by `seal`, compared by `verify`.

`<name>.sha256` has the format of sha256sum of coreutils and lists every other file of the folder, hidden ones and
those in caches included: a workload may read whatever lies there. Not listed are the checksum file and its signature,
and bytecode in `__pycache__`, which nothing reads while the folder is guarded (bytecode anywhere else can be imported
and counts as a file like any other).

What is read is found by walking the folder, never taken from the checksum file: its paths are only compared.
A symbolic link is read only where it leads to a file inside. It is an integrity check, not a sandbox.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from ..errors import WorkloadError
from ..units import printable
from .discovery import listing_of
from .leftovers import leftover

if TYPE_CHECKING:
    from .metadata import Metadata  # it reads YAML, and every session's guard of imports needs this module

SealState = Literal["verified", "unsealed", "mismatch"]
ProblemKind = Literal["added", "missing", "changed", "symlink", "path", "format"]

_BYTECODE = re.compile(r".*\.pyc(\.\d+)?")  # with digits while it is being written
_LINE = re.compile(rb"(\\?)([0-9a-fA-F]{64}) [ *]([^\n]+)")
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}
_READ_ONLY = sum(getattr(os, flag, 0) for flag in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))


@dataclass(frozen=True)
class Problem:
    """One file that is not as it was sealed."""

    kind: ProblemKind
    path: str
    detail: str = ""

    def __str__(self) -> str:
        return printable(f"{self.kind}: {self.path}" + (f" ({self.detail})" if self.detail else "")).replace(
            "\n", r"\n"
        )


@dataclass(frozen=True)
class Verification:
    """What a folder's checksums say; `digests` are those of the files that were read and found as sealed."""

    state: SealState
    problems: tuple[Problem, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    checksums: bytes = field(default=b"", repr=False)


class UnfitFileError(Exception):
    """A file that must not be read, or cannot be."""

    def __init__(self, kind: ProblemKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def digests(folder: Path, name: str | None = None) -> dict[str, str]:
    """The SHA-256 of every file that a seal covers, by relative path. WorkloadError where one is unfit."""
    found, unfit = _digests(folder, _name_of(folder, name))
    unfit += _left_by_tools(found)
    if unfit:
        raise WorkloadError(f"{folder} cannot be sealed: {'; '.join(map(str, unfit))}")
    return found


def seal(folder: Path, name: str | None = None) -> Path:
    """Writes the checksums of the folder's files to `<name>.sha256`; the name is by default the folder's."""
    name = _name_of(folder, name)
    content = b"".join(_line(path, digest) for path, digest in digests(folder, name).items())
    target = folder / f"{name}.sha256"
    unfinished = folder / f"{name}.sha256.{os.getpid()}"
    try:
        unfinished.write_bytes(content)
        unfinished.replace(target)
    except OSError as problem:
        raise WorkloadError(f"{target}: cannot be written: {problem.strerror}") from problem
    return target


def verify(folder: Path, name: str | None = None) -> Verification:
    """Compares the folder's files with `<name>.sha256`; without one the folder is unsealed."""
    name = _name_of(folder, name)
    listing = f"{name}.sha256"
    if not os.path.lexists(folder / listing):
        if os.path.lexists(folder / f"{listing}.asc"):
            return Verification("mismatch", (Problem("missing", listing, "its signature is there"),))
        if (other := listing_of(folder, name)) is not None:
            return Verification("mismatch", (Problem("missing", listing, f"its checksums are in {other}"),))
        return Verification("unsealed")
    try:
        if (folder / listing).is_symlink():
            raise UnfitFileError("symlink", "the checksum file must not be a link")
        checksums = read_inside(folder, listing)
    except UnfitFileError as problem:
        return Verification("mismatch", (Problem(problem.kind, listing, str(problem)),))
    sealed, malformed = _parsed(checksums, listing)
    found, unfit = _digests(folder, name)
    changes = _changes(sealed, found, {problem.path for problem in unfit})
    problems = (*malformed, *unfit, *changes)
    intact = {path: digest for path, digest in found.items() if sealed.get(path) == digest}
    return Verification("mismatch" if problems else "verified", problems, intact, checksums)


def check_main_module(metadata: Metadata, folder: Path) -> Problem | None:
    """Compares the main module with the metadata's `security.checksum`, where one is given."""
    if metadata.security.checksum is None:
        return None
    try:
        digest = _digest_inside(folder, metadata.main_module)
    except UnfitFileError as problem:
        return Problem(problem.kind, metadata.main_module, str(problem))
    if digest == metadata.security.checksum:
        return None
    return Problem("changed", metadata.main_module, f"security.checksum is not its sha256:{digest}")


def read_inside(folder: Path, relative: str) -> bytes:
    """The bytes of a regular file inside the folder, links followed. Raises UnfitFileError for any other."""
    with _open_inside(folder, relative) as file:
        return file.read()


def _digest_inside(folder: Path, relative: str) -> str:
    with _open_inside(folder, relative) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _open_inside(folder: Path, relative: str) -> Iterator[BufferedReader]:
    root = folder.resolve()
    try:
        target = (root / relative).resolve(strict=True)
        if not target.is_relative_to(root):
            raise UnfitFileError("symlink", "leads out of the folder")
        if not stat.S_ISREG(target.lstat().st_mode):
            raise UnfitFileError("path", "not a regular file")
        with os.fdopen(os.open(target, _READ_ONLY), "rb") as file:
            yield file
    except FileNotFoundError:
        raise UnfitFileError("missing", "no such file") from None
    except OSError as problem:
        raise UnfitFileError("path", f"cannot be read: {problem.strerror}") from None
    except (RuntimeError, ValueError):  # a link to itself, before Python 3.13; a name with NUL
        raise UnfitFileError("path", "cannot be read: a link to itself, or no file name") from None


def _name_of(folder: Path, name: str | None) -> str:
    if not folder.is_dir():
        raise WorkloadError(f"{folder}: not a folder")
    return name or folder.resolve().name


def _digests(folder: Path, name: str) -> tuple[dict[str, str], list[Problem]]:
    found: dict[str, str] = {}
    unfit: list[Problem] = []
    for path, problem in _walk(folder, {f"{name}.sha256", f"{name}.sha256.asc"}):
        try:
            if problem is not None:
                raise problem
            found[path] = _digest_inside(folder, path)
        except UnfitFileError as reason:
            unfit.append(Problem(reason.kind, path, str(reason)))
    return dict(sorted(found.items(), key=lambda item: os.fsencode(item[0]))), unfit


def _walk(root: Path, skipped: set[str]) -> Iterator[tuple[str, UnfitFileError | None]]:
    """Every file that a seal covers, relative with POSIX slashes, and what makes it unfit to be read."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as problem:
            yield folder, UnfitFileError("path", f"cannot be read: {problem.strerror}")
            continue
        for entry in listed:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink():
                yield path, _unfit_link(entry)
            elif entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif path not in skipped and not (
                PurePosixPath(folder).name == "__pycache__" and _BYTECODE.fullmatch(entry.name)
            ):
                yield path, None


def _unfit_link(entry: os.DirEntry[str]) -> UnfitFileError | None:
    try:
        is_folder = stat.S_ISDIR(entry.stat().st_mode)
    except OSError:
        return UnfitFileError("symlink", "leads nowhere")
    if is_folder:
        return UnfitFileError("symlink", "a link to a folder; only links to files inside are read")
    return None


def _changes(sealed: Mapping[str, str], found: Mapping[str, str], unfit: set[str]) -> list[Problem]:
    problems = [Problem("missing", path) for path in sealed if path not in found and path not in unfit]
    problems += list(dict.fromkeys(Problem("added", *leftover(path)) for path in found if path not in sealed))
    problems += [Problem("changed", path) for path in found if sealed.get(path, found[path]) != found[path]]
    return sorted(problems, key=lambda problem: problem.path)


def _left_by_tools(found: Mapping[str, str]) -> list[Problem]:
    """What must not be sealed, since it would change by itself."""
    left = dict.fromkeys(map(leftover, found))
    return [Problem("added", path, way_out) for path, way_out in left if way_out]


def _line(path: str, digest: str) -> bytes:
    name = os.fsencode(path)
    escaped = re.sub(rb"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
    return (b"\\" if escaped != name else b"") + digest.encode() + b"  " + escaped + b"\n"


def _parsed(checksums: bytes, listing: str) -> tuple[dict[str, str], list[Problem]]:
    """The digests of a checksum file by path, and what is wrong with its lines."""
    sealed: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(checksums.removesuffix(b"\n").split(b"\n") if checksums else (), 1):
        match = _LINE.fullmatch(line)
        path = _path(match[3], escaped=bool(match[1])) if match else None
        if match is None or path is None:
            problems.append(Problem("format", listing, f"line {number} is not a checksum and a path"))
        elif not _is_inside(path := path.removeprefix("./")):
            problems.append(Problem("path", path, f"line {number}: a path must stay inside the folder"))
        elif path in sealed:
            problems.append(Problem("format", listing, f"line {number} lists {path!r} again"))
        else:
            sealed[path] = match[2].decode().lower()
    return sealed, problems


def _path(name: bytes, *, escaped: bool) -> str | None:
    parts = re.split(rb"(\\.?)", name) if escaped else [name]
    try:
        return os.fsdecode(b"".join(_UNESCAPES[part] if escaped and part[:1] == b"\\" else part for part in parts))
    except KeyError:
        return None


def _is_inside(path: str) -> bool:
    windows = os.name == "nt" and ("\\" in path or ":" in path)
    return "\0" not in path and not windows and not {"", ".", ".."}.intersection(path.split("/"))

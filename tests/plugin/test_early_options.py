"""Options that decide whether a workload may be imported hold from the command line, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_stormdb.packages.checksums import seal
from pytest_stormdb.packages.scaffold import scaffold

from ..conftest import Suite


@pytest.fixture
def packaged(suite: Suite) -> Path:
    """A packaged workload in the suite, not sealed."""
    return scaffold("reader", suite.path)


def test_require_on_the_command_line_refuses_an_unsealed_workload(suite: Suite, packaged: Path) -> None:
    """With --stormdb-checksums=require an unsealed workload is one collection error."""
    result = suite.run("reader", "--stormdb-smoke", "--stormdb-checksums=require")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*workload reader: unsealed: no reader.sha256*"])


def test_off_on_the_command_line_lets_a_changed_workload_run(suite: Suite, packaged: Path) -> None:
    """With --stormdb-checksums=off nothing is compared."""
    seal(packaged)
    (packaged / "README.md").write_text("changed", encoding="utf-8")
    assert suite.run("reader", "--stormdb-smoke").ret != 0
    assert suite.run("reader", "--stormdb-smoke", "--stormdb-checksums=off").ret == 0

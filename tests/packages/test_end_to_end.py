"""From `stormdb new` to a measured run of a sealed workload, with the commands a user types."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from .conftest import ROOT, Suite


def stormdb(suite: Suite, *arguments: str) -> tuple[int, str]:
    """The status and the output of the command."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pytest_stormdb.cli import main; sys.exit(main())"
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, cwd=suite.folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_new_seal_run(suite: Suite, database: psycopg.Connection[Any], mode: str) -> None:
    """A scaffolded workload is listed, sealed, verified, described and run, by its own example configuration."""
    status, text = stormdb(suite, "new", "my-workload")
    assert (status, text) == (
        0,
        "wrote my-workload; run it with 'pytest my-workload', seal it with 'stormdb seal my-workload'\n",
    )
    assert "my-workload 0.1.0  unsealed\n" in stormdb(suite, "list", ".")[1]
    assert stormdb(suite, "verify", "my-workload") == (1, "my-workload: unsealed\n")
    assert stormdb(suite, "seal", "my-workload") == (0, "sealed my-workload/my-workload.sha256\n")
    assert stormdb(suite, "verify", "my-workload") == (0, "my-workload: verified\n")
    listed = stormdb(suite, "list", "my-workload")[1]
    for line in ("my-workload 0.1.0  verified", "  tags: postgresql, read-only", "  operations: test_read_item"):
        assert f"{line}\n" in listed
    status, schema = stormdb(suite, "schema", "my-workload")
    assert status == 0
    assert json.loads(schema)["properties"]["rows"]["maximum"] == 10_000_000
    assert stormdb(suite, "verify", "my-workload")[0] == 0  # describing it has left no file

    config = "--stormdb-config=my-workload/examples/basic-config.yaml"
    require = "--stormdb-checksums=require"
    short = ["--stormdb-duration=700ms", "--stormdb-warmup=100ms", f"--import-mode={mode}"]
    ran = suite.run(config, require, *short, "my-workload")
    assert ran.counts == {"passed": 1}
    (run,) = ran.document["runs"]
    assert run["workload"] == {"name": "my-workload", "version": "0.1.0", "integrity": "verified"}
    assert (run["plan"]["workers"], run["plan"]["duration_s"]) == (2, 0.7)
    assert run["totals"]["operations"] > 10
    assert run["totals"]["failures"] == 0
    assert stormdb(suite, "verify", "my-workload")[0] == 0  # and neither has the run


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_change_and_seal_again(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A change is told by all three: sha256sum, `stormdb verify` and pytest; a new seal makes it right."""
    stormdb(suite, "new", "shop")
    stormdb(suite, "seal", "shop")
    with (suite.folder / "shop/test_shop.py").open("a") as module:
        module.write(suite.canary("changed"))
    command = ["sha256sum", "--check", "--quiet", "shop.sha256"]
    checked = subprocess.run(command, cwd=suite.folder / "shop", capture_output=True, text=True)
    assert checked.returncode == 1
    assert "test_shop.py: FAILED" in checked.stdout
    assert stormdb(suite, "verify", "shop") == (1, "shop: mismatch\n  changed: test_shop.py\n")
    ran = suite.run("shop")
    assert (ran.counts, ran.canaries) == ({"errors": 1}, [])
    assert "workload shop: changed: test_shop.py" in ran.text
    assert stormdb(suite, "schema", "shop")[0] == 2
    assert ran.canaries == []
    stormdb(suite, "seal", "shop")
    ran = suite.run("shop", "--stormdb-smoke")
    assert (ran.counts, ran.canaries) == ({"passed": 1}, ["changed"])
    assert "1 workload ran once, not measured (--stormdb-smoke)" in ran.text


def test_smoke_of_the_unsealed(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """The scaffold runs as it is, before it is sealed."""
    stormdb(suite, "new", "shop")
    ran = suite.run("shop", "--stormdb-smoke")
    assert ran.counts == {"passed": 1}
    assert "stormdb workloads: shop 0.1.0 unsealed" in ran.text

"""What the small workloads of the gallery have in common: sealed, configured, documented, with data that repeat."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pytest_stormdb.configuration.file import load_configuration
from pytest_stormdb.packages.checksums import verify
from pytest_stormdb.packages.metadata import load_metadata
from tests.conftest import Suite

from .packages import GALLERY, MODELS, Package, model_of, params

SMALL = {
    "simple": ("table", "test_read", {"scale": 300}),
    "vector": ("corpus", "exact-cosine", {"scale": 100, "dimensions": 8, "queries": 5}),
    "connection": ("loaded", "persistent", {"scale": 300}),
    "bulk_insert": ("rows", "copy-100 and not copy-1000 and not copy-10000", {"scale": 300}),
}

every_workload = pytest.mark.parametrize("name", MODELS)


@every_workload
def test_its_checksums_hold(name: str) -> None:
    """Our own verification and ``sha256sum -c`` find every file as it was sealed."""
    found = verify(GALLERY / name)
    assert found.state == "verified", found.problems
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", f"{name}.sha256"], cwd=GALLERY / name, check=True)


@every_workload
def test_its_metadata_say_what_it_needs(name: str) -> None:
    """Name and version are given, and the framework, the driver and pydantic are asked for."""
    metadata = load_metadata(GALLERY / name / f"{name}.yaml")
    assert metadata.name == name
    assert metadata.version == "1.0.0"
    assert metadata.license == "MIT"
    needed = {dependency.written_name for dependency in metadata.dependencies}
    assert {"stormdb-core", "postgresql-driver", "pydantic"} <= needed
    assert ("extension:vector" in needed) == (name == "vector")


@every_workload
@pytest.mark.parametrize("kind", ["basic", "advanced"])
def test_its_configurations_are_read_and_their_parameters_are_valid(name: str, kind: str) -> None:
    """Each example configuration is for this workload and version, and its model accepts the parameters."""
    configuration = load_configuration(GALLERY / name / "examples" / f"{kind}-config.yaml", {})
    assert configuration.plugin == name
    assert configuration.version == "1.0.0"
    assert model_of(name)(**configuration.parameters).scale > 0


@every_workload
def test_its_readme_lists_every_parameter_and_its_default(name: str) -> None:
    """The table of the README is the model's."""
    readme = (GALLERY / name / "README.md").read_text(encoding="utf-8")
    for parameter, field in model_of(name).model_fields.items():
        line = next((line for line in readme.splitlines() if line.startswith(f"| `{parameter}` |")), "")
        shown = line.split("|")[2].strip().strip("`").replace("30s", "30.0") if line else ""
        assert shown == str(field.default), parameter


@every_workload
@pytest.mark.slow
def test_the_same_seed_and_scale_make_the_same_data(name: str, suite: Suite) -> None:
    """Two loads have the same checksum in every table, and one with another seed has not."""
    fixture, test, values = SMALL[name]
    package = Package(name, suite)
    first = package.checksums(fixture, test, *params(**values))
    again = package.checksums(fixture, test, *params(**values))
    other = package.checksums(fixture, test, *params(**values, seed=43))
    assert max(rows for rows, _ in first.values()) == values["scale"]
    assert again == first
    assert other != first


@every_workload
@pytest.mark.slow
def test_it_runs_from_its_basic_configuration(name: str, suite: Suite) -> None:
    """The sealed package runs, once and without load, as its configuration file has it, only smaller."""
    Package(name, suite)
    _, test, values = SMALL[name]
    options = ("--stormdb-smoke", f"--stormdb-config={name}/examples/basic-config.yaml", "--stormdb-checksums=require")
    outcomes = suite.run(name, "-k", test, *options, *params(**values)).parseoutcomes()
    assert outcomes["passed"] == 1
    assert set(outcomes) <= {"passed", "deselected"}

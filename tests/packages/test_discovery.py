"""Finding packaged workloads, and inspecting what was found."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_stormdb.errors import PlanError, WorkloadError
from pytest_stormdb.packages.admission import Inspection, inspect
from pytest_stormdb.packages.checksums import Verification, seal
from pytest_stormdb.packages.discovery import PackagedWorkload, find_workloads, recognise
from pytest_stormdb.packages.signatures import Signature


def package(folder: Path, name: str, metadata: str | None = None) -> Path:
    """Writes a packaged workload called `name` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(metadata or f"name: {name}\nversion: 1.0.0\n")
    (folder / f"test_{name.replace('-', '_')}.py").write_text("raise SystemExit('imported')\n")
    return folder


def names(*roots: Path) -> list[str]:
    return [workload.name for workload in find_workloads(roots)]


def test_a_workload_is_its_folder_and_its_files(tmp_path: Path) -> None:
    """Metadata and main module make a workload; dashes in the name are underscores in the module's."""
    folder = package(tmp_path / "my-plugin", "my-plugin")
    assert recognise(folder) == PackagedWorkload(
        folder=folder,
        name="my-plugin",
        metadata_path=folder / "my-plugin.yaml",
        main_module=folder / "test_my_plugin.py",
        checksum_path=folder / "my-plugin.sha256",
        signature_path=folder / "my-plugin.sha256.asc",
    )


def test_the_folder_may_be_called_otherwise(tmp_path: Path) -> None:
    """A workload keeps its name in a folder of any other."""
    workload = recognise(package(tmp_path / "shop v2", "shop"))
    assert workload is not None
    assert workload.name == "shop"


@pytest.mark.parametrize(
    "metadata",
    ["name: shop", "version: 1\nname:   'shop'  # so\r\n", '\ufeffname : "shop"\n', "name:\tshop"],
)
def test_the_name_is_found_without_reading_yaml(tmp_path: Path, metadata: str) -> None:
    """The line with the name may stand anywhere, with quotes and a comment."""
    assert recognise(package(tmp_path / "x", "shop", metadata)) is not None


@pytest.mark.parametrize(
    "metadata", ["shop: 1", "  name: shop", "name: other", "names: shop", "# name: shop", "workers: 1"]
)
def test_ordinary_test_data_is_not_a_workload(tmp_path: Path, metadata: str) -> None:
    """A YAML file beside a test of the same name is data, unless it declares that name."""
    assert recognise(package(tmp_path / "tests", "shop", metadata)) is None


def test_in_its_own_folder_any_declared_name_counts(tmp_path: Path) -> None:
    """Metadata called as their folder are recognised, and their wrong name is then an error."""
    workload = recognise(package(tmp_path / "shop", "shop", "name: other\nversion: 1\n"))
    assert workload is not None
    with pytest.raises(WorkloadError, match=r"shop\.yaml: name: 'other' is not the file's name; make them the s"):
        inspect(workload)


@pytest.mark.parametrize("lost", ["shop.yaml", "test_shop.py"])
def test_a_seal_keeps_what_is_left_a_workload(tmp_path: Path, lost: str) -> None:
    """Removing or blanking a part of a sealed workload does not keep it from being verified."""
    folder = package(tmp_path / "x", "shop")
    seal(folder, "shop")
    (folder / lost).write_text("")
    workload = recognise(folder)
    assert workload is not None
    assert inspect(workload).refusals("verify") == [f"changed: {lost}"]
    (folder / lost).unlink()
    workload = recognise(folder)
    assert workload is not None
    assert inspect(workload).refusals("verify") == [f"missing: {lost}"]


def test_half_a_workload_is_none(tmp_path: Path) -> None:
    """Without metadata, main module or folder there is nothing to recognise."""
    package(tmp_path / "a", "a")
    (tmp_path / "a" / "a.yaml").unlink()
    package(tmp_path / "b", "b")
    (tmp_path / "b" / "test_b.py").unlink()
    assert recognise(tmp_path / "a") is None
    assert recognise(tmp_path / "b") is None
    assert recognise(tmp_path / "c") is None
    assert find_workloads([tmp_path]) == []


def test_two_in_one_folder_are_refused(tmp_path: Path) -> None:
    """One folder, one workload, since a seal covers a folder."""
    package(tmp_path, "a")
    package(tmp_path, "b")
    with pytest.raises(WorkloadError, match=r"holds two packaged workloads, a and b$"):
        recognise(tmp_path)


def test_workloads_are_found_below_their_roots(tmp_path: Path) -> None:
    """Roots are searched in depth and in order; hidden folders, bytecode and workloads themselves are not."""
    package(tmp_path / "one" / "deep" / "er" / "c", "c")
    package(tmp_path / "one" / "b", "b")
    package(tmp_path / "two", "a")
    package(tmp_path / "one" / ".hidden" / "d", "d")
    package(tmp_path / "one" / "__pycache__" / "e", "e")
    package(tmp_path / "one" / "b" / "examples" / "f", "f")
    (tmp_path / "one" / "link").symlink_to(tmp_path / "two")
    assert names(tmp_path / "one") == ["b", "c"]
    assert names(tmp_path / "two", tmp_path / "one", tmp_path) == ["a", "b", "c"]


def test_examples_are_not_metadata(tmp_path: Path) -> None:
    """The configuration files below examples/ make no workloads of their own."""
    folder = package(tmp_path / "a", "a")
    (folder / "examples").mkdir()
    (folder / "examples" / "basic-config.yaml").write_text("plugin: a\n")
    assert names(tmp_path) == ["a"]


def test_two_of_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    """Two folders with the same workload, dashes or underscores, cannot both be meant."""
    one, two = package(tmp_path / "1", "my-shop"), package(tmp_path / "2", "my_shop")
    with pytest.raises(PlanError) as caught:
        find_workloads([tmp_path])
    assert str(caught.value) == (
        f"two workloads are called my_shop: {one} and {two}; rename one, or leave its folder out"
    )


def test_a_root_must_be_a_folder(tmp_path: Path) -> None:
    """A root that is not there is said to be missing, and not silently empty."""
    with pytest.raises(PlanError, match=r"nowhere: not a folder, so no workloads can be found in it$"):
        find_workloads([tmp_path / "nowhere"])


def test_recognising_is_cheap(tmp_path: Path) -> None:
    """Neither YAML nor the version arithmetic nor pytest is imported to look for workloads."""
    package(tmp_path / "a", "a")
    code = (
        "import sys; from pathlib import Path; from pytest_stormdb.packages.discovery import find_workloads\n"
        f"assert len(find_workloads([Path({str(tmp_path)!r})])) == 1\n"
        "print(sorted({'yaml', 'packaging', 'pytest', 'psycopg'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert shown.stdout == "[]\n"


@pytest.fixture
def workload(tmp_path: Path) -> PackagedWorkload:
    found = recognise(package(tmp_path / "shop", "shop"))
    assert found is not None
    return found


def test_an_unsealed_workload_may_run_unless_seals_are_required(workload: PackagedWorkload) -> None:
    """Unsealed passes `verify` and is refused by `require`, with the way out."""
    found = inspect(workload)
    assert found.state == "unsealed"
    assert found.metadata is not None
    assert found.metadata.version == "1.0.0"
    assert found.refusals("verify") == []
    assert found.refusals("require") == ["unsealed: no shop.sha256; write it with 'stormdb seal'"]


def test_a_sealed_workload_may_run(workload: PackagedWorkload) -> None:
    """What is as it was sealed passes every policy for checksums."""
    seal(workload.folder, workload.name)
    found = inspect(workload)
    assert (found.state, found.refusals("verify"), found.refusals("require")) == ("verified", [], [])


def test_a_changed_workload_is_refused_and_its_metadata_unread(workload: PackagedWorkload) -> None:
    """A mismatch is told before anything in the folder is believed, even where the metadata are broken."""
    seal(workload.folder, workload.name)
    workload.metadata_path.write_text("[")
    found = inspect(workload)
    assert (found.state, found.metadata) == ("mismatch", None)
    assert found.refusals("verify") == ["changed: shop.yaml"]


def test_switched_off_checksums_are_unverified(workload: PackagedWorkload) -> None:
    """With checksums off a changed folder is taken as it is, and called unverified."""
    seal(workload.folder, workload.name)
    workload.main_module.write_text("")
    found = inspect(workload, checksums=False)
    assert (found.state, found.verification, found.refusals("off")) == ("unverified", None, [])


@pytest.mark.parametrize("sealed", [True, False])
def test_the_metadatas_checksum_is_honoured(workload: PackagedWorkload, sealed: bool) -> None:
    """`security.checksum` of another main module is a mismatch, sealed or not."""
    digest = hashlib.sha256(workload.main_module.read_bytes()).hexdigest()
    for checksum, state in ((digest, "verified" if sealed else "unsealed"), ("0" * 64, "mismatch")):
        workload.metadata_path.write_text(f"name: shop\nversion: 1\nsecurity:\n  checksum: sha256:{checksum}\n")
        if sealed:
            seal(workload.folder, workload.name)
        assert inspect(workload).state == state
    assert inspect(workload).refusals("verify") == [
        f"changed: test_shop.py (security.checksum is not its sha256:{digest})"
    ]


SIGNED = Signature("signed", "F", "Alice")
UNSIGNED = Signature("unsigned")
UNKNOWN = Signature("unknown-key", "F")


@pytest.mark.parametrize(
    ("signatures", "verify", "require"),
    [
        ((), [], ["its signature was not checked: no keyring is given"]),
        ((SIGNED,), [], []),
        ((UNSIGNED,), [], ["not signed"]),
        ((UNKNOWN,), [str(UNKNOWN)], [str(UNKNOWN)]),
        ((UNSIGNED, SIGNED), [], ["not signed"]),
        ((SIGNED, UNKNOWN), [str(UNKNOWN)], [str(UNKNOWN)]),
    ],
)
def test_policies_for_signatures(
    workload: PackagedWorkload, signatures: tuple[Signature, ...], verify: list[str], require: list[str]
) -> None:
    """`verify` refuses signatures that are wrong, `require` also those that are missing, `off` none."""
    found = Inspection(workload, None, Verification("verified"), signatures)
    assert found.refusals("verify", "off") == []
    assert found.refusals("verify", "verify") == verify
    assert found.refusals("verify", "require") == require

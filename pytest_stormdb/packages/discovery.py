"""Packaged workloads in folders, found by names and a line or two: nothing is imported, no YAML is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import PlanError, WorkloadError
from .names import folded, is_name, main_module_of

_SUFFIXES = (".yaml", ".sha256", ".sha256.asc")
_DECLARED_NAME = re.compile(rb"^(?:\xef\xbb\xbf)?name[ \t]*:[ \t]*([^#\r\n]*)", re.MULTILINE)
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class PackagedWorkload:
    """A workload's folder and its files; what is not there is for `integrity.verify` to say."""

    folder: Path
    name: str
    metadata_path: Path
    main_module: Path
    checksum_path: Path
    signature_path: Path


def find_workloads(roots: Iterable[Path]) -> list[PackagedWorkload]:
    """The packaged workloads in `roots` and below, by path, each once.

    Hidden folders, `__pycache__` and links to folders are not entered, nor is a workload's own folder.
    PlanError for a root that is no folder, and for two workloads of one name (see ``folded``).
    """
    found: dict[Path, PackagedWorkload] = {}
    for root in roots:
        if not root.is_dir():
            raise PlanError(f"{root}: not a folder, so no workloads can be found in it")
        for workload in _below(root):
            found.setdefault(workload.folder.resolve(), workload)
    by_name: dict[str, PackagedWorkload] = {}
    for workload in found.values():
        other = by_name.setdefault(folded(workload.name), workload)
        if other is not workload:
            raise PlanError(
                f"two workloads are called {workload.name}: {other.folder} and {workload.folder}; "
                "rename one, or leave its folder out"
            )
    return list(found.values())


def recognise(folder: Path) -> PackagedWorkload | None:
    """The packaged workload in this very folder: `<name>.yaml` with `test_<name>.py` beside it.

    So that ordinary test data is not taken for one, the YAML file must have a line ``name: <name>``, or any
    name if it is called as the folder is. A checksum file of ours, or a signature of one, makes a workload of what
    is left of one: taking away or renaming the rest must not keep it from being verified.
    WorkloadError if there are two in one folder.
    """
    try:
        files = sorted(path.name for path in folder.iterdir())
    except OSError:
        return None
    names = {file.removesuffix(suffix) for file in files for suffix in _SUFFIXES if file.endswith(suffix)}
    names |= {name for listing in _listings(folder) for name in _owners(listing)}
    has_code = any(file.endswith(".py") for file in files)
    workloads = (_workload(folder, name) for name in sorted(names) if is_name(name))
    found = [workload for workload in workloads if _is_one(workload, has_code=has_code)]
    if len(found) > 1:
        raise WorkloadError(f"{folder}: holds two packaged workloads, {found[0].name} and {found[1].name}")
    return found[0] if found else None


def nameless(folder: Path) -> PackagedWorkload:
    """What stands for a folder that is taken for a workload, whichever it may be; it has no files to go by."""
    return PackagedWorkload(folder, folder.name, folder, folder, folder, folder)


def _below(root: Path) -> Iterator[PackagedWorkload]:
    for folder, subfolders, _ in os.walk(root):
        if workload := recognise(Path(folder)):
            yield workload
            subfolders.clear()
        subfolders[:] = sorted(name for name in subfolders if name[0] != "." and name != "__pycache__")


def _workload(folder: Path, name: str) -> PackagedWorkload:
    return PackagedWorkload(
        folder=folder,
        name=name,
        metadata_path=folder / f"{name}.yaml",
        main_module=folder / main_module_of(name),
        checksum_path=folder / f"{name}.sha256",
        signature_path=folder / f"{name}.sha256.asc",
    )


def _is_one(workload: PackagedWorkload, *, has_code: bool) -> bool:
    has_metadata, has_module = workload.metadata_path.is_file(), workload.main_module.is_file()
    if os.path.lexists(workload.checksum_path):
        return has_metadata or has_module or _is_ours(workload)
    if os.path.lexists(workload.signature_path):
        return has_code
    if has_metadata and has_module and _declares_name(workload):
        return True
    return listing_of(workload.folder, workload.name) is not None


def _is_ours(workload: PackagedWorkload) -> bool:
    """Whether a checksum file lists what a workload of its name has; others have checksums of their test data."""
    try:
        listed = _listed(workload.checksum_path)
    except OSError:
        return True
    return not listed.isdisjoint((workload.metadata_path.name, workload.main_module.name))


def listing_of(folder: Path, name: str) -> str | None:
    """A checksum file that lists the metadata and the main module of a workload, whatever the file is called."""
    return next((listing.name for listing in _listings(folder) if name in _owners(listing)), None)


def _listings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(".sha256"))


def _owners(listing: Path) -> set[str]:
    try:
        listed = _listed(listing)
    except OSError:
        return set()
    names = {file.removesuffix(".yaml") for file in listed if file.endswith(".yaml")}
    return {name for name in names if is_name(name) and main_module_of(name) in listed}


def _listed(checksums: Path) -> set[str]:
    lines = checksums.read_bytes().decode(errors="replace").splitlines()
    return {line.partition(" ")[2].lstrip(" *") for line in lines}


def _declares_name(workload: PackagedWorkload) -> bool:
    try:
        with workload.metadata_path.open("rb") as file:
            match = _DECLARED_NAME.search(file.read(_MOST_BYTES))
    except OSError:
        return False
    if match is None:
        return False
    declared = match[1].strip().strip(b"'\"").decode(errors="replace")
    return declared == workload.name or workload.name == workload.folder.resolve().name

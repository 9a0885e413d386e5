"""Packaged workloads within a session: found, verified before anything of them is imported, refused where wrong."""

from __future__ import annotations

import ast
import glob
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ..errors import StormDBError, WorkloadError
from ..load.option import NOT_GIVEN
from ..packages.names import folded
from .options import absolute, value_of

if TYPE_CHECKING:
    from ..packages.discovery import PackagedWorkload
    from ..packages.importer import VerifiedFinder
    from ..packages.metadata import Metadata


class Package(NamedTuple):
    """A packaged workload and what was found about it; one with ``refusals`` is not imported."""

    workload: PackagedWorkload
    state: str
    metadata: Metadata | None
    refusals: tuple[str, ...]

    @property
    def title(self) -> str:
        version = f" {self.metadata.version}" if self.metadata is not None else ""
        return f"{self.workload.name}{version} {'refused' if self.refusals else self.state}"


class Packages:
    """All packaged workloads that this session has come across."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._by_folder: dict[Path, Package | None] = {}
        self._names: dict[str, Path] = {}
        self.errors = 0
        self._announced: set[Path] = set()
        self._has_started = False
        self._finder: VerifiedFinder | None = None
        self._checksums: str = value_of(config, "checksums")
        keyring, signatures = value_of(config, "keyring"), value_of(config, "signatures")
        self._keyring: Path | None = None if keyring is NOT_GIVEN else keyring
        if signatures is NOT_GIVEN:
            signatures = "verify" if self._keyring is not None and self._checksums != "off" else "off"
        self._signatures: str = signatures
        if self._signatures != "off" and self._keyring is None:
            raise pytest.UsageError(f"--stormdb-signatures={self._signatures} needs --stormdb-keyring FILE")
        if self._signatures != "off" and self._checksums == "off":
            raise pytest.UsageError(
                f"--stormdb-signatures={self._signatures} needs checksums, which a signature is over;"
                " leave --stormdb-checksums=off out"
            )

    def look_around(self, arguments: list[str]) -> None:
        """Verify whatever pytest may import from before it collects: what lies in, right below or above these."""
        found = [path for argument in arguments for path in self._paths(argument)]
        for path in found or [self._config.invocation_params.dir]:
            for folder in (path, *path.parents):
                self.at(folder)
                if folder == self._config.rootpath:
                    break
            if path.is_dir():
                for child in sorted(path.iterdir()):
                    self.at(child)

    def start(self, arguments: list[str]) -> list[str]:
        """The arguments to collect: with --stormdb-path's folders, and the folder for any part of a refused one.

        What is asked for by name in a refused workload would else be "not found", and keep all others from running.
        """
        self.look_around(arguments)
        added = [str(workload.folder) for workload in self._on_path()]
        self._has_started = True
        return list(dict.fromkeys(self._collectable(argument) for argument in (*arguments, *added)))

    def at(self, folder: Path) -> Package | None:
        """The packaged workload in this very folder, verified when it is first asked for."""
        if folder not in self._by_folder:
            self._by_folder[folder] = self._examined(folder) if folder.is_dir() else None
        return self._by_folder[folder]

    def unannounced(self) -> list[Package]:
        """Those that were found since this was asked before, by name."""
        found = [package for package in self.known() if package.workload.folder not in self._announced]
        self._announced |= {package.workload.folder for package in found}
        return found

    def around(self, path: Path) -> Package | None:
        """The packaged workload that a file belongs to."""
        return next((package for folder in path.parents if (package := self._by_folder.get(folder))), None)

    def known(self) -> list[Package]:
        """Those found so far, by name."""
        found = [package for package in self._by_folder.values() if package is not None]
        return sorted(found, key=lambda package: package.workload.name)

    def running(self, path: Path) -> AbstractContextManager[None]:
        """While a test runs: where it is a verified workload's, what it imports is read from no old bytecode."""
        package = self.around(path)
        if package is None or package.state != "verified" or self._finder is None:
            return nullcontext()
        return self._finder.no_old_bytecode()

    def close(self) -> None:
        """Let imports go their usual way again."""
        if self._finder is not None:
            self._finder.remove()

    def _paths(self, argument: str) -> list[Path]:
        """Where an argument leads; one that is a pattern, as test paths may be, to several places."""
        base = self._config.invocation_params.dir
        path = absolute(base, argument.partition("::")[0])
        if path.exists():
            return [path]
        return [absolute(base, match) for match in glob.glob(argument, root_dir=base, recursive=True)]  # noqa: PTH207

    def _collectable(self, argument: str) -> str:
        path = absolute(self._config.invocation_params.dir, argument.partition("::")[0])
        package = self.around(path)
        return str(package.workload.folder) if package is not None and package.refusals else argument

    def _on_path(self) -> Iterator[PackagedWorkload]:
        folders = value_of(self._config, "path")
        if not folders:
            return
        from ..packages.discovery import find_workloads

        try:
            workloads = find_workloads(folders)
        except StormDBError as error:
            raise pytest.UsageError(f"--stormdb-path: {error}") from None
        for workload in workloads:
            self.at(workload.folder)
            yield workload

    def _examined(self, folder: Path) -> Package | None:
        if not _may_hold_one(folder):
            return None
        from ..packages.discovery import PackagedWorkload, recognise

        try:
            workload = recognise(folder)
            if workload is None:
                return None
            package = self._inspected(workload)
        except StormDBError as error:
            unknown = PackagedWorkload(folder, folder.name, folder, folder, folder, folder)
            package = Package(unknown, "mismatch", None, (str(error),))
            self._guard(package, None)
        return package

    def _inspected(self, workload: PackagedWorkload) -> Package:
        from ..packages.admission import inspect
        from ..packages.dependencies import unmet_python

        name = folded(workload.name)
        other = self._names.setdefault(name, workload.folder)
        if other != workload.folder:
            raise WorkloadError(f"two workloads are called {workload.name}: {other} and {workload.folder}; rename one")
        found = inspect(workload, checksums=self._checksums != "off", keyring=self._keyring)
        refusals = found.refusals(self._checksums, self._signatures)  # type: ignore[arg-type]
        if not refusals and found.metadata is not None:
            refusals = unmet_python(found.metadata.dependencies)
        package = Package(workload, found.state, found.metadata, tuple(refusals))
        self._guard(package, found.verification.digests if found.verification is not None else None)
        return package

    def _guard(self, package: Package, digests: Any) -> None:
        """Refused: nothing is imported. Verified: nothing but the verified bytes. Else imports go their usual way."""
        from ..packages.importer import Guarded, VerifiedFinder

        if not package.refusals and package.state != "verified":
            return
        if self._finder is None:
            self._finder = VerifiedFinder(self._compile, self._on_change)
        self._finder.guard(Guarded(package.workload.folder, None if package.refusals else digests))

    def _on_change(self, folder: Path, sentence: str) -> None:
        """A file has changed since it was verified: refuse the rest of its workload too.

        Before the collection, no error of an import would be of that workload alone: go on, with nothing of it.
        """
        for path, package in self._by_folder.items():
            if package is not None and path.resolve() == folder:
                self._by_folder[path] = refused = package._replace(refusals=(*package.refusals, sentence))
                self._guard(refused, None)
        if self._has_started:
            self.errors += 1
            # no ImportError, which a workload may be content with
            raise pytest.Collector.CollectError(f"workload {folder.name}: {sentence}")

    def _compile(self, source: bytes, path: Path) -> CodeType:
        """Compile as pytest would: test modules and conftests with rewritten assertions."""
        from _pytest.assertion.rewrite import rewrite_asserts

        tree = ast.parse(source, filename=str(path))
        if path.stem == "conftest" or path.stem.startswith("test_") or path.stem.endswith("_test"):
            rewrite_asserts(tree, source, str(path), self._config)
        return compile(tree, str(path), "exec", dont_inherit=True)


def _may_hold_one(folder: Path) -> bool:
    """A look at the names in a folder: most hold no packaged workload, and should not cost an import."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith((".yaml", ".sha256")) for entry in entries)
    except OSError:
        return False


PACKAGES = pytest.StashKey[Packages]()


class RefusedWorkload(pytest.Collector):
    """Stands in the place of a folder whose code must not run: one collection error, and no import."""

    reasons: tuple[str, ...] = ()

    def collect(self) -> Iterator[pytest.Item]:
        self.config.stash[PACKAGES].errors += 1
        raise self.CollectError("\n".join(f"workload {self.path.name}: {reason}" for reason in self.reasons))


def refusal(packages: Packages, path: Path, parent: pytest.Collector) -> RefusedWorkload | None:
    """The stand-in for a folder that is refused; None for any other."""
    package = packages.at(path)
    if package is None or not package.refusals:
        return None
    nodeid = f"{parent.nodeid.rstrip('.')}/{path.name}".lstrip("/")
    node: RefusedWorkload = RefusedWorkload.from_parent(parent, name=path.name, path=path, nodeid=nodeid)
    node.reasons = package.refusals
    return node


def announcement(packages: Packages) -> str | None:
    """One line that names the workloads found since the last one, and the state of each."""
    found = packages.unannounced()
    return f"stormdb workloads: {', '.join(package.title for package in found)}" if found else None

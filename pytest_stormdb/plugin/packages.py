"""Packaged workloads within a session: found, verified before anything of them is imported, refused where wrong."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ..errors import StormDBError, WorkloadError
from .options import value_of

if TYPE_CHECKING:
    from ..discovery import PackagedWorkload
    from ..metadata import Metadata
    from ..verified import VerifiedFinder

_POLICIES = ("off", "verify", "require")


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
        self._finder: VerifiedFinder | None = None
        self._checksums = self._policy("checksums", "verify")
        keyring = value_of(config, "keyring")
        self._keyring = Path(keyring) if keyring is not None else None
        self._signatures = self._policy("signatures", "verify" if keyring else "off")
        if self._signatures != "off" and self._keyring is None:
            raise pytest.UsageError(f"--stormdb-signatures={self._signatures} needs --stormdb-keyring FILE")

    def look_around(self, arguments: list[str]) -> list[str]:
        """Verify what lies in, below or above the arguments; the folders that --stormdb-path adds to them."""
        for argument in arguments:
            path = (self._config.invocation_params.dir / argument.partition("::")[0]).absolute()
            for folder in (path, *path.parents):
                self.at(folder)
                if folder == self._config.rootpath:
                    break
            if path.is_dir():
                for child in sorted(path.iterdir()):
                    self.at(child)
        return [str(workload.folder) for workload in self._on_path()]

    def at(self, folder: Path) -> Package | None:
        """The packaged workload in this very folder, verified when it is first asked for."""
        if folder not in self._by_folder:
            self._by_folder[folder] = self._examined(folder) if folder.is_dir() else None
        return self._by_folder[folder]

    def around(self, path: Path) -> Package | None:
        """The packaged workload that a file belongs to."""
        return next((package for folder in path.parents if (package := self._by_folder.get(folder))), None)

    def known(self) -> list[Package]:
        """Those found so far, by name."""
        found = [package for package in self._by_folder.values() if package is not None]
        return sorted(found, key=lambda package: package.workload.name)

    def close(self) -> None:
        """Let imports go their usual way again."""
        if self._finder is not None:
            self._finder.remove()

    def _on_path(self) -> Iterator[PackagedWorkload]:
        given = value_of(self._config, "path") or []
        if not given:
            return
        from ..discovery import find_workloads

        roots = [self._config.invocation_params.dir / root for root in given]
        try:
            workloads = find_workloads(roots)
        except StormDBError as error:
            raise pytest.UsageError(f"--stormdb-path: {error}") from None
        for workload in workloads:
            self.at(workload.folder)
            yield workload

    def _policy(self, name: str, default: str) -> str:
        policy: str = value_of(self._config, name) or default
        if policy not in _POLICIES:
            raise pytest.UsageError(f"--stormdb-{name}: {policy!r} is none of {', '.join(_POLICIES)}")
        return policy

    def _examined(self, folder: Path) -> Package | None:
        if not _may_hold_one(folder):
            return None
        from ..discovery import PackagedWorkload, recognise

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
        from ..dependencies import unmet_python
        from ..inspection import inspect

        name = workload.name.replace("-", "_")
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
        from ..verified import Guarded, VerifiedFinder

        if not package.refusals and package.state != "verified":
            return
        if self._finder is None:
            self._finder = VerifiedFinder(self._compile)
        self._finder.guard(Guarded(package.workload.folder, None if package.refusals else digests))

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


class RefusedWorkload(pytest.Collector):
    """Stands in the place of a folder whose code must not run: one collection error, and no import."""

    reasons: tuple[str, ...] = ()

    def collect(self) -> Iterator[pytest.Item]:
        raise self.CollectError("\n".join(f"workload {self.path.name}: {reason}" for reason in self.reasons))


PACKAGES = pytest.StashKey[Packages]()


def refusal(packages: Packages, path: Path, parent: pytest.Collector) -> RefusedWorkload | None:
    """The stand-in for a folder that is refused; None for any other."""
    package = packages.at(path)
    if package is None or not package.refusals:
        return None
    nodeid = f"{parent.nodeid.rstrip('.')}/{path.name}".lstrip("/")
    node: RefusedWorkload = RefusedWorkload.from_parent(parent, name=path.name, path=path, nodeid=nodeid)
    node.reasons = package.refusals
    return node

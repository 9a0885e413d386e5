"""Packaged workloads within a session: found, verified before anything of them is imported, refused where wrong."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ..errors import StormDBError
from ..packages.names import folded
from ..units import printable
from .lookout import may_hold_workload
from .options import absolute, value_of
from .policies import policies

if TYPE_CHECKING:
    from ..packages.discovery import PackagedWorkload
    from ..packages.importer import Guarded, VerifiedImports
    from ..packages.metadata import Metadata

_BEFORE_COLLECTION = ("conftest.py", "__init__.py")
"""What pytest imports before it can report an error of one folder."""


class Package(NamedTuple):
    """A packaged workload and what was found about it; one with ``refusals`` is not imported."""

    workload: PackagedWorkload
    state: str
    metadata: Metadata | None
    refusals: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        version = f" {self.metadata.version}" if self.metadata is not None else ""
        remarks = f" ({'; '.join(self.remarks)})" if self.remarks else ""
        return printable(f"{self.workload.name}{version} {'refused' if self.refusals else self.state}{remarks}")


class Packages:
    """All packaged workloads that this session has come across."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._policies = policies(config)
        self._by_folder: dict[Path, Package | None] = {}
        self._by_real_folder: dict[Path, Package] = {}
        self._names: dict[str, Path] = {}
        self.errors = 0
        self._announced: set[Path] = set()
        self._has_started = False
        self._imports = self._guarded_imports()

    def look_around(self, arguments: list[str]) -> None:
        """Verify what pytest is about to import from, before it does: what lies in, right below or above these.

        Whatever else is imported is examined when its code is asked for, so this is only for the better error.
        """
        found = [path for argument in arguments for path in self._paths(argument)]
        for path in found or [self._config.invocation_params.dir]:
            for folder in (path, *path.parents):
                self.at(folder)
                if folder == self._config.rootpath:
                    break
            if path.is_dir():
                for child in sorted(path.iterdir()):
                    self.at(child)

    def refuse_loaded(self) -> None:
        """Raise UsageError where a plugin that was loaded before us belongs to a workload that is refused."""
        plugins = self._config.pluginmanager.get_plugins()
        files = [file for plugin in plugins if (file := getattr(plugin, "__file__", None))]
        by_folder = {os.path.dirname(file): Path(file) for file in files}  # noqa: PTH120 - most are pytest's own
        for file in by_folder.values():
            package = next((found for folder in file.parents if (found := self.at(folder))), None)
            if package is not None and package.refusals:
                raise pytest.UsageError(
                    f"workload {package.workload.name}: {'; '.join(map(printable, package.refusals))};"
                    f" its {file.name} was loaded as a plugin (-p, PYTEST_PLUGINS) before anything could be compared:"
                    f" run 'stormdb verify {package.workload.folder}' first"
                )

    def start(self, arguments: list[str]) -> list[str]:
        """The arguments to collect: with --stormdb-path's folders, and the folder for any part of a refused one.

        What is asked for by name in a refused workload would else be "not found", and keep all others from running.
        """
        self.look_around(arguments)
        added = [str(workload.folder) for workload in self._on_path()]
        self._has_started = True
        wanted = list(dict.fromkeys(self._collectable(argument) for argument in (*arguments, *added)))
        return [argument for argument in wanted if not self._comes_with_another(argument, wanted)]

    def at(self, folder: Path) -> Package | None:
        """The packaged workload in this very folder, verified when it is first asked for."""
        if folder not in self._by_folder:
            package = self._examined(folder) if folder.is_dir() else None
            self._by_folder[folder] = package if package is None else self._named(package)
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
        return sorted(self._by_real_folder.values(), key=lambda package: package.workload.name)

    def content(self, path: Path) -> bytes | None:
        """The verified bytes of a workload's file; None for any other. CollectError if it is not as it was verified."""
        return self._imports.content(str(path))

    def close(self) -> None:
        """Let imports go their usual way again."""
        self._imports.close()

    def _guarded_imports(self) -> VerifiedImports:
        from ..packages.importer import VerifiedImports
        from .rewriting import PYTEST_DOOR

        imports = VerifiedImports(self._examined, self._on_refused_file, [PYTEST_DOOR])
        imports.open()
        return imports

    def _paths(self, argument: str) -> list[Path]:
        """Where an argument leads; one that is a pattern, as test paths may be, to several places."""
        base, name = self._config.invocation_params.dir, argument.partition("::")[0]
        if self._config.known_args_namespace.pyargs and (place := _place_of_module(name)) is not None:
            return [place]
        path = absolute(base, name)
        if path.exists():
            return [path]
        return [absolute(base, match) for match in glob.glob(argument, root_dir=base, recursive=True)]  # noqa: PTH207

    def _collectable(self, argument: str) -> str:
        path = next(iter(self._paths(argument)), absolute(self._config.invocation_params.dir, argument))
        package = self.at(path) or self.around(path)
        return str(package.workload.folder) if package is not None and package.refusals else argument

    def _comes_with_another(self, argument: str, wanted: list[str]) -> bool:
        """Whether a refused workload lies below another argument. pytest 8 would collect it, and nothing beside it."""
        package = self._by_folder.get(Path(argument))
        if package is None or not package.refusals:
            return False
        above = package.workload.folder.parents
        return any(path in above for other in wanted for path in self._paths(other))

    def _on_path(self) -> Iterator[PackagedWorkload]:
        roots = value_of(self._config, "path")
        if not roots:
            return
        from ..packages.discovery import find_workloads

        try:
            workloads = find_workloads(roots)
        except StormDBError as error:
            raise pytest.UsageError(f"--stormdb-path: {error}") from None
        for workload in workloads:
            self.at(workload.folder)
            yield workload
        for root in roots:
            if not any(workload.folder.is_relative_to(root) for workload in workloads):
                yield self._missing(root)

    def _missing(self, root: Path) -> PackagedWorkload:
        """The stand-in for a folder that was given as one of workloads, and holds none that is whole."""
        from ..packages.discovery import nameless

        reason = (
            "no packaged workload is in this folder, which --stormdb-path names; one is NAME.yaml with test_NAME.py"
        )
        package = Package(nameless(root), "mismatch", None, (reason,))
        self._by_folder[root] = self._by_real_folder[root.resolve()] = package
        self._guard(package, None)
        return package.workload

    def _examined(self, folder: Path) -> Package | None:
        if not may_hold_workload(str(folder)):
            return None
        real = folder.resolve()
        if real in self._by_real_folder:  # another way to it
            return self._by_real_folder[real]
        from ..packages.discovery import nameless, recognise

        try:
            workload = recognise(folder)
            if workload is None:
                return None
            package = self._inspected(workload)
        except StormDBError as error:
            package = Package(nameless(folder), "mismatch", None, (str(error),))
            self._guard(package, None)
        self._by_real_folder[real] = package
        return package

    def _inspected(self, workload: PackagedWorkload) -> Package:
        from ..packages.admission import inspect
        from ..packages.dependencies import unmet_python

        ours = self._policies
        keyring = Path(ours.keyring) if ours.keyring is not None else None
        found = inspect(workload, checksums=ours.checksums != "off", keyring=keyring)
        refusals = found.refusals(ours.checksums, ours.signatures)
        if not refusals and found.metadata is not None:
            refusals = unmet_python(found.metadata.dependencies)
        package = Package(workload, found.state, found.metadata, tuple(refusals), found.remarks())
        self._guard(package, found.verification.digests if found.verification is not None else None)
        return package

    def _named(self, package: Package) -> Package:
        """The package, refused if another that takes part in the session has its name, and so its database."""
        name, folder = package.workload.name, package.workload.folder
        other = self._names.setdefault(folded(name), folder)
        if other == folder or package.refusals:
            return package
        sentence = f"two workloads are called {name}: {other} and {folder}; rename one"
        return self._refused_from_now_on(package, sentence)

    def _guard(self, package: Package, digests: Any) -> None:
        """Refused: nothing is imported. Verified: nothing but the verified bytes. Else imports go their usual way."""
        from ..packages.importer import Guarded

        if package.refusals or package.state == "verified":
            folder = package.workload.folder
            self._imports.guard(Guarded(folder, folder.resolve(), None if package.refusals else digests))

    def _on_refused_file(self, guarded: Guarded, relative: str, sentence: str | None) -> None:
        """A file of a refused workload, or one that has changed since it was verified, is about to be executed.

        Before the collection, no error of an import of pytest's own would be of that workload alone: go on, with
        nothing of it.
        """
        __tracebackhide__ = True
        package = self._by_real_folder[guarded.real]
        if sentence is not None:
            package = self._refused_from_now_on(package, sentence)
        if self._has_started or Path(relative).name not in _BEFORE_COLLECTION:
            self.errors += 1
            # no ImportError, which a workload may be content with
            name = printable(package.workload.name)
            raise pytest.Collector.CollectError(
                f"workload {name}: {printable(sentence or '; '.join(package.refusals))}"
            )

    def _refused_from_now_on(self, old: Package, sentence: str) -> Package:
        new = old._replace(state="mismatch", refusals=(*old.refusals, sentence))
        for packages in (self._by_folder, self._by_real_folder):
            packages.update({path: new for path, package in packages.items() if package is old})
        self._guard(new, None)
        return new


def _place_of_module(name: str) -> Path | None:
    """Where a dotted name leads, found without importing the packages above it, as ``--pyargs`` would."""
    search, place = None, None
    for part in name.split("."):
        spec = PathFinder.find_spec(part, search) if part.isidentifier() else None
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or ())
        place = Path(search[0]) if search else Path(spec.origin) if spec.has_location and spec.origin else None
    return place


PACKAGES = pytest.StashKey[Packages]()


def announcement(packages: Packages) -> str | None:
    """One line that names the workloads found since the last one, and the state of each."""
    found = packages.unannounced()
    return f"stormdb workloads: {', '.join(package.title for package in found)}" if found else None


def keep_clean(config: pytest.Config, packages: Packages) -> None:
    """Keep pytest's own cache out of packaged workloads: with no ini file, their folder becomes the root of a session.

    A run must not change what the next one verifies.
    """
    cache = getattr(config, "cache", None)
    if cache is None or packages.around(cache._cachedir / "v") is None:
        return
    for folder in (config.invocation_params.dir, *config.invocation_params.dir.parents):
        if packages.at(folder) is None and packages.around(folder) is None:
            cache._cachedir = folder / ".pytest_cache"
            return

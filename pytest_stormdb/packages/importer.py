"""Importing verified code: exactly the bytes whose checksum was compared are executed, and no cached bytecode."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

Compile = Callable[[bytes, Path], CodeType]
Report = Callable[[Path, str], None]
"""Called with a folder in which a file has changed, and the sentence that names the file; may raise."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A folder under guard. ``digests`` are SHA-256 by relative path; None where the folder is refused as a whole."""

    folder: Path
    digests: Mapping[str, str] | None


class VerifiedFinder(MetaPathFinder):
    """Stands first on ``sys.meta_path`` and takes over every import that leads into a guarded folder."""

    def __init__(self, compile_source: Compile, on_change: Report) -> None:
        self._compile = compile_source
        self._on_change = on_change
        self._guarded: dict[Path, Guarded] = {}
        self._places: set[Path] = set()
        self._is_near: dict[str, bool] = {}
        self._nowhere = str(Path(tempfile.gettempdir()) / f"stormdb-{secrets.token_hex(16)}")  # is never made

    def guard(self, guarded: Guarded) -> None:
        """From now on, nothing is imported from this folder unless its bytes are the verified ones."""
        self._guarded[guarded.folder.resolve()] = guarded
        self._places |= {guarded.folder, guarded.folder.resolve()}
        self._is_near.clear()
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Leave ``sys.meta_path``."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    @contextlib.contextmanager
    def no_old_bytecode(self) -> Iterator[None]:
        """Keep all imports away from the bytecode on the disk, also those that do not ask a finder."""
        before = sys.pycache_prefix, sys.dont_write_bytecode
        sys.pycache_prefix, sys.dont_write_bytecode = self._nowhere, True
        try:
            yield
        finally:
            sys.pycache_prefix, sys.dont_write_bytecode = before

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(map(self._may_lead_inside, sys.path if path is None else path)):
            return None
        spec = self._package_itself(fullname, path) or PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or not spec.has_location:
            return None
        origin = Path(spec.origin).resolve()
        guarded = next((self._guarded[parent] for parent in origin.parents if parent in self._guarded), None)
        if guarded is None:
            return None
        if origin.suffix == ".py" or guarded.digests is None or not self.verified(origin, guarded):
            spec.loader, spec.cached = _VerifiedLoader(fullname, spec.origin, guarded, self), None
        return spec

    def code_of(self, origin: Path, guarded: Guarded) -> CodeType:
        """The verified code of a module; empty where its folder is refused."""
        return self._compile(self.verified(origin, guarded), origin)

    def verified(self, origin: Path, guarded: Guarded) -> bytes:
        """The module's bytes, if they are those of the checksum file; else whatever the report raises, or none."""
        if guarded.digests is None:
            return b""
        content = origin.read_bytes()
        relative = origin.relative_to(guarded.folder.resolve()).as_posix()
        if hashlib.sha256(content).hexdigest() == guarded.digests.get(relative):
            return content
        self._on_change(guarded.folder.resolve(), f"{relative} changed after its checksum was verified")
        return b""

    def _may_lead_inside(self, entry: str) -> bool:
        """Whether a module found through this entry of a search path may lie in a guarded folder."""
        if entry not in self._is_near:
            ways = {Path(entry).absolute(), Path(entry).resolve()}
            near = any(way.is_relative_to(place) or place.is_relative_to(way) for way in ways for place in self._places)
            if not Path(entry).is_absolute():  # the current folder may change
                return near
            self._is_near[entry] = near
        return self._is_near[entry]

    def _package_itself(self, fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """pytest's importlib mode asks for a package with the package's own folder as the path."""
        tail = fullname.rpartition(".")[2]
        for entry in path or ():
            init = Path(entry) / "__init__.py"
            if Path(entry).name == tail and init.is_file():
                return spec_from_file_location(fullname, init, submodule_search_locations=[entry])
        return None


class _VerifiedLoader(SourceFileLoader):
    """Executes a module from the bytes that were checked, and keeps its own imports off old bytecode too."""

    def __init__(self, fullname: str, path: str, guarded: Guarded, finder: VerifiedFinder) -> None:
        super().__init__(fullname, path)
        self._guarded = guarded
        self._finder = finder

    def get_code(self, fullname: str) -> CodeType | None:
        return self._finder.code_of(Path(self.path).resolve(), self._guarded)

    def exec_module(self, module: ModuleType) -> None:
        with self._finder.no_old_bytecode():
            super().exec_module(module)

"""Importing verified code: exactly the bytes whose checksum was compared are executed, and no cached bytecode."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

Compile = Callable[[bytes, Path], CodeType]


@dataclass(frozen=True, slots=True)
class Guarded:
    """A folder under guard. ``digests`` are SHA-256 by relative path; None where the folder is refused as a whole."""

    folder: Path
    digests: Mapping[str, str] | None

    def stems(self) -> set[str]:
        """The last names of the modules that may come from here."""
        paths = [Path(path) for path in self.digests] if self.digests is not None else list(self.folder.rglob("*.py"))
        names = {path.stem for path in paths if path.suffix == ".py"}
        return names | {path.parent.name or self.folder.name for path in paths if path.name == "__init__.py"}


class VerifiedFinder(MetaPathFinder):
    """Stands first on ``sys.meta_path`` and takes over every import that leads into a guarded folder."""

    def __init__(self, compile_source: Compile) -> None:
        self._compile = compile_source
        self._guarded: dict[Path, Guarded] = {}
        self._stems: set[str] = set()

    def guard(self, guarded: Guarded) -> None:
        """From now on, nothing is imported from this folder unless its bytes are the verified ones."""
        self._guarded[guarded.folder.resolve()] = guarded
        self._stems |= guarded.stems()
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Leave ``sys.meta_path``."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        tail = fullname.rpartition(".")[2]
        if tail not in self._stems:
            return None
        spec = self._package_itself(fullname, tail, path) or PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or not spec.has_location:
            return None
        origin = Path(spec.origin).resolve()
        guarded = next((self._guarded[parent] for parent in origin.parents if parent in self._guarded), None)
        if guarded is None:
            return None
        loader = _VerifiedLoader(origin, guarded, self._compile)
        if origin.suffix == ".py":
            spec.loader, spec.cached = loader, None
        else:
            loader.checked(fullname)
        return spec

    def _package_itself(self, fullname: str, tail: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """pytest's importlib mode asks for a package with the package's own folder as the path."""
        for entry in path or ():
            init = Path(entry) / "__init__.py"
            if Path(entry).name == tail and init.is_file():
                return spec_from_file_location(fullname, init, submodule_search_locations=[entry])
        return None


class _VerifiedLoader(InspectLoader):
    """Executes a module from the bytes it has checked; an empty one where its folder is refused."""

    def __init__(self, origin: Path, guarded: Guarded, compile_source: Compile) -> None:
        self._origin = origin
        self._guarded = guarded
        self._compile = compile_source

    def is_package(self, fullname: str) -> bool:
        return self._origin.name == "__init__.py"

    def get_source(self, fullname: str) -> str | None:
        return self.checked(fullname).decode()

    def get_code(self, fullname: str) -> CodeType | None:
        return self._compile(self.checked(fullname), self._origin)

    def checked(self, fullname: str) -> bytes:
        """The module's bytes. Raises ImportError where they are not those of the checksum file."""
        digests = self._guarded.digests
        if digests is None:
            return b""
        content = self._origin.read_bytes()
        relative = self._origin.relative_to(self._guarded.folder.resolve()).as_posix()
        if hashlib.sha256(content).hexdigest() != digests.get(relative):
            raise ImportError(f"{relative} changed after its checksum was verified", name=fullname)
        return content

"""Importing verified code: whoever loads a module of a guarded folder, and however, the verified bytes are executed.

The guard stands where code is made of a file, in the loaders, and not where a module is looked for: names, paths,
packages, ``--pyargs``, plugins and late imports all end there. Bytecode of such a folder is neither read nor written.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple
from zipimport import zipimporter

from ..errors import WorkloadError

_BYTECODE_HEADER = 16
_PREFIX = "PYTHONPYCACHEPREFIX"


class Guarded(NamedTuple):
    """A folder under guard. ``digests`` are SHA-256 by relative path; None where the folder is refused as a whole."""

    folder: Path
    real: Path
    digests: Mapping[str, str] | None

    def relative(self, path: Path) -> str | None:
        """The name by which the checksum file knows a file, by the path it was asked for or the one it leads to."""
        for base in (self.folder, self.real):
            if path.is_relative_to(base):
                return path.relative_to(base).as_posix()
        return None


Content = Callable[[str], "bytes | None"]
"""The verified bytes of a file; None where no guard stands over it. Raises, or gives b"", for what is refused."""

Door = tuple[Any, str, Callable[[Any, Content], Callable[..., Any]]]
"""A class or module, its function that executes a file, and what makes the guarded function of the present one."""


class VerifiedImports:
    """Guards every import of this process, and of those that multiprocessing starts, while it is open.

    ``examine`` is asked once for each folder that code comes from. ``refuse`` is told of a file that must not be
    executed, with the sentence that says why if it was not refused before; where it does not raise, nothing is
    executed in the file's place.
    """

    def __init__(
        self,
        examine: Callable[[Path], object],
        refuse: Callable[[Guarded, str, str | None], None],
        more_doors: Sequence[Door] = (),
    ) -> None:
        self._examine = examine
        self._refuse = refuse
        self._doors = (*_DOORS, *more_doors)
        self._guards: dict[Path, Guarded] = {}
        self._over: dict[Path, Path | None] = {}
        self._busy = threading.local()
        self._undo = ExitStack()
        self._is_open = False

    def open(self) -> None:
        """From now on, every import is looked at."""
        self._is_open = True
        for owner, name, guarded in self._doors:
            before = vars(owner).get(name)
            setattr(owner, name, guarded(getattr(owner, name), self.content))
            self._undo.callback(_put_back, owner, name, before)

    def close(self) -> None:
        """Let imports go their usual way again."""
        self._is_open = False
        self._undo.close()

    def guard(self, guarded: Guarded) -> None:
        """From now on, nothing of this folder is executed unless its bytes are the verified ones."""
        if not self._guards and self._is_open:
            self._reach_children()
        self._guards |= {guarded.folder: guarded, guarded.real: guarded}
        self._over.clear()

    def guards(self) -> tuple[Guarded, ...]:
        """All that stand."""
        return tuple({guarded.real: guarded for guarded in self._guards.values()}.values())

    def content(self, path: str) -> bytes | None:
        """See ``Content``."""
        __tracebackhide__ = True
        asked = Path(os.path.abspath(path))  # noqa: PTH100 - links as they are
        for way in dict.fromkeys((asked, Path(os.path.realpath(asked)))):
            guarded = self._guard_over(way.parent)
            relative = guarded.relative(way) if guarded is not None else None
            if guarded is not None and relative is not None:
                return self._verified(guarded, relative)
        return None

    def _verified(self, guarded: Guarded, relative: str) -> bytes:
        __tracebackhide__ = True
        if guarded.digests is None:
            self._refuse(guarded, relative, None)
            return b""
        from .checksums import UnfitFileError, read_inside  # few sessions have anything to compare

        try:
            if Path(os.path.realpath(guarded.real)) != guarded.real:
                raise UnfitFileError("symlink", "its folder has become a link")
            content = read_inside(guarded.real, relative)
            if hashlib.sha256(content).hexdigest() == guarded.digests.get(relative):
                return content
            reason = ""
        except UnfitFileError as problem:
            reason = f" ({problem})"
        self._refuse(guarded, relative, f"{relative} changed after its checksum was verified{reason}")
        return b""

    def _guard_over(self, folder: Path) -> Guarded | None:
        """The outermost guard over a folder: it covers all that is below it."""
        if getattr(self._busy, "examining", False):  # what the examination itself imports
            return next((self._guards[place] for place in (folder, *folder.parents) if place in self._guards), None)
        if folder not in self._over:
            above = self._guard_over(folder.parent) if folder.parent != folder else None
            self._look_at(folder)
            self._over[folder] = above.folder if above is not None else folder if folder in self._guards else None
        place = self._over[folder]
        return self._guards[place] if place is not None else None

    def _look_at(self, folder: Path) -> None:
        self._busy.examining = True
        try:
            self._examine(folder)
        finally:
            self._busy.examining = False

    def _reach_children(self) -> None:
        """Guard what multiprocessing starts anew, and keep every other Python off the bytecode on the disk."""
        from multiprocessing import spawn

        before = spawn.get_preparation_data
        spawn.get_preparation_data = lambda name: before(name) | {"stormdb": _Sent(self)}
        self._undo.callback(setattr, spawn, "get_preparation_data", before)
        if _PREFIX not in os.environ:
            cache = self._undo.enter_context(tempfile.TemporaryDirectory(prefix="stormdb-", ignore_cleanup_errors=True))
            os.environ[_PREFIX] = cache
            self._undo.callback(os.environ.pop, _PREFIX, None)


class _Sent:
    """The guards on their way into another process, where they stand before it imports anything of the workload."""

    def __init__(self, imports: VerifiedImports) -> None:
        self._imports = imports

    def __reduce__(self) -> tuple[Any, ...]:
        return only, (self._imports.guards(),)


def only(guards: Iterable[Guarded]) -> VerifiedImports:
    """Guards these folders from now on, and raises WorkloadError for what is not as it was verified."""
    imports = VerifiedImports(lambda folder: None, _not_executed)
    imports.open()
    for guarded in guards:
        imports.guard(guarded)
    return imports


def _not_executed(guarded: Guarded, relative: str, sentence: str | None) -> None:
    raise WorkloadError(f"workload {guarded.folder.name}: {sentence or f'{relative} belongs to a refused workload'}")


def _put_back(owner: Any, name: str, before: object) -> None:
    if before is None:
        delattr(owner, name)  # it was inherited
    else:
        setattr(owner, name, before)


def _from_source(original: Callable[..., Any], content: Content) -> Callable[..., Any]:
    def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
        source = content(loader.path)
        if source is None:
            return original(loader, fullname)  # type: ignore[no-any-return]
        return loader.source_to_code(source, loader.path)

    return get_code


def _from_bytecode(original: Callable[..., Any], content: Content) -> Callable[..., Any]:
    def get_code(loader: SourcelessFileLoader, fullname: str) -> CodeType | None:
        found = content(loader.path)
        if found is None:
            return original(loader, fullname)  # type: ignore[no-any-return]
        if found and not found.startswith(importlib.util.MAGIC_NUMBER):
            raise ImportError(f"{loader.path}: bytecode of another Python", name=fullname, path=loader.path)
        code = marshal.loads(found[_BYTECODE_HEADER:]) if found else compile("", loader.path, "exec")  # noqa: S302 - verified
        return code if isinstance(code, CodeType) else None

    return get_code


def _from_archive(original: Callable[..., Any], content: Content) -> Callable[..., Any]:
    def get_code(loader: zipimporter, fullname: str) -> CodeType | None:
        archive = content(loader.archive)
        if archive is None:
            return original(loader, fullname)  # type: ignore[no-any-return]
        path = f"{loader.prefix}{fullname.rpartition('.')[2]}".replace(os.sep, "/")
        source = _in_archive(archive, f"{path}/__init__.py" if loader.is_package(fullname) else f"{path}.py")
        if source is None:
            raise ImportError(f"{loader.archive}: {path} is no source; a sealed workload runs no other", name=fullname)
        return compile(source, loader.get_filename(fullname), "exec", dont_inherit=True)

    return get_code


def _opened(original: Callable[..., Any], content: Content) -> Callable[..., Any]:
    def open_code(path: str) -> Any:
        source = content(path)
        return original(path) if source is None else io.BytesIO(source)

    return open_code


def _in_archive(archive: bytes, name: str) -> bytes | None:
    from zipfile import BadZipFile, ZipFile

    if not archive:
        return b""
    try:
        with ZipFile(io.BytesIO(archive)) as opened:
            return opened.read(name)
    except (KeyError, BadZipFile):
        return None


def _extension(original: Callable[..., Any], content: Content) -> Callable[..., Any]:
    def create_module(loader: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        if content(loader.path) == b"":
            raise ImportError(f"{loader.path}: belongs to a refused workload", name=spec.name, path=loader.path)
        return original(loader, spec)  # type: ignore[no-any-return]

    return create_module


_DOORS: tuple[Door, ...] = (
    (SourceFileLoader, "get_code", _from_source),
    (SourcelessFileLoader, "get_code", _from_bytecode),
    (ExtensionFileLoader, "create_module", _extension),
    (zipimporter, "get_code", _from_archive),
    (io, "open_code", _opened),  # by which runpy comes to what it runs
)

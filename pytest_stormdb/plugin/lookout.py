"""A look at where code comes from, until there is a packaged workload: what verifies one is imported, and stands, then.

Most suites have none. So every suite loads this module, which imports next to nothing and asks for the names in a
folder, once for each; the guard itself, `packages.importer`, is left to those that have one.
"""

# names of folders as text: this is in the way of every import
# ruff: noqa: PTH100, PTH110, PTH114, PTH118, PTH120, PTH208

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from importlib.machinery import ExtensionFileLoader, SourceFileLoader, SourcelessFileLoader
from typing import Any
from zipimport import zipimporter

import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook

_SEALS = (".sha256", ".sha256.asc")


def may_hold_workload(folder: str) -> bool:
    """A cheap look at the names in a folder: most hold no packaged workload, nor what is left of one.

    `packages.discovery` has the last word where this says yes, and finds none where it says no.
    """
    try:
        listing = "\n".join(os.listdir(folder)).lower()
    except OSError:
        return False
    if ".yaml" not in listing and ".sha256" not in listing:
        return False
    from ..packages.names import main_module_of

    files = set(listing.split("\n"))
    return any(
        file.endswith(_SEALS) or (file.endswith(".yaml") and main_module_of(file.removesuffix(".yaml")) in files)
        for file in files
    )


class Lookout:
    """Says whether a folder or a file may be a workload's. Once it is closed, each may: whoever closed it knows."""

    def __init__(self) -> None:
        self.is_over = False
        self._is_open = False
        self._clear = {os.path.dirname(os.__file__): True}  # Python's own library, which runs already
        self._doors: list[tuple[Any, str, object, object]] = []

    def open(self, wake: Callable[[], object]) -> None:
        """From now on, look at every file before it is executed; where it may be a workload's, ``wake`` closes this."""
        if self._is_open:
            return
        self._is_open = True
        for owner, name, path_of in _DOORS:
            look = self._looking(owner, name, path_of, wake)
            self._doors.append((owner, name, vars(owner).get(name), look))
            setattr(owner, name, look)

    def close(self) -> None:
        """Let imports go their usual way again.

        Where another session of this process, within ours, stands before a door of ours, that is left to it: it puts
        back what it found, which lets everything through from now on.
        """
        self.is_over = True
        for owner, name, before, look in self._doors:
            if vars(owner).get(name) is not look:
                continue
            if before is None:  # it was inherited
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._doors.clear()

    def is_clear(self, folder: str) -> bool:
        """Whether no packaged workload is in a folder or around it, nor where links on the way to it lead."""
        return not self.is_over and self._has_none(folder)

    def is_clear_file(self, path: str) -> bool:
        """The same for the folder of a file, and of what it is a link to."""
        if not self.is_clear(os.path.dirname(path)):
            return False
        return not os.path.islink(path) or self.is_clear_file(os.path.realpath(path))

    def is_clear_around(self, base: str, arguments: Iterable[str]) -> bool:
        """The same for what pytest is to collect, and what lies right below; never for what is not there."""
        for argument in arguments:
            place = os.path.abspath(os.path.join(base, argument.partition("::")[0]))
            if not os.path.exists(place) or not all(map(self.is_clear, (place, *_folders_in(place)))):
                return False
        return True

    def _has_none(self, folder: str) -> bool:
        known = self._clear.get(folder)
        if known is None:
            above = os.path.dirname(folder)
            known = above == folder or self._has_none(above)
            if known and os.path.islink(folder):
                known = self._has_none(os.path.realpath(folder))
            known = self._clear[folder] = known and not may_hold_workload(folder)
        return known

    def _looking(
        self, owner: Any, name: str, path_of: Callable[..., str | None], wake: Callable[[], object]
    ) -> Callable[..., Any]:
        original = getattr(owner, name)

        def look(*arguments: Any) -> Any:
            path = None if self.is_over else path_of(*arguments)
            if path is None or self.is_clear_file(os.path.abspath(path)):
                return original(*arguments)
            wake()
            return getattr(owner, name)(*arguments)

        # pytest leaves frames of generated code out of tracebacks, where this one has nothing to say
        look.__code__ = look.__code__.replace(co_filename=f"<{__name__}>")
        return look


def _folders_in(place: str) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [entry.path for entry in entries if entry.is_dir()]
    except OSError:  # a file, or a folder that nobody may read
        return []


def _loaded(loader: Any, _: object) -> str:
    return str(loader.path)


def _archive(loader: zipimporter, _: object) -> str:
    return loader.archive


def _rewritten(_: object, module: Any) -> str | None:
    return module.__spec__.origin if module.__spec__ is not None else None


_DOORS: tuple[tuple[Any, str, Callable[..., str | None]], ...] = (
    (SourceFileLoader, "get_code", _loaded),
    (SourcelessFileLoader, "get_code", _loaded),
    (ExtensionFileLoader, "create_module", _loaded),
    (zipimporter, "get_code", _archive),
    (io, "open_code", os.fspath),  # by which runpy comes to what it runs
    (AssertionRewritingHook, "exec_module", _rewritten),
)
"""A class or module, its function that executes a file, and which file that is: the doors of `packages.importer`."""

_LOOKOUT: pytest.StashKey[Lookout] = pytest.StashKey()


def lookout_of(config: pytest.Config) -> Lookout:
    """The session's."""
    if _LOOKOUT not in config.stash:
        config.stash[_LOOKOUT] = Lookout()
        config.add_cleanup(config.stash[_LOOKOUT].close)
    return config.stash[_LOOKOUT]

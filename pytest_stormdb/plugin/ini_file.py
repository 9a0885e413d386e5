"""The ini file of a session that lies in a packaged workload: it has no say in what judges that workload."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..units import printable
from .lookout import lookout_of
from .packages import PACKAGES, Package, Packages
from .policies import ini_is_packaged

_WAY_OUT = "give an ini file of your own: -c FILE --rootdir DIR"
_ALONE = "--disable-plugin-autoload"


def packages_of(config: pytest.Config) -> Packages:
    """The session's packages, whose guards stand, in the place of a mere look, from when they are first asked for.

    Raises UsageError where the ini file itself belongs to a workload and is not as it was sealed.
    """
    lookout_of(config).close()
    if PACKAGES not in config.stash:
        config.stash[PACKAGES] = packages = Packages(config)
        config.add_cleanup(packages.close)
        _check_file(config, packages)
        if config.args:  # the command line is read as a whole: the collection is under way, or about to be
            packages.start(config.args)
    return config.stash[PACKAGES]


@contextmanager
def kept_from_judging(config: pytest.Config) -> Iterator[None]:
    """Around the loading of plugins that the command line and the ini file name.

    Raises UsageError where an ini file in a workload would load any, and the workload is refused, or switches us off.
    """
    if not ini_is_packaged(config):
        yield
        return
    found = _package_of(config.inipath, packages_of(config))
    words = config.getini("addopts")
    if found is not None and found.refusals and (config.getini("pythonpath") or _names_plugins(words)):
        raise _error(config, found, "would run code of it", f"which is refused: {_reasons(found)}; {_WAY_OUT}")
    yield
    if found is not None and (config.pluginmanager.is_blocked("stormdb") or _ALONE in words):
        raise _error(config, found, f"switches stormdb off (addopts = {shlex.join(words)})", _WAY_OUT)


def _check_file(config: pytest.Config, packages: Packages) -> None:
    package = _package_of(config.inipath, packages)
    if config.inipath is None or package is None or not package.refusals:
        return
    name = config.inipath.relative_to(package.workload.folder).as_posix()
    if any(f": {name}" in reason for reason in package.refusals):
        raise _error(config, package, "is not as it was sealed", f"{_reasons(package)}; {_WAY_OUT}")


def _package_of(path: Path | None, packages: Packages) -> Package | None:
    return next((found for folder in path.parents if (found := packages.at(folder))), None) if path else None


def _names_plugins(words: list[str]) -> bool:
    return any(word.startswith("-p") for word in words)


def _reasons(package: Package) -> str:
    return "; ".join(map(printable, package.refusals))


def _error(config: pytest.Config, package: Package, what: str, more: str) -> pytest.UsageError:
    name = printable(package.workload.name)
    return pytest.UsageError(f"{config.inipath}: this ini file is part of workload {name} and {what}: {more}")

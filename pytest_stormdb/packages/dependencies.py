"""What a packaged workload needs: parsed from its metadata, compared with what is there.

``stormdb-core`` is this package and ``postgresql-driver`` is psycopg, each with a PEP 440 range of *its*
versions. The Go tool's version numbers do not carry over: ``stormdb-core: ">=2.0.0"``, as the guide shows it,
is read, and is unmet by pytest-stormdb 0.1.0. To pass it over would run a workload on a framework that its
author ruled out; the sentence says so, and the author of a port decides what it needs.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

Kind = Literal["stormdb-core", "postgresql-driver", "postgresql", "extension", "distribution"]

_DISTRIBUTION_OF: Mapping[str, str] = {"stormdb-core": "pytest-stormdb", "postgresql-driver": "psycopg"}
_KIND_OF: Mapping[str, Kind] = {
    "stormdb-core": "stormdb-core",
    "pytest-stormdb": "stormdb-core",
    "postgresql-driver": "postgresql-driver",
    "postgresql": "postgresql",
}
_EXTENSION = re.compile(r"extension:([A-Za-z0-9_-]+)\s*(.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_SERVER_VERSION = re.compile(r"(\d+(?:\.\d+)*)(devel|beta\d*|rc\d*)?")


@dataclass(frozen=True)
class Dependency:
    """One thing a workload needs; an empty `specifier` is content with any version."""

    kind: Kind
    name: str
    specifier: str

    def __str__(self) -> str:
        return f"{self.written_name} {self.specifier}".rstrip()

    @property
    def written_name(self) -> str:
        """The name as metadata has it: ``extension:vector``."""
        return f"extension:{self.name}" if self.kind == "extension" else self.name

    def accepts(self, version: Version) -> bool:
        return SpecifierSet(self.specifier).contains(version, prereleases=True)


def parse_dependency(name: str, specifier: str) -> Dependency:
    """The guide's way: a name and a range (``postgresql-driver``, ``>=1.0.0``). Raises ValueError."""
    if match := _EXTENSION.fullmatch(name):
        if match[2]:
            raise ValueError(f"{name!r} is not the name of an extension")
        return Dependency("extension", match[1], _range(specifier))
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a dependency")
    return Dependency(_KIND_OF.get(canonicalize_name(name), "distribution"), name, _range(specifier))


def parse_requirement(requirement: str) -> Dependency | None:
    """Python's way, PEP 508 (``pydantic>=2.7``), also for ``postgresql>=15`` and ``extension:vector>=0.5``.

    None where its environment marker does not hold here. Raises ValueError for anything else.
    """
    if match := _EXTENSION.fullmatch(requirement.strip()):
        return Dependency("extension", match[1], _range(match[2]))
    try:
        parsed = Requirement(requirement)
        if parsed.marker is not None and not parsed.marker.evaluate():
            return None
    except InvalidRequirement:
        raise ValueError(
            f"{requirement!r} is not a requirement; write 'name>=1.0', or name: '>=1.0' for other names"
        ) from None
    return parse_dependency(parsed.name, str(parsed.specifier))


def _range(specifier: str) -> str:
    try:
        return str(SpecifierSet(specifier.strip()))
    except ValueError:
        raise ValueError(f"{specifier!r} is not a range of versions; write '>=1.0' or '>=1.0,<2'") from None


def installed_version(distribution: str) -> str | None:
    """The version of an installed Python distribution, None where there is none of that name."""
    try:
        return importlib.metadata.version(distribution)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def unmet_python(
    dependencies: Iterable[Dependency], installed: Callable[[str], str | None] = installed_version
) -> list[str]:
    """A sentence for each Python dependency that is not met: what is needed, what was found."""
    unmet = []
    for dependency in dependencies:
        if dependency.kind in ("postgresql", "extension"):
            continue
        distribution = _DISTRIBUTION_OF.get(dependency.kind, dependency.name)
        found = installed(distribution)
        if found is None or not _accepts(dependency, found):
            unmet.append(_sentence(dependency, _found_python(dependency, distribution, found)))
    return unmet


def _found_python(dependency: Dependency, distribution: str, found: str | None) -> str:
    if found is not None:
        note = "; stormdb-core is this package here" if dependency.name == "stormdb-core" else ""
        return f"{distribution} {found} is installed{note}"
    if "/" in distribution:
        return "that is no Python distribution; name the Python package instead, or remove it"
    return f"{distribution} is not installed"


def unmet_server(
    dependencies: Iterable[Dependency], server_version: str | int, extensions: Mapping[str, str]
) -> list[str]:
    """A sentence for each server dependency that is not met.

    `server_version` is what ``SHOW server_version`` or ``server_version_num`` says; `extensions` are the
    versions of those that the server has, by name.
    """
    unmet = []
    version = _server_version(server_version)
    for dependency in dependencies:
        if dependency.kind == "postgresql" and not _accepts(dependency, version):
            unmet.append(_sentence(dependency, f"the server is PostgreSQL {version}"))
        elif dependency.kind == "extension":
            found = extensions.get(dependency.name)
            if found is None:
                unmet.append(_sentence(dependency, f"the server has no extension {dependency.name}"))
            elif not _accepts(dependency, found):
                unmet.append(_sentence(dependency, f"the server has {dependency.name} {found}"))
    return unmet


def _sentence(dependency: Dependency, found: str) -> str:
    return f"needs {dependency}, but {found}"


def _accepts(dependency: Dependency, version: str) -> bool:
    if not dependency.specifier:
        return True
    try:
        return dependency.accepts(Version(version))
    except InvalidVersion:
        return False


def _server_version(version: str | int) -> str:
    """``160004``, ``"160004"`` and ``"16.4 (Debian 16.4-1)"`` are all 16.4; ``17devel`` is before 17."""
    if isinstance(version, int) or re.fullmatch(r"\d{5,6}", version):
        number = int(version)
        if number >= 100_000:
            return f"{number // 10_000}.{number % 10_000}"
        return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    match = _SERVER_VERSION.match(version.strip())
    if match is None:
        return version
    return match[1] + (".dev0" if match[2] == "devel" else match[2] or "")

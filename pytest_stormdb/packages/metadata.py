"""The metadata of a packaged workload, `<name>.yaml`, typed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..configuration.fields import (
    Section,
    listed,
    section,
    text,
)
from ..configuration.yaml_nodes import Value, load
from ..errors import WorkloadError
from .dependencies import Dependency, parse_dependency, parse_requirement
from .names import LONGEST, is_name, main_module_of

KEYS = ("name", "version", "description", "author", "license", "dependencies", "tags", "security", "checksum")
SECURITY_KEYS = ("checksum", "signature")

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,63}")
_CHECKSUM = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Security:
    """The main module's SHA-256 in lower case, and its detached armored OpenPGP signature, where given."""

    checksum: str | None = None
    signature: str | None = None


@dataclass(frozen=True)
class Metadata:
    """What a packaged workload says about itself."""

    name: str
    version: str
    description: str = ""
    author: str = ""
    license: str = ""
    dependencies: tuple[Dependency, ...] = ()
    tags: tuple[str, ...] = ()
    security: Security = field(default=Security())

    @property
    def main_module(self) -> str:
        return main_module_of(self.name)


def load_metadata(path: Path) -> Metadata:
    """Reads `<name>.yaml`. Raises WorkloadError with file, line and key for whatever is wrong with it."""
    root = load(path, WorkloadError)
    elsewhere = [f"security.{key}" for key in SECURITY_KEYS]
    top = section(root, KEYS, elsewhere)
    for key in ("name", "version"):
        if key not in top.entries:
            raise top.refuse(f"the key {key!r} is missing; a packaged workload has a name and a version")
    return Metadata(
        name=_name(top.entries["name"]),
        version=_version(top.entries["version"]),
        description=top.read("description", text, ""),
        author=top.read("author", _one_line, ""),
        license=top.read("license", _one_line, ""),
        dependencies=_present(top.read("dependencies", listed(_dependency), ())),
        tags=top.read("tags", listed(_one_line), ()),
        security=_security(top),
    )


def _name(value: Value) -> str:
    name = text(value)
    if not is_name(name):
        raise value.refuse(f"must be letters and digits, joined by - or _, at most {LONGEST} in all")
    return name


def _version(value: Value) -> str:
    """No sentence: it is printed beside what was verified, and must not be able to say that it was."""
    version = text(value)
    if not _VERSION.fullmatch(version):
        raise value.refuse("must be a version such as 1.2.0 or 2.0-rc.1: letters, digits and . + - _ !", show=False)
    return version


def _one_line(value: Value) -> str:
    line = text(value)
    if not line.isprintable():
        raise value.refuse("must be one line without control characters", show=False)
    return line


def _present(dependencies: Iterable[Dependency | None]) -> tuple[Dependency, ...]:
    return tuple(dependency for dependency in dependencies if dependency is not None)


def _dependency(value: Value) -> Dependency | None:
    try:
        if isinstance(value.data, str):
            return parse_requirement(value.text)
        if isinstance(value.data, dict) and len(value.data) == 1:
            ((name, specifier),) = value.data.items()
            return parse_dependency(name, "" if specifier.data is None else text(specifier))
    except ValueError as problem:
        raise value.refuse(str(problem), show=False) from None
    raise value.refuse("must be one name and its range, such as - pydantic: '>=2.7'")


def _security(top: Section) -> Security:
    """The section `security`, and the `checksum` that the guide's ``echo`` appends below it."""
    inner = top.read("security", lambda value: section(value, SECURITY_KEYS))
    checksum = inner.read("checksum", _checksum) if inner else None
    appended = top.read("checksum", _checksum)
    if checksum and appended and checksum != appended:
        raise top.entries["checksum"].refuse("is not the one under 'security'; keep one of them")
    return Security(checksum or appended, inner.read("signature", text) if inner else None)


def _checksum(value: Value) -> str:
    match = _CHECKSUM.fullmatch(text(value))
    if match is None:
        raise value.refuse("must be 'sha256:' and 64 hexadecimal digits, as sha256sum prints them")
    return match[1].lower()

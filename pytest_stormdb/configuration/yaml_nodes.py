"""YAML as people write it, read safely, with the file and the line of every value at hand.

The file is composed into nodes and turned into `Value`s here; nothing is ever constructed by its tag. Numbers
that YAML 1.1 reads in its own way (``010``, ``12:30``) and dates stay the text they were written as. Aliases
are followed, up to a limit on the number of values, so that no small file can become a large one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StormDBError

if TYPE_CHECKING:
    import yaml

MOST_BYTES = 1 << 20
MOST_VALUES = 10_000
MOST_LEVELS = 50

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\})?")
_QUOTES = "'\""
_QUOTED = re.compile(r"'[^']{3,}'|\"[^\"]{3,}\"")
_NUMBER_OF_YAML_1_1 = re.compile(r"[-+]?0[0-7_]+|.*:.*")
_READABLE_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
_TEXT_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "value"))
_COLLECTION_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("map", "seq"))
_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, eq=False)
class Value:
    """One value of a YAML file: a scalar, a list or a mapping, and where it stands."""

    file: Path
    line: int
    key: str
    error: type[StormDBError]
    data: object = field(repr=False)
    text: str = field(default="", repr=False)
    written: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def is_scalar(self) -> bool:
        return not isinstance(self.data, dict | list)

    def refuse(self, problem: str, *, show: bool = True) -> StormDBError:
        """The error that says what is wrong here, with the value as written unless it may be a secret."""
        key = f"{_shortened(self.key).strip(_QUOTES)}: " if self.key else ""
        shown = f"{_shortened(self.written)} " if show and self.is_scalar and self.written else ""
        return self.error(f"{self.place}: {key}{shown}{problem}")

    def plain(self) -> object:
        """The value as plain Python: dict, list, str, int, float, bool or None."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data

    def places(self) -> Iterator[tuple[str, str]]:
        """Every key below, dotted (``parameters.rows``, ``slo.0``), with its ``file:line``."""
        if self.key:
            yield self.key, self.place
        children = self.data.values() if isinstance(self.data, dict) else self.data
        if isinstance(self.data, dict | list):
            for child in children:  # type: ignore[attr-defined]
                yield from child.places()

    def variables(self) -> Iterator[tuple[str, str]]:
        """Every key below whose value came from a variable, dotted, with what was written."""
        if self.is_scalar and self.text != self.written:
            yield self.key, self.written
        children = self.data.values() if isinstance(self.data, dict) else self.data
        if isinstance(self.data, dict | list):
            for child in children:  # type: ignore[attr-defined]
                yield from child.variables()


def load(path: Path, error: type[StormDBError], environ: Mapping[str, str] | None = None) -> Value:
    """The one document of a YAML file; an empty file is an empty mapping.

    ``${VAR}`` and ``${VAR:-default}`` in values are replaced from `environ` if one is given (``$${`` stands
    for ``${``). Whatever is wrong with the file is raised as `error`, without quoting the file.
    """
    import yaml

    text = _read(path, error)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise error(f"{path}:{line}: a character that YAML does not allow") from None
    except yaml.MarkedYAMLError as problem:
        raise error(_not_yaml(path, problem)) from None
    except RecursionError:
        raise error(f"{path}: nested more than {MOST_LEVELS} levels deep") from None
    except Exception as problem:  # PyYAML lets ValueError and the like of a bad escape or directive through
        raise error(f"{path}: not YAML ({type(problem).__name__} while reading it)") from None
    if node is None:
        return Value(path, 1, "", error, {})
    return _Reader(path, error, environ, loader).value(node, "", 0)


def _read(path: Path, error: type[StormDBError]) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not a file name"
        raise error(f"{path}: cannot be read: {reason}") from None
    if len(data) > MOST_BYTES:
        raise error(f"{path}: larger than {MOST_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(f"{path}:{line}: not UTF-8 text") from None


def _not_yaml(path: Path, problem: yaml.MarkedYAMLError) -> str:
    mark = problem.problem_mark or problem.context_mark
    place = f"{path}:{mark.line + 1}" if mark else f"{path}"
    what = problem.problem or problem.context or "malformed"
    what = _QUOTED.sub("...", what)  # a password without quotes may look like an alias
    hint = "; indent with spaces" if "\\t" in what else ""
    hint = "; put quotes around what begins with > or |" if "chomping" in what else hint
    return f"{place}: not YAML: {what}{hint}"


def _shortened(written: str) -> str:
    return repr(written if len(written) <= 60 else f"{written[:57]}...")


@dataclass
class _Reader:
    path: Path
    error: type[StormDBError]
    environ: Mapping[str, str] | None
    loader: yaml.SafeLoader
    seen: int = 0

    def value(self, node: yaml.Node, key: str, level: int) -> Value:
        import yaml

        here = Value(self.path, node.start_mark.line + 1, key, self.error, None)
        self.seen += 1
        if self.seen > MOST_VALUES:
            raise here.refuse(f"more than {MOST_VALUES:,} values, aliases counted as often as they are used")
        if level > MOST_LEVELS:
            raise here.refuse(f"nested more than {MOST_LEVELS} levels deep, or an alias that contains itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, here)
        if node.tag not in _COLLECTION_TAGS:
            raise here.refuse("has a YAML tag; only plain values are read")
        data = (self._mapping if isinstance(node, yaml.MappingNode) else self._list)(node, here, level)
        return replace(here, data=data)

    def _list(self, node: yaml.Node, here: Value, level: int) -> list[Value]:
        prefix = f"{here.key}." if here.key else ""
        return [self.value(child, f"{prefix}{index}", level + 1) for index, child in enumerate(node.value)]

    def _mapping(self, node: yaml.Node, here: Value, level: int) -> dict[str, Value]:
        prefix = f"{here.key}." if here.key else ""
        found: dict[str, Value] = {}
        for key_node, value_node in node.value:
            at = Value(self.path, key_node.start_mark.line + 1, here.key, self.error, None)
            if not isinstance(key_node.value, str):
                raise at.refuse("a key must be plain text")
            if key_node.tag == _MERGE_TAG:
                raise at.refuse("merge keys (<<) are not read; write the keys out")
            key = _clean(key_node.value, at)
            if key in found:
                raise at.refuse(f"key {key!r} is given twice, first in line {found[key].line}")
            found[key] = self.value(value_node, f"{prefix}{key}", level + 1)
        return found

    def _scalar(self, node: yaml.ScalarNode, here: Value) -> Value:
        written: str = node.value
        text, tag = written, node.tag
        if self.environ is not None and "${" in written:
            text = _substituted(written, self.environ, here)
            if node.style is None:
                tag = self.loader.resolve(type(node), text, (True, False))  # type: ignore[no-untyped-call]
        text = _clean(text, here)
        return replace(here, data=self._data(node, tag, text, here), text=text, written=written)

    def _data(self, node: yaml.Node, tag: str, text: str, here: Value) -> object:
        import yaml

        if tag in _TEXT_TAGS:
            return text
        if tag not in _READABLE_TAGS:
            raise here.refuse("has a YAML tag; only plain values are read")
        if tag[-3:] in ("int", "oat") and _NUMBER_OF_YAML_1_1.fullmatch(text):
            return text
        try:
            data = self.loader.construct_object(yaml.ScalarNode(tag, text, node.start_mark, node.end_mark))
        except Exception:  # a constructor lets ValueError, KeyError, IndexError of a bad scalar through
            raise here.refuse("is not what its YAML tag says, or too long a number") from None
        if isinstance(data, int) and data.bit_length() > 63:
            raise here.refuse("is a number that does not fit in 64 bits")
        return data


def _clean(text: str, here: Value) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise here.refuse("holds half a character (a lone surrogate)") from None
    if "\0" in text:
        raise here.refuse("holds a NUL character")
    return text


def _substituted(text: str, environ: Mapping[str, str], here: Value) -> str:
    def replacement(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise here.refuse("'${' begins a variable: write ${NAME} or ${NAME:-default}, or $${ for itself")
        found = environ.get(name)
        if default is not None:
            return found or default[2:]
        if found is None:
            raise here.refuse(f"the variable {name} is not set; set it, or write ${{{name}:-default}}")
        return found

    return _VARIABLE.sub(replacement, text)

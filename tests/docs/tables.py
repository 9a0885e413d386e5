"""The tables of options in the reference, made from the table of options.

``python -m tests.docs.tables`` writes them into ``docs/reference.md``, between its comments ``<!-- options of ... -->``
and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_stormdb.load.option import COMMAND_LINE, FILE, MARK, NOT_GIVEN, Option
from pytest_stormdb.load.options import said_in

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"
_TABLE = re.compile(r"(<!-- options of (.+?) -->\n\n).*?\n?(<!-- end -->)", re.DOTALL)


def with_tables(reference: str) -> str:
    """The text of the reference, its tables of options as they must be."""
    tables = {"the command line and the ini file": _flags, "the mark": _marked, "the configuration file": _keys}
    return _TABLE.sub(lambda match: f"{match[1]}{_table(tables[match[2]]())}\n{match[3]}", reference)


def _flags() -> Iterator[tuple[str, ...]]:
    yield "option", "ini key", "default", "effect"
    for option in said_in(COMMAND_LINE):
        flag = f"{option.flag} {option.metavar}" if option.metavar else option.flag
        yield f"`{flag}`", f"`{option.key}`", _default(option), option.help


def _marked() -> Iterator[tuple[str, ...]]:
    yield "option", "default", "meaning"
    for option in said_in(MARK):
        yield f"`{option.name}`", _default(option, in_python=True), option.help


def _keys() -> Iterator[tuple[str, ...]]:
    yield "key", "effect"
    for option in said_in(FILE):
        yield f"`{option.name}`", option.help
        yield from ((f"`{alias}`", f"another name for `{option.name}`") for alias in option.aliases)


def _default(option: Option, *, in_python: bool = False) -> str:
    if option.default is NOT_GIVEN or option.default is False or option.default == ():
        return ""
    return f"`{json.dumps(option.default)}`" if in_python and option.default is not True else f"`{option.default}`"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    head, *others = rows
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in (head, *others)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


if __name__ == "__main__":
    REFERENCE.write_text(with_tables(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")

"""The text of a pgbench script, as far as we look into it: on which lines its commands begin.

pgbench numbers commands, and a person looks for lines. This follows psql's rules for where a command ends: a semicolon
outside of quotes, comments and parentheses, and a backslash command to the end of its line. What the commands mean is
pgbench's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SHELL = re.compile(r"\\(set)?shell\b", re.IGNORECASE)
_OF_THE_QUERY_BEFORE = ("gset", "aset")
_SPACE = re.compile(r"\s+")
_TOKEN = re.compile(
    r"""
    (?P<space>\s+ | --[^\n]*)
  | (?P<comment>/\*)
  | (?P<quoted>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | (?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag))
  | (?P<combined>\\[;:])
  | (?P<meta>\\(?:[^\n\\]|\\\r?\n|\\)*)
  | (?P<end>;)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<word>\w+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def command_lines(text: str) -> list[int]:
    """The line, from 1, on which each command begins; the index is pgbench's number of the command."""
    return [line for line, _ in _commands(text)]


def shell_line(text: str) -> int | None:
    """The line of the first command that starts a shell; None where there is none."""
    return next((line for line, command in _commands(text) if _SHELL.match(command)), None)


def _commands(text: str) -> Iterator[tuple[int, str]]:
    """Line and beginning of each command."""
    position, depth, begun = 0, 0, None
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None
        kind, start = match.lastgroup, position
        position = match.end() if kind != "comment" else _end_of_comment(text, position)
        if kind in ("space", "comment"):
            continue
        if kind == "meta":
            name = match[0][1:].split(None, 1)[0].lower() if match[0][1:].strip() else ""
            if begun is not None:
                yield _line(text, begun), text[begun : begun + 20]
            if name not in _OF_THE_QUERY_BEFORE:
                yield _line(text, start), match[0]
            begun, depth = None, 0
            continue
        if kind == "end" and depth == 0:
            if begun is not None:
                yield _line(text, begun), text[begun : begun + 20]
            begun = None
            continue
        depth += (kind == "open") - (kind == "close" and depth > 0)
        begun = start if begun is None else begun
    if begun is not None:
        yield _line(text, begun), text[begun : begun + 20]


def _end_of_comment(text: str, start: int) -> int:
    """Behind a comment, in which comments may lie."""
    depth, position = 1, start + 2
    while depth and (edge := _COMMENT_EDGE.search(text, position)):
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return len(text) if depth else position


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1

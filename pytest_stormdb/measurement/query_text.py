"""Statements as short text: what they do, without the values in them."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LITERAL = re.compile(r"[eE]?'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|(?<![\w$])\d+(?:\.\d+)?\b", re.DOTALL)


def shortened(sql: str, length: int = 60) -> str:
    """One line of at most ``length`` characters; comments go, and literals, which may be secret, become ``?``.

    Text that the server cut off within a literal loses its end.
    """
    text = _LITERAL.sub("?", _COMMENT.sub(" ", sql))
    text = " ".join(text.partition("'")[0].split())
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."

"""Statements as short text: what they do, without the values in them."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LITERAL = re.compile(r"[eE]?'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|(?<![\w$])\d+(?:\.\d+)?\b", re.DOTALL)


def shortened(sql: str, length: int = 60) -> str:
    """One line of at most ``length`` characters; comments and the last ``;`` go, and literals become ``?``.

    Literals may be secret: text that the server cut off within one loses its end.
    """
    text = _LITERAL.sub("?", _COMMENT.sub(" ", sql))
    text = " ".join(text.partition("'")[0].split()).rstrip("; ")
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."

"""Secrets that this process knows, hidden by their value in whatever it lets out."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "***"
_SHORTEST = 4
"""A shorter password is hidden only where it stands as one: its letters are in every other word."""

# compiled at their first use: every suite imports this module, and few have a connection string to show
_IN_URL = r"(?P<before>://[^\s:/@'\"]*:)[^\s'\"]+(?=@)"
_IN_CONNINFO = r"(?P<before>\b(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s'\",)]+)"
_OF_CONNINFO = r"\b(?:host|hostaddr|port|user|dbname|service)\s*="
_STATED = r"\b(?:ssl)?password\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\]|\\.)+))"
_USER_INFO = r"://([^:/@?#]*):"
_USUAL = r"\b(?:user|host|dbname)\s*=\s*'?([^\s']+)"

_known: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None


def learn(secret: str | None) -> None:
    """Hide this from now on, however it is quoted or encoded."""
    global _pattern
    if secret is None or len(secret) < _SHORTEST or secret in _known:
        return
    _known[secret] = None
    fragments = {fragment for known in _known for form in _forms(known) for fragment in _fragments(form)}
    longest_first = sorted(fragments, key=len, reverse=True)
    _pattern = re.compile(f"(?=({'|'.join(map(re.escape, longest_first))}))")


def learn_dsn(dsn: str) -> None:
    """Hide the passwords of a connection string or URL, also of one that libpq cannot read.

    A password with an ``@`` or ``/`` of its own is taken to its first and to its last ``@``. One that is the user's
    or the database's name too is hidden only where it stands as a password: it is everybody's guess.
    """
    usual = {*re.findall(_USUAL, dsn), *re.findall(r"://([^:/@?#]*)[:@]", dsn), *re.findall(r"@[^@]*/([^@/?]+)", dsn)}
    for secret in _passwords(dsn):
        if secret not in usual:
            learn(secret)


def redacted(text: str) -> str:
    """The text without what is known to be secret, and without what stands where a password does."""
    if "://" in text:
        text = re.sub(_IN_URL, _after, text)
    if "password" in text:
        text = "\n".join(map(_without_password, text.split("\n")))
    return _without_known(text)


def _without_password(line: str) -> str:
    return re.sub(_IN_CONNINFO, _after, line) if re.search(_OF_CONNINFO, line) else line


def _without_known(text: str) -> str:
    """Cover every place where a fragment of a secret stands; what overlaps is one place."""
    if _pattern is None:
        return text
    kept: list[str] = []
    end = covered = 0
    for match in _pattern.finditer(text):
        start, stop = match.span(1)
        if start > covered or not kept:
            kept += [text[end:start], HIDDEN]
        covered = end = max(end, stop)
    return "".join((*kept, text[end:]))


def _after(match: re.Match[str]) -> str:
    return f"{match['before']}{HIDDEN}"


def _passwords(dsn: str) -> set[str]:
    found = {quoted or plain for quoted, plain in re.findall(_STATED, dsn)}
    found |= {re.sub(r"\\(.)", r"\1", password) for password in found}
    if (match := re.search(_USER_INFO, dsn)) is not None:
        rest = dsn[match.end() :]
        found |= {rest.partition("@")[0], rest.rpartition("@")[0]} if "@" in rest else set()
    if (query := re.search(r"[?&](?:ssl)?password=([^&\s]*)", dsn)) is not None:
        found.add(query[1])
    return found | {unquote(password, encoding) for password in found for encoding in ("utf-8", "latin-1")}


def _forms(secret: str) -> set[str]:
    """How a secret may be written: as it is, in Python, in JSON, in a URL, in a connection string, in HTML."""
    encoded = {quote(secret, safe=safe, errors="replace") for safe in ("", "/", "!$&'()*+,;=:@/")}
    lower = {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in encoded}
    escaped = {repr(secret)[1:-1], json.dumps(secret)[1:-1], re.sub(r"(['\\])", r"\\\1", secret)}
    markup = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {secret, *encoded, *lower, *escaped, markup, markup.replace('"', "&quot;").replace("'", "&#x27;")}


def _fragments(form: str) -> set[str]:
    """The pieces that give it away: a diff or a shortened value may show a part of it."""
    length = max(min(len(form), 6), len(form) * 3 // 4)
    return {form[start : start + length] for start in range(len(form) - length + 1)}


def redacted_in(value: Any) -> Any:
    """Plain data, such as a report's document, with every text in it redacted."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {redacted_in(key): redacted_in(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(redacted_in, value)) if type(value) in (list, tuple) else value
    return value

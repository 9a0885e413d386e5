"""Passwords kept out of connection strings: libpq reads them from a file of ours that nobody else may read."""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..redaction import learn
from .connect import Dsn

_ANYWHERE = "*:*:*:*:"


class PassFiles:
    """The password files of a session, which end with it."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._by_password: dict[str, Path] = {}

    def without_password(self, dsn: str) -> Dsn:
        """The connection string that names a file (mode 0600) instead of holding the password.

        One that such a file cannot hold, since it has a line break, stays where it is.
        """
        parts = conninfo_to_dict(dsn)
        password = str(parts.pop("password", None) or "")
        learn(password)
        if not password or "\n" in password or "\r" in password:
            return Dsn(dsn)
        return Dsn(make_conninfo("", **parts | {"passfile": str(self._file_with(password))}))

    def close(self) -> None:
        """Remove them."""
        if self._folder is not None:
            with suppress(OSError):
                self._folder.cleanup()

    def _file_with(self, password: str) -> Path:
        if password not in self._by_password:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="stormdb-", ignore_cleanup_errors=True)
            path = Path(self._folder.name, f"{len(self._by_password)}.pgpass")
            path.touch(mode=0o600)
            escaped = re.sub(r"([\\:])", r"\\\1", password)
            path.write_text(f"{_ANYWHERE}{escaped}\n", encoding="utf-8", newline="\n")
            self._by_password[password] = path
        return self._by_password[password]


def password_of(path: str) -> str | None:
    """The password in a file of ours, for clients that read none; None where the file is somebody else's."""
    try:
        line = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    if not line.startswith(_ANYWHERE) or line.count("\n") > 1:
        return None
    return re.sub(r"\\(.)", r"\1", line.removeprefix(_ANYWHERE).removesuffix("\n"))

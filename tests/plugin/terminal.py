"""A terminal for tests: a program runs on it, and what it would show can be read at any time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_TOKEN = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|\x1b.|[\r\n\b]|[^\x1b\r\n\b]+", re.DOTALL)


class Terminal:
    """Understands what pytest and rich send: text, returns, cursor up and to a column, erasing, the cursor's sight."""

    def __init__(self, columns: int) -> None:
        self.rows: list[str] = [""]
        self.seen: list[str] = []
        self.cursor_is_visible = True
        self._columns = columns
        self._row = self._column = 0

    @property
    def text(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows)

    def feed(self, text: str) -> None:
        for match in _TOKEN.finditer(text):
            if match[2]:
                self._control(match[1], match[2])
            elif match[0] == "\n":
                self._move(self._row + 1, 0)
            elif match[0] == "\r":
                self._column = 0
            elif match[0] and match[0][0] not in "\x1b\b":
                self._write(match[0])
        self.seen.append(self.text)

    def _control(self, given: str, name: str) -> None:
        number = int(given) if given.isdecimal() else 1
        if name == "A":
            self._row = max(0, self._row - number)
        elif name == "G":
            self._column = number - 1
        elif name == "K":
            row = self.rows[self._row]
            self.rows[self._row] = "" if given == "2" else row[: self._column]
        elif name in "hl" and given == "?25":
            self.cursor_is_visible = name == "h"

    def _write(self, text: str) -> None:
        for character in text:
            if self._column == self._columns:
                self._move(self._row + 1, 0)
            row = self.rows[self._row].ljust(self._column)
            self.rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1

    def _move(self, row: int, column: int) -> None:
        self._row, self._column = row, column
        while len(self.rows) <= row:
            self.rows.append("")


@contextlib.contextmanager
def running(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], columns: int
) -> Iterator[tuple[subprocess.Popen[bytes], Terminal, int]]:
    """A program on a terminal of so many columns; its process, its screen, and the terminal's other end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    given = {key: value for key, value in environment.items() if key not in ("CI", "COLUMNS", "NO_COLOR")}
    given |= {"LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8", "TERM": environment.get("TERM_OF_TEST", "xterm-256color")}
    process = subprocess.Popen(
        command, cwd=cwd, env=given, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        yield process, Terminal(columns), ours
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)


def follow(terminal: Terminal, ours: int, until: str | None = None, limit_s: float = 60.0) -> None:
    """Show what comes, until a text is seen, or the program has closed its end."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if until is not None and until in terminal.text:
            return
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:
            return
        if not data:
            return
        terminal.feed(data.decode("utf-8", "replace"))
    raise AssertionError(f"{until!r} was not seen within {limit_s:.0f} s:\n{terminal.text}")

"""What a worker prints, logs and warns of is sent to the parent, where pytest captures it: both ends of the way."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from ..telemetry.logs import context
from ..workload.contract import CURRENT_WORKER
from .messages import (
    Logged,
    Message,
    Printed,
    Warned,
)

_FLUSH_CHARS = 8192
MOST_CHARS = 1 << 20
"""How much of a stream is sent. A function that prints does so a million times."""
MOST_ALIKE = 100
"""How many log records, or warnings, of one line of code are sent; the others are counted."""


@contextlib.contextmanager
def forwarded(send: Callable[[Message], None], workload: str) -> Iterator[None]:
    """Send text, log records and warnings of this process to the parent."""
    out, err = ForwardedStream("stdout", send), ForwardedStream("stderr", send)
    alike = _ALIKE
    root = logging.getLogger()
    root.handlers = [_ForwardedLog(send, workload, alike)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.showwarning = _forwarded_warning(send, alike)
        try:
            yield
        finally:
            for note in alike.notes():
                err.write(note)
            out.finish()
            err.finish()


def replay(message: Message) -> None:
    """Print, log or warn here what a worker sent."""
    match message:
        case Printed():
            (sys.stdout if message.stream == "stdout" else sys.stderr).write(message.text)
        case Logged():
            for handler in logging.getLogger().handlers:
                if message.record.levelno >= handler.level:
                    handler.handle(message.record)
        case Warned():
            warnings.warn_explicit(message.message, None, message.filename, message.lineno)


class Alike:
    """Counts what comes from the same line of code, so that a flood of it neither fills memory nor takes time to send.

    Used by several threads: a count that two of them raise at once may lack one, which is of no account.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}

    def is_one_too_many(self, kind: str, file: str, line: int) -> bool:
        """Count one; whether enough like it were sent before."""
        place = (kind, file, line)
        self._counts[place] = count = self._counts.get(place, 0) + 1
        return count > MOST_ALIKE

    @property
    def total(self) -> int:
        """How many there were, sent or not."""
        return sum(self._counts.values())

    def notes(self) -> Iterator[str]:
        """A line for each place whose records were not all sent."""
        for (kind, file, line), count in self._counts.items():
            if count > MOST_ALIKE:
                yield f"[stormdb: the worker had {count - MOST_ALIKE:,} more: {kind} at {file}:{line}]\n"


_ALIKE = Alike()
"""Of this process, which forwards for one run and then ends."""


def forwarded_records() -> int:
    """How many log records and warnings this process had, sent or not."""
    return _ALIKE.total


class ForwardedStream(io.TextIOBase):
    """A text stream whose content is sent to the parent block by block, up to a limit; the rest is counted."""

    def __init__(self, stream: str, send: Callable[[Message], None]) -> None:
        self._stream = stream
        self._send = send
        self._parts: list[str] = []
        self._size = 0
        self._left = MOST_CHARS
        self._dropped = 0
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if os.getpid() != self._pid:  # a child of the workload: its copy of the lock may be taken for ever
            os.write(1 if self._stream == "stdout" else 2, text.encode(errors="replace"))
            return len(text)
        with self._lock:
            kept = text[: self._left]
            self._left -= len(kept)
            self._dropped += len(text) - len(kept)
            if kept:
                self._parts.append(kept)
                self._size += len(kept)
        if self._size >= _FLUSH_CHARS:
            self.flush()
        return len(text)

    def flush(self) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            text = "".join(self._parts)
            self._parts.clear()
            self._size = 0
        if text:
            self._send(Printed(self._stream, text))

    def finish(self) -> None:
        """Send what is left, and say how much was not sent."""
        self.flush()
        if self._dropped:
            note = f"\n[stormdb: the worker wrote {self._dropped:,} more characters to {self._stream}]\n"
            self._send(Printed(self._stream, note))


class _ForwardedLog(logging.Handler):
    """Sends records to the parent, formatted, since their arguments may not survive the way."""

    def __init__(self, send: Callable[[Message], None], workload: str, alike: Alike) -> None:
        super().__init__()
        self._forward = send
        self._workload = workload
        self._alike = alike

    def emit(self, record: logging.LogRecord) -> None:
        if self._alike.is_one_too_many(f"{record.levelname} of {record.name}", record.pathname, record.lineno):
            return
        worker = CURRENT_WORKER.get()
        origin = (worker.id, worker.current_operation) if worker is not None else (None, None)
        vars(record).update(context(self._workload, *origin))
        try:
            record.msg, record.args = record.getMessage(), None
            if record.exc_info:
                record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
                record.exc_info = None
            self._forward(Logged(record))
        except Exception:
            self.handleError(record)


def _forwarded_warning(send: Callable[[Message], None], alike: Alike) -> Any:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if alike.is_one_too_many(category.__name__, filename, lineno):
            return
        send(Warned(message if isinstance(message, Warning) else category(message), filename, lineno))

    return show

"""A host that is a process of its own: forked, so that fixtures and assertion rewriting come along."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any, TextIO

from ..errors import WorkloadError
from ..logs import context
from ..workload import CURRENT
from .host import Job, serve
from .messages import Broken, Go, Logged, Message, Printed, Warned
from .watch import accept_interrupts

_PR_SET_PDEATHSIG = 1
_FLUSH_CHARS = 8192


class PipeOutlet:
    """The host's end of the pipe to its parent. When the parent is gone, so is the host."""

    def __init__(self, connection: Connection[Any, Any], on_parent_lost: Callable[[], None]) -> None:
        self._connection = connection
        self._on_parent_lost = on_parent_lost
        self._lock = threading.RLock()

    def send(self, message: Message) -> None:
        data = _pickled(message)
        with self._lock:
            try:
                self._connection.send_bytes(data)
            except OSError:
                self._on_parent_lost()

    def wait_for_start(self) -> int | None:
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            return None
        return message.start_ns if isinstance(message, Go) else None


def _pickled(message: Message) -> bytes:
    try:
        return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # a user's object in a log record or a warning
        return pickle.dumps(Printed("stderr", f"stormdb: {type(message).__name__} lost, cannot pickle: {error}\n"))


def fork_host(job: Job, ids: Sequence[int], close_in_child: Sequence[Connection[Any, Any]]) -> tuple[int, Any]:
    """Fork a host for these workers; its process id and the parent's end of its pipe.

    ``close_in_child`` are the parent's ends of its siblings' pipes, which it must not keep open.
    """
    ours, theirs = Pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    with warnings.catch_warnings():
        # 3.12 and later warn of a fork beside threads. The child runs no code that takes a lock of such a thread.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    status = 70
    try:
        for connection in (ours, *close_in_child):
            connection.close()
        _live(job, ids, theirs, parent)
        status = 0
    finally:
        os._exit(status)


def _live(job: Job, ids: Sequence[int], connection: Connection[Any, Any], parent: int) -> None:
    os.setpgid(0, 0)  # whatever the workload forks is found, and ended, by this group
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(parent)
    outlet = PipeOutlet(connection, lambda: os._exit(1))
    if len(ids) == 1:
        accept_interrupts()
    with _carried_over(outlet.send, job.workload.name):
        try:
            serve(job, ids, outlet)
        except BaseException as error:
            what = WorkloadError(f"worker {ids[0]}: {type(error).__name__}: {error}")
            outlet.send(Broken(ids[0], what, job.workload.explain(error)))


def _die_with(parent: int) -> None:
    """Die when the parent dies, on Linux; elsewhere the next message that cannot be sent ends the host."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def _carried_over(send: Callable[[Message], None], workload: str) -> Any:
    """Carry text, log records and warnings over to the parent, where pytest captures them."""
    out, err = _Carrier("stdout", send), _Carrier("stderr", send)
    root = logging.getLogger()
    root.handlers = [_LogCarrier(send, workload)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.showwarning = _warning_carrier(send)
        try:
            yield
        finally:
            out.flush()
            err.flush()


class _Carrier(io.TextIOBase):
    """A text stream whose content is sent to the parent line by line, or block by block."""

    def __init__(self, stream: str, send: Callable[[Message], None]) -> None:
        self._stream = stream
        self._send = send
        self._parts: list[str] = []
        self._size = 0
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            self._parts.append(text)
            self._size += len(text)
        if self._size >= _FLUSH_CHARS:
            self.flush()
        return len(text)

    def flush(self) -> None:
        with self._lock:
            text = "".join(self._parts)
            self._parts.clear()
            self._size = 0
        if text:
            self._send(Printed(self._stream, text))


class _LogCarrier(logging.Handler):
    """Sends records to the parent, formatted, since their arguments may not survive the way."""

    def __init__(self, send: Callable[[Message], None], workload: str) -> None:
        super().__init__()
        self._carry = send
        self._workload = workload

    def emit(self, record: logging.LogRecord) -> None:
        worker = CURRENT.get()
        origin = (worker.id, worker.current_operation) if worker is not None else (None, None)
        vars(record).update(context(self._workload, *origin))
        try:
            record.msg, record.args = record.getMessage(), None
            if record.exc_info:
                record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
                record.exc_info = None
            self._carry(Logged(record))
        except Exception:
            self.handleError(record)


def _warning_carrier(send: Callable[[Message], None]) -> Any:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        send(Warned(message if isinstance(message, Warning) else category(message), filename, lineno))

    return show

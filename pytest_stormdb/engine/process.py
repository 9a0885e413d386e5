"""A pgbench that runs: its log comes through named pipes, so that nothing of it ever lies on a disk.

Each thread of pgbench opens a log of its own, whose name holds pgbench's process id. The pipes are made by the new
process before it becomes pgbench, since it alone knows the id by then, and lose their names as soon as both ends are
open. pgbench writes 4 KiB at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import termios
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PIPE_BYTES = 1 << 20
"""Room for a quarter of a second of 100,000 transactions a second."""
LOG = "log"
_CHUNK_BYTES = 1 << 16
_KEPT_CHARS = 8_192
_F_SETPIPE_SZ: int | None = getattr(fcntl, "F_SETPIPE_SZ", None)
_F_GETPIPE_SZ: int | None = getattr(fcntl, "F_GETPIPE_SZ", None)
HAS_LARGE_PIPES = _F_SETPIPE_SZ is not None
"""Elsewhere than on Linux, a pipe holds 64 KiB."""
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29


class Running:
    """One pgbench and the reading ends of what it writes. ``close`` ends it and removes the pipes."""

    def __init__(self, command: Callable[[Path], Sequence[str]], environment: Mapping[str, str], threads: int) -> None:
        """Start it. ``command`` is given the prefix of the log's name. Raises OSError where it cannot be started."""
        self._directory = tempfile.TemporaryDirectory(prefix="stormdb-pgbench-")
        prefix, parent = Path(self._directory.name, LOG), os.getpid()
        self.errors = _Tail()
        self.output = _Tail()
        self._process = subprocess.Popen(  # noqa: S603
            command(prefix),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=lambda: _prepare(prefix, threads, parent),
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._texts = ((self._process.stdout.fileno(), self.output), (self._process.stderr.fileno(), self.errors))
        for descriptor, _ in self._texts:
            os.set_blocking(descriptor, False)
        self._is_tidy = False
        self._pipes = [_Pipe(path) for path in _log_paths(prefix, self._process.pid, threads)]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_begun(self) -> bool:
        """Whether every thread had opened its log, which it does right before it connects, at the last reading."""
        return all(pipe.is_open for pipe in self._pipes)

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def listen(self) -> None:
        """Put away all that it has said besides its log."""
        for descriptor, tail in self._texts:
            while text := _read(descriptor):
                tail.add(text)

    def read(self) -> list[bytes]:
        """What each thread's log has gained, 64 KiB of it at most."""
        chunks = [pipe.read() for pipe in self._pipes]
        if not self._is_tidy and self.has_begun:  # both ends are open, and need no names: a kill would leave them
            self._is_tidy = True
            self._directory.cleanup()
        return chunks

    def filled(self) -> float:
        """The share of the fullest pipe's room that waits to be read."""
        return max(pipe.filled() for pipe in self._pipes)

    def end_gently(self) -> None:
        """Let no transaction start any more: the timer of ``--time`` rings early. Without one, it ends at once."""
        self._process.send_signal(signal.SIGALRM)

    def end(self) -> None:
        """Ask it to end, whatever it is doing."""
        self._process.terminate()

    def close(self) -> None:
        """Kill it if it still runs, and remove the pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            os.close(pipe.descriptor)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._directory.cleanup()


class _Tail:
    """The beginning and the end of what may be a long text."""

    def __init__(self) -> None:
        self._head = self._end = b""
        self._left_out = 0

    def __len__(self) -> int:
        return len(self._head) + len(self._end) + self._left_out

    def add(self, text: bytes) -> None:
        room = _KEPT_CHARS - len(self._head)
        self._head += text[:room]
        end = self._end + text[room:]
        self._end = end[-_KEPT_CHARS:]
        self._left_out += len(end) - len(self._end)

    def __str__(self) -> str:
        gap = f"\n... {self._left_out:,} characters left out ...\n".encode() if self._left_out else b""
        return (self._head + gap + self._end).decode("utf-8", "replace")


def _log_paths(prefix: Path, pid: int, threads: int) -> list[Path]:
    """As pgbench names them."""
    return [Path(f"{prefix}.{pid}" + (f".{thread}" if thread else "")) for thread in range(threads)]


def _prepare(prefix: Path, threads: int, parent: int) -> None:
    """In the process that will be pgbench: make its pipes, tie it to its parent, and let its sleeps end on time."""
    for path in _log_paths(prefix, os.getpid(), threads):
        os.mkfifo(path, 0o600)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


class _Pipe:
    """The reading end of one thread's log."""

    def __init__(self, path: Path) -> None:
        self.is_open = False
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        if _F_SETPIPE_SZ is not None:
            with contextlib.suppress(OSError):  # beyond what a user may have; the ordinary size then does
                fcntl.fcntl(self.descriptor, _F_SETPIPE_SZ, PIPE_BYTES)

    def read(self) -> bytes:
        """What is there. A pipe that has no writer is at its end; one that somebody has open would block."""
        try:
            data = os.read(self.descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            self.is_open = True
            return b""
        self.is_open = self.is_open or bool(data)
        return data

    def filled(self) -> float:
        """The share of its room that waits to be read."""
        waiting = array("i", [0])
        fcntl.ioctl(self.descriptor, termios.FIONREAD, waiting)
        return waiting[0] / (fcntl.fcntl(self.descriptor, _F_GETPIPE_SZ) if _F_GETPIPE_SZ is not None else _CHUNK_BYTES)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK_BYTES)
    except BlockingIOError:
        return b""

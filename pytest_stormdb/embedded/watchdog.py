"""The two helper processes of an embedded server.

``launch`` becomes initdb or postgres. It does what must happen between fork and exec, but in an interpreter
of its own, since Python code in the forked copy of a process with threads may deadlock.

``watch`` outlives a parent that was killed with kill -9, ends what the parent left running, and removes its
directory. It polls for its parent, because the end of a pipe is inherited by every worker that forks.

A lock tells what still runs: each launched program holds it shared, as do all processes it forks, and the
kernel releases it with the last of them. So a process id is trusted only while the lock is held.

Run by path with ``python -I -S``; imports nothing but the standard library, to start in a few milliseconds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

LOCK = "alive"
POLL = 0.2  # seconds between two looks at the parent
PATIENCE = 1.0  # seconds that a signal has for its effect
PR_SET_PDEATHSIG = 1


def launch(parent: int, directory: Path, uid: int, gid: int, tied: bool, command: list[str]) -> None:
    """Take the lock, become another user (``uid`` >= 0), tie our life to the parent's, run ``command``."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.write(lock, str(os.getpid()).encode())
    os.set_inheritable(lock, True)
    tie = _tie() if tied else None  # imports: the other user may not reach this interpreter's library
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if tie:
        tie()
    if os.getppid() == parent:  # else it died before the lock or the tie held
        os.execv(command[0], command)  # noqa: S606 - this is what a launcher is for


def watch(parent: int, directory: Path) -> None:
    """Wait for the parent's end, then clear up after it."""
    while os.getppid() == parent:
        time.sleep(POLL)
    for number in (signal.SIGQUIT, signal.SIGKILL):
        if _ended(directory):
            break
        _signal(directory, number)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not _ended(directory):
            time.sleep(0.02)
    for _ in range(5):  # a process that is just ending may still write
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(POLL)


def _tie() -> Callable[[], object]:
    """Linux: what lets the kernel end us with the thread that started us; a change of user undoes it."""
    import ctypes

    return partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)


def _ended(directory: Path) -> bool:
    """Whether nobody holds the lock."""
    try:
        with (directory / LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def _signal(directory: Path, number: signal.Signals) -> None:
    with suppress(OSError, ValueError):  # gone meanwhile, or its number is not written yet
        os.kill(int((directory / LOCK).read_bytes()), number)


def _main(role: str, parent: str, directory: str, *rest: str) -> None:
    if role == "watch":
        watch(int(parent), Path(directory))
        return
    uid, gid, tied, *command = rest
    try:
        launch(int(parent), Path(directory), int(uid), int(gid), tied == "tied", command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]} as user {os.getuid()}: {error.strerror}")


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""The other arm of ``--stormdb-against``: a pytest session of its own; a revision of the code, in its own worktree."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from ..errors import PlanError, StormDBError
from ..run.rivalry import Disagreement, receive, send
from .arm import ARM_DSN
from .options import ARM_LINE

_SETUP_S = 600.0
_LEAVE_S = 15.0
_OURS_ALONE = ("against", "margin", "json", "html", "markdown", "prometheus", "save", "compare", "dsn", "live")
_TAIL_LINES = 15

_CLEANER = """
import shutil, subprocess, sys
sys.stdin.read()
top, tree = sys.argv[1:]
subprocess.run(["git", "-C", top, "worktree", "remove", "--force", tree], capture_output=True)
shutil.rmtree(tree, ignore_errors=True)
subprocess.run(["git", "-C", top, "worktree", "prune"], capture_output=True)
"""


class Worktree:
    """A revision of the code, checked out beside the user's. However this process ends, it is removed."""

    def __init__(self, revision: str, inside: Path) -> None:
        """Raises PlanError where ``inside`` is in no repository, or there is no such revision."""
        self.top = Path(_git(inside, "rev-parse", "--show-toplevel"))
        commit = _git(self.top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", what=revision)
        self._directory = tempfile.TemporaryDirectory(prefix="stormdb-against-")
        self.path = Path(self._directory.name, self.top.name)
        # it reads until our end of the pipe is closed, which a kill does as well
        self._cleaner = subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-c", _CLEANER, str(self.top), str(self.path)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _git(self.top, "worktree", "add", "--detach", "--quiet", str(self.path), commit)
        except PlanError:
            self.remove()
            raise

    def counterpart(self, path: Path) -> Path:
        """Where what is at a path of the user's is in here; itself where it is outside of the repository."""
        return self.path / path.relative_to(self.top) if path.is_relative_to(self.top) else path

    def remove(self) -> None:
        assert self._cleaner.stdin is not None
        self._cleaner.stdin.close()
        self._cleaner.wait()
        self._directory.cleanup()


def _git(inside: Path, *words: str, what: str = "") -> str:
    try:
        command = ["git", "-C", str(inside), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - as the user would
    except FileNotFoundError:
        raise PlanError("--stormdb-against: git is not installed") from None
    if done.returncode:
        why = done.stderr.strip() or f"there is no revision {what!r}"
        raise PlanError(f"--stormdb-against: {why}")
    return done.stdout.strip()


class Rival:
    """The session of the other arm."""

    def __init__(self, config: pytest.Config, kind: str, where: str, dsn: str) -> None:
        """``dsn`` is where our own arm is: a revision goes to the same server. Raises PlanError."""
        self.name = where if kind == "git" else "the other server"
        self.tree = Worktree(where, Path.cwd()) if kind == "git" else None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the session
        ours, theirs = socket.socketpair()
        env = {**os.environ, ARM_LINE: str(theirs.fileno()), ARM_DSN: where if kind == "dsn" else dsn}
        self._process = subprocess.Popen(  # noqa: S603 - pytest, as this one was called
            [sys.executable, "-m", "pytest", *self._arguments(config)],
            cwd=self._counterpart(Path.cwd()),
            env=env | self._python_path(),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        theirs.close()
        self.line: Connection[Any, Any] = Connection(ours.detach())

    def set_up(self, nodeid: str, following: str | None) -> str | None:
        """Have it set up a test; where its workload is, or None where it has no such test. Raises StormDBError."""
        try:
            send(self.line, "item", nodeid, following)
            kind, *values = receive(self.line, _SETUP_S)
        except Disagreement as error:
            raise StormDBError(f"--stormdb-against {self.name}: {error}\n{self._tail()}") from None
        if kind == "failed":
            raise StormDBError(f"--stormdb-against {self.name}: {nodeid} failed there: {values[0]}")
        return str(values[0]) if kind == "ready" else None

    def finish(self) -> None:
        """Let it tear the test down."""
        send(self.line, "done")

    def close(self) -> None:
        """End it: in good order, if it can. Its worktree goes with it."""
        self.line.close()
        for number, patience_s in ((None, _LEAVE_S), (signal.SIGINT, _LEAVE_S), (signal.SIGKILL, None)):
            if number is not None and self._process.poll() is None:
                os.killpg(self._process.pid, number)
            try:
                self._process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                continue
        self._log.close()
        if self.tree is not None:
            self.tree.remove()

    def _tail(self) -> str:
        """The end of what it wrote."""
        self._log.seek(0)
        return "\n".join(self._log.read().splitlines()[-_TAIL_LINES:])

    def _counterpart(self, path: Path) -> Path:
        return path if self.tree is None else self.tree.counterpart(path)

    def _arguments(self, config: pytest.Config) -> list[str]:
        """Our own, without what is for us alone, and with paths into the worktree."""
        return [*_without(config.invocation_params.args, self._counterpart), "-p", "no:cacheprovider"]

    def _python_path(self) -> dict[str, str]:
        """What is imported from the user's working tree is there imported from the revision's."""
        if self.tree is None:
            return {}
        own = [Path(entry or ".").absolute() for entry in sys.path]
        mapped = [str(self.tree.counterpart(entry)) for entry in own if entry.is_relative_to(self.tree.top)]
        found = [str(self.tree.path), *mapped, os.environ.get("PYTHONPATH", "")]
        return {"PYTHONPATH": os.pathsep.join(filter(None, dict.fromkeys(found)))}


def _without(arguments: Sequence[str], counterpart: Any) -> list[str]:
    """The arguments but for our own options and reports; absolute paths are mapped."""
    flags = [f"--stormdb-{name}" for name in _OURS_ALONE] + ["--junitxml", "--junit-xml"]
    kept: list[str] = []
    skip = False
    for word in arguments:
        flag, equals, _ = word.partition("=")
        if skip:
            skip = False
        elif flag in flags:
            skip = not equals
        else:
            path, colons, rest = word.partition("::")
            absolute = Path(path).is_absolute() and Path(path).exists()
            kept.append(f"{counterpart(Path(path))}{colons}{rest}" if absolute else word)
    return kept

"""Workers in a process of their own: forked, so that fixtures and assertion rewriting come along; and its end."""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

from ..errors import WorkloadError
from ..realtime import monotonic
from ..workload.contract import Workload
from ..workload.resources import WorkerFixture
from .forwarding import forwarded
from .group import Channel
from .inherited import Inherited, seed_global_randoms
from .messages import (
    Broken,
    Message,
    Printed,
    Start,
)
from .runtime import Control, Job

Serve = Callable[[Job, Control, Sequence[int], Channel, Callable[[], None]], None]
"""What a process does for its workers, from their set-up to their end. The last argument is to be called at the end,
and raises WorkloadError for what they must not have done."""

_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29


class PipeChannel:
    """The workers' end of the pipe to the supervisor. ``on_parent_lost`` is called when nobody listens any more."""

    def __init__(self, connection: Connection[Any, Any], on_parent_lost: Callable[[], None]) -> None:
        self._connection = connection
        self._on_parent_lost = on_parent_lost
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def send(self, message: Message) -> None:
        if os.getpid() != self._pid:  # a child that the workload forked has nothing to say here
            return
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
        return message.start_ns if isinstance(message, Start) else None


def _pickled(message: Message) -> bytes:
    """As bytes that can be read back: a user's object in a log record or a warning may refuse either."""
    try:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if isinstance(message, Broken):
            pickle.loads(data)  # noqa: S301 - our own bytes
    except Exception as error:
        note = f"stormdb: {type(message).__name__} lost, cannot pickle: {error}\n"
        return pickle.dumps(Printed("stderr", note))
    return data


def fork_group(
    job: Job,
    control: Control,
    ids: Sequence[int],
    serve: Serve,
    close_in_child: Sequence[Connection[Any, Any]],
    inherited: Inherited,
) -> tuple[int, Any]:
    """Fork a process that serves these workers; its id and the parent's end of its pipe.

    ``close_in_child`` are the parent's ends of its siblings' pipes, which it must not keep open; ``inherited`` are
    connections that it must not use.
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
        with contextlib.suppress(OSError):  # done on both sides, since either may come first
            os.setpgid(pid, pid)
        theirs.close()
        return pid, ours
    status = 70
    try:
        for connection in (ours, *close_in_child):
            connection.close()
        if control.arrivals is not None:
            control.arrivals.only_claim()
        _live(job, control, ids, serve, theirs, parent, inherited)
        status = 0
    finally:
        os._exit(status)


def _live(
    job: Job,
    control: Control,
    ids: Sequence[int],
    serve: Serve,
    connection: Connection[Any, Any],
    parent: int,
    inherited: Inherited,
) -> None:
    os.setpgid(0, 0)  # whatever the workload forks is found, and ended, by this group
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        _die_with(parent)
        wake_on_time()
    # What libpq calls sessions whose address has no name: those of engines and Django's aliases that came along.
    os.environ["PGAPPNAME"] = job.session_name(ids[0]) if len(ids) == 1 else job.name
    channel = PipeChannel(connection, lambda: os._exit(1))
    with forwarded(channel.send, job.workload.name), told(job, ids, channel):
        inherited.disconnect()
        seed_global_randoms(job.plan.seed, ids[0], _reachable(job.workload))
        job.workload.on_fork()
        serve(job, control, ids, channel, inherited.check_unused)


def _reachable(workload: Workload) -> Iterator[object]:
    """What a workload gets from fixtures, also through worker fixtures, and what its functions see in their module."""
    left = [workload.arguments]
    while left:
        for value in left.pop().values():
            if isinstance(value, WorkerFixture):
                left.append(value.arguments)
            yield value
    for operation in workload.operations:
        yield from getattr(inspect.unwrap(operation.function), "__globals__", {}).values()


@contextlib.contextmanager
def told(job: Job, ids: Sequence[int], channel: Channel) -> Iterator[None]:
    """Let the supervisor know of an error that no worker can be blamed for."""
    try:
        yield
    except BaseException as error:
        what = WorkloadError(f"worker {ids[0]}: {type(error).__name__}: {error}")
        channel.send(Broken(ids[0], what, job.workload.explain(error)))


def _die_with(parent: int) -> None:
    """Die when the parent dies; where this cannot be had, the next message that cannot be sent ends the process."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def wake_on_time() -> None:
    """Let sleeps end when they should: by default, the kernel ends them up to 50 us later, to save power."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


_UNKNOWN = -1
"""In the place of a wait status that somebody else was given."""
_statuses: dict[int, int] = {}


def has_exited(pid: int) -> bool:
    """Whether a child has ended by itself or by a signal; it is reaped, its status kept for ``end_processes``."""
    if pid not in _statuses:
        found, status = _waited(pid, os.WNOHANG)
        if found:
            _statuses[pid] = status
    return pid in _statuses


def _waited(pid: int, options: int) -> tuple[int, int]:
    """As ``os.waitpid``, also of a child that is gone and was waited for by another."""
    try:
        return os.waitpid(pid, options)
    except ChildProcessError:
        return pid, _UNKNOWN


def end_processes(pids: Iterable[int], patience_s: float) -> list[int]:
    """Reap children and kill all that they started; their wait statuses.

    One that closed its pipe is on its way out: together they get a moment to show their own status.
    """
    pids = list(pids)
    deadline_s = monotonic() + patience_s
    while not all(map(has_exited, pids)) and monotonic() < deadline_s:
        time.sleep(0.002)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if not has_exited(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for pid in pids:
        if not has_exited(pid):
            _statuses[pid] = _waited(pid, 0)[1]
    return [_statuses.pop(pid) for pid in pids]


def how_it_ended(status: int) -> str:
    """A wait status in words."""
    if status == _UNKNOWN:
        return "ended, and a handler of SIGCHLD took the word of how"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code} in the middle of the run"
    name = signal.Signals(-code).name
    hint = " (the kernel does so when memory runs out)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"

"""A PostgreSQL server of our own, for one session: started here, gone with us, whatever ends us."""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pytest_stormdb.embedded.binaries import (
    ONLY_ROOT,
    WINDOWS,
    Account,
    Binaries,
    find_binaries,
    unprivileged,
)
from pytest_stormdb.errors import ServerError

from ..realtime import monotonic

HELPERS = Path(__file__).with_name("watchdog.py")
TCP = WINDOWS  # no Unix socket in every libpq there: 127.0.0.1, a free port and a random password instead
SOCKET = "/.s.PGSQL.5432"
SOCKET_LIMIT = 103  # bytes, the shorter of Linux (107) and macOS
START_LIMIT = 60.0  # seconds for initdb, and again for postgres
STOPPING = (("SIGINT", 10.0), ("SIGQUIT", 6.0), ("SIGKILL", 5.0))  # fast, immediate, at once; seconds each
NOISE = re.compile(r"(?i)hint:|initdb: (removing|warning)|child process exited|system is shut down")
# What its programs get of our environment: secrets stay with us, and PG* would lead them astray.
PASSED_ON = (
    "PATH", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP",
    "SYSTEMROOT", "TEMP", "TMP",
)  # fmt: skip
LOG_PREFIX = re.compile(r"^\d\S+ \S+ \S+ \[\d+\] ")

_running: set[EmbeddedServer] = set()


class EmbeddedServer:
    """A running server; a context manager that stops it. Only the process that started it can stop it."""

    def __init__(self, binaries: Binaries) -> None:
        """Take a directory; ``start`` does the rest."""
        self._owner = os.getpid()
        self._binaries = binaries
        self._account = unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self.version_source = binaries.source
        self.dsn = ""
        self.directory = _make_directory(self._account)
        self._data = self.directory / "data"
        _running.add(self)

    @classmethod
    def start(
        cls,
        max_connections: int = 100,
        settings: Mapping[str, str] | None = None,
        bin_dir: Path | None = None,
    ) -> EmbeddedServer:
        """Create a database cluster and serve it; ``settings`` are lines of postgresql.conf, over our own."""
        binaries = find_binaries() if bin_dir is None else Binaries(bin_dir, f"local {bin_dir}")
        server = cls(binaries)
        try:
            server._serve(max_connections, settings or {})
        except OSError as error:
            server.stop()
            raise ServerError(f"no embedded PostgreSQL from {binaries.source}: {error}") from None
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def pid(self) -> int:
        """The postmaster's process id; it is our direct child."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End the server and remove its directory; calling it again, or in a forked child, does nothing."""
        if os.getpid() != self._owner or self not in _running:
            return
        if self._process is not None:
            self._end(self._process)
        for _ in range(20):  # backends whose postmaster was killed may still write
            shutil.rmtree(self.directory, ignore_errors=True)
            if not self.directory.exists():
                break
            time.sleep(0.1)
        if self._watchdog is not None:  # last, so that it clears up when we are killed before
            self._watchdog.kill()
            self._watchdog.wait()
        _running.discard(self)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self, max_connections: int, settings: Mapping[str, str]) -> None:
        if not WINDOWS:
            self._watchdog = self._watch()
        if self._account and not all(self._account.can_reach(path) for path in self._binaries.needs()):
            self._binaries = self._binaries.copied_to(self.directory / "install")
        password, port = (secrets.token_urlsafe(16), _free_port()) if TCP else ("", 5432)
        self._create_cluster(password)
        self._configure({**self._defaults(max_connections, port), **settings})
        self._process = self._spawn("postgres", "-D", str(self._data))
        self._await_ready()
        host = f"127.0.0.1 password={password}" if TCP else str(self.directory)
        self.dsn = f"host={host} port={port} dbname=postgres user=postgres"

    def _create_cluster(self, password: str) -> None:
        secret = self.directory / "password"
        options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres"]
        if password:
            secret.write_text(password)
            secret.chmod(0o644)  # for initdb's user; the directory is closed to all others
            options[1:2] = ["--auth=scram-sha-256", f"--pwfile={secret}"]
        self._process = self._spawn("initdb", *options, "-D", str(self._data))
        try:
            status = self._process.wait(START_LIMIT)
        except subprocess.TimeoutExpired:
            raise self._failure(f"initdb took longer than {START_LIMIT:.0f} s") from None
        if status:
            raise self._failure("initdb failed")
        secret.unlink(missing_ok=True)

    def _defaults(self, max_connections: int, port: int) -> dict[str, str]:
        """Our settings. What decides how durable and how fast the server is stays as PostgreSQL ships it."""
        preload = "pg_stat_statements" if self._binaries.has_library("pg_stat_statements") else ""
        return {
            "max_connections": str(max_connections),
            "shared_buffers": "128MB",
            "fsync": "on",
            "autovacuum": "on",
            "listen_addresses": "127.0.0.1" if TCP else "",
            "port": str(port),
            "unix_socket_directories": "" if TCP else str(self.directory),
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
            "shared_preload_libraries": preload,
        }

    def _configure(self, settings: Mapping[str, str]) -> None:
        """Append to postgresql.conf and not to the command line, which would overrule ALTER SYSTEM."""
        quoted = {name: value.replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()}
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in quoted.items())

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(self._binaries.program(name)), *arguments]
        if not WINDOWS:
            account = self._account or Account(-1, -1)
            # The kernel's tie is to a thread: one that ends early must not take the server with it.
            main = threading.current_thread() is threading.main_thread()
            tie = "tied" if main and sys.platform == "linux" else "loose"
            command = [*self._helper("launch"), str(account.uid), str(account.gid), tie, *command]
        with (self.directory / "server.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.directory,  # one that the server's user may enter
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C"},
                start_new_session=True,  # a terminal's Ctrl-C is ours to handle
                creationflags=0x200 if WINDOWS else 0,  # CREATE_NEW_PROCESS_GROUP: the same on Windows
            )

    def _watch(self) -> subprocess.Popen[bytes]:
        null = subprocess.DEVNULL
        return subprocess.Popen(  # noqa: S603
            self._helper("watch"), stdin=null, stdout=null, stderr=null, cwd="/", start_new_session=True
        )

    def _helper(self, role: str) -> list[str]:
        return [sys.executable, "-I", "-S", str(HELPERS), role, str(self._owner), str(self.directory)]

    def _await_ready(self) -> None:
        """Wait for the status that the postmaster keeps in line 8 of its pid file, as pg_ctl does."""
        assert self._process is not None
        deadline = monotonic() + START_LIMIT
        while monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._failure("postgres ended")
            with suppress(OSError, IndexError):
                if (self._data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready":
                    return
            time.sleep(0.01)
        raise self._failure(f"postgres was not ready after {START_LIMIT:.0f} s")

    def _failure(self, what: str) -> ServerError:
        lines = (self.directory / "server.log").read_text(errors="replace").splitlines()
        telling = [LOG_PREFIX.sub("", line).strip() for line in lines if line.strip() and not NOISE.search(line)]
        return ServerError(f"no embedded PostgreSQL from {self.version_source}: {what}\n{'; '.join(telling[-2:])}")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        for name, patience in STOPPING:
            if process.poll() is not None:
                return
            if WINDOWS:  # it has no signals, but PostgreSQL has its own there
                pg_ctl = str(self._binaries.program("pg_ctl"))
                subprocess.run([pg_ctl, "kill", name[3:], str(process.pid)], check=False)  # noqa: S603
            else:
                process.send_signal(getattr(signal, name))
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)


def _make_directory(account: Account | None) -> Path:
    """A private directory: ``account`` can reach it, a Unix socket's path fits and needs no quoting."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        directory = _new_directory(parent)
        fits = len(os.fsencode(directory)) + len(SOCKET) <= SOCKET_LIMIT
        plain = re.fullmatch(r"[\w./+-]+", str(directory))
        reached = account is None or account.can_reach(Path(parent))
        if TCP or (fits and plain and reached):
            if account:
                _give(directory, account)
            return directory
        directory.rmdir()
    raise ServerError(f"no room for a Unix socket: {tempfile.gettempdir()} and /tmp are too long or closed")


def _new_directory(parent: str) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="stormdb-", dir=parent))
    except OSError as error:
        raise ServerError(f"no embedded PostgreSQL: no folder can be made in {parent}: {error.strerror}") from None


def _give(directory: Path, account: Account) -> None:
    try:
        os.chown(directory, account.uid, account.gid)
    except OSError:  # a user namespace that maps no other user
        directory.rmdir()
        raise ServerError(ONLY_ROOT) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        server.stop()


def _disown() -> None:
    """In a forked child: forget the servers, and have no Popen complain that its process still runs."""
    for server in _running:
        for process in (server._process, server._watchdog):
            if process is not None:
                process.returncode = 0
    _running.clear()


if not WINDOWS:
    os.register_at_fork(after_in_child=_disown)

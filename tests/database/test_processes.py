"""The server's processes on behalf of a run, of a real server."""

from __future__ import annotations

import os
import secrets
import sys

import psycopg
import pytest

from pytest_stormdb.database.connect import with_parameters
from pytest_stormdb.database.processes import ServerProcesses
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.measurement.process_table import processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def test_our_backends_and_the_servers_own_are_told_from_strangers(server: EmbeddedServer) -> None:
    """Our session's backend, its postmaster and the background processes are ours; another session's backend is not."""
    name = f"stormdb {secrets.token_hex(4)}"
    with (
        psycopg.connect(with_parameters(server.dsn, application_name=name)) as ours,
        psycopg.connect(server.dsn, application_name="stranger") as stranger,
    ):
        table = processes()
        found = ServerProcesses([(server.dsn, name)])(table)
        assert found is not None
        assert ours.info.backend_pid in found
        assert stranger.info.backend_pid not in found
        master = table[ours.info.backend_pid].parent
        assert master in found
        assert len(found) >= 4  # with checkpointer and writers at least
        assert os.getpid() not in found


def test_a_run_without_visible_backends_sees_no_server(server: EmbeddedServer) -> None:
    """Where no backend of that name is found, as on another machine, the server is out of sight."""
    assert ServerProcesses([(server.dsn, "stormdb nobody")])(processes()) is None


def test_a_new_backend_is_found_when_an_old_one_is_gone(server: EmbeddedServer) -> None:
    """After a reconnect the server is asked again."""
    name = f"stormdb {secrets.token_hex(4)}"
    look = ServerProcesses([(server.dsn, name)])
    dsn = with_parameters(server.dsn, application_name=name)
    with psycopg.connect(dsn) as first:
        assert look(processes()) is not None
        gone = first.info.backend_pid
    with psycopg.connect(dsn) as second:
        table = processes()
        table.pop(gone, None)
        found = look(table)
        assert found is not None
        assert second.info.backend_pid in found

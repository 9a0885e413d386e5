"""The schema of a workload: one run at a time, and the next one as soon as the last has given it back."""

from __future__ import annotations

import pytest

from pytest_stormdb.database.isolation import Schema
from pytest_stormdb.database.server import admin_connection
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.errors import ServerError


def test_a_schema_is_for_one_run_at_a_time(server: EmbeddedServer) -> None:
    """While one connection has a schema, another is refused it, by name."""
    with admin_connection(server.dsn) as first, admin_connection(server.dsn) as second:
        schema = Schema(first, "stormdb_shared")
        schema.create()
        with pytest.raises(ServerError, match="stormdb_shared is in use by another run"):
            Schema(second, "stormdb_shared").create()
        schema.give_back()


def test_a_schema_given_back_can_be_had_at_once(server: EmbeddedServer) -> None:
    """The next module of a workload does not wait for the server to notice that the last one hung up."""
    with admin_connection(server.dsn) as first, admin_connection(server.dsn) as second:
        for connection in (first, second, first):
            schema = Schema(connection, "stormdb_next")
            schema.create()
            schema.give_back()

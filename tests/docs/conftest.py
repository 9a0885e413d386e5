"""One embedded server for all documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_stormdb.database.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The server that the documents' commands are sent to."""
    with EmbeddedServer.start(max_connections=100) as running:
        yield running

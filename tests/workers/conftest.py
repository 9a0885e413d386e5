"""Sessions that are ended with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Starts pytest sessions, and ends what they leave."""
    started: list[Session] = []

    def start(source: str, *options: str, **more: Any) -> Session:
        started.append(Session(tmp_path, source, *options, **more))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None or each.processes():
            each.kill()

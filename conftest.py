"""What every test of the project has: pytester, which runs pytest in pytest."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know pytest-asyncio's option where it is not installed: the examples run without it."""
    if find_spec("pytest_asyncio") is None:
        parser.addini("asyncio_default_fixture_loop_scope", "set for pytest-asyncio", default=None)

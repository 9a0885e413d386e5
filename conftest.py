"""What every test of the project has: pytester, which runs pytest in pytest."""

from __future__ import annotations

pytest_plugins = ["pytester"]

"""What the project's own tests share."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["pytester"]

settings.register_profile("stormdb", deadline=None)  # these machines are noisy; a deadline would only flake
settings.load_profile("stormdb")

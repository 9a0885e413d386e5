"""Before any plugin: pytest takes -p and pythonpath from an ini file, and loads what these name, before it asks us.

``early.pth``, which lies beside pytest's other start-up files once we are installed, starts this with Python, where a
word of the command line names pytest. Nothing of ours and nothing of pytest is imported until pytest itself is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import wraps
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_AWAITED = "_pytest.config"


def wait_for_pytest() -> None:
    """Let packaged workloads be verified before the plugins of an ini file, as soon as pytest is imported."""
    sys.meta_path.insert(0, _Waiting())


class _Waiting:
    """A finder that finds one module, once."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _AWAITED:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _then_watch(spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


def _then_watch(execute: Any) -> Any:
    def exec_module(module: ModuleType) -> None:
        execute(module)
        module.PytestPluginManager.consider_preparse = _watched(module.PytestPluginManager.consider_preparse)

    return exec_module


def _watched(original: Any) -> Any:
    @wraps(original)
    def consider_preparse(manager: Any, args: Sequence[str], *, exclude_only: bool = False) -> None:
        if exclude_only:  # what was typed, before there is an ini file
            return original(manager, args, exclude_only=True)  # type: ignore[no-any-return]
        from .ini_file import kept_from_judging

        with kept_from_judging(manager.get_plugin("pytestconfig")):
            original(manager, args)

    return consider_preparse

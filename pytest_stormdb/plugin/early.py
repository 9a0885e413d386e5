"""Before any plugin: pytest takes -p and pythonpath from an ini file, and loads what these name, before it asks us.

``early.pth``, which lies beside pytest's other start-up files once we are installed, starts this with Python, where a
word of the command line names pytest. It imports nothing else: with what its annotations name it was measured to cost a
suite 5 ms instead of 1.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

_AWAITED = "_pytest.config"


def wait_for_pytest() -> None:
    """Let packaged workloads be verified before the plugins of an ini file, as soon as pytest is imported."""
    sys.meta_path.insert(0, _Waiting())


class _Waiting:
    """A finder that finds nothing: asked for one module after the other, it hears of it when pytest's are there."""

    def __init__(self) -> None:
        self._is_over = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        manager = getattr(sys.modules.get(_AWAITED), "PytestPluginManager", None)
        if manager is not None and not self._is_over:
            self._is_over = True
            manager.consider_preparse = _watched(manager.consider_preparse, self)


def _watched(original: Any, waiting: _Waiting) -> Any:
    def consider_preparse(manager: Any, args: Sequence[str], *, exclude_only: bool = False) -> None:
        if waiting in sys.meta_path:  # it could not leave while it was asked
            sys.meta_path.remove(waiting)
        if exclude_only:  # what was typed, before there is an ini file
            return original(manager, args, exclude_only=True)  # type: ignore[no-any-return]
        _leave_as_they_are(manager.rewrite_hook)
        config = manager.get_plugin("pytestconfig")
        if manager.is_blocked("stormdb") or not _is_near_workload(config.inipath):
            return original(manager, args)  # type: ignore[no-any-return]
        from .ini_file import kept_from_judging

        with kept_from_judging(config):
            original(manager, args)

    return consider_preparse


def _is_near_workload(inipath: Path | None) -> bool:
    from .lookout import may_hold_workload

    return inipath is not None and any(may_hold_workload(str(folder)) for folder in inipath.parents)


def _leave_as_they_are(hook: Any) -> None:
    """Keep pytest from rewriting the asserts of our own modules, of which there are none.

    It would do so with any plugin's. What it writes it reads several times as slowly as Python does; and to write it
    takes the first load test in a new environment a quarter of a second.
    """
    marked: set[str] = getattr(hook, "_must_rewrite", set())
    marked.difference_update([name for name in marked if name.partition(".")[0] == "pytest_stormdb"])

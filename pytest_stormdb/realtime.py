"""Python's clocks, out of the reach of those who freeze them: a test that stops the time does not stop ours.

Libraries that freeze the time, freezegun among them, put functions of their own in the place of those of the module
``time``, wherever a module holds one. These are the functions of another copy of it, which nobody knows.
"""

from __future__ import annotations

import importlib.util
import time as _known
from collections.abc import Callable
from types import ModuleType


def _copy() -> ModuleType:
    """A second module ``time``, as good as the first; the first where this Python makes no second one."""
    spec = importlib.util.find_spec("time")
    if spec is None or spec.loader is None:
        return _known
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


_own = _copy()

perf_counter_ns: Callable[[], int] = _own.perf_counter_ns
monotonic: Callable[[], float] = _own.monotonic
time: Callable[[], float] = _own.time
time_ns: Callable[[], int] = _own.time_ns

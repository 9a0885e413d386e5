"""Who looks at each line or call of the code that is measured: coverage, debuggers, profilers."""

from __future__ import annotations

import sys
import threading

_TOOLS = range(6)
"""The ids that ``sys.monitoring`` has for tools."""


def tracers() -> list[str]:
    """The names of those who trace this thread, or the threads that it starts, or watch by ``sys.monitoring``."""
    hooks = (sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile())
    found = [_owner(hook) for hook in hooks if hook is not None]
    monitoring = getattr(sys, "monitoring", None)  # since Python 3.12
    found += [name for tool in _TOOLS if (name := monitoring.get_tool(tool))] if monitoring is not None else []
    return list(dict.fromkeys(found))


def _owner(hook: object) -> str:
    """The package that a hook is of."""
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return str(module).partition(".")[0]

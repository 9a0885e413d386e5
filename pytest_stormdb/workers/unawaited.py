"""A coroutine that a workload makes and never awaits: what is in it never runs, and nothing of it fails.

Python only warns of one, once for each line, and as it throws the coroutine away: within the iteration that made it.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import CoroutineType
from typing import Any

from ..errors import WorkloadError
from ..workload.contract import CURRENT_WORKER
from .calls import is_in_call
from .loop import Loop

_HOOK = "_warn_unawaited_coroutine"
"""What the interpreter calls in the module ``warnings``, since Python 3.7; without it, the warning is all there is."""


@contextlib.contextmanager
def refused(loops: Sequence[Loop]) -> Iterator[None]:
    """Let these loops end the run for a coroutine that one of their iterations forgets."""
    by_worker = {id(loop.worker): loop for loop in loops}
    warn: Callable[[Any], None] | None = getattr(warnings, _HOOK, None)

    def refuse(coroutine: CoroutineType[Any, Any, Any]) -> None:
        loop = by_worker.get(id(CURRENT_WORKER.get()))
        if loop is not None and not loop.is_overdue and is_in_call(sys._getframe(1)):
            loop.object_to(
                WorkloadError(
                    f"{loop.worker.current_operation}: the coroutine {coroutine.__qualname__!r} was never awaited, and"
                    " has done nothing; write 'await' before the call, in an 'async def'"
                )
            )
        elif warn is not None:
            warn(coroutine)

    if warn is None:
        yield
        return
    setattr(warnings, _HOOK, refuse)
    try:
        yield
    finally:
        setattr(warnings, _HOOK, warn)

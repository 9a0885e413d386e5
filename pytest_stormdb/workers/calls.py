"""The calls of a workload: what may end one, what one that raised is replaced by, and where they come from."""

from __future__ import annotations

from types import CodeType, FrameType

CALLERS: set[CodeType] = set()
"""The code that calls the workload; what its frames have called is the workload's."""
_PACKAGE = __name__.partition(".")[0] + "."


class IterationTimeout(BaseException):
    """Raised inside an iteration that outlived its timeout and could not be cancelled on the server."""


class Interrupted(Exception):  # noqa: N818 - not an error: the workload's own wish to end the run
    """Ends a loop because the workload skipped its test or left the session."""


class Failed:
    """What a call that raised is replaced by; a returned value like any other, for the code that counts it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def is_in_call(frame: FrameType | None) -> bool:
    """Whether the workload's code is running, and not ours around it."""
    innermost = frame
    while frame is not None:
        if frame.f_code in CALLERS:
            return frame is not innermost
        if str(frame.f_globals.get("__name__")).startswith(_PACKAGE):
            return False
        frame = frame.f_back
    return False

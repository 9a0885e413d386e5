"""The errors of a run: one root, split by who is to blame."""

from __future__ import annotations


class StormDBError(Exception):
    """Root of every error raised on purpose. Its text says what is wrong, where, and what to do.

    Instances survive pickling, since they travel from the workers to the parent.
    """


class PlanError(StormDBError):
    """The user asked for a load that makes no sense, such as ``workers=0``."""


class WorkloadError(StormDBError):
    """The author's workload breaks the contract, such as a marked function without ``worker``."""


class ServerError(StormDBError):
    """The database refused or went away; ``sqlstate`` is its five-character code where it gave one."""

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate

    def __reduce__(self) -> tuple[type[ServerError], tuple[str, str | None], dict[str, object]]:
        return type(self), (str(self), self.sqlstate), self.__dict__


class WorkerLost(StormDBError):  # noqa: N818 - named for the fact it states
    """A worker's process ended before its work did."""

"""What a call came to: a success, the results it returned, an expected abort, or a failure."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Iterator, Sequence
from types import AsyncGeneratorType, GeneratorType

from ..errors import WorkloadError
from ..measurement.sample import Aborted, Failure, OperationResult
from ..measurement.values import as_name, as_number, as_text

_SQLSTATE = re.compile("[0-9A-Z]{5}")
_DEEPEST = 20
"""How far down a chain of causes is looked; it may be a circle."""
_GENERATORS = (GeneratorType, AsyncGeneratorType)
_NOT_AWAITED = "which nobody awaits: make it 'async def', and await in it"


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE of an exception, or of the driver's error that it wraps; None where the server gave none.

    psycopg and asyncpg have ``sqlstate``, psycopg2 ``pgcode``, pg8000 a dictionary of the protocol's fields.
    """
    for each in _wrapped(error):
        fields = each.args[0] if each.args and isinstance(each.args[0], dict) else {}
        for code in (getattr(each, "sqlstate", None), getattr(each, "pgcode", None), fields.get("C")):
            if isinstance(code, str) and _SQLSTATE.fullmatch(code):
                return code
    return None


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    """An exception and those within it: SQLAlchemy's ``orig``, what it was raised from, the first of a group."""
    left: list[object] = [error]
    for _ in range(_DEEPEST):
        if not left:
            return
        each = left.pop(0)
        if isinstance(each, BaseException):
            yield each
            left += [getattr(each, "orig", None), each.__cause__, *getattr(each, "exceptions", ())[:1]]


def failure_of(error: BaseException) -> Failure:
    """An exception as a failure: by its SQLSTATE where it has one, else by its type."""
    name = type(error).__name__
    return Failure(sqlstate_of(error) or as_name(name), as_text(error).strip() or name)


def abort_in(error: BaseException) -> str | None:
    """The reason of an expected abort, alone or as all that a group holds; None of any other exception."""
    if isinstance(error, Aborted):
        return as_name(error) if error.args else "aborted"
    if isinstance(error, BaseExceptionGroup):
        reasons = [abort_in(each) for each in error.exceptions]
        return reasons[0] if None not in reasons else None
    return None


def results_of(value: object, operation: str) -> Sequence[OperationResult]:
    """The results that a call returned, alone or as a list or tuple; none where it simply succeeded.

    Raises WorkloadError for what nobody has run, such as a coroutine, and for a list that holds something else, too.
    """
    if isinstance(value, OperationResult):
        return (value,)
    if isinstance(value, list | tuple):
        return _results_in(value, operation)
    _refuse_unrun([value], operation)
    return ()


def _results_in(values: Sequence[object], operation: str) -> Sequence[OperationResult]:
    kinds = set(map(type, values))
    if not any(issubclass(kind, OperationResult) for kind in kinds):
        if any(hasattr(kind, "__await__") or issubclass(kind, _GENERATORS) for kind in kinds):
            _refuse_unrun(values, operation)
        return ()
    results = [value for value in values if isinstance(value, OperationResult)]
    if len(results) < len(values):
        other = next(value for value in values if not isinstance(value, OperationResult))
        raise WorkloadError(
            f"{operation} returned OperationResults and {as_text(repr(other), 100)} in one list;"
            " return one OperationResult for each operation, and nothing else"
        )
    return results


def _refuse_unrun(values: Sequence[object], operation: str) -> None:
    """Raise WorkloadError for what has not been run, after giving it up, so that nobody warns of it, too."""
    found = [what for value in values if (what := _given_up(value)) is not None]
    if found:
        raise WorkloadError(f"{operation} returned {found[0]}")


def _given_up(value: object) -> str | None:
    if isinstance(value, _GENERATORS):
        return "a generator, which nobody runs: a workload is called once for each iteration, and must not yield"
    if not inspect.isawaitable(value) or (isinstance(value, asyncio.Future) and value.done()):
        return None
    if inspect.iscoroutine(value):
        value.close()
        return f"a coroutine, {_NOT_AWAITED}"
    if isinstance(value, asyncio.Future):
        value.cancel()
    return f"an awaitable {type(value).__name__}, {_NOT_AWAITED}"


def rows_of(result: OperationResult) -> int:
    """The rows that a result reports. Raises WorkloadError where they are no number."""
    if result.rows_affected is None:
        return 0
    rows = as_number(result.rows_affected, "OperationResult.rows_affected")
    if not math.isfinite(rows):
        raise WorkloadError(f"OperationResult.rows_affected: {rows} is no number of rows")
    return round(rows)


def failure_in(result: OperationResult) -> Failure | None:
    """What a result says went wrong; None of a successful one."""
    if result.success:
        return None
    error = "" if result.error is None else as_text(result.error).strip()
    return Failure("unsuccessful", error or "success=False", result.metadata)

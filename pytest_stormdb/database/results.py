"""What libpq's results say, before psycopg's cursors would look at them."""

from __future__ import annotations

from typing import Any

from psycopg import errors, pq

GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)
FAILED = pq.ExecStatus.FATAL_ERROR
ABORTED = pq.ExecStatus.PIPELINE_ABORTED


def checked(conn: Any, result: Any) -> Any:
    """The result of what worked. Raises psycopg's own exception otherwise.

    Of a connection lost in a statement, the result says that it is lost, and the connection what the server said.
    """
    if result.status in GOOD:
        return result
    if result.status == FAILED and sqlstate(result) is None and conn.closed:
        raise errors.OperationalError(conn.pgconn.get_error_message(), info=result)
    if result.status == FAILED:
        raise errors.error_from_result(result, encoding=conn.info.encoding)
    if result.status == ABORTED:
        raise errors.PipelineAborted("not run: a statement before it in the pipeline failed")
    raise errors.ProgrammingError("a prepared statement runs one plain command, no COPY")


def is_outdated(result: Any) -> bool:
    """Whether the result's type has changed since the statement was prepared.

    The message is translated, so the error is known by the place in the server that raises it.
    """
    source = result.error_field(pq.DiagnosticField.SOURCE_FUNCTION)
    return sqlstate(result) == b"0A000" and source == b"RevalidateCachedQuery"


def sqlstate(result: Any) -> bytes | None:
    """The SQLSTATE of a failure; None where nothing failed, or not on the server."""
    state: bytes | None = result.error_field(pq.DiagnosticField.SQLSTATE) if result.status == FAILED else None
    return state

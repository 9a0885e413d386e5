"""Structured logs: one line for each record, from the parent and, carried over, from every worker."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Mapping

from ..configuration.file import LoggingSection
from ..errors import PlanError
from ..redaction import redacted

_ADDED = ("workload", "worker", "operation")
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def context(workload: str, worker: int | None = None, operation: str | None = None) -> dict[str, object]:
    """What a record says of where it comes from, for ``extra=`` of a logging call."""
    return {"stormdb_workload": workload, "stormdb_worker": worker, "stormdb_operation": operation}


class JsonLines(logging.Formatter):
    """Each record as one JSON object on one line: time, level, logger, event, and where it comes from."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: vars(record).get(f"stormdb_{name}") for name in _ADDED}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        return redacted(json.dumps(line, default=str))


class TextLines(logging.Formatter):
    """Each record as text, its origin in brackets."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, object] = vars(record)
        named = [(name, fields.get(f"stormdb_{name}")) for name in _ADDED]
        origin = " ".join(f"{name}={value}" for name, value in named if value is not None)
        return redacted(super().format(record) + (f" [{origin}]" if origin else ""))


class LogOutput:
    """Where a configuration file's logging goes, from opening to closing."""

    def __init__(self, section: LoggingSection) -> None:
        """Raises PlanError where the file cannot be written."""
        self._root = logging.getLogger()
        self._level = self._root.level
        try:
            self._handler: logging.Handler = (
                logging.StreamHandler(sys.__stderr__) if section.output is None else _file(section)
            )
        except OSError as error:
            raise PlanError(f"logging.output: cannot write {section.output}: {error.strerror}") from None
        self._handler.setFormatter(JsonLines() if section.format == "json" else TextLines())
        self._handler.setLevel(section.level.upper())
        self._root.addHandler(self._handler)
        self._root.setLevel(min(self._level, self._handler.level))

    def close(self) -> None:
        """Log as before."""
        self._root.removeHandler(self._handler)
        self._root.setLevel(self._level)
        self._handler.close()


def _file(section: LoggingSection) -> logging.FileHandler:
    assert section.output is not None
    return logging.FileHandler(section.output, encoding="utf-8")

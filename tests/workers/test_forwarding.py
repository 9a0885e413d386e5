"""What a worker logs and warns of in each iteration does not flood the session."""

from __future__ import annotations

import logging
import re
import warnings
from typing import Any

import pytest

from .harness import load

log = logging.getLogger("app")


def noisy(worker: Any) -> None:
    """One record of each kind, from the same two lines."""
    log.warning("order %s could not be found", worker.iteration)
    warnings.warn("utcnow() is deprecated", DeprecationWarning, stacklevel=1)


def test_records_of_one_line_are_sent_a_hundred_times(
    dsn: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hundred records and warnings come back from each worker, and a line says how many more there were."""
    with pytest.warns(DeprecationWarning, match="utcnow") as warned, warnings.catch_warnings(action="always"):
        record = load(noisy, dsn, workers=2, iterations=500)
    assert record.statistics.total.count == 1000
    finding = "the workload logged or warned 2,000 times in 1,000 calls, which takes part of their time"
    assert finding in record.validity.findings
    assert sum(each.name == "app" for each in caplog.records) == 200
    assert sum("utcnow" in str(each.message) for each in warned) == 200
    said = capsys.readouterr().err
    assert len(re.findall(r"the worker had 400 more: WARNING of app at .*test_forwarding\.py:\d+\]", said)) == 2
    assert len(re.findall(r"the worker had 400 more: DeprecationWarning at .*test_forwarding\.py:\d+\]", said)) == 2


def test_different_lines_are_told_apart(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """A rare record is not lost in the flood of another line's."""

    def rare(worker: Any) -> None:
        log.warning("often")
        if worker.iteration == 300:
            log.warning("rarely")

    load(rare, dsn, workers=1, iterations=400)
    assert [each.getMessage() for each in caplog.records if each.name == "app"].count("rarely") == 1

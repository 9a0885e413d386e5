"""The result in hand: a run's figures as plain numbers, for plain asserts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..measurement.stats import Latency, OperationStatistics
from ..record import RunRecord
from ..reports.document import run_document
from ..units import format_count, format_duration, format_rate

if TYPE_CHECKING:
    from ..database.activity import ServerActivity


class OperationResults:
    """What one operation did. Durations are response times in seconds, ``nan`` without a success."""

    def __init__(self, name: str, figures: OperationStatistics) -> None:
        self._name = name
        self._figures = figures

    @property
    def operations(self) -> int:
        """Successful operations."""
        return self._figures.count

    @property
    def failures(self) -> int:
        """Failed operations."""
        return self._figures.failures

    @property
    def errors(self) -> Mapping[str, int]:
        """How often it failed, by SQLSTATE or exception type."""
        return {code: count for code, (count, _) in self._figures.tally.errors.items()}

    @property
    def aborts(self) -> Mapping[str, int]:
        """How often it ended in an expected abort, neither success nor failure, by reason."""
        return dict(self._figures.tally.aborts)

    @property
    def retries(self) -> int:
        """How often an iteration was tried again after a serialisation failure or a deadlock."""
        return self._figures.tally.retries

    @property
    def throughput(self) -> float:
        """Successful operations per second."""
        return self._figures.throughput_per_s

    @property
    def service(self) -> Latency:
        """From the actual start of a call to its end."""
        return self._figures.service

    @property
    def lag(self) -> Latency:
        """From the intended start of a call to its actual start."""
        return self._figures.lag

    @property
    def min(self) -> float:
        return self._figures.response.min

    @property
    def mean(self) -> float:
        return self._figures.response.mean

    @property
    def p50(self) -> float:
        return self._figures.response.p50

    @property
    def p90(self) -> float:
        return self._figures.response.p90

    @property
    def p95(self) -> float:
        return self._figures.response.p95

    @property
    def p99(self) -> float:
        return self._figures.response.p99

    @property
    def max(self) -> float:
        return self._figures.response.max

    def percentile(self, percent: float) -> float:
        """Any percentile, such as 99.9."""
        return self._figures.response.percentile(percent)

    def __repr__(self) -> str:
        figures = self._figures
        latencies = ", ".join(
            f"{name} {format_duration(getattr(figures.response, name))}" for name in ("p50", "p95", "p99", "max")
        )
        counts = f"{format_count(figures.count)} operations, {format_count(figures.failures)} failures"
        return f"<{self._name}: {counts}, {format_rate(figures.throughput_per_s)}, {latencies}>"


class Result(OperationResults):
    """What a run did in all; ``operation(name)`` has the same for one operation or part."""

    def __init__(self, run: RunRecord) -> None:
        super().__init__("Result", run.statistics.total)
        self.run = run

    def operation(self, name: str) -> OperationResults:
        """The figures of one operation. Raises KeyError naming those there are."""
        operations = self.run.statistics.operations
        if name not in operations:
            raise KeyError(f"no operation {name!r} ran; there were {', '.join(sorted(operations))}")
        return OperationResults(name, operations[name])

    @property
    def metrics(self) -> Mapping[str, float]:
        """The workload's own metrics: counters' sums, gauges' last values, observations' means."""
        return {name: metric.value for name, metric in self.run.statistics.metrics.items()}

    @property
    def reconnects(self) -> int:
        """How often a worker had to connect again."""
        return self.run.statistics.reconnects

    @property
    def dropped(self) -> int:
        """Scheduled iterations that no worker was free to start before the end."""
        return self.run.dropped

    @property
    def server(self) -> ServerActivity:
        """What the server did during the measured part."""
        assert self.run.server_activity is not None
        return self.run.server_activity

    @property
    def record(self) -> dict[str, Any]:
        """The run as in the JSON report."""
        return run_document(self.run)

"""What a session writes or serves while its runs go on: logs and exported metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..load.option import NOT_GIVEN
from ..telemetry.exporters import (
    DEFAULT_PORT,
    Exporter,
    Exporters,
    JsonFile,
    PrometheusPage,
)
from .options import value_of

if TYPE_CHECKING:
    from ..configuration.file import Configuration
    from ..telemetry.logs import LogOutput

METRICS_FILE = "stormdb-metrics.jsonl"
_INTERVAL_S = 10.0


def log_output(configuration: Configuration | None) -> LogOutput | None:
    """The log output a configuration file asks for."""
    from ..telemetry.logs import LogOutput

    section = configuration.logging if configuration is not None else None
    return LogOutput(section) if section is not None else None


def open_exporters(config: pytest.Config, configuration: Configuration | None) -> Exporters:
    """The exporters that options and configuration file ask for. Raises PlanError."""
    section = configuration.metrics if configuration is not None else None
    wanted = section.exporters if section is not None and section.enabled else ()
    interval_s = section.interval_ns / 1e9 if section is not None else _INTERVAL_S
    exporters: list[Exporter] = []
    address = value_of(config, "prometheus")
    if address is not NOT_GIVEN or "prometheus" in wanted:
        exporters.append(PrometheusPage(*(("127.0.0.1", DEFAULT_PORT) if address is NOT_GIVEN else address)))
    if "json" in wanted:
        exporters.append(JsonFile(config.invocation_params.dir / METRICS_FILE))
    return Exporters(exporters, interval_s)

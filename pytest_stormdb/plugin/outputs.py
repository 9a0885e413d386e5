"""What a session writes or serves while its runs go on: logs and exported metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..errors import PlanError
from ..load.option import NOT_GIVEN
from ..redaction import redacted_in
from ..telemetry.exporters import Exporter, Exporters, JsonFile
from .files import STEP_SUMMARY
from .options import value_of

if TYPE_CHECKING:
    from ..configuration.file import Configuration
    from ..record import SessionRecord
    from ..telemetry.logs import LogOutput
    from ..telemetry.opentelemetry import OpenTelemetry

METRICS_FILE = "stormdb-metrics.jsonl"
TEXT_FILE = "stormdb-metrics.prom"
_PORT = 9464
"""The port that Prometheus' registry of exporters gives to OpenTelemetry's, of which ours is a small relative."""
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
        given = ("127.0.0.1", _PORT) if address is NOT_GIVEN else address
        exporters.append(_prometheus(given, config.invocation_params.dir / TEXT_FILE))
    if "json" in wanted:
        exporters.append(JsonFile(config.invocation_params.dir / METRICS_FILE))
    every = 0
    if _wants_telemetry(os.environ):
        exporters.append(telemetry := _opentelemetry())
        every = telemetry.trace_every
    return Exporters(exporters, interval_s, every)


def write_reports(record: SessionRecord, wanted: Mapping[str, Path]) -> list[str]:
    """Write each report; the problems of those that cannot be written."""
    from ..reports import document, markdown, page

    whole = redacted_in(document.document(record))
    writers = {"json": document.write, "html": page.write, "markdown": markdown.write, STEP_SUMMARY: markdown.append}
    problems = []
    for name, out in wanted.items():
        try:
            writers[name](whole, out)
        except OSError as error:
            option = name if name == STEP_SUMMARY else f"--stormdb-{name}"
            problems.append(f"{option}: cannot write {out}: {error.strerror}")
    return problems


def _wants_telemetry(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables name an endpoint, and do not switch everything off."""
    named = (f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "METRICS_", "TRACES_"))
    return environment.get("OTEL_SDK_DISABLED", "").lower() != "true" and any(environment.get(name) for name in named)


def _opentelemetry() -> OpenTelemetry:
    try:
        from ..telemetry.opentelemetry import OpenTelemetry
    except ModuleNotFoundError as error:
        raise PlanError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT: needs {error.name}: pip install 'pytest-stormdb[otel]'"
        ) from None
    return OpenTelemetry()


def _prometheus(address: tuple[str, int], textfile: Path) -> Exporter:
    try:
        from ..telemetry.prometheus import PrometheusPage
    except ModuleNotFoundError as error:
        raise PlanError(f"prometheus: needs {error.name}: pip install 'pytest-stormdb[prometheus]'") from None
    return PrometheusPage(*address, textfile)

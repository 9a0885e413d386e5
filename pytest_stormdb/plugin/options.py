"""Options: declared once for the command line and the ini file, and merged into a plan by their strength."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest

if TYPE_CHECKING:
    from ..load.plan import LoadPlan
    from ..verdict.threshold import Threshold


class Option(NamedTuple):
    """One option; ``plan`` is its name in a load plan where it has one."""

    name: str
    help: str
    metavar: str | None = None
    kind: Literal["string", "int", "bool", "linelist"] = "string"
    plan: str | None = None

    @property
    def key(self) -> str:
        return f"stormdb_{self.name.replace('-', '_')}"


OPTIONS = (
    Option("workers", "concurrent workers", "N", "int", "workers"),
    Option("duration", "how long to measure, such as 30s", "TIME", plan="duration"),
    Option("iterations", "iterations of each worker, instead of a duration", "N", "int", "iterations"),
    Option("warmup", "time before the measurement, such as 5s", "TIME", plan="warmup"),
    Option("rate", "open loop: iterations started in total, such as 1000/s", "RATE", plan="rate"),
    Option("arrivals", "open loop: uniform or poisson", "KIND", plan="arrivals"),
    Option("stages", "workers or rates over time, such as 10:30s,10->50:30s", "STAGES", plan="stages"),
    Option("sweep", "run at each of these worker counts: 1,2,4,8, linear:1..32:4 or doubling:1..64", "COUNTS"),
    Option("processes", "processes to spread the workers over, or auto", "N", plan="processes"),
    Option("timeout", "the longest an iteration may take, such as 30s", "TIME", plan="timeout"),
    Option("seed", "seed of all random streams", "N", "int", "seed"),
    Option("dsn", "the server to load; else STORMDB_DSN, DATABASE_URL, or an embedded one", "DSN"),
    Option("slo", "a threshold for every workload, such as 'p99 < 20ms'; repeatable", "EXPR", "linelist"),
    Option("inconclusive", "what an inconclusive or invalid verdict does: warn or fail", "ACTION"),
    Option("json", "write all runs to this file", "FILE"),
    Option("config", "a configuration file: parameters, database, load, metrics, logging, health checks", "FILE"),
    Option("path", "a folder of packaged workloads to run, beside the test paths; repeatable", "DIR", "linelist"),
    Option("checksums", "packaged workloads: off, verify (default) or require", "POLICY"),
    Option("signatures", "signatures of packaged workloads: off, verify or require", "POLICY"),
    Option("keyring", "the public keys that signatures are verified with", "FILE"),
    Option("health-interval", "how often health checks run during a run, such as 30s", "TIME"),
    Option("param", "a parameter of the workloads, as KEY=VALUE; repeatable", "KEY=VALUE", "linelist"),
    Option("prometheus", "serve the counts of the run in progress, for Prometheus, at this address", "[HOST:]PORT"),
    Option("smoke", "run each workload once, as a plain test, without load", None, "bool"),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini key."""
    group = parser.getgroup("stormdb", "load tests for PostgreSQL (stormdb)")
    for option in OPTIONS:
        flag = f"--stormdb-{option.name}"
        if option.kind == "bool":
            group.addoption(flag, dest=option.key, action="store_true", default=None, help=option.help)
        elif option.kind == "linelist":
            group.addoption(flag, dest=option.key, action="append", metavar=option.metavar, help=option.help)
        else:
            group.addoption(flag, dest=option.key, metavar=option.metavar, help=option.help)
        parser.addini(option.key, option.help, type=option.kind, default=None)


def value_of(config: pytest.Config, name: str) -> Any:
    """An option outside of plans: the command line's word, else the ini file's, else None."""
    given = _given(config, name)
    return given if given is not None else config.getini(f"stormdb_{name}")


def paths_of(config: pytest.Config, name: str) -> list[Path]:
    """An option of files or folders: from the command line relative to where it was given, else to the ini file."""
    given = _given(config, name)
    base = config.invocation_params.dir
    if given is None:
        given = config.getini(f"stormdb_{name}") or []
        base = config.inipath.parent if config.inipath is not None else base
    return [absolute(base, path) for path in ([given] if isinstance(given, str) else given)]


def absolute(base: Path, path: str | Path) -> Path:
    """As pytest does: without dots, and links as they are."""
    return Path(os.path.abspath(base / path))  # noqa: PTH100 - Path.absolute() keeps the dots


def _given(config: pytest.Config, name: str) -> Any:
    """The command line's word; before it is parsed as a whole, what is known of it so far."""
    given = config.getoption(f"stormdb_{name}", None)
    return given if given is not None else getattr(config.known_args_namespace, f"stormdb_{name}", None)


def command_line(config: pytest.Config) -> dict[str, Any]:
    """The plan options given on the command line."""
    return {option.plan: config.getoption(option.key) for option in OPTIONS if option.plan}


def ini_file(config: pytest.Config) -> dict[str, Any]:
    """The plan options given in the ini file."""
    return {option.plan: config.getini(option.key) for option in OPTIONS if option.plan}


def check_early(config: pytest.Config) -> None:
    """Refuse what is wrong on the command line or in the ini file before anything is collected."""
    from ..configuration.parameters import parse_parameters
    from ..errors import PlanError
    from ..units import parse_duration_ns

    try:
        plan_of(config, [])
        thresholds_of(config)
        sweep_of(config)
        if value_of(config, "prometheus") is not None:
            parse_address(value_of(config, "prometheus"))
        parse_parameters(value_of(config, "param") or [])
        if value_of(config, "health_interval") is not None:
            parse_duration_ns(value_of(config, "health_interval"), "--stormdb-health-interval")
    except PlanError as error:
        raise pytest.UsageError(str(error)) from None
    if value_of(config, "inconclusive") not in (None, "warn", "fail"):
        action = value_of(config, "inconclusive")
        raise pytest.UsageError(f"--stormdb-inconclusive: {action!r} is neither 'warn' nor 'fail'")


def parse_address(text: str) -> tuple[str, int]:
    """``PORT`` or ``HOST:PORT``; without a host, this machine only."""
    from ..errors import PlanError

    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise PlanError(f"--stormdb-prometheus: {text!r} is not [HOST:]PORT")
    return host or "127.0.0.1", int(port)


def is_given(config: pytest.Config) -> bool:
    """Whether any option is given at all; most suites give none, and should not pay for one."""
    return any(value_of(config, option.key.removeprefix("stormdb_")) not in (None, []) for option in OPTIONS)


def plan_of(config: pytest.Config, own: Sequence[tuple[str, Mapping[str, Any]]]) -> LoadPlan:
    """The plan of a workload whose layers between command line and ini file, the strongest first, are ``own``."""
    from ..load.plan import make_plan

    return make_plan(("command line", command_line(config)), *own, ("ini file", ini_file(config)))


def sweep_of(config: pytest.Config) -> tuple[int, ...]:
    """The worker counts of a sweep; empty where there is none."""
    from ..load.sweep import parse_sweep

    text = value_of(config, "sweep")
    return parse_sweep(text) if text is not None else ()


def marked_options(item: pytest.Item) -> list[tuple[str, Mapping[str, Any]]]:
    """The options of an item's stormdb marks, the closest first."""
    from ..errors import PlanError

    layers = []
    for mark in item.iter_markers("stormdb"):
        if mark.args:
            raise PlanError(f"mark stormdb of {item.name}: {mark.args[0]!r} needs a name, such as workers=...")
        layers.append((f"mark stormdb of {item.name}", mark.kwargs))
    return layers


def most_workers(items: Sequence[pytest.Item]) -> int:
    """The greatest number of workers that any of the items' marks asks for, as far as it is a number."""
    given = [mark.kwargs.get("workers") for item in items for mark in item.iter_markers("stormdb")]
    return max((count for count in given if isinstance(count, int)), default=0)


def marked_thresholds(item: pytest.Item) -> list[Threshold]:
    """The thresholds of an item's stormdb_slo marks."""
    from ..errors import PlanError
    from ..verdict.threshold import Threshold

    thresholds = []
    for mark in item.iter_markers("stormdb_slo"):
        unknown = set(mark.kwargs) - {"operation", "abort"}
        if unknown:
            raise PlanError(f"mark stormdb_slo of {item.name}: unknown option {min(unknown)!r}; there is operation")
        if not mark.args:
            raise PlanError(f"mark stormdb_slo of {item.name}: no threshold; write one such as 'p99 < 20ms'")
        thresholds += [Threshold.parse(expression, **mark.kwargs) for expression in mark.args]
    return thresholds


def thresholds_of(config: pytest.Config, *own: Sequence[Threshold]) -> list[Threshold]:
    """The thresholds that hold for a workload: for each metric and operation, those of the strongest source."""
    from ..verdict.threshold import Threshold

    given = config.getoption("stormdb_slo") or []
    from_ini = config.getini("stormdb_slo") or []
    chosen: list[Threshold] = []
    for layer in ([Threshold.parse(text) for text in given], *own, [Threshold.parse(text) for text in from_ini]):
        taken = {(threshold.metric, threshold.operation) for threshold in chosen}
        chosen += [threshold for threshold in layer if (threshold.metric, threshold.operation) not in taken]
    return chosen

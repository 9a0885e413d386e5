"""What holds for one test: its plan, its thresholds and its health checks, resolved once from all their sources."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import PlanError, StormDBError, WorkloadError
from ..load.option import COMMAND_LINE, INI, NOT_GIVEN, POSITIVE_DURATION
from ..load.options import check_few_options, check_options, option_named
from .collection import arguments_of
from .marks import has_runner, has_scripts, health_mark, is_workload
from .options import HEALTH_OPTIONS, SLO_OPTIONS, command_line, given_by, given_lines, ini_file, value_of
from .workloads import configuration_for

if TYPE_CHECKING:
    from ..configuration.file import Configuration
    from ..database.connect import Dsn
    from ..load.layers import Layer
    from ..load.plan import LoadPlan
    from ..verdict.threshold import Threshold

_HEALTH_TIMEOUT = "10s"
_OF_SCRIPTS = ("pgbench", {"arrivals": "poisson"})
"""What holds for pgbench scripts where nobody says otherwise: their arrivals are pgbench's."""


@dataclass(frozen=True, slots=True)
class OwnCheck:
    """A health check of the workload's module."""

    name: str
    function: Callable[..., object]
    interval_s: float
    timeout_s: float
    abort: bool


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """How often the built-in checks run and how long one may take, and the workload's own."""

    interval_s: float
    timeout_s: float
    own: tuple[OwnCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything said of one test, read and checked.

    ``plans`` are the plans to run one after the other: those of a sweep, else the plan alone. ``health`` is None where
    health checks are switched off. ``options`` are all that may differ from test to test, by name, parsed.
    """

    plan: LoadPlan
    plans: tuple[LoadPlan, ...]
    thresholds: tuple[Threshold, ...]
    health: HealthSettings | None
    options: Mapping[str, Any]


_SETTINGS = pytest.StashKey[Settings]()


def settings_of(item: pytest.Item) -> Settings:
    """The settings of a test, resolved when they are first asked for. Raises StormDBError."""
    if _SETTINGS not in item.stash:
        item.stash[_SETTINGS] = _settings(item, value_of(item.config, "sweep"))
    return item.stash[_SETTINGS]


def settings_of_call(
    item: pytest.Item, options: Mapping[str, Any], where: str = "", *, is_scripts: bool = False
) -> Settings:
    """The settings of one run in hand: ``options`` are stronger than the marks. A sweep is for marked tests alone."""
    where = where or f"stormdb.run in {item.name}"
    if "isolation" in options:
        raise PlanError(f"{where}: isolation is the module's; mark it")
    return _settings(item, NOT_GIVEN, _python_layer(where, options), is_scripts=is_scripts)


def isolation_of(module: pytest.Module) -> str | None:
    """Where the tests of a module live, which share its fixtures; None where nobody says. Raises PlanError."""
    from ..load.layers import resolve

    asked = {}
    for item in module.session.items:
        if item.getparent(pytest.Module) is module and (is_workload(item) or has_runner(item)):
            asked[resolve(*_layers(item))["isolation"]] = item.name
    if len(asked) > 1:
        raise PlanError(f"{' and '.join(asked.values())} share a module, which has one isolation; mark the module")
    said = next(iter(asked)) if asked else value_of(module.config, "isolation")
    return None if said is NOT_GIVEN else str(said)


def admin_dsn_of(config: pytest.Config) -> Dsn | None:
    """The address of our own statements, where it is not the load's. Raises ServerError."""
    from ..database.connect import parse_dsn
    from ..database.target import pinned

    given = value_of(config, "admin_dsn")
    return None if given is NOT_GIVEN else pinned(parse_dsn(given, "--stormdb-admin-dsn"))


def problem_of(item: pytest.Item) -> str | None:
    """What is wrong with what is said of a test, in one sentence; None where nothing is, or where it has no load.

    A test with the runner in its hand may mend with its calls what does not go together before them.
    """
    try:
        if is_workload(item):
            settings_of(item)
        elif has_runner(item):
            _plans_apart(item)
            _thresholds(item, configuration_for(item))
    except StormDBError as error:
        return str(error)
    return None


def most_workers(items: Iterable[pytest.Item]) -> int:
    """The greatest number of workers that any of these tests is known to ask for; 0 where none has load."""
    plans = [plan for item in items if is_workload(item) for plan in settings_of(item).plans]
    plans += [plan for item in items if has_runner(item) for plan in _plans_apart(item)]
    return max((plan.workers for plan in plans), default=0)


def _plans_apart(item: pytest.Item) -> list[LoadPlan]:
    """The plan that each source would make alone."""
    from ..load.layers import resolve
    from ..load.plan import plan_of

    return [plan_of(resolve(layer)) for layer in _layers(item)]


def _layers(item: pytest.Item, *calls: Layer, is_scripts: bool = False) -> list[Layer]:
    """Everything said of an item, the strongest source first."""
    found = configuration_for(item)
    configured = [(str(found.path), found.load)] if found is not None else []
    own = [_OF_SCRIPTS] if is_scripts or has_scripts(item) else []
    return [command_line(item.config), *configured, *calls, *_marked_layers(item), ini_file(item.config), *own]


def _settings(item: pytest.Item, sweep: Any, *calls: Layer, is_scripts: bool = False) -> Settings:
    from ..load.layers import resolve
    from ..load.plan import plan_of

    found = configuration_for(item)
    options = resolve(*_layers(item, *calls, is_scripts=is_scripts))
    plan = plan_of(options)
    return Settings(
        plan=plan,
        plans=_swept(plan, sweep),
        thresholds=tuple(_thresholds(item, found)),
        health=_health(item, found),
        options=options,
    )


def _swept(plan: LoadPlan, sweep: Any) -> tuple[LoadPlan, ...]:
    if sweep is NOT_GIVEN:
        return (plan,)
    if plan.stages and not plan.is_open:
        raise PlanError("--stormdb-sweep: this workload has stages of workers; a sweep sets the workers itself")
    return tuple(dataclasses.replace(plan, workers=count) for count in sweep)


def _marked_layers(item: pytest.Item) -> list[Layer]:
    """The options of an item's stormdb marks, the closest first."""
    layers = []
    for mark in item.iter_markers("stormdb"):
        where = f"mark stormdb of {item.name}"
        if mark.args:
            raise PlanError(f"{where}: {mark.args[0]!r} needs a name, such as workers=...")
        layers.append(_python_layer(where, mark.kwargs))
    return layers


def _python_layer(where: str, options: Mapping[str, object]) -> Layer:
    """What a mark or a call says; None, with which Python leaves an argument open, says nothing."""
    check_options(options, where)
    return where, {name: NOT_GIVEN if value is None else value for name, value in options.items()}


def _thresholds(item: pytest.Item, found: Configuration | None) -> list[Threshold]:
    """The thresholds of an item: for each metric and operation, those of the strongest source."""
    from ..verdict.threshold import Threshold

    def parsed(expressions: Sequence[str]) -> list[Threshold]:
        return [Threshold.parse(text) for text in expressions]

    chosen: list[Threshold] = []
    for layer in (
        parsed(given_lines(item.config, COMMAND_LINE, "slo")),
        parsed(found.slo if found is not None else ()),
        _marked_thresholds(item),
        parsed(given_lines(item.config, INI, "slo")),
    ):
        taken = {(threshold.metric, threshold.operation) for threshold in chosen}
        chosen += [threshold for threshold in layer if (threshold.metric, threshold.operation) not in taken]
    return chosen


def _marked_thresholds(item: pytest.Item) -> list[Threshold]:
    """The thresholds of an item's stormdb_slo marks."""
    from ..verdict.threshold import Threshold

    thresholds = []
    for mark in item.iter_markers("stormdb_slo"):
        where = f"mark stormdb_slo of {item.name}"
        check_few_options(mark.kwargs, SLO_OPTIONS, where)
        if not mark.args:
            raise PlanError(f"{where}: no threshold; write one such as 'p99 < 20ms'")
        try:
            thresholds += [Threshold.parse(expression, **mark.kwargs) for expression in mark.args]
        except PlanError as error:
            raise PlanError(f"{where}: {error}") from None
    return thresholds


def _health(item: pytest.Item, found: Configuration | None) -> HealthSettings | None:
    """The health checks of an item's run: the command line is stronger than the file, than a mark, than the ini file.

    A file that only switches them on says nothing of intervals and timeouts.
    """
    section = found.health_checks if found is not None else None
    if section is not None and not section.enabled:
        return None
    given = given_by(item.config, COMMAND_LINE, "health_interval")
    interval = section.interval if section is not None else NOT_GIVEN
    timeout = section.timeout if section is not None else NOT_GIVEN
    ini = given_by(item.config, INI, "health_interval")
    default = option_named("health_interval").default
    own = []
    for name, function, mark in _marked_checks(item):
        interval_s = _first_s(f"{name}: interval", given, interval, mark["interval"], ini, default)
        timeout_s = _first_s(f"{name}: timeout", timeout, mark["timeout"], _HEALTH_TIMEOUT)
        own.append(OwnCheck(name, function, interval_s, timeout_s, mark["abort"] not in (NOT_GIVEN, False)))
    interval_s = _first_s("interval", given, interval, ini, default)
    return HealthSettings(interval_s, _first_s("timeout", timeout, _HEALTH_TIMEOUT), tuple(own))


def _first_s(what: str, *said: object) -> float:
    """The first duration that is given, in seconds."""
    duration_ns: int = POSITIVE_DURATION.read(next(value for value in said if value is not NOT_GIVEN), what)
    return duration_ns / 1e9


def _marked_checks(item: pytest.Item) -> Iterator[tuple[str, Callable[..., object], dict[str, object]]]:
    """The checks of an item's module, with what their marks say of each of HEALTH_OPTIONS."""
    module = item.getparent(pytest.Module)
    for name, member in vars(module.obj).items() if module is not None else ():
        mark = health_mark(member)
        if mark is None:
            continue
        check_few_options(mark.kwargs, HEALTH_OPTIONS, f"mark stormdb_health of {name}")
        if inspect.iscoroutinefunction(member) or inspect.isgeneratorfunction(member):
            raise WorkloadError(f"health check {name} must be a plain function; write def {name}(conn)")
        if len(arguments_of(member)) != 1:
            raise WorkloadError(f"health check {name} takes one argument, the connection; write def {name}(conn)")
        given = {option: mark.kwargs.get(option) for option in HEALTH_OPTIONS}
        yield name, member, {option: NOT_GIVEN if value is None else value for option, value in given.items()}

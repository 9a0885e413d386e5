"""A marked test as a workload: gathered from the item, run, and turned back into the outcome of a test."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ..database.health import HealthCheck, built_in
from ..database.server import admin_connection
from ..engine.command import check_plan
from ..engine.program import find_pgbench
from ..load.option import NOT_GIVEN
from ..record import RunRecord, sweep_through
from ..reports import junit
from ..run.alternating import Arm
from ..run.pipeline import Health, run
from ..run.preconditions import checked_before, preflight
from ..run.result import Result
from ..run.smoke import run_once
from ..workload.contract import Operation, WorkerPlaceholder, Workload
from .benchmark import put_beside
from .collection import arguments_of, mix_of
from .doubts import doubt
from .marks import has_scripts, is_scripts
from .options import value_of
from .reporting import hardened, raise_interruption, stops, stops_of
from .screen import screen_of
from .scripts import operations_of, prepared, scripts_of
from .session import SESSION, Session, as_test_failures
from .settings import Settings, settings_of, settings_of_call
from .sharing import shared_connection
from .workloads import package_of, parameters_for, workload_name

if TYPE_CHECKING:
    from ..database.isolation import Home
    from ..load.plan import LoadPlan
    from ..workload.pgbench import Pgbench

HOME = "_stormdb_home"
FUNCTION = pytest.StashKey[Callable[..., Any]]()
_HEALTH = pytest.StashKey[Health]()
_NO_SUCCESS = pytest.StashKey[list[str]]()


def check_ready(item: pytest.Function) -> None:
    """Check what is known once the fixtures are there, before any load. What is wrong is an error of the set-up."""
    funcargs = item.funcargs
    if "worker" in funcargs and not isinstance(funcargs["worker"], WorkerPlaceholder):
        pytest.fail("a fixture of yours called 'worker' hides pytest-stormdb's; give yours another name", pytrace=False)
    problem = shared_connection({name: funcargs[name] for name in arguments_of(item.obj) if name in funcargs})
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    home = home_of(item)
    with as_test_failures():
        settings = settings_of(item)
        if has_scripts(item):
            check_plan(settings.plan, scripts_of(item), find_pgbench())
        with admin_connection(home.admin_dsn) as admin:
            preflight(admin, max(settings.plans, key=lambda each: each.workers), pooled=home.is_pooled)
        if item.config.stash[SESSION].why_unmeasured is None:
            item.stash[_HEALTH] = _checked_before(settings, home)


def home_of(item: pytest.Function) -> Home:
    home: Any = item.funcargs[HOME]
    return home  # type: ignore[no-any-return]


def _checked_before(settings: Settings, home: Home) -> Health:
    """The health checks of a run, and what they say before it. Raises ServerError where one fails."""
    found = settings.health
    if found is None:
        return (), ()
    checks = built_in(timeout_s=found.timeout_s, interval_s=found.interval_s, writes=home.isolation != "none")
    checks += [HealthCheck(own.name, own.function, own.timeout_s, own.interval_s, abort=own.abort) for own in found.own]
    return checks, checked_before(checks, home.admin_dsn)


def run_item(item: pytest.Function) -> None:
    """Run a marked function or class under load; raises what the test ends with."""
    state = item.config.stash[SESSION]
    workload = workload_of(item)
    home = home_of(item)
    with as_test_failures():
        settings = settings_of(item)
    item.user_properties[:] = [pair for pair in item.user_properties if not pair[0].startswith("stormdb.")]
    if state.why_unmeasured is not None:
        run_unmeasured(item, state, workload, settings.plan, home)
        return
    state.start_outputs()
    state.count_set_up()
    if state.other_arm is not None:
        state.other_arm.play(Arm(item.name, workload, home))
        return
    records = []
    for each in settings.plans:
        with as_test_failures(), screen_of(item.config) as screen:
            record = run(
                workload,
                each,
                home,
                embedded=state.is_embedded(home.dsn),
                thresholds=settings.thresholds,
                health=item.stash[_HEALTH],
                exporters=state.exporters,
                screen=screen,
                longest_ns=longest_ns(item.config),
                explains=value_of(item.config, "explain"),
            )
        records.append(record)
        _keep(item, state, records[-1])
        raise_interruption(item, records[-1])
    if len(records) > 1:
        _keep_sweep(item, state, records)
    for record in records:
        _conclude(item, record, f"at {record.plan.workers} workers: " if len(records) > 1 else "")


def run_in_hand(
    item: pytest.Item, function: Callable[..., Any], home: Home, options: Mapping[str, Any], name: str | None = None
) -> Result:
    """Run a callable for a test that judges the result itself."""
    state = item.config.stash[SESSION]
    with as_test_failures():
        settings = settings_of_call(item, options, is_scripts=is_scripts(function))
        workload = dataclasses.replace(workload_of_callable(item, function, home, settings.plan), run_name=name)
    if state.why_unmeasured is not None:
        run_unmeasured(item, state, workload, settings.plan, home)
        called = workload.operations[0].name
        pytest.skip(f"stormdb.run ran {called} once, unmeasured ({state.why_unmeasured}): there is no result to judge")
    with as_test_failures():
        health = _checked_before(settings, home)
        state.start_outputs()
        state.count_set_up()
        with screen_of(item.config) as screen:
            record = run(
                workload,
                settings.plan,
                home,
                embedded=state.is_embedded(home.dsn),
                thresholds=settings.thresholds,
                health=health,
                exporters=state.exporters,
                screen=screen,
                longest_ns=longest_ns(item.config),
                explains=value_of(item.config, "explain"),
            )
    _keep(item, state, record)
    raise_interruption(item, record)
    if record.outcome == "error" or (record.verdicts and record.outcome == "failed" and _missed(record)):
        _fail(record)
    if not record.statistics.total.count:
        item.stash.setdefault(_NO_SUCCESS, []).append(record.reasons[0])
    return Result(record)


def workload_of_callable(item: pytest.Item, function: Callable[..., Any], home: Home, plan: LoadPlan) -> Workload:
    """A callable ``(worker)``, or pgbench scripts, as a workload of a test. Raises StormDBError for what cannot run."""
    if is_scripts(function):
        description = prepared(item, function, home, parameters_for(item))
        check_plan(plan, description, find_pgbench())
        return _workload_of_scripts(item, description)
    name = getattr(function, "__name__", type(function).__name__)
    return Workload(
        **_identity(item),
        operations=(Operation(name, function),),
        is_async=_is_async(function),
        explain=_explainer(item),
        stops=stops,
        on_fork=hardened(item),
        loop_factory=_loop_factory(item),
    )


def _workload_of_scripts(item: pytest.Item, description: Pgbench) -> Workload:
    return Workload(**_identity(item), operations=operations_of(description), arguments={}, pgbench=description)


def check_results_in_hand(item: pytest.Item) -> None:
    """A run without any success is a failed run, even in a test that asserts nothing about it."""
    for reason in item.stash.get(_NO_SUCCESS, []):
        pytest.fail(f"stormdb.run: {reason}", pytrace=False)


def _missed(record: RunRecord) -> bool:
    return any(verdict.ruling == "fail" for verdict in record.verdicts)


def workload_of(item: pytest.Function) -> Workload:
    function = item.stash[FUNCTION]
    if has_scripts(item):
        return _workload_of_scripts(item, scripts_of(item))
    mix = mix_of(function)
    if mix is not None:
        operations = tuple(mix.operations())
    else:
        operations = (Operation(item.originalname, function, arguments_of(function)),)
    names = {name for operation in operations for name in operation.parameters}
    return Workload(
        **_identity(item),
        operations=operations,
        arguments={name: item.funcargs[name] for name in names},
        is_async=inspect.iscoroutinefunction(operations[0].function),
        instance=mix.owner if mix is not None else None,
        explain=_explainer(item),
        stops=stops_of(item),
        on_fork=hardened(item),
        loop_factory=_loop_factory(item),
    )


def _identity(item: pytest.Item) -> dict[str, Any]:
    package = package_of(item)
    version = package.metadata.version if package is not None and package.metadata is not None else None
    integrity = package.state if package is not None else None
    return {"name": workload_name(item), "nodeid": item.nodeid, "version": version, "integrity": integrity}


def _explainer(item: pytest.Item) -> Callable[[BaseException], str]:
    def explain(error: BaseException) -> str:
        return str(item.repr_failure(pytest.ExceptionInfo.from_exception(error)))

    return explain


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether a call gives a coroutine, also that of an object."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _loop_factory(item: pytest.Item) -> Callable[[], Any] | None:
    """The event loop that pytest-asyncio's hook gives, where there is one: uvloop comes this way."""
    hook = getattr(item.ihook, "pytest_asyncio_loop_factories", None)
    factories = hook(config=item.config, item=item) if hook is not None else None
    return next(iter(factories.values()), None) if factories else None


def run_unmeasured(item: pytest.Item, state: Session, workload: Workload, plan: LoadPlan, home: Home) -> None:
    """Run each operation once, as a plain test."""
    item.user_properties.append(("stormdb.verdict", "not measured"))
    state.unmeasured.append(item.nodeid)
    state.remember_failure(item.nodeid)
    with as_test_failures():
        run_once(workload, plan, home, is_timed=state.why_unmeasured != "--pdb")


def _keep(item: pytest.Item, state: Session, record: RunRecord) -> None:
    state.records.append(record)
    if value_of(item.config, "benchmark"):
        put_beside(item, record)
    junit.write(record, item.user_properties)
    state.save()


def _keep_sweep(item: pytest.Item, state: Session, records: Sequence[RunRecord]) -> None:
    sweep = sweep_through(item.nodeid, records)
    state.sweeps.append(sweep)
    item.user_properties.append(("stormdb.sweep.knee_workers", sweep.knee.workers))


def longest_ns(config: pytest.Config) -> int:
    """How long a run may measure while a threshold is undecided; 0 where it ends as planned."""
    wanted = value_of(config, "until_decided")
    return 0 if wanted is NOT_GIVEN else int(wanted)


def _conclude(item: pytest.Item, record: RunRecord, where: str = "") -> None:
    if record.outcome in ("failed", "error"):
        _fail(record, where)
    if record.outcome in ("inconclusive", "invalid"):
        doubt(item, _reasons(record, f"{where}{record.outcome}: "))


def _fail(record: RunRecord, where: str = "") -> None:
    text = _reasons(record, where)
    if record.explanation:
        text += f"\n\n{record.explanation}"
    pytest.fail(text, pytrace=False)


def _reasons(record: RunRecord, where: str) -> str:
    return "\n".join(f"{where}{reason}" for reason in record.reasons)

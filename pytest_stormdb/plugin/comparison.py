"""``stormdb.compare``: two callables, or one in two states of the database, as arms of a comparison."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from ..database.connect import connect
from ..database.isolation import Home
from ..database.names import own_name
from ..errors import PlanError
from ..load.alternation import Alternation
from ..load.plan import LoadPlan
from ..record import ComparisonRecord
from ..reports.junit import comparison_properties
from ..run.alternating import Alone, Arm, Epoch, Play, Runs, each_alone, run_alone, run_epoch, shortest_ns_of
from ..run.compared import Compared
from ..run.comparing import compare
from ..run.progress import ComparisonWatch
from ..units import parse_duration_ns, parse_ratio
from ..verdict.comparison import SESSION_ALPHA, Claim, share_of
from .doubts import doubt
from .execution import longest_ns, run_unmeasured, workload_of_callable
from .marks import is_scripts
from .reporting import raise_interruption
from .screen import screen_of
from .session import SESSION, as_test_failures
from .settings import settings_of_call
from .workloads import workload_name

State = Callable[[Any], object]
"""Makes what an arm needs, given an autocommit connection into a database of the arm's own."""

Places = Callable[[int], contextlib.AbstractContextManager[Sequence[Arm]]]
"""The arms of an epoch, with what they need on the server, which is made and cleared away around it."""

_POSITION = pytest.StashKey[int]()


def compare_in_hand(
    item: pytest.Item,
    home: Home,
    functions: Sequence[Callable[..., Any]],
    states: tuple[State, State] | None,
    wanted: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Compared:
    """Compare two arms for a test that wants the result in hand; fails it where there is nothing to compare."""
    session = item.config.stash[SESSION]
    where = f"stormdb.compare in {item.name}"
    with as_test_failures():
        settings = settings_of_call(item, options, where, is_scripts=any(map(is_scripts, functions)))
        plan = settings.plan
        claim, budget_s, seed = _claim(item, where, wanted), _budget_s(item, wanted), wanted.get("seed")
        names = _names(states or functions)
        workloads = [workload_of_callable(item, function, home, plan) for function in functions]
    if session.why_unmeasured is not None:
        if states is None:
            for workload in workloads:
                run_unmeasured(item, session, workload, plan, home)
        pytest.skip(f"stormdb.compare measured nothing ({session.why_unmeasured}): there is nothing to compare")
    fixed = tuple(Arm(name, workload, home) for name, workload in zip(names, workloads, strict=True))
    places = _one_place(fixed) if states is None else _places(home, fixed, states, workload_name(item))
    with as_test_failures(), screen_of(item.config) as screen:
        watch = ComparisonWatch(item.nodeid, names, budget_s, screen)
        session.start_outputs()
        session.count_set_up()
        record = compare(
            item.nodeid,
            names,
            *_plays(places, plan, watch),
            plan,
            claim,
            budget_s=budget_s,
            seed=secrets.randbits(32) if seed is None else int(seed),
            shortest_ns=shortest_ns_of(fixed, plan),
            told=watch.told,
        )
    keep(item, record, "stormdb.compare")
    return Compared(record, lambda text: doubt(item, text))


def _plays(places: Places, plan: LoadPlan, watch: ComparisonWatch) -> tuple[Play, Alone]:
    """How an epoch is played, and how each arm is run alone."""

    def play(alternation: Alternation) -> Epoch:
        with places(alternation.epoch) as arms:
            return run_epoch(arms, plan, alternation, watch)

    def alone(duration_ns: int, number: int) -> Runs:
        with places(number) as arms:
            return each_alone(number, lambda arm: run_alone(arms[arm], plan, duration_ns))

    return play, alone


def keep(item: pytest.Item, record: ComparisonRecord, what: str) -> None:
    """Put it into the session's record, and end the test where something broke."""
    item.config.stash[SESSION].comparisons.append(record)
    item.user_properties.extend(comparison_properties(record))
    raise_interruption(item, record)
    if record.broken:
        text = "\n".join(f"{what}: {reason}" for reason in record.broken)
        pytest.fail(f"{text}\n\n{record.explanation}" if record.explanation else text, pytrace=False)


def _claim(item: pytest.Item, where: str, wanted: Mapping[str, Any]) -> Claim:
    """What is to be decided, with this comparison's share of the session's error budget."""
    position = item.stash[_POSITION] = item.stash.get(_POSITION, 0) + 1
    alpha = share_of(SESSION_ALPHA, item.config.stash[SESSION].comparing_tests, position)
    margin, improvement = wanted["margin"], wanted["min_improvement"]
    if isinstance(margin, str):
        margin = parse_ratio(margin, f"{where}: margin")
    if not 0 < margin < 10:
        raise PlanError(f"{where}: margin={margin!r} is no share above zero; write 0.1 or '10%'")
    if improvement is not None and not improvement > 1:
        raise PlanError(f"{where}: min_improvement={improvement!r} is no factor above 1")
    Claim.check_metric(wanted["metric"], where)
    return Claim(wanted["metric"], margin, improvement, alpha)


def _budget_s(item: pytest.Item, wanted: Mapping[str, Any]) -> float:
    """The time it may take; longer where the user wants everything decided."""
    return max(parse_duration_ns(wanted["budget"], "budget"), longest_ns(item.config)) / 1e9


def _names(arms: Sequence[Callable[..., Any]]) -> tuple[str, str]:
    """The callables' own names, where they tell the arms apart."""
    first, second = (getattr(arm, "__name__", type(arm).__name__) for arm in arms)
    return (first, second) if first != second and "<" not in first + second else ("old", "new")


def _one_place(arms: Sequence[Arm]) -> Places:
    """Both arms where the test's fixtures made their objects."""

    def place(epoch: int) -> contextlib.AbstractContextManager[Sequence[Arm]]:
        return contextlib.nullcontext(arms)

    return place


def _places(home: Home, arms: Sequence[Arm], states: tuple[State, State], workload: str) -> Places:
    """A database for each arm, made anew in every epoch, in the other order each time."""

    @contextlib.contextmanager
    def place(epoch: int) -> Iterator[Sequence[Arm]]:
        made: dict[int, Home] = {}
        with contextlib.ExitStack() as stack:
            for number in (1, 0) if epoch % 2 else (0, 1):
                made[number] = stack.enter_context(home.beside(own_name(f"{workload}_arm{number}")))
                with connect(made[number].dsn, name="stormdb set-up") as connection:
                    states[number](connection)
            yield [Arm(arm.name, arm.workload, made[number]) for number, arm in enumerate(arms)]

    return place

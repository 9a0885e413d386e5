"""The one table of options. Flags, ini keys, keys of the configuration file, the mark's options and what is said of
unknown ones, the plan in the record, and the tables of the reference page all follow from it.

To add an option, add its row to ``OPTIONS``, write its tables with ``python -m tests.docs.tables``, and read it:

- ``scope="item"``: it may differ from test to test, and be said in a mark or in the configuration file.
  ``settings_of(item).options[NAME]`` (``plugin/settings.py``) is its value, from the strongest source that gives one.
- ``scope="session"``: it holds for the whole session. ``value_of(config, NAME)`` (``plugin/options.py``) is its value.
- ``scope="plan"``: as ``"item"``, and ``LoadPlan`` has a field of the name ``Option.field``, which the engine reads.

A value nobody gave is the parsed default, and ``NOT_GIVEN`` where the row has none. A row such as::

    Option("isolation", choice("database", "schema", "none"), MARK | FLAG_AND_INI,
           "where the workload's objects live: ...", default="database", scope="item", metavar="WHERE")

makes ``--stormdb-isolation WHERE``, the ini key ``stormdb_isolation`` and ``@pytest.mark.stormdb(isolation=...)``, each
checked before anything runs. What no kind of ``load/option.py`` reads gets one of its own, and a reader in
``load/values.py``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .option import (
    ADDRESS,
    ARM,
    COMMAND_LINE,
    DURATION,
    DURATION_RANGE,
    FILE,
    FLAG,
    INI,
    KEPT,
    LINES,
    MARK,
    MAX_WORKERS,
    PATH,
    PATHS,
    POSITIVE_DURATION,
    RATE,
    RATIO,
    STAGES,
    SWEEP,
    TEXT,
    Option,
    choice,
    number_or,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .option import Said

FLAG_AND_INI = COMMAND_LINE | INI
EVERYWHERE = MARK | FLAG_AND_INI | FILE
_POLICY = choice("off", "verify", "require")

OPTIONS: tuple[Option, ...] = (
    Option("workers", whole_number(1, MAX_WORKERS), EVERYWHERE, "concurrent workers", 1, "N", "plan"),
    Option("duration", POSITIVE_DURATION, EVERYWHERE, "how long to measure", "10s", "TIME", "plan"),
    Option(
        "iterations",
        whole_number(1),
        EVERYWHERE,
        "iterations of each worker, instead of a duration",
        metavar="N",
        scope="plan",
    ),
    Option("warmup", DURATION, EVERYWHERE, "time before the measurement; it is not measured", 0, "TIME", "plan"),
    Option(
        "rate",
        RATE,
        EVERYWHERE,
        "open loop: iterations started in total, such as `1000/s`",
        metavar="RATE",
        scope="plan",
        aliases=("rate_limit",),
    ),
    Option(
        "arrivals",
        choice("uniform", "poisson"),
        EVERYWHERE,
        "open loop: `uniform` or `poisson`",
        "uniform",
        "KIND",
        "plan",
    ),
    Option(
        "stages",
        STAGES,
        EVERYWHERE,
        "workers or rates over time: `10:30s,10->50:30s` or `100/s:1m,100/s->500/s:1m`",
        metavar="STAGES",
        scope="plan",
    ),
    Option(
        "explain",
        FLAG,
        FLAG_AND_INI,
        "show the plan of the slowest operation's main statement; it is executed once more, and rolled back",
        False,
    ),
    Option(
        "sweep",
        SWEEP,
        FLAG_AND_INI,
        "run at each worker count: `1,2,4,8`, `linear:1..32:4`, `doubling:1..64`",
        metavar="COUNTS",
    ),
    Option(
        "think_time",
        DURATION_RANGE,
        MARK | FILE,
        "closed loop: a pause after each iteration, `10ms` or at random `10ms..50ms`",
        0,
        scope="plan",
    ),
    Option(
        "processes",
        number_or("auto", 1, 1024),
        MARK | FLAG_AND_INI,
        "processes to spread the workers over, or `auto`; workers of one process are threads",
        "auto",
        "N",
        "plan",
    ),
    Option(
        "timeout",
        POSITIVE_DURATION,
        EVERYWHERE,
        "the longest an iteration may take; then it is cancelled on the server and counted as a failure",
        "30s",
        "TIME",
        "plan",
    ),
    Option(
        "retries",
        whole_number(0, 1000),
        MARK | FILE,
        "tries again after SQLSTATE 40001 or 40P01, with the same random draws",
        0,
        scope="plan",
    ),
    Option(
        "batch_size",
        whole_number(1),
        MARK | FILE,
        "what the fixture `batch_size` and `worker.batch_size` give",
        1,
        scope="plan",
    ),
    Option("seed", whole_number(), EVERYWHERE, "seed of all random streams", 0, "N", "plan"),
    Option(
        "connect",
        FLAG,
        MARK,
        "`False`: no `worker.conn`; open your own from `worker.dsn`",
        default=True,
        scope="plan",
    ),
    Option(
        "judge",
        choice("server", "client"),
        EVERYWHERE,
        "whose time thresholds are about: the `server`'s, so that a client that is busy itself makes a missed one"
        " `invalid`, or the `client`'s as well, for code of one's own",
        "server",
        "WHOSE",
        "plan",
    ),
    Option(
        "dsn",
        TEXT,
        FLAG_AND_INI,
        "the server to load; else STORMDB_DSN, DATABASE_URL, or an embedded one",
        metavar="DSN",
    ),
    Option(
        "slo",
        LINES,
        FLAG_AND_INI | FILE,
        "a threshold for every workload, such as `p99 < 20ms`; repeatable",
        (),
        "EXPR",
    ),
    Option(
        "inconclusive",
        choice("warn", "fail"),
        FLAG_AND_INI,
        "what an inconclusive or invalid verdict does: `warn` or `fail`",
        "warn",
        "ACTION",
    ),
    Option(
        "against",
        ARM,
        FLAG_AND_INI,
        "compare every workload with itself elsewhere: on another server (`dsn:...`), or as of a revision (`git:main`)",
        metavar="ARM",
    ),
    Option(
        "margin",
        RATIO,
        FLAG_AND_INI,
        "how much slower than the other arm a workload may be",
        "10%",
        "RATIO",
    ),
    Option(
        "benchmark", FLAG, FLAG_AND_INI, "put each workload beside the benchmarks of pytest-benchmark", default=False
    ),
    Option("save", KEPT, FLAG_AND_INI, "keep all runs under `.stormdb/NAME`, for trends", metavar="NAME"),
    Option("compare", KEPT, FLAG_AND_INI, "lay all runs beside those kept under `.stormdb/NAME`", metavar="NAME"),
    Option(
        "until_decided",
        POSITIVE_DURATION,
        FLAG_AND_INI,
        "go on for so long in all while a threshold or a comparison is undecided, such as `5m`",
        metavar="TIME",
    ),
    Option("json", PATH, FLAG_AND_INI, "write all runs to this file", metavar="FILE"),
    Option("html", PATH, FLAG_AND_INI, "write a page with pictures of all runs to this file", metavar="FILE"),
    Option("markdown", PATH, FLAG_AND_INI, "write a table of all runs to this file", metavar="FILE"),
    Option(
        "config",
        PATH,
        FLAG_AND_INI,
        "a configuration file: parameters, database, load, metrics, logging, health checks",
        metavar="FILE",
    ),
    Option(
        "path",
        PATHS,
        FLAG_AND_INI,
        "a folder of packaged workloads to run, beside the test paths; repeatable",
        (),
        "DIR",
    ),
    Option(
        "checksums",
        _POLICY,
        FLAG_AND_INI,
        "`verify`: what is sealed must match; `require`: and all must be sealed; `off`",
        "verify",
        "POLICY",
    ),
    Option(
        "signatures",
        _POLICY,
        FLAG_AND_INI,
        "`verify` (the default with a keyring): a signature that is there must be good; `require`: and must be there;"
        " `off` (the default without one)",
        metavar="POLICY",
    ),
    Option("keyring", PATH, FLAG_AND_INI, "the public keys that signatures are verified with", metavar="FILE"),
    Option(
        "health_interval",
        POSITIVE_DURATION,
        FLAG_AND_INI,
        "how often health checks run during a run",
        "30s",
        "TIME",
    ),
    Option(
        "param",
        LINES,
        FLAG_AND_INI,
        "a parameter of the workloads; repeatable. The value is read as YAML: `scale=10` is a number",
        (),
        "KEY=VALUE",
    ),
    Option(
        "prometheus",
        ADDRESS,
        FLAG_AND_INI,
        "serve the counts of the run in progress, for Prometheus; without a host, to this machine only",
        metavar="[HOST:]PORT",
    ),
    Option(
        "isolation",
        choice("database", "schema", "none"),
        EVERYWHERE,
        "where the workloads of a module live: a `database` of their own (the default where the role may create one),"
        " a `schema` of their own, or `none`: what is there is loaded, and nothing is created, dropped or locked",
        metavar="WHERE",
        scope="item",
    ),
    Option(
        "keep", FLAG, FLAG_AND_INI, "leave the workloads' databases for a look, and say how to connect", default=False
    ),
    Option(
        "admin_dsn",
        TEXT,
        FLAG_AND_INI,
        "the server's own address, for set-up, lock and health checks, where `dsn` is a pooler's",
        metavar="DSN",
    ),
    Option("smoke", FLAG, FLAG_AND_INI, "run each workload once, as a plain test, without load", default=False),
)


@functools.cache
def said_in(source: Said) -> tuple[Option, ...]:
    """The options that a source may say, in the order of the table."""
    return tuple(option for option in OPTIONS if source <= option.said)


@functools.cache
def options_of_plan() -> tuple[Option, ...]:
    """The options that are fields of a load plan."""
    return tuple(option for option in OPTIONS if option.scope == "plan")


def options_of_items() -> dict[str, Option]:
    """By name, the options that may differ from test to test."""
    return {option.name: option for option in OPTIONS if option.scope != "session"}


def option_named(name: str) -> Option:
    """The option of a name. Raises KeyError."""
    return _by_name()[name]


@functools.cache
def _by_name() -> dict[str, Option]:
    return {option.name: option for option in OPTIONS}


def check_options(given: Iterable[str], where: str) -> None:
    """Raise PlanError for what is no option of the mark ``stormdb``, naming the nearest that is."""
    from ..errors import PlanError

    known = [option.name for option in said_in(MARK)]
    for name in given:
        if name not in known:
            raise PlanError(f"{where}: unknown option {name!r}; {_hint(name, known)}")


def check_few_options(given: Iterable[str], known: tuple[str, ...], where: str) -> None:
    """As `check_options`, for a mark of few options, which are all named."""
    from ..errors import PlanError

    for name in sorted(set(given) - set(known)):
        raise PlanError(f"{where}: unknown option {name!r}; there is {', '.join(known)}")


def _hint(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"

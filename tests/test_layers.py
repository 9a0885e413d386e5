"""The shape of the code: every import points strictly down, and heavy ones happen only where they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_stormdb

PACKAGE = "pytest_stormdb"
HOME = Path(pytest_stormdb.__file__).parent

ROOMS = {
    "": "errors units realtime redaction",
    "measurement": (
        "values clock tracing machine sample trace histogram tally distributions blocks recorder intervals stats"
        " scalability usage attribution shares cause counters query_text plan_tree process_table speed noise"
    ),
    "embedded": "watchdog binaries server",
    "load": "option values stages sweep options layers alternation plan pacing",
    "configuration": "yaml_nodes fields parameters file",
    "database": (
        "names connect passfile url alchemy target steady pooler claim sessions carry_over own_database own_schema"
        " server results pipelining statement costs readiness async_statement cursor_cost copying connection cancelling"
        " isolation processes health counters tables tuning statements waits activity pulse observer explain recording"
        " handover"
    ),
    "packages": (
        "names dependencies metadata leftovers discovery checksums signatures admission importer static_analysis"
        " scaffold"
    ),
    "verdict": "validity server_figures threshold judgement interim betting comparison costs history",
    "record": "",
    "workload": "binding draws outcome script pgbench contract resources",
    "engine": "program command log process threads report driving errands",
    "telemetry": "logs buckets exporters prometheus opentelemetry",
    "workers": (
        "layout arrivals deadline looks lifecycle messages forwarding inherited flush turns calls counting loop"
        " timeouts unawaited runtime heartbeat group launcher process local together agreed scripts rates collected"
        " supervisor"
    ),
    "reports": (
        "shown columns lines server_activity news terminal junit effects document stored saved trend html charts"
        " server_page"
        " run_page comparison_page page markdown live"
    ),
    "run": (
        "progress figures conclusion preconditions smoke slowest watches pipeline alternating rivalry comparing result"
        " compared"
    ),
    "cli": "",
    "plugin": (
        "options secrecy marks lookout policies rewriting packages ini_file early refused files outputs screen arm"
        " rival benchmark config_file session scripts reporting sharing collection workloads settings doubts execution"
        " comparison against trends running runner fixtures hooks"
    ),
}
"""The map of the project, the lowest first: rooms, and within each room its modules.

A module imports from what stands before it, and from nothing else. A name without modules is a module of the root.
"""

ORDER = (
    "",  # the package: its public names, which it imports when they are asked for
    *(f"{room}.{name}".strip(".") for room, names in ROOMS.items() for name in names.split() or [""]),
)

PYTEST_ROOMS = ("plugin.",)
PSYCOPG_ROOMS = ("database.",)


def modules() -> dict[str, Path]:
    """Every module of ours by its name within the package; a package's empty ``__init__`` is none."""
    found = {}
    for path in sorted(HOME.rglob("*.py")):
        parts = path.relative_to(HOME).with_suffix("").parts
        if parts[-1] != "__init__":
            found[".".join(parts)] = path
        elif len(parts) > 1:
            assert not path.read_text().strip(), f"{path} holds code; its names belong into modules"
    return found


def imports(path: Path, package: str) -> Iterator[tuple[str, int]]:
    """The full names a file imports anywhere in it, with their lines: ``package`` resolves relative ones."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def own(name: str) -> str | None:
    """The module of ours that a full name lies in; None where it lies elsewhere."""
    if name.partition(".")[0] != PACKAGE:
        return None
    inner = name.removeprefix(PACKAGE).removeprefix(".")
    while inner and inner not in ORDER:
        inner = inner.rpartition(".")[0]
    return inner


def imports_of(module: str) -> Iterator[tuple[str, int]]:
    package = ".".join([PACKAGE, *module.split(".")[:-1]])
    return imports(modules()[module], package)


def test_the_order_lists_every_module_once() -> None:
    """A new module takes its place in ORDER, and a removed one leaves it."""
    assert sorted(ORDER[1:]) == sorted(modules())
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("module", ORDER[1:])
def test_imports_point_strictly_down(module: str) -> None:
    """A module imports from lower modules only, under TYPE_CHECKING and inside functions too."""
    for name, line in imports_of(module):
        target = own(name)
        if target is not None:
            assert ORDER.index(target) < ORDER.index(module), f"{module}:{line} imports {target}, which is not lower"


@pytest.mark.parametrize(("library", "rooms"), [("pytest", PYTEST_ROOMS), ("psycopg", PSYCOPG_ROOMS)])
def test_a_library_stays_in_its_rooms(library: str, rooms: tuple[str, ...]) -> None:
    """Pytest is imported inside the plugin only, psycopg inside the database room only."""
    for module in ORDER[1:]:
        for name, line in imports_of(module):
            if name.partition(".")[0] in (library, f"_{library}"):
                assert module.startswith(rooms), f"{module}:{line} imports {name}"


def loaded_by(statement: str) -> set[str]:
    """The top-level modules in a fresh interpreter after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOME.parent, timeout=60
    )
    return set(done.stdout.split())


def test_the_package_itself_is_light() -> None:
    """``import pytest_stormdb`` brings neither pytest nor psycopg nor yaml nor asyncio."""
    assert loaded_by("import pytest_stormdb") & {"pytest", "_pytest", "psycopg", "yaml", "asyncio"} == set()


def test_the_plugin_loads_nothing_that_only_workloads_need() -> None:
    """Beyond what pytest itself loads, the plugin's module brings no psycopg, no asyncio, no yaml, no engine."""
    heavy = {"psycopg", "yaml", "asyncio", "multiprocessing", "ctypes", "ssl"}
    assert (loaded_by("import pytest, pytest_stormdb.plugin.hooks") - loaded_by("import pytest")) & heavy == set()
    engine = (
        "assert not {'pytest_stormdb.run', 'pytest_stormdb.measurement', 'pytest_stormdb.load.plan'} & set(sys.modules)"
    )
    assert PACKAGE in loaded_by(f"import pytest_stormdb.plugin.hooks\n{engine}")


def test_public_names_resolve_when_asked_for() -> None:
    """Every name in ``__all__`` is there, and a wrong one is an AttributeError that names it."""
    for name in pytest_stormdb.__all__:
        assert getattr(pytest_stormdb, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'wrkr'"):
        _ = pytest_stormdb.wrkr

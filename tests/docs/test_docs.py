"""Every example of the documentation runs, and the reference leaves nothing out."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest

from pytest_stormdb.configuration import file as configuration
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.load.options import OPTIONS, options_of_plan
from pytest_stormdb.packages import metadata
from pytest_stormdb.plugin.hooks import MARKS

from .blocks import PLAN, ROOT, SHORT, SMOKE, Scratch, blocks
from .tables import with_tables

EXAMPLES = "example_workloads"
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / EXAMPLES).rglob("README.md")),
]
OPTION_FLAGS = {option.flag for option in OPTIONS}


def _name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def _reference() -> str:
    return (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def _runnable() -> list[object]:
    """Documents with blocks to run; slow are those that load data or tell a long story."""
    found: list[object] = []
    for document in DOCUMENTS:
        count = sum(block.language in ("console", "bash", "python") for block in blocks(document))
        found.append(pytest.param(document, id=_name(document), marks=[pytest.mark.slow] if count else []))
    return found


@pytest.mark.parametrize("document", _runnable())
def test_every_block_does_what_the_document_says(document: Path, tmp_path: Path, server: EmbeddedServer) -> None:
    """Every fenced block runs, loads or parses, in the order in which a reader meets it."""
    if any(f"{EXAMPLES}/" in block.code for block in blocks(document) if block.language != "text"):
        shutil.copytree(ROOT / EXAMPLES, tmp_path / EXAMPLES, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    loads = [SMOKE, PLAN] if EXAMPLES in document.parts else [SHORT]  # the examples' own tests put load on them
    scratch = Scratch(tmp_path, server.dsn, str(server.directory), loads)
    for block in blocks(document):
        scratch.run(block)
    scratch.finish(_name(document))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_option_named_anywhere_exists(document: Path) -> None:
    """No document, in words or in code, names an option that the plugin does not have."""
    named = set(re.findall(r"--stormdb-[a-z]+(?:-[a-z]+)*", document.read_text(encoding="utf-8")))
    assert named <= OPTION_FLAGS


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    """A link to another file of the project leads to a file that is there."""
    text = re.sub(r"^( *)(`{3,}).*?^\1\2 *$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", text):
        assert (document.parent / link).exists(), link


def test_the_tables_of_options_are_those_of_the_code() -> None:
    """Every option with its flag, ini key, default and effect stands in the reference, as the table of options says."""
    assert with_tables(_reference()) == _reference(), "write them anew: python -m tests.docs.tables"
    for option in OPTIONS:
        assert f"`{option.name}`" in _reference() or option.flag in _reference()


def test_reference_has_every_figure_of_the_plan() -> None:
    """Each key of the plan in the JSON document stands in its row of the reference."""
    (row,) = re.findall(r"^\| `plan` \| (.*) \|$", _reference(), re.MULTILINE)
    keys = {option.recorded(None)[0] for option in options_of_plan()} - {"stages"} | {"layout"}
    assert set(re.findall(r"`(\w+)`", row)) == keys


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("", configuration.KEYS),
        ("database.", configuration.DATABASE_KEYS),
        ("metrics.", configuration.METRICS_KEYS),
        ("logging.", configuration.LOGGING_KEYS),
        ("health_checks.", configuration.HEALTH_KEYS),
        ("", metadata.KEYS),
        ("security.", metadata.SECURITY_KEYS),
    ],
)
def test_reference_has_every_key_of_the_yaml_files(section: str, keys: tuple[str, ...]) -> None:
    """Each key of a configuration file and of metadata is a row of the reference, with its effect."""
    for key in keys:
        assert f"\n| `{section}{key}` |" in _reference()


@pytest.mark.parametrize("module", ["document.py", "junit.py"])
def test_reference_has_every_name_that_a_report_writes(module: str) -> None:
    """Each key of the JSON document and each JUnit property stands in the reference."""
    source = (ROOT / "pytest_stormdb" / "reports" / module).read_text(encoding="utf-8")
    tree = ast.parse(source)
    written = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys]
    written += [node.elts[0] for node in ast.walk(tree) if isinstance(node, ast.Tuple) and len(node.elts) == 2]
    names = {key.value for key in written if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    assert len(names) >= 6
    assert not {name for name in names if not re.search(rf"\b{re.escape(name)}\b", _reference())}


def test_reference_has_every_fixture_mark_and_metric() -> None:
    """Each fixture, each mark and each metric of thresholds stands in the reference."""
    hooks = (ROOT / "pytest_stormdb" / "plugin" / "hooks.py").read_text(encoding="utf-8")
    fixtures = re.findall(
        r"^    ([a-z]\w+),$", hooks[hooks.index("from .fixtures") : hooks.index("from .options")], re.M
    )
    marks = [mark.partition("(")[0] for mark in MARKS]
    metrics = ["min", "mean", "p50", "max", "throughput", "errors", "retries", "dropped", "reconnects", "metrics.NAME"]
    assert len(fixtures) >= 6
    assert len(marks) >= 4
    for name in [*fixtures, *marks, *metrics]:
        assert re.search(rf"`{name}`|^### {name}$", _reference(), re.MULTILINE), name

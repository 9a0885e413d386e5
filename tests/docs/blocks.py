"""The fenced blocks of a Markdown document, and a scratch folder in which they are run one after the other.

How to write a document so that it can be run:

- ``python title="shop/test_shop.py"`` writes that file, ``append="..."`` adds to it; any other Python block is a file
  of its own. Blocks that hold tests are collected, and run at the end of the document (with ``--stormdb-smoke``, or
  for a short time where they use ``stormdb.run``); Python without tests is executed at once.
- In a ``console`` block a line that begins with ``$`` is a command, and what follows is what it must print, with
  ``...`` for what varies. In a ``bash`` block every line is a command. Load is shortened, and goes to our server.
  ``console fails`` says that the last command must not succeed, ``console skip="..."`` why none of them can run here.
- ``yaml`` is loaded as a configuration or as metadata where it is one, ``toml`` as a pyproject.toml, ``json`` parsed.
- A folder with a pyproject.toml is a project of its own, whose tests are run by the document's own commands.
- ``sql title="transfer.sql"`` writes a script for the blocks that run it.
- ``text`` is output, and is not looked at. There is no other language.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from textwrap import dedent

import yaml

from pytest_stormdb.configuration.file import KEYS, load_configuration
from pytest_stormdb.packages.metadata import KEYS as METADATA_KEYS
from pytest_stormdb.packages.metadata import load_metadata

ROOT = Path(__file__).parents[2]
EXEMPT = {
    "pip": "installs from the network",
    "docker": "needs a daemon and images",
    "git": "there is no repository",
    "gpg": "needs a key of one's own; tests/packages/test_signatures.py signs with one",
    "curl": "needs a run in progress",
    "python3": "makes a virtual environment",
}
LIMIT_S = 120.0
PYTEST = {  # the plugins that documents speak of; to load all that are installed takes seconds each time
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "pytest_stormdb.plugin.hooks,xdist.plugin,pytest_benchmark.plugin,pytest_django.plugin"
    ",pytest_postgresql.plugin",
    "COLUMNS": "200",
}
SHORT = "--stormdb-duration=300ms --stormdb-warmup=0s --stormdb-slo='p50 < 1m' --stormdb-slo='throughput > 1/h'"
"""Thresholds too: what is tested is that examples work, not how fast a busy machine is."""
SMOKE, PLAN = "--stormdb-smoke", "--setup-plan"

_BLOCK = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)(?:="([^"]*)")?')
_ASSIGNMENTS = re.compile(r"(?:[A-Z_]+=(?:'[^']*'|\S*)\s+)*")
_URL = re.compile(r"postgres(?:ql)?://[^\s'\"]+")


@dataclass(frozen=True)
class Block:
    """One fenced block; ``place`` is its ``file:line``."""

    place: str
    language: str
    attributes: Mapping[str, str]
    code: str


def blocks(document: Path) -> Iterator[Block]:
    """The blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        language, _, rest = match[3].strip().partition(" ")
        place = f"{document.relative_to(ROOT)}:{line}"
        yield Block(place, language, dict(_ATTRIBUTE.findall(rest)), dedent(match[4]))


class Scratch:
    """The folder that a document's blocks work in."""

    def __init__(self, folder: Path, dsn: str, host: str, loads: Sequence[str]) -> None:
        """``dsn`` and ``host`` are our server's; each pytest command gets the next of ``loads``, or the last."""
        self._folder = folder
        self._dsn = dsn
        self._loads = chain(loads, repeat(loads[-1]))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        server = {"PGHOST": host, "PGUSER": "postgres", "PGDATABASE": "postgres", "PGPASSWORD": "unused"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CI", "DATABASE"))}
        self._env = kept | server | PYTEST | {"PATH": path, "PYTHONPATH": str(ROOT), "STORMDB_DSN": dsn}
        self._measured: list[str] = []

    def run(self, block: Block) -> None:
        """Do with a block what its language says. Raises AssertionError naming its place."""
        match block.language:
            case "python":
                self._python(block)
            case "console" | "bash":
                if not block.attributes.get("skip"):
                    self._commands(block)
            case "yaml":
                self._yaml(block)
            case "toml":
                self._toml(block)
            case "json":
                json.loads(block.code)
            case "sql":
                self._write(block, block.attributes.get("title", "snippets/block.sql"))
            case "text" | "mermaid":
                pass
            case other:
                raise AssertionError(f"{block.place}: the language {other!r} of this block is none of ours")

    def finish(self, place: str) -> None:
        """Run the tests that the document's Python blocks hold, but not those of projects of their own."""
        ours = ("example_workloads", *(path.parent.name for path in self._folder.glob("*/pyproject.toml")))
        if any(not set(ours) & set(path.parts) for path in self._folder.rglob("test_*.py")):
            self._succeeds(f"pytest -q --stormdb-smoke {' '.join(f'--ignore={name}' for name in ours)}", place)
        if self._measured:
            self._succeeds(f"pytest -q {shlex.join(self._measured)} {SHORT}", place)

    def _python(self, block: Block) -> None:
        compile(block.code, block.place, "exec")
        is_test = re.search(r"^\s*(async )?def test_|^class Test", block.code, re.MULTILINE)
        name = f"{'test_' if is_test else ''}line_{block.place.rpartition(':')[2]}.py"
        path = self._write(block, block.attributes.get("title", f"snippets/{name}"))
        if "stormdb.run(" in block.code:
            self._measured.append(str(path))
        if not is_test and not {"title", "append"} & block.attributes.keys():
            self._succeeds(f"python {path}", block.place)

    def _write(self, block: Block, name: str) -> Path:
        path = self._folder / block.attributes.get("append", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if "append" in block.attributes else "w", encoding="utf-8") as file:
            file.write("\n\n" * ("append" in block.attributes) + block.code)
        return path

    def _commands(self, block: Block) -> None:
        text = re.sub(r"\\\n\s*", "", block.code)
        found: list[tuple[str, list[str]]] = []
        for line in filter(str.strip, text.splitlines()):
            if block.language == "bash" or line.startswith("$ "):
                found.append((re.sub(r"(^|\s+)#.*", "", line.removeprefix("$ ")), []))
            else:
                assert found, f"{block.place}: a console block begins with a command, after a $"
                found[-1][1].append(line)
        for command, printed in found:
            program = _ASSIGNMENTS.sub("", command, count=1).partition(" ")[0]
            if command and program not in EXEMPT:
                fails = "fails" in block.attributes and command == found[-1][0]
                self._prints(printed, self._succeeds(self._tamed(command, program), block.place, not fails), block)

    def _tamed(self, command: str, program: str) -> str:
        """The command with our server in the place of any other, with little load and little data."""
        if "DATABASE_URL=" in command:
            command = f"STORMDB_DSN= {command}"
        command = _URL.sub(lambda _: shlex.quote(self._dsn), command)
        command = re.sub(r"\bscale=\d{4,}", "scale=1000", command)
        if program != "pytest":
            return command
        if "--stormdb-prometheus" in command or "--stormdb-config" in command:
            command += " --stormdb-prometheus=127.0.0.1:0"
        if "--stormdb-stages" in command:
            return re.sub(r":\d+(s|m)\b", ":200ms", command)
        return command if "--stormdb-iterations" in command else f"{command} {next(self._loads)}"

    def _succeeds(self, command: str, place: str, succeeds: bool = True) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_S,
        )
        wanted = "succeeds" if succeeds else "fails"
        assert (done.returncode == 0) is succeeds, f"{place}: not so: {command!r} {wanted}\n{done.stdout}"
        return done.stdout

    def _prints(self, lines: list[str], output: str, block: Block) -> None:
        plain = " ".join(output.split())
        for line in lines:
            pattern = ".*".join(re.escape(" ".join(part.split())) for part in line.split("..."))
            assert re.search(pattern, plain), f"{block.place}: {line!r} is not in\n{output}"

    def _yaml(self, block: Block) -> None:
        path = self._write(block, block.attributes.get("title", "snippets/block.yaml"))
        keys = set(yaml.safe_load(block.code) or {})
        if keys & (set(KEYS) - set(METADATA_KEYS)):
            load_configuration(path, self._env)
        elif keys & {"dependencies", "tags", "security"}:
            missing = [f"{key}: unknown" for key in ("name", "version") if key not in keys]
            path.write_text("\n".join([*missing, block.code]), encoding="utf-8")
            load_metadata(path)

    def _toml(self, block: Block) -> None:
        tables = tomllib.loads(block.code)
        path = self._write(block, block.attributes.get("title", "snippets/toml/pyproject.toml"))
        if "pytest" in tables.get("tool", {}):
            check = f"pytest -q --collect-only --strict-config -c {path} {path.parent} -k nothing || test $? = 5"
            self._succeeds(check, block.place)

"""A workload of pgbench scripts: what ``pgbench("transfer.sql@9", scale=10)`` describes, frozen and checked."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from ..errors import PlanError, WorkloadError
from ..units import parse_duration_ns
from .script import shell_line

Mode = Literal["simple", "extended", "prepared"]

BUILTINS = ("tpcb-like", "simple-update", "select-only")
MAX_SCRIPTS = 128
"""pgbench's own limit."""

_WEIGHT = re.compile(r"(?P<what>.*)@(?P<weight>[^@/\\]*)", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z0-9_\u0080-\U0010ffff]+")
_DESCRIBED = "stormdb_pgbench"


@dataclass(frozen=True, slots=True)
class Script:
    """One script of a mix: a file, or where ``path`` is None, the builtin of that name. It is an operation ``name``.

    ``content`` is what the file held when it was looked at, None before; ``copy`` is a file of ours that holds it.
    """

    name: str
    weight: int
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    copy: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgbench:
    """Scripts, and how pgbench is to run them.

    ``initialize`` holds the options of the ``pgbench -i`` that makes its four tables first; None means that it makes
    none. Transactions over ``latency_limit_ns`` are late; under a rate, those that cannot meet it are skipped.
    """

    scripts: tuple[Script, ...]
    scale: int = 1
    mode: Mode = "prepared"
    variables: Mapping[str, str] = field(default_factory=dict)
    initialize: tuple[str, ...] | None = None
    latency_limit_ns: int | None = None
    connect_per_transaction: bool = False
    shell: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The operations, in the order in which pgbench numbers its scripts."""
        return tuple(script.name for script in self.scripts)

    def beside(self, folder: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> Pgbench:
        """The same with paths that hold anywhere, and what is read there.

        Raises WorkloadError for a file that is not there, or may not run.
        """
        return replace(self, scripts=tuple(self._located(script, folder, read) for script in self.scripts))

    def copied_to(self, folder: Path) -> Pgbench:
        """The same with a copy of each file: what was looked at is what runs, whatever has become of the file."""
        scripts = []
        for number, script in enumerate(self.scripts):
            copy = folder / f"{number}.sql" if script.content is not None else None
            if copy is not None and script.content is not None:
                copy.write_bytes(script.content)
            scripts.append(replace(script, copy=copy))
        return replace(self, scripts=tuple(scripts))

    def given(self, parameters: Mapping[str, object], where: str) -> Pgbench:
        """The same with these variables over its own; ``scale`` is pgbench's. Raises PlanError naming ``where``."""
        rest = dict(parameters)
        scale = _scale(rest.pop("scale"), f"{where}: scale", PlanError) if "scale" in rest else self.scale
        variables = {name: _variable(name, value, where, PlanError) for name, value in rest.items()}
        return replace(self, scale=scale, variables={**self.variables, **variables})

    def _located(self, script: Script, folder: Path, read: Callable[[Path], bytes]) -> Script:
        if script.path is None:
            return script
        path = folder / script.path
        try:
            content = read(path)
        except OSError as error:
            raise WorkloadError(f"pgbench script {script.path}: {error.strerror}; looked for {path}") from None
        line = None if self.shell else shell_line(content.decode("utf-8", "replace"))
        if line is not None:
            how = f'pgbench("{script.path}", shell=True)'
            raise WorkloadError(f"{path}:{line}: the script runs a shell command; allow it with {how}")
        return replace(script, path=path, content=content)


def pgbench(
    *scripts: str | PurePath,
    builtin: str | Sequence[str] | None = None,
    scale: int = 1,
    mode: Mode = "prepared",
    variables: Mapping[str, object] | None = None,
    initialize: bool | Sequence[str] | None = None,
    latency_limit: str | float | None = None,
    connect_per_transaction: bool = False,
    shell: bool = False,
) -> Callable[..., None]:
    """A workload whose operations are pgbench scripts, to be assigned to a name that pytest collects.

    ``scripts`` are files beside the module, each with a weight as pgbench writes it: ``"transfer.sql@9"``. ``builtin``
    names scripts that pgbench brings along: ``"tpcb-like"``, ``"simple-update"``, ``"select-only"``, weighted too.
    ``scale`` is ``:scale`` in the scripts, and ``-s`` of ``pgbench -i``, which makes pgbench's tables where
    ``initialize`` is true (the default with a builtin) or a sequence of further options for it. ``variables`` are
    pgbench's ``-D``. ``latency_limit`` (``"50ms"``) is ``-L``, ``connect_per_transaction`` ``-C``; ``shell=True`` lets
    scripts run shell commands. Marks apply by calling them: ``pytest.mark.stormdb(workers=4)(pgbench("a.sql"))``.

    Raises WorkloadError for what pgbench could not run.
    """
    builtins = [builtin] if isinstance(builtin, str) else list(builtin or ())
    description = Pgbench(
        scripts=_mix([_file(given) for given in scripts] + [_builtin(given) for given in builtins]),
        scale=_scale(scale, "pgbench: scale", WorkloadError),
        mode=_mode(mode),
        variables={n: _variable(n, v, "pgbench: variables", WorkloadError) for n, v in (variables or {}).items()},
        initialize=_initialize(initialize, by_default=bool(builtins)),
        latency_limit_ns=_latency_limit(latency_limit),
        connect_per_transaction=connect_per_transaction,
        shell=shell,
    )
    return _as_function(description, sys._getframe(1).f_code.co_filename, sys._getframe(1).f_lineno)


def of_file(path: Path) -> Callable[..., None]:
    """A script file as a workload of its own, named like the file."""
    name = path.name.removesuffix("".join(path.suffixes[-2:]))
    return _as_function(Pgbench(scripts=(Script(name, 1, path),)), str(path), 1)


def described(thing: object) -> Pgbench | None:
    """What a function that ``pgbench`` made describes; None for anything else."""
    found = getattr(thing, _DESCRIBED, None)
    return found if isinstance(found, Pgbench) else None


def _as_function(description: Pgbench, filename: str, line: int) -> Callable[..., None]:
    """A plain function, since that is what pytest collects and what its marks are put on."""

    def pgbench_scripts(**arguments: Any) -> None:
        raise AssertionError("pgbench scripts are run by the plugin")

    code = pgbench_scripts.__code__.replace(co_filename=filename, co_firstlineno=line)
    pgbench_scripts.__code__ = code
    pgbench_scripts.__name__ = "_".join(description.names)
    pgbench_scripts.__doc__ = f"pgbench: {', '.join(description.names)}"
    setattr(pgbench_scripts, _DESCRIBED, description)
    return pgbench_scripts


def _file(given: str | PurePath) -> Script:
    text, weight = _weighted(given)
    return Script(PurePath(text).stem, weight, Path(text))


def _builtin(given: str) -> Script:
    text, weight = _weighted(given)
    found = [name for name in BUILTINS if name.startswith(text)]
    if len(found) != 1:
        several = "stands for several" if found else "is not one"
        raise WorkloadError(f"pgbench: builtin {text!r} {several} of {', '.join(BUILTINS)}")
    return Script(found[0], weight)


def _weighted(given: str | PurePath) -> tuple[str, int]:
    """As pgbench reads it: the last ``@`` begins the weight."""
    match = _WEIGHT.fullmatch(str(given))
    if match is None:
        text, weight = str(given), "1"
    else:
        text, weight = match["what"], match["weight"]
    if not text:
        raise WorkloadError(f"pgbench: {str(given)!r} names no script")
    if not re.fullmatch(r"\d{1,9}", weight):
        raise WorkloadError(f"pgbench: {str(given)!r}: the weight {weight!r} is not a whole number of 0 or more")
    return text, int(weight)


def _mix(scripts: Sequence[Script]) -> tuple[Script, ...]:
    """The scripts under names of their own: where two files are called the same, with their folders."""
    if not scripts:
        raise WorkloadError('pgbench: no script; give files, as pgbench("a.sql"), or builtin="tpcb-like"')
    if len(scripts) > MAX_SCRIPTS:
        raise WorkloadError(f"pgbench: {len(scripts)} scripts, and it takes {MAX_SCRIPTS} at most")
    if not any(script.weight for script in scripts):
        raise WorkloadError("pgbench: all weights are 0, so that no script would run")
    names = [script.name for script in scripts]
    named = [
        replace(script, name=str(script.path)) if script.path and names.count(script.name) > 1 else script
        for script in scripts
    ]
    names = [script.name for script in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise WorkloadError(f"pgbench: {twice} is given twice; give it once, with the sum of both weights")
    return tuple(named)


def _scale(value: object, where: str, error: type[WorkloadError | PlanError]) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise error(f"{where}: {value!r} is not a whole number above zero")
    return value


def _mode(value: str) -> Mode:
    if value not in get_args(Mode):
        raise WorkloadError(f"pgbench: mode {value!r} is none of {', '.join(get_args(Mode))}")
    return value  # type: ignore[return-value]


def _variable(name: str, value: object, where: str, error: type[WorkloadError | PlanError]) -> str:
    """A value as the text that pgbench reads it from."""
    if not _VARIABLE.fullmatch(name):
        raise error(f"{where}: {name!r} cannot be a variable of pgbench; use letters, digits and underscores")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str | int | float):
        kind = type(value).__name__
        raise error(f"{where}: {name} is a {kind}; a variable of pgbench is a number, a truth value or a text")
    return str(value)


def _initialize(value: bool | Sequence[str] | None, *, by_default: bool) -> tuple[str, ...] | None:
    if value is None or isinstance(value, bool):
        wanted = by_default if value is None else value
        return () if wanted else None
    if isinstance(value, str) or not all(isinstance(option, str) for option in value):
        raise WorkloadError(f'pgbench: initialize={value!r}: give a list of options, as ["--fillfactor=90"]')
    return tuple(value)


def _latency_limit(value: str | float | None) -> int | None:
    if value is None:
        return None
    try:
        limit_ns = parse_duration_ns(value, "latency_limit")
    except PlanError as error:
        raise WorkloadError(f"pgbench: {error}") from None
    if limit_ns < 1_000:
        raise WorkloadError(f"pgbench: latency_limit: {value!r} is below pgbench's microsecond")
    return limit_ns

"""The `stormdb` command: packaged workloads made, sealed, verified, listed and described."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import PlanError, StormDBError, WorkloadError
from .packages.admission import Inspection, Policy, inspect
from .packages.checksums import check_main_module, seal
from .packages.dependencies import unmet_python
from .packages.discovery import PackagedWorkload, find_workloads
from .packages.importer import Guarded, only
from .packages.metadata import load_metadata
from .packages.scaffold import scaffold
from .packages.static_analysis import operations, parameter_model, parse
from .reports import markdown, page
from .reports.stored import load_document
from .units import parse_ratio, printable

FINE, DIFFERENT, WRONG = 0, 1, 2
_NARROWEST = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command: 0 if all is well, 1 if a workload is not as it was sealed, or costs more than before, 2 if it
    cannot be told."""
    arguments = _parser().parse_args(argv)
    try:
        result = _COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
        return result
    except StormDBError as problem:
        _say(f"stormdb {arguments.command}: {problem}", to_stderr=True)
        return WRONG
    except OSError as problem:  # only what is printed is not guarded where it is done
        _give_up_stdout()
        if not isinstance(problem, BrokenPipeError):  # a reader that has seen enough, such as head, is no fault
            _say(f"stormdb {arguments.command}: cannot write: {problem.strerror}", to_stderr=True)
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stormdb", description="Packaged workloads of pytest-stormdb.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    compare = commands.add_parser("compare", help="lay two documents of --stormdb-json beside each other")
    compare.add_argument("first", metavar="A.json", type=Path)
    compare.add_argument("second", metavar="B.json", type=Path)
    compare.add_argument(
        "--margin", metavar="RATIO", default="10%", help="by how much an operation may cost the server more (10%%)"
    )
    new = commands.add_parser("new", help="write a packaged workload that runs as it is")
    new.add_argument("name", metavar="NAME")
    for command, summary in {
        "seal": "write the checksums of the workloads in PATH",
        "verify": "compare the workloads in PATH with their checksums",
        "list": "show the workloads in PATH",
        "schema": "print the JSON Schema of the parameters of the workload in PATH",
    }.items():
        commands.add_parser(command, help=summary).add_argument("path", metavar="PATH", type=Path)
    report = commands.add_parser("report", help="show the runs in RUN.json, which --stormdb-json wrote, once more")
    report.add_argument("record", metavar="RUN.json", type=Path)
    report.add_argument("--html", metavar="OUT", type=Path, help="as a page with pictures")
    report.add_argument("--markdown", metavar="OUT", type=Path, help="as a table")
    commands.choices["verify"].add_argument(
        "--keyring", metavar="FILE", type=Path, help="check the signatures too, with the public keys in FILE"
    )
    return parser


def _new(arguments: argparse.Namespace) -> int:
    folder = scaffold(arguments.name, Path())
    _say(f"wrote {folder}; run it with 'pytest {folder}', seal it with 'stormdb seal {folder}'")
    return FINE


def _seal(arguments: argparse.Namespace) -> int:
    for workload in _found(arguments.path):
        metadata = load_metadata(workload.metadata_path)
        if problem := check_main_module(metadata, workload.folder):
            raise WorkloadError(f"{workload.metadata_path}: correct it, then seal: {problem}")
        before = workload.checksum_path.read_bytes() if workload.checksum_path.is_file() else None
        sealed = seal(workload.folder, workload.name)
        _say(f"sealed {sealed}")
        if workload.signature_path.exists() and sealed.read_bytes() != before:
            _say(f"sign it again: {workload.signature_path} is of the checksums before")
    return FINE


def _report(arguments: argparse.Namespace) -> int:
    """The page and the table are those that a session writes."""
    document = load_document(arguments.record)
    wanted = [(page.write, arguments.html), (markdown.write, arguments.markdown)]
    if arguments.html is None and arguments.markdown is None:
        raise PlanError("say what to write: --html OUT, --markdown OUT, or both")
    for write, out in wanted:
        if out is not None:
            _write(write, document, arguments.record, out)
    return FINE


def _write(write: Callable[[dict[str, Any], Path], None], document: dict[str, Any], record: Path, out: Path) -> None:
    try:
        write(document, out)
    except OSError as error:
        raise PlanError(f"cannot write {out}: {error.strerror}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PlanError(f"{record}: is damaged: {type(error).__name__}: {error}") from None
    _say(f"wrote {out}")


def _verify(arguments: argparse.Namespace) -> int:
    """Unsealed is an answer, but not the one that was asked for."""
    policy: Policy = "require" if arguments.keyring else "off"

    def verify_one(workload: PackagedWorkload) -> int:
        inspection = inspect(workload, keyring=arguments.keyring)
        is_refused = bool(inspection.refusals("require", policy))
        _say(f"{workload.name}: {'refused' if is_refused and inspection.state == 'verified' else inspection.state}")
        problems = inspection.verification.problems if inspection.verification else ()
        for line in (*problems, *inspection.signatures, *inspection.remarks()):
            _say(f"  {line}")
        return DIFFERENT if is_refused else FINE

    return _each(arguments, verify_one)


def _list(arguments: argparse.Namespace) -> int:
    def list_one(workload: PackagedWorkload) -> int:
        for line in _described(workload):
            _say(_wrapped(line))
        return FINE

    return _each(arguments, list_one)


def _wrapped(line: str) -> str:
    """A line in the width of the terminal, where there is one."""
    if not sys.stdout.isatty():
        return line
    width = max(_NARROWEST, shutil.get_terminal_size().columns)
    return textwrap.fill(line, width, subsequent_indent="    ", break_on_hyphens=False, drop_whitespace=True)


def _each(arguments: argparse.Namespace, show: Callable[[PackagedWorkload], int]) -> int:
    """The worst answer about the workloads in PATH; what is wrong with one does not hide the others."""
    worst = FINE
    for workload in _found(arguments.path):
        try:
            worst = max(worst, show(workload))
        except WorkloadError as problem:
            _say(f"{workload.name}: {problem}", to_stderr=True)
            worst = WRONG
    return worst


def _described(workload: PackagedWorkload) -> Iterator[str]:
    inspection = inspect(workload)
    metadata = inspection.metadata
    if metadata is None:
        yield f"{workload.name}  {inspection.state}"
        yield f"  see 'stormdb verify {workload.folder}'"
        return
    yield f"{metadata.name} {metadata.version}  {inspection.state}"
    if metadata.description:
        yield f"  {metadata.description}"
    if metadata.tags:
        yield f"  tags: {', '.join(metadata.tags)}"
    yield f"  operations: {', '.join(operations(parse(workload.main_module))) or 'none'}"
    yield f"  in {workload.folder}"


def _schema(arguments: argparse.Namespace) -> int:
    workload, *others = _found(arguments.path)
    if others:
        raise PlanError(f"{arguments.path}: holds {len(others) + 1} workloads; give the folder of one")
    inspection = inspect(workload)
    _refuse_unfit(inspection)
    model = parameter_model(parse(workload.main_module))
    if model is None:
        raise WorkloadError(f"{workload.main_module}: no call of stormdb_parameters(MODEL), so no schema")
    verification = inspection.verification
    folder, guards = workload.folder.absolute(), []
    if verification is not None and verification.state == "verified":
        guards.append(Guarded(folder, folder.resolve(), verification.digests))
    with contextlib.closing(only(guards)):
        _say(json.dumps(_json_schema(workload, model), indent=2))
    return FINE


def _refuse_unfit(inspection: Inspection) -> None:
    reasons = inspection.refusals("verify")
    if not reasons and inspection.metadata:
        reasons = unmet_python(inspection.metadata.dependencies)
    if reasons:
        raise WorkloadError(f"{inspection.workload.folder}: not imported: {'; '.join(reasons)}")


def _json_schema(workload: PackagedWorkload, model: str) -> object:
    with _importable(workload) as module:
        try:
            found: object = importlib.import_module(module)
            for part in model.split("."):
                found = getattr(found, part)
            return found.model_json_schema()  # type: ignore[attr-defined]
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # whatever the module raises, pytest.skip included
            reason = f"{type(problem).__name__}: {problem}"
            raise WorkloadError(f"{workload.main_module}: no schema of {model}: {reason}") from problem


@contextlib.contextmanager
def _importable(workload: PackagedWorkload) -> Iterator[str]:
    """The name to import the main module by, from above its packages as pytest does; no bytecode is read."""
    root, name = workload.main_module.resolve().parent, workload.main_module.stem
    while (root / "__init__.py").is_file():
        root, name = root.parent, f"{root.name}.{name}"
    path, modules, prefix = sys.path[:], set(sys.modules), sys.pycache_prefix
    with tempfile.TemporaryDirectory(prefix="stormdb-", ignore_cleanup_errors=True) as cache:
        sys.path.insert(0, str(root))
        sys.pycache_prefix = cache
        importlib.invalidate_caches()
        try:
            yield name
        finally:
            sys.path[:], sys.pycache_prefix = path, prefix
            for added in set(sys.modules) - modules:
                if (getattr(sys.modules[added], "__file__", None) or "").startswith(str(root)):
                    del sys.modules[added]


def _found(path: Path) -> list[PackagedWorkload]:
    workloads = find_workloads([path])
    if not workloads:
        raise PlanError(f"{path}: no packaged workload; one is NAME.yaml with a line 'name: NAME', and test_NAME.py")
    return workloads


def _say(text: str, *, to_stderr: bool = False) -> None:
    """Print a line, escaping what the stream's encoding does not have."""
    stream, text = sys.stderr if to_stderr else sys.stdout, printable(text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, errors="backslashreplace").decode(encoding), file=stream)


def _give_up_stdout() -> None:
    """Let the interpreter's last flush find nothing to complain of."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _compare(arguments: argparse.Namespace) -> int:
    from .reports.trend import compared, costs_more

    margin = parse_ratio(arguments.margin, "--margin")
    first, second = load_document(arguments.first), load_document(arguments.second)
    for line in compared(first, second, margin):
        _say(line)
    return DIFFERENT if costs_more(first, second, margin) else FINE


_COMMANDS = {
    "new": _new,
    "seal": _seal,
    "verify": _verify,
    "list": _list,
    "schema": _schema,
    "report": _report,
    "compare": _compare,
}

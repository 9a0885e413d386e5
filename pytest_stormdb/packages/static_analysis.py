"""What a workload's main module says of itself, read from its source without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ..errors import WorkloadError

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def parse(path: Path) -> ast.Module:
    """The syntax tree of a module. WorkloadError with the line where it is no Python."""
    try:
        return ast.parse(path.read_bytes(), str(path))
    except SyntaxError as problem:
        raise WorkloadError(f"{path}:{problem.lineno}: not Python: {problem.msg}") from None
    except (OSError, ValueError, RecursionError, MemoryError) as problem:
        raise WorkloadError(f"{path}: cannot be read as Python: {problem}") from None


def operations(tree: ast.Module) -> list[str]:
    """The names of the operations: functions marked `stormdb`, methods marked `stormdb_operation`, pgbench scripts.

    A mark counts on the function, on its class, or in the module's `pytestmark`.
    """
    return list(_operations(tree.body, _has_pytestmark(tree.body)))


def _operations(body: list[ast.stmt], marked: bool) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _of_class(node, marked)
        elif isinstance(node, ast.Assign) and _is_scripts(node.value):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, _Function) and (_is_marked(node, "stormdb") or (marked and _is_test(node))):
            yield node.name


def _is_scripts(value: ast.expr) -> bool:
    """``pgbench(...)``, with marks called on it or not."""
    while isinstance(value, ast.Call):
        if _last_name(value.func) == "pgbench":
            return True
        value = value.args[0] if isinstance(value.func, ast.Call | ast.Attribute) and value.args else ast.Constant(None)
    return False


def _of_class(node: ast.ClassDef, marked: bool) -> Iterator[str]:
    methods = [method for method in node.body if isinstance(method, _Function)]
    parts = [method.name for method in methods if _is_marked(method, "stormdb_operation")]
    if parts:
        yield from parts
    else:
        yield from _operations(node.body, marked or _is_marked(node, "stormdb") or _has_pytestmark(node.body))


def _is_test(function: _Function) -> bool:
    return function.name.startswith("test")


def _is_marked(node: ast.ClassDef | _Function, mark: str) -> bool:
    return any(_is_mark(decorator, mark) for decorator in node.decorator_list)


def _is_mark(node: ast.expr, mark: str) -> bool:
    """``pytest.mark.NAME`` or ``mark.NAME``, called or not."""
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Attribute) and node.attr == mark and _last_name(node.value) == "mark"


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _has_pytestmark(body: list[ast.stmt]) -> bool:
    for node in body:
        if isinstance(node, ast.Assign) and any(_last_name(target) == "pytestmark" for target in node.targets):
            marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            return any(_is_mark(mark, "stormdb") for mark in marks)
    return False


def parameter_model(tree: ast.Module) -> str | None:
    """The model that the module calls `stormdb_parameters` with, as written; None where it does not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last_name(node.func) == "stormdb_parameters" and node.args:
            return ast.unparse(node.args[0])
    return None

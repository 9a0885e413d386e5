"""pytest's own loader, of test modules, conftests and plugins, under the guard of verified imports."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from _pytest.assertion.rewrite import AssertionRewritingHook, rewrite_asserts

if TYPE_CHECKING:
    from ..packages.importer import Content, Door


def _executed(original: Callable[..., Any], content: Content) -> Callable[..., Any]:
    def exec_module(hook: AssertionRewritingHook, module: ModuleType) -> None:
        origin = module.__spec__.origin if module.__spec__ is not None else None
        source = content(origin) if origin is not None else None
        if origin is None or source is None:
            original(hook, module)
            return
        hook._rewritten_names[module.__name__] = Path(origin)  # so that pytest does not warn that it came too late
        tree = ast.parse(source, filename=origin)
        rewrite_asserts(tree, source, origin, hook.config)
        exec(compile(tree, origin, "exec", dont_inherit=True), vars(module))  # noqa: S102 - as the original does

    # pytest leaves frames of generated code out of tracebacks, where this one has nothing to say
    exec_module.__code__ = exec_module.__code__.replace(co_filename=f"<{__name__}>")
    return exec_module


PYTEST_DOOR: Door = (AssertionRewritingHook, "exec_module", _executed)
"""Which modules come through it, with their assertions explained, is for pytest to say."""

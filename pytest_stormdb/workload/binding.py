"""A function and its arguments as one call without arguments, the form in which a worker repeats it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CodeType
from typing import Any

Call = Callable[[], Any]


def bound(function: Callable[..., Any], first: Sequence[object], named: Mapping[str, object]) -> Call:
    """``function`` with leading arguments and named ones.

    Where it can be, it is a lambda that calls with positions: Python goes from one Python function into another
    within its interpreter's loop, and out of it and in again through ``partial``, at 5 % of a point select.
    """
    if not _takes_positions(function):
        return partial(function, *first, **named)
    match [*first, *named.values()]:
        case [a]:
            return _with_one(function, a)
        case [a, b]:
            return _with_two(function, a, b)
        case [a, b, c]:
            return _with_three(function, a, b, c)
        case values:
            return partial(function, *values)


def _takes_positions(function: Callable[..., Any]) -> bool:
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    return kinds <= {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


def _with_one(function: Callable[..., Any], a: object) -> Call:
    return lambda: function(a)


def _with_two(function: Callable[..., Any], a: object, b: object) -> Call:
    return lambda: function(a, b)


def _with_three(function: Callable[..., Any], a: object, b: object, c: object) -> Call:
    return lambda: function(a, b, c)


CALLING: frozenset[CodeType] = frozenset(
    made.__code__ for made in (_with_one(print, 0), _with_two(print, 0, 0), _with_three(print, 0, 0, 0))
)
"""The code of these lambdas: frames that stand between the loop's and the workload's."""

"""What several sources say of a run, laid over each other: the strongest word on each option, read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import PlanError
from .option import NOT_GIVEN, Option
from .options import options_of_items

Layer = tuple[str, Mapping[str, object]]
"""A source's name, for errors, and what it says: options by name, written in any of their ways."""

_ENDS = ("duration", "iterations", "stages")
"""The options that say when a run ends: a layer may give one of them."""

_RIVALS: Mapping[str, tuple[str, ...]] = {
    "duration": ("iterations", "stages"),
    "iterations": ("duration", "stages"),
    "stages": ("duration", "iterations", "rate"),
    "rate": ("stages",),
}
"""What displaces an option when a stronger layer gives it."""


def resolve(*layers: Layer) -> dict[str, Any]:
    """The values of all options that may differ from test to test, from ``(source, options)`` layers, strongest first.

    ``duration``, ``iterations`` and ``stages`` exclude each other within a layer, and what a stronger layer says
    of them (or of ``rate``, or of ``workers`` where the stages are of workers) displaces what a weaker one says.
    What nobody gave and no default says is NOT_GIVEN. Raises PlanError naming source and value.
    """
    known = options_of_items()
    defaults = {name: option.default for name, option in known.items()}
    chosen: dict[str, tuple[str, object]] = {}
    for source, layer in (*layers, ("default", defaults)):
        given = _given(source, layer, known)
        displaced = {name for name, rivals in _RIVALS.items() if any(rival in chosen for rival in rivals)}
        if "workers" in chosen and _stages_workers(given):
            displaced.add("stages")
        chosen.update({n: (source, v) for n, v in given.items() if n not in chosen and n not in displaced})
    return {name: _read(option, chosen.get(name)) for name, option in known.items()}


def _given(source: str, layer: Mapping[str, object], known: Mapping[str, Option]) -> dict[str, object]:
    """What a layer says, if it does not contradict itself."""
    given = {name: value for name, value in layer.items() if value is not NOT_GIVEN}
    assert given.keys() <= known.keys(), f"{source}: unknown options {given.keys() - known.keys()}"
    ends = [name for name in _ENDS if name in given]
    if len(ends) > 1:
        raise PlanError(f"{source}: give {ends[0]} or {ends[1]}, not both ({_shown(given, ends)})")
    if "workers" in given and _stages_workers(given):
        shown = _shown(given, ["workers", "stages"])
        raise PlanError(f"{source}: give workers or stages of workers, not both ({shown})")
    return given


def _stages_workers(given: Mapping[str, object]) -> bool:
    """Whether the stages, not parsed yet, say how many workers there are: a rate is never without its slash."""
    return "stages" in given and "/" not in str(given["stages"])


def _read(option: Option, chosen: tuple[str, object] | None) -> Any:
    if chosen is None:
        return NOT_GIVEN
    source, value = chosen
    try:
        return option.parse(value)
    except PlanError as error:
        raise PlanError(f"{source}: {error}") from None


def _shown(given: Mapping[str, object], names: Iterable[str]) -> str:
    return ", ".join(f"{name}={given[name]!r}" for name in names)

"""Thresholds on what the server did: ``server.wait.Lock < 5%``, ``server.temp_bytes_per_op == 0``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..measurement.cause import SPEAK_FROM

if TYPE_CHECKING:
    from ..database.activity import ServerActivity

_COST = re.compile(r"server\.(blocks|rows|wal_bytes|temp_bytes)_per_op")
_WAIT = re.compile(r"server\.wait\.(\w+)(?:\.(\w+))?")
_COUNTS = ("deadlocks", "temp_files", "temp_bytes", "rollbacks", "checkpoints")
_CLASSES = (
    "BufferPin", "Buffer", "Client", "CPU", "Extension", "InjectionPoint", "IO", "IPC", "Lock", "LWLock", "Queue",
    "Timeout",
)  # fmt: skip
COST_METRICS = tuple(f"server.{name}_per_op" for name in ("blocks", "rows", "wal_bytes", "temp_bytes"))
_NAMES = (
    *COST_METRICS,
    "server.hit_ratio",
    *(f"server.{name}" for name in _COUNTS),
)
SERVER_METRICS = (*_NAMES, *(f"server.wait.{name}" for name in _CLASSES))
"""The known ones; a class of waits may be followed by one of its events: ``server.wait.Lock.tuple``."""


@dataclass(frozen=True, slots=True)
class ServerFigure:
    """A figure of the server's, with its bounds where it is a sample's; None, and why, where it is not known."""

    value: float | None
    low: float | None = None
    high: float | None = None
    missing: str = ""


def is_server_metric(metric: str) -> bool:
    """Whether a metric is one of the server's."""
    wait = _WAIT.fullmatch(metric)
    return metric in _NAMES or (wait is not None and wait[1] in _CLASSES)


def is_cost(metric: str) -> bool:
    """Whether it is work per operation, which counters give exactly."""
    return metric in COST_METRICS


def is_share(metric: str) -> bool:
    """Whether it is a share of something, to be written as ``5%`` or ``0.05``."""
    return metric == "server.hit_ratio" or metric.startswith("server.wait.")


def server_figure(metric: str, activity: ServerActivity | None) -> ServerFigure:
    """What was found of one of the server's metrics."""
    if activity is None:
        return ServerFigure(None, missing="the server was not observed")
    if wait := _WAIT.fullmatch(metric):
        return _wait_share(wait[1], wait[2], activity)
    if cost := _COST.fullmatch(metric):
        return _cost(cost[1], activity)
    value = _FIGURES[metric.removeprefix("server.")](activity)
    return ServerFigure(value, missing="" if value is not None else _why_missing(activity))


def _wait_share(kind: str, event: str | None, activity: ServerActivity) -> ServerFigure:
    """The share of response time; a sample of few iterations says nothing."""
    hit = activity.waits.everything.iterations
    if hit < SPEAK_FROM:
        why = f"{hit} iterations were looked at, {SPEAK_FROM} are needed: a longer run"
        return ServerFigure(None, missing=next((note for note in activity.notes if note.startswith("waits")), why))
    name = "CPU*" if kind == "CPU" else kind
    share = activity.waits.everything.share(f"{name}:{event}" if event else name)
    assert share is not None, "there are samples"
    return ServerFigure(share.share, share.low, share.high)


def _cost(kind: str, activity: ServerActivity) -> ServerFigure:
    if kind == "wal_bytes" and activity.shares_wal:
        return ServerFigure(None, missing="other databases of the server were written to, and its log is for all")
    value = activity.per_operation(kind)
    if value is not None and activity.counts_set_up:
        return ServerFigure(value, 0.0, value)
    return ServerFigure(value, missing="" if value is not None else _why_missing(activity))


def _why_missing(activity: ServerActivity) -> str:
    if not activity.operations:
        return "no operation succeeded"
    return next((note for note in activity.notes if not note.startswith("waits")), "the server did not say")


def _checkpoints(activity: ServerActivity) -> float | None:
    found = activity.growth.groups.get("checkpoints")
    return None if found is None else found["timed"] + found["requested"]


_FIGURES: Mapping[str, Callable[[ServerActivity], float | None]] = {
    "hit_ratio": lambda activity: activity.hit_ratio,
    "checkpoints": _checkpoints,
    "deadlocks": lambda activity: activity.growth.get("database", "deadlocks"),
    "rollbacks": lambda activity: activity.growth.get("database", "rollbacks"),
    "temp_files": lambda activity: activity.growth.get("database", "temp_files"),
    "temp_bytes": lambda activity: activity.growth.get("database", "temp_bytes"),
}

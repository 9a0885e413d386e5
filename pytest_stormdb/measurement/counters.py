"""A server's counters at an instant, and what they grew by between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Values: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters by group and name, such as ``database`` and ``commits``; ``missing`` says, in a line each, why a group
    of them could not be read."""

    groups: Mapping[str, Values] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def since(self, earlier: Counters) -> Counters:
        """The growth of each counter. A group in which one fell was reset in between: it goes, and is said missing."""
        grown, missing = {}, dict.fromkeys((*earlier.missing, *self.missing))
        for group, values in self.groups.items():
            if group not in earlier.groups:
                continue
            before = earlier.groups[group]
            growth = {name: value - before.get(name, 0) for name, value in values.items()}
            if any(value < 0 for value in growth.values()):
                missing[f"{group}: the server's counters were reset during the run"] = None
            else:
                grown[group] = growth
        return Counters(grown, tuple(missing))

    def with_(self, other: Counters) -> Counters:
        """These and others together."""
        return Counters({**self.groups, **other.groups}, (*self.missing, *other.missing))

    def get(self, group: str, name: str) -> float | None:
        """One counter; None where it is missing."""
        return self.groups.get(group, {}).get(name)


def ratio(part: float | None, rest: float | None) -> float | None:
    """``part`` as a share of both; None where one is missing or both are 0."""
    if part is None or rest is None or part + rest == 0:
        return None
    return part / (part + rest)

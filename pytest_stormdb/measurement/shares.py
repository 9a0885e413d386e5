"""Shares of response time by what it was spent on, with how sure a sample of it can be."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .attribution import Hit, class_of

_Z = 1.96
SLOWEST = 0.05
"""The slowest iterations, looked at apart."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of response time; ``low`` and ``high`` bound it at 95 %."""

    name: str
    samples: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What the time of some iterations went to: ``iterations`` were hit, by ``samples`` in all. Largest share first."""

    iterations: int = 0
    samples: int = 0
    events: tuple[Share, ...] = ()
    classes: tuple[Share, ...] = ()

    def share(self, name: str) -> Share | None:
        """The share of an event (``Lock:tuple``) or class (``Lock``); one that was never seen has share 0.

        None where there are no samples.
        """
        for share in (*self.classes, *self.events):
            if share.name == name:
                return share
        return Share(name, 0, 0.0, 0.0, _wilson(0.0, self.iterations)[1]) if self.samples else None


def profile(hits: Sequence[Hit]) -> Profile:
    """The shares that hits show.

    Looks at one iteration are not independent, nor are looks at one instant, when a single lock may hold up everybody.
    So the sample counts as no larger than the iterations hit, and is divided by the design effect of clustering by
    iteration or by instant, whichever is larger; the interval is Wilson's for that size.
    """
    if not hits:
        return Profile()
    return Profile(
        iterations=len({hit.iteration for hit in hits}),
        samples=len(hits),
        events=_shares(hits, lambda hit: hit.event),
        classes=_shares(hits, lambda hit: class_of(hit.event)),
    )


def slowest(hits: Iterable[Hit], from_ns: float) -> list[Hit]:
    """The hits on iterations whose response took that long at least."""
    return [hit for hit in hits if hit.response_ns >= from_ns]


def _shares(hits: Sequence[Hit], name_of: Callable[[Hit], str]) -> tuple[Share, ...]:
    total = len(hits)
    counts = Counter(name_of(hit) for hit in hits)
    clusterings = [
        _Clustering((hit.iteration, name_of(hit)) for hit in hits),
        _Clustering((hit.at_ns, name_of(hit)) for hit in hits),
    ]
    shares = []
    for name, count in counts.items():
        size = min(clustering.effective_size(name, count / total) for clustering in clusterings)
        low, high = _wilson(count / total, size)
        shares.append(Share(name, count, count / total, low, high))
    return tuple(sorted(shares, key=lambda share: (-share.samples, share.name)))


class _Clustering:
    """Counts per cluster and name, to find how many independent looks the looks are worth."""

    def __init__(self, looks: Iterable[tuple[Hashable, str]]) -> None:
        sizes: Counter[Hashable] = Counter()
        found: Mapping[str, Counter[Hashable]] = defaultdict(Counter)
        for cluster, name in looks:
            sizes[cluster] += 1
            found[name][cluster] += 1
        self._sizes = sizes
        self._found = found
        self._squares = sum(size * size for size in sizes.values())
        self._total = sum(sizes.values())

    def effective_size(self, name: str, share: float) -> float:
        """p (1 - p) over the variance of a ratio of cluster totals, at most the number of clusters (Cochran 1977)."""
        clusters = len(self._sizes)
        if clusters < 2 or share in (0.0, 1.0):
            return clusters
        found = self._found[name]
        own = sum(count * count for count in found.values())
        shared = sum(count * self._sizes[cluster] for cluster, count in found.items())
        residual = own - 2 * share * shared + share * share * self._squares
        variance = residual * clusters / (clusters - 1) / self._total**2
        return min(float(clusters), share * (1 - share) / variance) if variance > 0 else float(clusters)


def _wilson(share: float, size: float) -> tuple[float, float]:
    """The 95 % score interval of a proportion seen in ``size`` independent looks (Wilson 1927)."""
    if size <= 0:
        return 0.0, 1.0
    z2 = _Z * _Z / size
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z / (1 + z2) * math.sqrt(share * (1 - share) / size + z2 / (4 * size))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))

"""What was counted in each interval of a run, kept small: an hour has thousands, each with many histograms.

A histogram is a dictionary, some 100 bytes for each bucket in use; pickled and compressed it is two or three. So all
but the interval that is being added to are packed, and a look-up unpacks a copy.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterator, Mapping

from .recorder import Snapshot

_FAST = 1


class Intervals(Mapping[int, Snapshot]):
    """Snapshots by the number of their interval; what a look-up gives is to be read, not to be added to."""

    def __init__(self) -> None:
        self._packed: dict[int, bytes] = {}
        self._latest = -1
        self._open = Snapshot()

    def add(self, interval: int, snapshot: Snapshot) -> None:
        """Add what was counted in an interval. Quick where it is the same interval as before."""
        if interval != self._latest:
            self._put_away()
            self._latest, self._open = interval, self.get(interval, Snapshot())
            self._packed.pop(interval, None)
        self._open.merge(snapshot)

    def __getitem__(self, interval: int) -> Snapshot:
        if interval == self._latest:
            return self._open
        found: Snapshot = pickle.loads(zlib.decompress(self._packed[interval]))  # noqa: S301 - packed below
        return found

    def __contains__(self, interval: object) -> bool:
        # The inherited one would unpack it.
        return interval in self._packed or (interval == self._latest and self._latest >= 0)

    def __iter__(self) -> Iterator[int]:
        yield from self._packed
        if self._latest >= 0:
            yield self._latest

    def __len__(self) -> int:
        return len(self._packed) + (self._latest >= 0)

    def _put_away(self) -> None:
        if self._latest >= 0:
            self._packed[self._latest] = zlib.compress(pickle.dumps(self._open, pickle.HIGHEST_PROTOCOL), _FAST)

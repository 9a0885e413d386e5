"""When each arm of a comparison has its turn: blocks in pairs, the order within each drawn by a coin.

Pure arithmetic from a seed. Whoever knows the seed and the start knows every block, so that arms in processes of their
own, even of different pytest sessions, take turns by the clock that they share, and by nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

SHORTEST_NS = 250_000_000
LONGEST_NS = 2_000_000_000
_CALLS_BEYOND = 5
_SHORTEST_SETTLE_NS = 50_000_000
_SETTLE_SHARE = 0.1
_SLOW_CALLS = 10


class Turn(NamedTuple):
    """A block of one arm: when it begins and ends, from the start of the epoch, and its pair."""

    from_ns: int
    to_ns: int
    pair: int


class Phase(NamedTuple):
    """Where an instant lies: in the measured part of a block, or, with ``block`` -1, where nothing is measured."""

    block: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Alternation:
    """The blocks of one epoch. The first pair warms up; of each block, the beginning is not measured."""

    block_ns: int
    pairs: int
    seed: int
    epoch: int = 0

    @property
    def settle_ns(self) -> int:
        """How much of a block's beginning belongs to nobody: what the other arm left in the queues and caches."""
        return max(_SHORTEST_SETTLE_NS, round(_SETTLE_SHARE * self.block_ns))

    @property
    def measured_ns(self) -> int:
        """The part of each block that is measured."""
        return self.block_ns - self.settle_ns

    @property
    def duration_ns(self) -> int:
        """How long the epoch takes."""
        return 2 * (self.pairs + 1) * self.block_ns

    def arm_of(self, block: int) -> int:
        """Which arm, 0 or 1, has a block: a fair coin for each pair says which comes first."""
        first = random.Random(f"order:{self.seed}:{self.epoch}:{block // 2}").getrandbits(1)
        return first ^ (block & 1)

    def blocks_of(self, pair: int) -> tuple[int, int]:
        """The blocks of both arms in a measured pair, 0-based, the first arm's first."""
        early = 2 * (pair + 1)
        return (early, early + 1) if self.arm_of(early) == 0 else (early + 1, early)

    def turns_of(self, arm: int) -> Iterator[Turn]:
        """The blocks of one arm, the warm-up included."""
        for block in range(2 * (self.pairs + 1)):
            if self.arm_of(block) == arm:
                yield Turn(block * self.block_ns, (block + 1) * self.block_ns, block // 2)

    def phase_at(self, offset_ns: int) -> Phase:
        """What an iteration that is meant to start then belongs to, and until when."""
        block, within_ns = divmod(offset_ns, self.block_ns)
        start_ns = block * self.block_ns
        if within_ns < self.settle_ns:
            return Phase(-1, start_ns + self.settle_ns)
        return Phase(block if block >= 2 else -1, start_ns + self.block_ns)


def block_ns_for(calls_per_s: float, p99_s: float, quantile: float | None) -> int:
    """How long blocks have to be: 5 calls beyond the quantile in each, ten slow calls, and 0.25 to 2 s."""
    beyond = 1 - quantile if quantile is not None and 0 < quantile < 1 else 1.0
    needed_s = max(_SLOW_CALLS * p99_s, _CALLS_BEYOND / (calls_per_s * beyond) if calls_per_s else 0.0)
    measured_ns = round(needed_s * 1e9 / (1 - _SETTLE_SHARE))
    return min(LONGEST_NS, max(SHORTEST_NS, measured_ns))

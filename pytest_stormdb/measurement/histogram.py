"""Latencies as counts in buckets: constant memory, a relative error of 0.1 %, merging that loses nothing.

The layout is that of Gil Tene's HdrHistogram for 1 ns to 1 h with three significant digits: values below
2,048 ns have a bucket each, and every further power of two is cut into 1,024 equal ones. That makes 33,792
buckets; a dict holds those in use, since an interval of one second touches few and travels over a pipe.

An IEEE 754 double already is such a bucket: its exponent is the power of two, the ten upper bits of its
mantissa are the place within it. Bits 42 to 57 of a double from 1,024 to 1 h are exactly the HdrHistogram
index plus 8,192. So a whole buffer is filed without a step of Python per value: pack it as doubles, shift
the bytes as one large integer, count the 16-bit words. The dict's keys ("cells") are these words.
"""

from __future__ import annotations

import base64
import math
import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, repeat
from operator import add, mul

HIGHEST_NS = 3_600_000_000_000  # the longest duration that has a bucket: one hour
_DIGITS = 3
_COUNTERS = 33_792  # of the layout; more than an hour needs, since it ends at a power of two
_LINEAR = 2_048  # below this a bucket is one nanosecond wide
_BIAS = 8_192  # cell - index
_WORD = 0 if sys.byteorder == "little" else 3  # which 16 bits of an 8-byte lane are its lowest
_INNER, _OUTER, _COOKIE_MASK = 0x1C849303, 0x1C849304, ~0xF0
_PREFIX = struct.Struct(">ii")  # cookie, length of what follows
_HEADER = struct.Struct(">iiiiqqd")  # cookie, length, normalizing offset, digits, lowest, highest, ratio


def index_of(value_ns: int) -> int:
    """The HdrHistogram index of the bucket that holds this many nanoseconds (0 or more)."""
    shift = max(0, value_ns.bit_length() - 11)
    return (shift << 10) + (value_ns >> shift)


def bounds_of(index: int) -> tuple[int, int]:
    """The lowest and the highest duration, in nanoseconds, that share the bucket at ``index``."""
    shift = max(0, (index >> 10) - 1)
    lowest = (index - (shift << 10)) << shift
    return lowest, lowest + (1 << shift) - 1


def _midpoint(index: int) -> int:
    """The duration that stands for a bucket where the exact ones are gone, as HdrHistogram picks it."""
    lowest, highest = bounds_of(index)
    return min((lowest + highest + 1) // 2, HIGHEST_NS)


def _cells(values: list[int]) -> memoryview:
    """The cell of each value; all of them from 1,024 to ``HIGHEST_NS``. See the head of this module."""
    size = len(values)
    lanes = int.from_bytes(struct.pack(f"{size}d", *values), sys.byteorder) >> 42
    return memoryview(lanes.to_bytes(8 * size, sys.byteorder)).cast("H")[_WORD::4]


@dataclass
class Histogram:
    """How many durations, in integer nanoseconds, fell into each bucket.

    ``count``: durations recorded, 0 to 1 h. ``total_ns``: their exact sum. ``min_ns`` and ``max_ns``: the
    exact extremes, ``None`` while empty. ``overflow``: durations above 1 h, which appear nowhere else.
    """

    count: int = field(default=0, init=False)
    total_ns: int = field(default=0, init=False)
    min_ns: int | None = field(default=None, init=False)
    max_ns: int | None = field(default=None, init=False)
    overflow: int = field(default=0, init=False)
    _counts: Counter[int] = field(default_factory=Counter, init=False, repr=False)

    def record(self, value_ns: int, times: int = 1) -> None:
        """Count one duration, ``times`` over. Raises ValueError if it is negative, which no monotonic clock yields."""
        if value_ns < 0:
            raise ValueError(f"a duration cannot be negative: {value_ns} ns")
        if value_ns > HIGHEST_NS:
            self.overflow += times
        else:
            self._counts[index_of(value_ns) + _BIAS] += times
            self._note(times, value_ns * times, value_ns, value_ns)

    def record_many(self, values: Sequence[int] | array[int]) -> None:
        """Count all of these durations, quickly. Raises ValueError, and counts none, if one is negative."""
        durations = values.tolist() if isinstance(values, array) else list(values)
        low, high = min(durations, default=0), max(durations, default=0)
        if low < 0:
            raise ValueError(f"a duration cannot be negative: {low} ns")
        if high > HIGHEST_NS:
            self.overflow += sum(value > HIGHEST_NS for value in durations)
            durations = [value for value in durations if value <= HIGHEST_NS]
            high = max(durations, default=0)
        if durations:
            self._note(len(durations), sum(durations), low, high)
        if low < _LINEAR:
            self._counts.update([value + _BIAS for value in durations if value < _LINEAR])
            durations = [value for value in durations if value >= _LINEAR]
        self._counts.update(_cells(durations))

    def record_counts(self, counts: Mapping[int, int]) -> None:
        """Count durations that are counted by value already. Raises ValueError, and counts none, if one is negative."""
        low, high = min(counts, default=0), max(counts, default=0)
        if low < 0:
            raise ValueError(f"a duration cannot be negative: {low} ns")
        if high > HIGHEST_NS:
            self.overflow += sum(times for value, times in counts.items() if value > HIGHEST_NS)
            counts = {value: times for value, times in counts.items() if value <= HIGHEST_NS}
            high = max(counts, default=0)
        if counts:
            self._note(sum(counts.values()), sum(map(mul, counts, counts.values())), low, high)
        if low < _LINEAR:
            for value in [value for value in counts if value < _LINEAR]:
                self._counts[value + _BIAS] += counts[value]
            counts = {value: times for value, times in counts.items() if value >= _LINEAR}
        cells = self._counts
        for cell, times in zip(_cells(list(counts)), counts.values(), strict=True):
            cells[cell] = cells.get(cell, 0) + times

    def _note(self, count: int, total_ns: int, low: int, high: int) -> None:
        self.count += count
        self.total_ns += total_ns
        self.min_ns = low if self.min_ns is None else min(self.min_ns, low)
        self.max_ns = high if self.max_ns is None else max(self.max_ns, high)

    def merge(self, other: Histogram) -> None:
        """Add what ``other`` counted: the result is as if all had been recorded here."""
        self.overflow += other.overflow
        if other.count:
            self._note(other.count, other.total_ns, *other._extremes())
            mine, theirs = self._counts, other._counts
            sums = map(add, map(mine.get, theirs, repeat(0)), theirs.values())
            dict.update(mine, zip(theirs, sums, strict=True))  # half the time of Counter.update, which loops in Python

    def copy(self) -> Histogram:
        """A histogram of its own with the same contents."""
        twin = Histogram()
        twin.merge(self)
        return twin

    def _extremes(self) -> tuple[int, int]:
        if self.min_ns is None or self.max_ns is None:
            raise ValueError("an empty histogram has no quantiles, mean or standard deviation")
        return self.min_ns, self.max_ns

    def quantile_ns(self, q: float) -> int:
        """The duration, in nanoseconds, that the share ``q`` (0 to 1) of all does not exceed.

        It is the highest of its bucket, at most 0.1 % too long, never outside the exact extremes: 0 gives
        the minimum, 1 the maximum. Raises ValueError if empty or if ``q`` is not in 0 to 1.
        """
        return self.quantiles_ns([q])[0]

    def quantiles_ns(self, qs: Sequence[float]) -> list[int]:
        """Several of ``quantile_ns``, in the order asked for, in one walk over the buckets."""
        low, high = self._extremes()
        ranks = [self._rank(q) for q in qs]
        cells = sorted(self._counts)
        ends = list(accumulate(map(self._counts.__getitem__, cells)))
        found = (bounds_of(cells[bisect_left(ends, rank)] - _BIAS)[1] for rank in ranks)
        return [low if rank == 1 else min(highest, high) for rank, highest in zip(ranks, found, strict=True)]

    def _rank(self, q: float) -> int:
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
        # One step down, since 0.07 * 100 is 7.000000000000001 and yet means the 7th.
        return max(1, math.ceil(math.nextafter(q * self.count, 0)))

    @property
    def mean_ns(self) -> float:
        """The exact mean in nanoseconds. Raises ValueError if empty."""
        self._extremes()
        return self.total_ns / self.count

    @property
    def stddev_ns(self) -> float:
        """The population's standard deviation, from the buckets' midpoints. Raises ValueError if empty."""
        self._extremes()
        weighted = [(_midpoint(cell - _BIAS), count) for cell, count in self._counts.items()]
        mean = sum(middle * count for middle, count in weighted) / self.count
        return math.sqrt(sum((middle - mean) ** 2 * count for middle, count in weighted) / self.count)

    def count_at_most(self, value_ns: int) -> int:
        """How many durations are ``value_ns`` or shorter; those that share its bucket count as shorter."""
        if self.min_ns is None or value_ns < self.min_ns:
            return 0
        limit = index_of(value_ns) + _BIAS
        return sum(count for cell, count in self._counts.items() if cell <= limit)

    def buckets(self) -> list[tuple[int, int, int]]:
        """Lowest and highest duration in nanoseconds, and count, of every bucket in use, ascending."""
        return [(*bounds_of(cell - _BIAS), count) for cell, count in sorted(self._counts.items())]

    def encode(self) -> str:
        """The standard HdrHistogram V2 encoding, compressed, in base64: other tools read it.

        The wire carries bucket counts alone: the exact sum and extremes and ``overflow`` stay behind.
        """
        payload = bytearray()
        for (before, _), (cell, count) in pairwise([(_BIAS - 1, 0), *sorted(self._counts.items())]):
            if gap := cell - before - 1:
                payload += _leb128(-gap if gap > 1 else 0)
            payload += _leb128(count)
        payload = payload or bytearray(1)
        header = _HEADER.pack(_INNER | 0x10, len(payload), 0, _DIGITS, 1, HIGHEST_NS, 1.0)
        packed = zlib.compress(header + payload)
        return base64.b64encode(_PREFIX.pack(_OUTER | 0x10, len(packed)) + packed).decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """The histogram that ``encode``, or another implementation with this layout, wrote.

        Durations come back as the midpoints of their buckets, hence ``total_ns``, ``min_ns`` and ``max_ns``
        are within 0.05 %; buckets wholly above 1 h go to ``overflow``. Raises ValueError for any other text.
        """
        try:
            found = list(_counts(_payload(base64.b64decode(text, validate=True))))
        except (ValueError, zlib.error, struct.error) as error:
            raise ValueError(f"not an HdrHistogram V2 text for 1 ns to 1 h with 3 digits: {error}") from error
        histogram = cls()
        for index, count in found:
            if index > index_of(HIGHEST_NS):
                histogram.overflow += count
            else:
                middle = _midpoint(index)
                histogram._note(count, middle * count, middle, middle)
                histogram._counts[index + _BIAS] = count
        return histogram


def _leb128(number: int) -> bytes:
    """A signed 64-bit number, zigzag, seven bits a byte, lowest first; a ninth byte holds eight bits."""
    rest = number << 1 if number >= 0 else ~(number << 1)
    encoded = bytearray()
    while rest > 0x7F and len(encoded) < 8:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*encoded, rest])


def _numbers(payload: bytes) -> Iterator[int]:
    """The numbers that ``_leb128`` wrote."""
    rest = position = 0
    for byte in payload:
        final = byte < 0x80 or position == 8
        rest |= (byte if final else byte & 0x7F) << 7 * position
        position += 1
        if final:
            yield (rest >> 1) ^ -(rest & 1)
            rest = position = 0
    if position:
        raise ValueError("its last count is cut short")


def _counts(payload: bytes) -> Iterator[tuple[int, int]]:
    """Index and count of every bucket in use; a negative number is a run of empty ones."""
    index = 0
    for number in _numbers(payload):
        if index + max(1, -number) > _COUNTERS:
            raise ValueError(f"it has more than {_COUNTERS} counts")
        if number > 0:
            yield index, number
        index += max(1, -number)


def _payload(data: bytes) -> bytes:
    """The counts of an encoded histogram, taken out of its two envelopes."""
    cookie, length = _PREFIX.unpack_from(data)
    if cookie & _COOKIE_MASK != _OUTER or not 0 < length <= len(data) - _PREFIX.size:
        raise ValueError("its envelope is of another kind or cut short")
    inner = zlib.decompressobj().decompress(data[_PREFIX.size :][:length], _HEADER.size + 9 * _COUNTERS)
    cookie, length, _, digits, lowest, highest, _ = _HEADER.unpack_from(inner)
    if (cookie & _COOKIE_MASK, digits, lowest, highest) != (_INNER, _DIGITS, 1, HIGHEST_NS):
        raise ValueError("its kind, range or precision is another")
    if not 0 <= length <= len(inner) - _HEADER.size:
        raise ValueError("its counts are cut short")
    return inner[_HEADER.size :][:length]

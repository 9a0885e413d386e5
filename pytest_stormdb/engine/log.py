"""pgbench's log of transactions, turned into counts while it grows: every line counts, and none is kept.

A line tells client, transaction, latency in us, script, and the end as seconds and microseconds of the epoch; then the
schedule lag under a rate, and the retries where there may be any. In the place of the latency stands what became of a
transaction that did not succeed. Latencies of one second are few different texts: counting the texts, and turning each
into a number once, takes a fifth of a microsecond a line, where numbers would take one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from operator import sub

from ..measurement.histogram import Histogram
from ..measurement.recorder import Snapshot
from ..measurement.sample import Failure
from ..measurement.tally import Metric, Tally

SKIPPED = "skipped"
FAILURES = {
    "serialization": Failure("40001", "could not serialize access: pgbench counts it, and tells no more"),
    "deadlock": Failure("40P01", "deadlock detected: pgbench counts it, and tells no more"),
    "other": Failure("other", "an SQL error: pgbench counts it, and tells no more"),
    "failed": Failure("failed", "a serialization failure or a deadlock: pgbench counts it, and tells no more"),
}

Column = list[bytes]


@dataclass(frozen=True, slots=True)
class Blocks:
    """The stretches of a run by which transactions are counted, numbered from 0; what is meant to start in the first
    ``settle_us`` of one belongs to none, and so do those before ``first``."""

    length_us: int
    settle_us: int = 0
    first: int = 0

    def at(self, offset_us: int) -> tuple[int, bool]:
        """The number of the block, and whether what is meant to start then counts."""
        number, within_us = divmod(offset_us, self.length_us)
        return number, number >= self.first and within_us >= self.settle_us

    def change_after(self, offset_us: int) -> int:
        """Up to where everything lies in the same place as that."""
        number, within_us = divmod(offset_us, self.length_us)
        return number * self.length_us + (self.settle_us if within_us < self.settle_us else self.length_us)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns a line has, and the operations in the order of pgbench's scripts."""

    operations: tuple[str, ...]
    has_lag: bool = False
    has_retries: bool = False
    latency_limit_us: float | None = None

    @property
    def width(self) -> int:
        return 6 + self.has_lag + self.has_retries


@dataclass(slots=True)
class _Counts:
    """What one script did in one block. The keys are microseconds, as text where nothing was computed of them."""

    response: Counter[bytes] = field(default_factory=Counter)
    service: Counter[int] = field(default_factory=Counter)
    lag: Counter[bytes] = field(default_factory=Counter)
    unsuccessful: Counter[bytes] = field(default_factory=Counter)
    retries: int = 0


class LogCounter:
    """Counts the lines of all threads' logs by script and by block, from the instant measured from.

    A transaction belongs to the block in which it was meant to start. What lies before the first is warm-up, and
    dropped; without a warm-up it belongs to the first, since another thread may have begun some microseconds earlier.
    Times are microseconds of the epoch, as pgbench writes them; ``ends_us`` are those of each thread's last line.
    """

    def __init__(self, layout: Layout, blocks: Blocks, threads: int = 1, *, has_warmup: bool = False) -> None:
        self._layout = layout
        self._blocks = blocks
        self._has_warmup = has_warmup
        self._rests = [b""] * threads
        self._all_succeeded = True
        self._counts: dict[tuple[int, int], _Counts] = {}
        self.lines = 0
        self.skipped = 0
        self.ends_us = [0] * threads

    def first_start_us(self, data: bytes) -> int | None:
        """The earliest intended start among the lines of these bytes; None where no line is whole."""
        whole = data[: data.rfind(b"\n") + 1]
        return min(self._starts_us(self._columns(whole))) if whole else None

    def feed(self, data: bytes, from_us: int, thread: int = 0) -> None:
        """Count the lines that a thread's bytes complete; ``from_us`` is where the first interval begins."""
        data = self._rests[thread] + data
        end = data.rfind(b"\n") + 1
        self._rests[thread] = data[end:]
        if end:
            self._all_succeeded = b"e" not in data  # every word for what became of the others has one
            columns = self._columns(data[:end])
            self.lines += len(columns[0])
            self.ends_us[thread] = _end_us(columns, -1)
            self._by_block(columns, from_us)

    def take(self, before_us: int | None = None) -> dict[int, Snapshot]:
        """What was counted since the last call, by block; only of blocks that end before an offset, where one is
        given."""
        taken: dict[int, Snapshot] = {}
        end = None if before_us is None else before_us // self._blocks.length_us
        for block, script in [key for key in self._counts if end is None or key[0] < end]:
            counts = self._counts.pop((block, script))
            self._put(taken.setdefault(block, Snapshot()), self._layout.operations[script], counts)
        return taken

    def _columns(self, whole: bytes) -> list[Column]:
        words, width = whole.split(), self._layout.width
        if len(words) % width:
            raise ValueError(f"pgbench's log has lines of another form: {whole.splitlines()[0]!r}")
        return [words[index::width] for index in range(2, width)]

    def _by_block(self, columns: list[Column], from_us: int) -> None:
        """Lines come in the order in which they end. So most of those that were meant to start in the same block lie
        together, and only those that end soon after it need to be looked at one by one."""
        lines, end_of, longest_us = range(len(columns[0])), partial(_end_us, columns), _longest_us(columns[0])
        first = change_us = 0
        while first < len(lines):
            earliest_us = max(change_us, end_of(first) - longest_us)
            place = self._blocks.at(earliest_us - from_us)
            change_us = self._blocks.change_after(earliest_us - from_us) + from_us
            sure = bisect_left(lines, change_us, first, key=end_of)
            unsure = bisect_left(lines, change_us + longest_us, sure, key=end_of)
            unsure = bisect_left(lines, change_us + _longest_us(columns[0][sure:unsure]), sure, key=end_of)
            self._by_script([column[first:sure] for column in columns], *place)
            self._one_by_one([column[sure:unsure] for column in columns], from_us)
            first = unsure

    def _one_by_one(self, columns: list[Column], from_us: int) -> None:
        places = [self._blocks.at(start_us - from_us) for start_us in self._starts_us(columns)]
        for each in set(places):
            mask = [place == each for place in places]
            self._by_script([list(compress(column, mask)) for column in columns], *each)

    def _by_script(self, columns: list[Column], block: int, is_counted: bool) -> None:
        if not self._has_warmup:
            block, is_counted = max(0, block), is_counted or block < 0
        if not is_counted or not columns[0]:
            return
        numbers = set(columns[1]) if len(self._layout.operations) > 1 else {b"0"}
        for number in numbers:
            own = columns
            if len(numbers) > 1:
                mask = [each == number for each in columns[1]]
                own = [list(compress(column, mask)) for column in columns]
            self._count(own, self._counts.setdefault((block, int(number)), _Counts()))

    def _count(self, columns: list[Column], counts: _Counts) -> None:
        layout = self._layout
        if layout.has_retries:
            retries = Counter(columns[-1])
            counts.retries += sum(int(text) * count for text, count in retries.items())
        if not self._all_succeeded:
            counts.unsuccessful.update([text for text in columns[0] if not text.isdigit()])
            mask = [text.isdigit() for text in columns[0]]
            columns = [list(compress(column, mask)) for column in columns]
        counts.response.update(columns[0])
        if layout.has_lag:
            counts.lag.update(columns[4])
            counts.service.update(map(sub, map(int, columns[0]), map(int, columns[4])))

    def _starts_us(self, columns: list[Column]) -> list[int]:
        """When each transaction was meant to start; one without a latency, when it was given up."""
        ends = map(_epoch_us, columns[2], columns[3])
        return [end - int(text) if text.isdigit() else end for end, text in zip(ends, columns[0], strict=True)]

    def _put(self, snapshot: Snapshot, operation: str, counts: _Counts) -> None:
        tally = snapshot.tallies.setdefault(operation, Tally())
        tally.count += counts.response.total()
        tally.retries += counts.retries
        response = _in_ns(counts.response)
        if self._layout.has_lag:
            _record(tally.response, response)
            _record(tally.lag, _in_ns(counts.lag))
            _record(tally.service, {service_us * 1_000: count for service_us, count in counts.service.items()})
        else:
            _record(tally.service, response)
        for kind, count in counts.unsuccessful.items():
            if kind.decode() == SKIPPED:
                self.skipped += count
            else:
                tally.fail(FAILURES[kind.decode()], count)
        limit_us = self._layout.latency_limit_us
        if limit_us is not None:
            late = snapshot.metrics.setdefault("late", Metric("counter"))
            late.add(sum(count for latency_ns, count in response.items() if latency_ns > limit_us * 1_000))


def _in_ns(counts: Counter[bytes]) -> dict[int, int]:
    return {int(text) * 1_000: count for text, count in counts.items()}


def _record(histogram: Histogram, counts_by_ns: dict[int, int]) -> None:
    if min(counts_by_ns, default=0) < 0:  # a clock that was set back
        before = sum(counts_by_ns.pop(value_ns) for value_ns in list(counts_by_ns) if value_ns < 0)
        histogram.record(0, before)
    histogram.record_counts(counts_by_ns)


def _longest_us(latencies: Column) -> int:
    return max([int(text) for text in set(latencies) if text.isdigit()], default=0)


def _epoch_us(seconds: bytes, microseconds: bytes) -> int:
    return int(seconds) * 1_000_000 + int(microseconds)


def _end_us(columns: Sequence[Column], line: int) -> int:
    return _epoch_us(columns[2][line], columns[3][line])

"""What a workload did at several worker counts: the curve, a scalability law fitted to it, and its knee."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FIT_FROM = 5
"""Fewer points than this support no claim about a law of three parameters."""

_NEAR_BEST = 0.95


@dataclass(frozen=True, slots=True)
class Point:
    """What one worker count came to; durations in seconds, None where there were too few samples."""

    workers: int
    throughput_per_s: float
    p50_s: float | None
    p99_s: float | None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """Gunther's Universal Scalability Law, ``X(N) = rate*N / (1 + contention*(N-1) + coherency*N*(N-1))``.

    ``rate_per_s`` is the throughput of one ideal worker, ``residual`` the root mean square of the relative errors.
    """

    rate_per_s: float
    contention: float
    coherency: float
    residual: float

    def throughput_per_s(self, workers: float) -> float:
        """What the law says for that many workers."""
        loss = self.contention * (workers - 1) + self.coherency * workers * (workers - 1)
        return self.rate_per_s * workers / (1 + loss)

    @property
    def peak_workers(self) -> float | None:
        """Where the law has its maximum; None where it has none, since nothing makes it fall."""
        if self.coherency <= 0 or self.contention >= 1:
            return None
        return math.sqrt((1 - self.contention) / self.coherency)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A curve and what can be said of it."""

    nodeid: str
    points: tuple[Point, ...]

    @property
    def knee(self) -> Point:
        """The fewest workers within 5 % of the best throughput."""
        best = max(point.throughput_per_s for point in self.points)
        return next(point for point in self.points if point.throughput_per_s >= _NEAR_BEST * best)

    @property
    def fit(self) -> Fit | None:
        """The fitted law; None with fewer than five points, or where nothing succeeded."""
        if len(self.points) < FIT_FROM or any(point.throughput_per_s <= 0 for point in self.points):
            return None
        return fit_law([(point.workers, point.throughput_per_s) for point in self.points])


def fit_law(curve: Sequence[tuple[int, float]]) -> Fit | None:
    """Least squares of the relative errors of ``1/X``, with contention and coherency kept at zero or above.

    Divided by N and turned round, the law is linear: ``N/X = a + b*(N-1) + c*N*(N-1)`` with ``a = 1/rate``. The best
    of the solutions with some of b and c held at zero is the constrained optimum, since the problem is convex.
    """
    rows = [[x / n * term for term in (1.0, n - 1.0, n * (n - 1.0))] for n, x in curve]
    best: tuple[float, Fit] | None = None
    for free in ((0,), (0, 1), (0, 2), (0, 1, 2)):
        solved = _least_squares([[row[column] for column in free] for row in rows])
        if solved is None or solved[0] <= 0 or any(value < 0 for value in solved[1:]):
            continue
        a, b, c = (dict(zip(free, solved, strict=True)).get(column, 0.0) for column in range(3))
        error = sum((1 - sum(f * t for f, t in zip((a, b, c), row, strict=True))) ** 2 for row in rows)
        if best is None or error < best[0]:
            law = Fit(1 / a, b / a, c / a, 0.0)
            residual = math.sqrt(sum((law.throughput_per_s(n) / x - 1) ** 2 for n, x in curve) / len(curve))
            best = error, Fit(law.rate_per_s, law.contention, law.coherency, residual)
    return best[1] if best is not None else None


def _least_squares(rows: list[list[float]]) -> list[float] | None:
    """The factors that bring every row's sum nearest to one, by the normal equations; None where they are singular."""
    size = len(rows[0])
    scale = [math.sqrt(sum(row[i] ** 2 for row in rows)) or 1.0 for i in range(size)]
    scaled = [[value / scale[i] for i, value in enumerate(row)] for row in rows]
    matrix = [[sum(row[i] * row[j] for row in scaled) for j in range(size)] for i in range(size)]
    target = [sum(row[i] for row in scaled) for i in range(size)]
    whole = _determinant(matrix)
    if abs(whole) < 1e-12:
        return None
    return [_determinant(_with_column(matrix, i, target)) / whole / scale[i] for i in range(size)]


def _with_column(matrix: list[list[float]], index: int, column: list[float]) -> list[list[float]]:
    return [[column[r] if c == index else value for c, value in enumerate(row)] for r, row in enumerate(matrix)]


def _determinant(matrix: list[list[float]]) -> float:
    if len(matrix) == 1:
        return matrix[0][0]
    minors = ([row[:c] + row[c + 1 :] for row in matrix[1:]] for c in range(len(matrix)))
    return math.fsum((-1) ** c * matrix[0][c] * _determinant(minor) for c, minor in enumerate(minors))

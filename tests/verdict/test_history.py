"""What stored runs predict about the next one."""

from __future__ import annotations

import math
import random

import pytest

from pytest_stormdb.verdict.history import predict


def test_the_bounds_are_those_of_the_next_value() -> None:
    """Eleven logarithms of known mean and spread: t of ten degrees of freedom, for one more value."""
    prediction = predict([math.exp(value) for value in range(11)])
    assert prediction is not None
    reach = 2.763769 * math.sqrt(11) * math.sqrt(12 / 11)
    assert math.log(prediction.typical) == pytest.approx(5.0)
    assert math.log(prediction.high) == pytest.approx(5.0 + reach, rel=1e-5)
    assert math.log(prediction.low) == pytest.approx(5.0 - reach, rel=1e-5)
    assert prediction.detectable == pytest.approx(math.exp(reach) - 1, rel=1e-5)
    assert (prediction.runs, prediction.is_enough) == (11, True)


def test_few_runs_say_so() -> None:
    """Two runs give wide bounds and say that they are not enough; one gives none."""
    few = predict([1.0, 1.1])
    assert few is not None
    assert not few.is_enough
    assert few.high > 5
    assert predict([1.0]) is None


def test_an_unchanged_run_is_seldom_outside() -> None:
    """Of 2,000 histories of ten runs, one more like them lies above the upper bound in about one of a hundred."""
    rng = random.Random(3)
    outside = 0
    for _ in range(2000):
        runs = [math.exp(rng.gauss(0, 0.2)) for _ in range(11)]
        prediction = predict(runs[:10])
        assert prediction is not None
        outside += runs[10] > prediction.high
    assert 5 <= outside <= 40

"""A function and its arguments as one call: every kind of parameter, any number of them."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_stormdb.workload.binding import CALLING, bound


@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("leading", [0, 1])
def test_arguments_arrive_in_their_places(count: int, leading: int) -> None:
    """With and without an instance before them, by position where that can be."""
    names = "abcde"[:count]
    function: Any = eval(f"lambda {', '.join(names)}: ({', '.join(names)},)")
    first, named = list(range(leading)), {name: index for index, name in enumerate(names) if index >= leading}
    assert bound(function, first, named)() == tuple(range(count))


def test_arguments_that_need_their_names() -> None:
    """Keyword-only parameters, and those of a function that takes any."""

    def keywords(*, a: int, b: int) -> tuple[int, int]:
        return a, b

    def anything(**given: int) -> dict[str, int]:
        return given

    assert bound(keywords, [], {"b": 2, "a": 1})() == (1, 2)
    assert bound(anything, [], {"b": 2})() == {"b": 2}


def test_the_frames_between_are_known() -> None:
    """What calls the workload's function is told from the workload."""

    def one(a: int) -> None: ...

    def three(a: int, b: int, c: int) -> None: ...

    made: list[Any] = [bound(one, [], {"a": 1}), bound(three, [], {"a": 1, "b": 2, "c": 3})]
    assert {call.__code__ for call in made} <= CALLING

"""The states of a worker: each can be reached, and every way comes to an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.workers.lifecycle import OVER, TRANSITIONS, Lifecycle, State


def reachable(state: State) -> set[State]:
    """The states that may come after one."""
    found: set[State] = set()
    left = [state]
    while left:
        for following in TRANSITIONS[left.pop()] - found:
            found.add(following)
            left.append(following)
    return found


def test_every_state_is_reached_and_comes_to_an_end() -> None:
    """From the set-up, all other states; from each that is not over, one that is."""
    assert {State.LOST, State.ENDED} == OVER
    assert reachable(State.SETTING_UP) == set(State) - {State.SETTING_UP}
    assert all(reachable(state) & OVER for state in set(State) - OVER)


@given(st.lists(st.sampled_from(State), max_size=20))
def test_only_what_the_table_allows_is_entered(wanted: list[State]) -> None:
    """A step that is not in the table leaves the state as it is, and says so."""
    lifecycle = Lifecycle()
    for state in wanted:
        before = lifecycle.state
        assert lifecycle.enter(state) == (state in TRANSITIONS[before])
        assert lifecycle.state is (state if state in TRANSITIONS[before] else before)
    assert lifecycle.is_over == (lifecycle.state in OVER)

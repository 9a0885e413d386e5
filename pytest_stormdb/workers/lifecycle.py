"""The life of a worker, from its set-up to its end, and of workers that share a process, who share it."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a worker stands. In its own process it is one worker's state, in the supervisor that of a whole group."""

    SETTING_UP = "connects and sets up its worker fixtures"
    READY = "waits for the start"
    RUNNING = "iterates"
    DISMISSED = "was told that there will be no start, and tears down"
    STUCK = "runs an iteration that outlived its timeout and cannot be ended"
    FAILED = "cannot go on, or could not be torn down, and has said why"
    DONE = "came to its end in good order"
    LOST = "went without a word"
    ENDED = "is gone, and was expected to go"


TRANSITIONS = {
    State.SETTING_UP: {State.READY, State.DISMISSED, State.FAILED, State.LOST},
    State.READY: {State.RUNNING, State.DISMISSED, State.FAILED, State.LOST},
    State.RUNNING: {State.DONE, State.STUCK, State.FAILED, State.LOST},
    State.DISMISSED: {State.DONE, State.FAILED, State.ENDED},
    State.STUCK: {State.ENDED},
    State.FAILED: {State.DONE, State.ENDED},
    State.DONE: {State.FAILED, State.ENDED},
    State.LOST: set(),
    State.ENDED: set(),
}
"""From each state, those that may follow. A failure while others of its group go on is followed by their end."""

OVER = frozenset(state for state, following in TRANSITIONS.items() if not following)


class Lifecycle:
    """The state of a worker or a group."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.SETTING_UP

    def enter(self, state: State) -> bool:
        """Go on to a state; whether the table lets it follow the present one, which otherwise stays."""
        is_allowed = state in TRANSITIONS[self.state]
        if is_allowed:
            self.state = state
        return is_allowed

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come."""
        return self.state in OVER

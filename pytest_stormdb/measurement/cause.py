"""Where the time went, in one sentence, or in none when the evidence is thin."""

from __future__ import annotations

from dataclasses import dataclass

from .attribution import CPU, QUEUE
from .shares import Profile, Share

SPEAK_FROM = 30
"""As many iterations must be hit before anything is said of their time."""
_MAJORITY = 0.5


@dataclass(frozen=True, slots=True)
class Cause:
    """What most of the time of some iterations went to: an event, or a class of which no single event is enough."""

    name: str
    share: float
    low: float


def cause_of(profile: Profile) -> Cause | None:
    """The event, else the class, that surely has more than half of the time; None when none has, or for few hits."""
    if profile.iterations < SPEAK_FROM:
        return None
    for shares in (profile.events, profile.classes):
        for share in shares:
            if share.low > _MAJORITY:
                return Cause(share.name, share.share, share.low)
    return None


def sentence(everything: Profile, slow: Profile, blocked: str | None = None) -> str:
    """What the time of all iterations went to, and of the slowest 5 % where that differs; empty when unsure.

    ``blocked`` says what held the locks that were waited for.
    """
    whole, tail = cause_of(everything), cause_of(slow)
    if whole is not None:
        said = f"{_percent(whole)} of response time {_verb(whole.name)} {_shown(whole.name)}"
        said += _tail(whole, tail, slow)
    elif tail is not None:
        found = everything.share(tail.name)
        said = f"{_percent(tail)} of the time of the slowest 5 % {_verb(tail.name)} {_shown(tail.name)}"
        said += f" (all: {_percent(found)})" if found is not None else ""
    else:
        return ""
    named = {cause.name.partition(":")[0] for cause in (whole, tail) if cause is not None}
    return f"{said}; {blocked}" if blocked and "Lock" in named else said


def _tail(whole: Cause, tail: Cause | None, slow: Profile) -> str:
    """What is to be said of the slowest beside the whole."""
    if tail is not None and tail.name != whole.name:
        return f"; of the slowest 5 %, {_percent(tail)} {_verb(tail.name)} {_shown(tail.name)}"
    found: Share | None = slow.share(whole.name)
    if found is None or slow.iterations < SPEAK_FROM:
        return ""
    return f" (slowest 5 %: {_percent(found)})"


def _percent(of: Cause | Share) -> str:
    return f"{100 * of.share:.0f} %"


def _verb(name: str) -> str:
    if name.startswith("Client"):
        return "goes to"
    return "is spent" if name in (CPU, QUEUE) else "waits on"


def _shown(name: str) -> str:
    if name == CPU:
        return "by the server computing (CPU*)"
    if name == QUEUE:
        return "waiting for a free worker"
    return f"the client, the network or the wait for a CPU ({name})" if name.startswith("Client") else name

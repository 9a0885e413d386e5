"""One sentence where the evidence is good, none where it is thin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.measurement.attribution import CPU, QUEUE, Hit
from pytest_stormdb.measurement.cause import cause_of, sentence
from pytest_stormdb.measurement.shares import Profile, profile

NOTHING = Profile()


def seen(**counts: int) -> Profile:
    """A profile of independent looks; ``Lock__tuple`` stands for ``Lock:tuple``."""
    names = [name.replace("__", ":").replace("CPU", CPU) for name, count in counts.items() for _ in range(count)]
    return profile([Hit((0, n), n, name, 1) for n, name in enumerate(names)])


def test_a_sure_majority_is_named_with_its_blocker() -> None:
    """An event with most of the time is named, with its share of the slowest, and with who held the lock."""
    said = sentence(
        seen(Lock__transactionid=72, CPU=28), seen(Lock__transactionid=96, CPU=4), "blocked by UPDATE account"
    )
    assert said == ("72 % of response time waits on Lock:transactionid (slowest 5 %: 96 %); blocked by UPDATE account")


def test_the_slowest_may_have_a_cause_of_their_own() -> None:
    """What holds up the slowest is named for them, whether or not the whole has a cause of its own."""
    slow = seen(Lock__advisory=86, Timeout__PgSleep=14)
    both = sentence(seen(Timeout__PgSleep=77, Lock__advisory=23), slow)
    assert both == "77 % of response time waits on Timeout:PgSleep; of the slowest 5 %, 86 % waits on Lock:advisory"
    only = sentence(seen(CPU=45, IO__WalSync=45, Lock__advisory=10), slow, "blocked by VACUUM")
    assert only == "86 % of the time of the slowest 5 % waits on Lock:advisory (all: 10 %); blocked by VACUUM"


def test_a_class_speaks_where_no_event_is_enough() -> None:
    """Two kinds of lock, neither of which has half, are together one cause."""
    found = cause_of(seen(Lock__tuple=45, Lock__transactionid=45, CPU=10))
    assert found is not None
    assert (found.name, found.share) == ("Lock", 0.9)
    assert found.low == pytest.approx(0.826, abs=0.01)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (seen(CPU=90, IO__WalSync=10), "90 % of response time is spent by the server computing (CPU*)"),
        (
            seen(Client__ClientRead=90, CPU=10),
            "90 % of response time goes to the client, the network or the wait for a CPU (Client:ClientRead)",
        ),
    ],
)
def test_what_is_no_wait_is_not_called_one(profile: Profile, said: str) -> None:
    """Computing, and the client's own time, are said in words of their own; a blocker is only for locks."""
    assert sentence(profile, NOTHING, "blocked by UPDATE account") == said


def test_a_queue_is_said() -> None:
    """Iterations of an open loop that wait for a worker."""
    queued = profile([Hit((0, n), n, QUEUE, 1) for n in range(50)])
    assert sentence(queued, NOTHING) == "100 % of response time is spent waiting for a free worker"


def test_thin_evidence_is_silent() -> None:
    """29 iterations are too few however clear they are, and a bare majority of 100 is not sure."""
    assert sentence(seen(Lock__tuple=29), NOTHING) == ""
    assert sentence(seen(Lock__tuple=30), NOTHING) != ""
    assert sentence(seen(Lock__tuple=55, CPU=45), NOTHING) == ""
    assert sentence(NOTHING, NOTHING) == ""


@given(st.integers(0, 100), st.integers(0, 100))
def test_nothing_below_half_is_ever_a_cause(locks: int, computing: int) -> None:
    """Whatever is named has more than half of the looks, of 30 iterations at least."""
    found = cause_of(seen(Lock__tuple=locks, CPU=computing))
    if found is not None:
        assert locks + computing >= 30
        assert found.share > 0.5
        assert found.share == max(locks, computing) / (locks + computing)

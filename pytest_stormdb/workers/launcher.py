"""How the workers of a run are started, heard and stopped, wherever they are.

To add a launcher, for other machines or for an external program: write a class with the methods of ``Launcher``, made
from a ``Job`` by whoever picks it in place of ``local.pick_launcher``, and hand it to the ``Supervisor``. Workers that
are Python of ours run ``group.serve`` with a ``Channel`` that carries its messages; a launcher that drives something
else makes the same messages itself, in this order:

1. ``Ready`` for each worker id, or ``Broken`` with what is wrong;
2. after ``start``: ``IntervalCounts``, at least once a second as a sign of life (an empty ``Snapshot`` will do), in
   intervals as long as ``measurement.blocks.block_ns`` says for the plan's duration, counted from the end of the
   warm-up, negative ones being dropped (where arms take turns, in ``load.alternation``'s blocks);
3. ``WorkerDone`` for each worker, with the time since the start by its own clock;
4. ``GroupDone``, and then nothing: ``receive`` gives None for the group.

A group that ends without ``GroupDone`` or ``Broken`` is lost, and the run is an error that names it.

The supervisor shares neither a clock nor memory with workers: it says how long from now to start. What the load plan
says of the time after that (warm-up, duration, stages, arrivals) is for the launcher and its workers to keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .messages import Message


class WorkerGroup(Protocol):
    """Workers that were started together, and that end together: a process, a machine."""

    @property
    def ids(self) -> Sequence[int]:
        """The workers' ids."""

    def has_exited(self) -> bool:
        """Whether it has gone; what it said before may still be on its way."""

    def has_messages(self) -> bool:
        """Whether something that it said can be received at once."""

    def end(self, patience_s: float) -> str:
        """End it, and all that it started, at the latest after ``patience_s``; how it ended, in words."""


class Launcher(Protocol):
    """The workers of one run. Used by one thread, but for ``stop``."""

    def launch(self) -> Sequence[WorkerGroup]:
        """Start all groups, which set themselves up and say so. After an error, ``close`` ends those that started."""

    def receive(self, timeout_s: float) -> Sequence[tuple[WorkerGroup, Message | None]]:
        """Wait for messages, at most that long; None is the end of a group's messages, and comes once.

        Called several times a second, it is also where a launcher does what it has to do from time to time.
        """

    def start(self, delay_ns: int) -> None:
        """All are ready: let all of them start together, ``delay_ns`` from now."""

    def extend(self, duration_ns: int) -> None:
        """Measure for so long in all, which is longer than planned; said well before the present end."""

    def dismiss(self) -> None:
        """There will be no start: let the groups tear down what they have set up."""

    def stop(self) -> None:
        """Let no iteration start any more; those in flight end by themselves. From any thread, and from a signal."""

    def unstarted_before(self, offset_ns: int) -> int:
        """At the end: the scheduled iterations due before ``offset_ns`` from the start that no worker has started."""

    def close(self) -> None:
        """End every group that is left, at once, and give everything back."""

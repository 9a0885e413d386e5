"""A launcher whose start somebody else has a say in: the other arm's workers, in a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..measurement.clock import SYSTEM_CLOCK
from .launcher import Launcher, WorkerGroup
from .messages import Message


class AgreedLauncher:
    """Starts at an instant of this machine's monotonic clock, which all of its processes share.

    ``agree`` is given the earliest instant that suits these workers, and returns the one that suits all.
    """

    def __init__(self, launcher: Launcher, agree: Callable[[int], int]) -> None:
        self._launcher = launcher
        self._agree = agree

    def launch(self) -> Sequence[WorkerGroup]:
        return self._launcher.launch()

    def receive(self, timeout_s: float) -> Sequence[tuple[WorkerGroup, Message | None]]:
        return self._launcher.receive(timeout_s)

    def start(self, delay_ns: int) -> None:
        instant_ns = self._agree(SYSTEM_CLOCK.now_ns() + delay_ns)
        self._launcher.start(max(0, instant_ns - SYSTEM_CLOCK.now_ns()))

    def extend(self, duration_ns: int) -> None:
        self._launcher.extend(duration_ns)

    def dismiss(self) -> None:
        self._launcher.dismiss()

    def stop(self) -> None:
        self._launcher.stop()

    def unstarted_before(self, offset_ns: int) -> int:
        return self._launcher.unstarted_before(offset_ns)

    def close(self) -> None:
        self._launcher.close()

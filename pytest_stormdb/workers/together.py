"""Several launchers as one: the arms of a comparison, whose workers take turns in one run."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from .launcher import Launcher, WorkerGroup
from .messages import Message


class LaunchersTogether:
    """Each message goes to all, in their order, and everything that any of them has comes back."""

    def __init__(self, launchers: Sequence[Launcher]) -> None:
        self._launchers = launchers

    def launch(self) -> Sequence[WorkerGroup]:
        return [group for launcher in self._launchers for group in launcher.launch()]

    def receive(self, timeout_s: float) -> Sequence[tuple[WorkerGroup, Message | None]]:
        share_s = timeout_s / len(self._launchers)
        return [received for launcher in self._launchers for received in launcher.receive(share_s)]

    def start(self, delay_ns: int) -> None:
        for launcher in self._launchers:
            launcher.start(delay_ns)

    def extend(self, duration_ns: int) -> None:
        for launcher in self._launchers:
            launcher.extend(duration_ns)

    def dismiss(self) -> None:
        for launcher in self._launchers:
            launcher.dismiss()

    def stop(self) -> None:
        for launcher in self._launchers:
            launcher.stop()

    def unstarted_before(self, offset_ns: int) -> int:
        return sum(launcher.unstarted_before(offset_ns) for launcher in self._launchers)

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for launcher in self._launchers:
                stack.callback(launcher.close)

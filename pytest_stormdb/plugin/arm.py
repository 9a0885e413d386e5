"""This session as the other arm of somebody else's ``--stormdb-against``: it sets tests up and plays when told to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from .options import ARM_LINE

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ..run.alternating import Arm

ARM_DSN = "_STORMDB_ARM_DSN"


class OtherArm:
    """Follows the session at the other end of a line that was handed down with the environment."""

    def __init__(self) -> None:
        from multiprocessing.connection import Connection

        self._line: Connection[Any, Any] = Connection(int(os.environ.pop(ARM_LINE)))
        self.dsn = os.environ.pop(ARM_DSN)
        self._played = False
        self._problem = ""

    def run(self, session: pytest.Session) -> None:
        """Instead of running all tests: those that are asked for, one after the other, until nobody asks any more."""
        from ..run.rivalry import Disagreement, receive, send

        items = {item.nodeid: item for item in session.items}
        try:
            while True:
                _, nodeid, following = receive(self._line, 24 * 3600.0)
                if nodeid not in items:
                    send(self._line, "missing")
                    continue
                self._played, self._problem = False, ""
                item = items[nodeid]
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=items.get(following))
                if not self._played:
                    send(self._line, "failed", self._problem or "it was skipped")
        except Disagreement:
            return

    def note(self, report: pytest.TestReport) -> None:
        """Remember why a test cannot be played."""
        if report.failed or report.skipped:
            self._problem = report.longreprtext or str(report.longrepr)

    def play(self, arm: Arm) -> None:
        """A test is set up: play its epochs, until it may be torn down."""
        from ..run.rivalry import follow, follow_alone, receive, send

        self._played = True
        send(self._line, "ready", str(arm.dsn))
        while True:
            kind, *values = receive(self._line, 24 * 3600.0)
            if kind not in ("epoch", "alone"):
                return
            (follow if kind == "epoch" else follow_alone)(self._line, arm, *values)


def other_arm() -> OtherArm | None:
    """Whether this session is one; on a machine without forks, none is."""
    return OtherArm() if ARM_LINE in os.environ else None

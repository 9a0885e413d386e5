"""Where a run in progress is shown: as a block below pytest's open line, as plain lines, or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ..realtime import monotonic
from .files import can_write

if TYPE_CHECKING:
    from rich.live import Live

    from ..reports.live import LoadingView, View

Mode = Literal["block", "lines", "silent"]

_FRAME_S = 0.25
_DRAWN = "▁█━╸"
_LINE_S = 10.0


def mode_of(config: pytest.Config, environment: Mapping[str, str] = os.environ) -> Mode:
    """How a run is shown in this session.

    A block needs a terminal that is ours alone: not with ``-s`` or live logs, which others write to, nor in CI.
    """
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.get_verbosity() < 0:
        return "silent"
    logs = config.getini("log_cli") or config.getoption("log_cli_level", None) is not None
    shared = config.getoption("capture") == "no" or logs or config.getoption("numprocesses", None)
    plain = environment.get("TERM") in ("dumb", "unknown") or environment.get("CI") or shared
    own = type(reporter).__module__ == "_pytest.terminal"
    return "block" if reporter.isatty and own and not plain and can_write(_DRAWN) else "lines"


class BlockScreen:
    """Draws below the line that pytest has begun, and leaves the cursor where that line ends."""

    every_s = _FRAME_S

    def __init__(self, config: pytest.Config) -> None:
        import rich.live  # noqa: F401 - now, and not while load is generated

        self._config = config
        self._live: Live | None = None
        self._column = 0

    def show(self, view: View) -> None:
        from ..reports.live import block

        with _terminal(self._config):
            live = self._started()
            live.update(block(view, live.console.width), refresh=True)

    def show_loading(self, view: LoadingView) -> None:
        from ..reports.live import loading_block

        with _terminal(self._config):
            self._started().update(loading_block(view), refresh=True)

    def close(self) -> None:
        """Take the block away."""
        if self._live is None:
            return
        with _terminal(self._config):
            self._live.stop()
            self._live = None
            if self._column:
                sys.stdout.write(f"\x1b[1A\x1b[{self._column + 1}G")
            sys.stdout.flush()

    def _started(self) -> Live:
        """No thread: it is drawn when it is told to."""
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            writer = self._config.get_terminal_writer()
            writer.flush()
            self._column = writer.width_of_current_line
            if self._column:
                sys.stdout.write("\n")
            console = Console(file=sys.stdout, force_terminal=True, no_color=not writer.hasmarkup, legacy_windows=False)
            self._live = Live(
                console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
        return self._live


class LineScreen:
    """Writes a line now and then, each on its own."""

    every_s = _LINE_S

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._config = config
        self._wrote = False

    def show(self, view: View) -> None:
        from ..reports.live import line

        self._write(line(view))

    def show_loading(self, view: LoadingView) -> None:
        from ..reports.live import loading_line

        self._write(loading_line(view))

    def close(self) -> None:
        """Begin pytest's line again, so that the outcome stands behind the name of its file."""
        if self._wrote and self._reporter.showfspath:
            with _terminal(self._config):
                self._reporter.write_fspath_result(os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0], "")

    def _write(self, text: str) -> None:
        with _terminal(self._config):
            self._reporter.ensure_newline()
            self._reporter.write_line(f"stormdb: {text}")
        self._wrote = True


@contextlib.contextmanager
def _terminal(config: pytest.Config) -> Iterator[None]:
    """The terminal itself: what a test prints meanwhile is not caught."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def screen_of(config: pytest.Config) -> Iterator[BlockScreen | LineScreen | None]:
    """The screen for one run or one loading of data; what it shows is gone afterwards."""
    mode = mode_of(config)
    if mode == "silent":
        yield None
        return
    screen = BlockScreen(config) if mode == "block" else LineScreen(config)
    with contextlib.closing(screen):
        yield screen


class Loading:
    """Counts the rows of data being loaded, and shows them."""

    def __init__(self, title: str, total: int | None, screen: BlockScreen | LineScreen | None) -> None:
        self.rows = 0
        self._title = title
        self._total = total
        self._screen = screen
        self._began_s = monotonic()
        self._next_s = self._began_s + (screen.every_s if screen is not None else 0.0)

    def advance(self, rows: int = 1) -> None:
        """So many rows more are there."""
        self.rows += rows
        now_s = monotonic()
        if self._screen is None or now_s < self._next_s:
            return
        from ..reports.live import LoadingView

        self._next_s = now_s + self._screen.every_s
        self._screen.show_loading(LoadingView(self._title, self.rows, now_s - self._began_s, self._total))


@contextlib.contextmanager
def loading(config: pytest.Config, title: str, total: int | None) -> Iterator[Loading]:
    """Data being loaded, shown until it is there."""
    with screen_of(config) as screen:
        yield Loading(title, total, screen)

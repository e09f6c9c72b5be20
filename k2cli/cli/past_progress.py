"""How far the history has come, on stderr, where no screen shows it."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from k2cli.cli.redrawn import REDRAWS_PER_SECOND, Redrawn
from k2cli.cli.run import past_text
from k2cli.display.progress import live_line

if TYPE_CHECKING:
    from k2cli.cli.log import LogOutput
    from k2cli.cli.run import RunView


class PastProgressLine(Redrawn):
    """A line that stays in place on a terminal, until all is live; nothing elsewhere.

    Args:
        log_output: Log lines scroll by above it.
    """

    def __init__(self, log_output: LogOutput) -> None:
        self._console = Console(stderr=True)
        self._log_output = log_output
        self._closing = ExitStack()
        self._view: RunView | None = None

    def start(self, view: RunView) -> None:
        """Begin, if stderr is a terminal."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            return
        self._view = view
        self._live = live_line(self._console)
        self._closing.enter_context(self._log_output.diverted(self._print))
        self._live.start()
        self._closing.callback(self._live.stop)
        view.before_exit(self._live.stop)
        self.start_drawing(view, 1 / REDRAWS_PER_SECOND)

    def stop(self) -> None:
        """Take the line away; harmless twice."""
        self.stop_drawing()
        with suppress(OSError):
            self._closing.close()

    def draw(self) -> None:
        """Show how far it is."""
        snapshot = self._view.snapshot() if self._view is not None else None
        if snapshot is None or snapshot.past is None:
            self.stop()
            return
        self._live.update(Text(past_text(snapshot.past)), refresh=True)

    def _print(self, line: str) -> None:
        self._console.print(Text.from_ansi(line))

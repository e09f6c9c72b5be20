"""How far the history has come, on stderr, where no screen shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from k2cli.cli.progress import RedrawnLine
from k2cli.cli.run import past_text

if TYPE_CHECKING:
    from k2cli.cli.log import LogOutput


class PastProgressLine(RedrawnLine):
    """A line that stays in place on a terminal, until all is live; nothing elsewhere.

    Args:
        log_output: Log lines scroll by above it.
    """

    def __init__(self, log_output: LogOutput) -> None:
        super().__init__(Console(stderr=True), log_output)

    def draw(self) -> None:
        """Show how far it is."""
        snapshot = self._view.snapshot() if self._view is not None else None
        if self._live is None or snapshot is None or snapshot.past is None:
            self.stop()
            return
        self._live.update(Text(past_text(snapshot.past)), refresh=True)

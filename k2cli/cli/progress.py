"""The progress of a recording, on stderr."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import structlog
from rich.console import Group
from rich.text import Text

from k2cli.cli.redrawn import REDRAWS_PER_SECOND, Redrawn
from k2cli.display.meters import CountRate, lag_us
from k2cli.display.numbers import duration_text, size_text
from k2cli.display.progress import Progress, live_line, progress_line
from k2cli.display.reports import symbol_table
from k2cli.display.text import fit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from structlog.typing import FilteringBoundLogger

    from k2cli.cli.log import LogOutput
    from k2cli.cli.run import RunView

LOGGED_EVERY_SECONDS = 30.0
# Summing thousands of symbols up takes milliseconds.
SYMBOLS_EVERY_SECONDS = 1.0
_ALWAYS = ("trades", "rate", "last_id", "missing")

log: FilteringBoundLogger = structlog.get_logger()


class RedrawnLine(Redrawn):
    """What stays in place on a terminal, below the log lines.

    Args:
        console: On stderr.
        log_output: On a terminal, log lines scroll by above it.
    """

    def __init__(self, console: Console, log_output: LogOutput) -> None:
        self._console = console
        self._log_output = log_output
        self._live: Live | None = None
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

    def _print(self, line: str) -> None:
        self._console.print(Text.from_ansi(line))


class RecordingProgress(RedrawnLine):
    """The progress of a recording on stderr.

    A line that stays in place on a terminal, a log line now and then elsewhere.

    Args:
        console: On stderr.
        log_output: On a terminal, log lines scroll by above the progress.
        per_symbol: Whether to show, on a terminal, what comes of every symbol: as many
            as half the screen holds, those with trouble and the busiest.
    """

    def __init__(
        self,
        console: Console,
        log_output: LogOutput,
        *,
        per_symbol: bool = False,
    ) -> None:
        super().__init__(console, log_output)
        self._started_seconds = time.monotonic()
        self._pace = CountRate(self._started_seconds)
        self._per_symbol = per_symbol
        self._symbol_paces: dict[str, CountRate] = {}
        self._symbols: list[Text] = []
        self._next_symbols_seconds = 0.0

    def start(self, view: RunView) -> None:
        """Show that it begins."""
        super().start(view)
        if self._live is None:
            self._view = view
            self.start_drawing(view, LOGGED_EVERY_SECONDS)

    def draw(self) -> None:
        """Show how it is doing."""
        if self._view is None:
            return
        progress = self._progress(self._view)
        if self._live is not None:
            line = progress_line(progress, self._console.width - 1)
            if self._per_symbol:
                self._sum_up(self._view)
            self._live.update(Group(*self._symbols, line), refresh=True)
        elif progress.trades:
            log.info(
                "Recording",
                trades=progress.trades,
                trades_per_second=round(progress.trades_per_second, 1),
                gaps=progress.gaps,
                repaired=progress.repaired,
                repairing=progress.repairing,
                missing=progress.lost,
                **({"redundancy": progress.redundancy} if progress.redundancy else {}),
                **(
                    {"repair_left": duration_text(progress.repair_seconds)}
                    if progress.repairing and progress.repair_seconds is not None
                    else {}
                ),
                **(
                    {"size": size_text(progress.size_bytes)}
                    if progress.size_bytes is not None
                    else {}
                ),
            )

    def _sum_up(self, view: RunView) -> None:
        """Draw the table of symbols anew, if it is time for that."""
        now_seconds = time.monotonic()
        if now_seconds < self._next_symbols_seconds:
            return
        self._next_symbols_seconds = now_seconds + SYMBOLS_EVERY_SECONDS
        symbols = list(view.symbol_figures().items())
        for symbol, figures in symbols:
            pace = self._symbol_paces.setdefault(
                symbol, CountRate(self._started_seconds)
            )
            figures["rate"] = round(pace.per_second(figures["trades"], now_seconds))
        most = max(1, self._console.height // 2)
        table = symbol_table(symbols, always=_ALWAYS, most=most)
        self._symbols = [fit(line, self._console.width - 1) for line in table]

    def _progress(self, view: RunView) -> Progress:
        capture, snapshot = view.capture, view.snapshot()
        last = snapshot.last_trade
        return Progress(
            connection=view.connection(snapshot),
            redundancy=view.redundancy(snapshot),
            uptime_seconds=snapshot.uptime_seconds,
            name=capture.name if capture is not None else "stdout",
            size_bytes=capture.size_bytes if capture is not None else None,
            trades=snapshot.trades,
            trades_per_second=self._pace.per_second(snapshot.trades, time.monotonic()),
            lag_us=lag_us(last) if last and not view.venue.is_replay else None,
            gaps=snapshot.gaps,
            repaired=snapshot.repaired,
            repairing=snapshot.repairing,
            repair_seconds=snapshot.repair_seconds,
            lost=snapshot.lost,
            most_trades=view.options.count,
            most_seconds=view.options.duration,
            simulated=view.venue.is_simulated
            if last is None
            else last.exchange == "SIM",
        )

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
from k2cli.display.numbers import size_text
from k2cli.display.progress import Progress, live_line, progress_line
from k2cli.display.reports import symbol_table
from k2cli.display.text import fit

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rich.console import Console
    from rich.live import Live
    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.burst import Burst
    from k2cli.cli.pipe_output import PipeOutput
    from k2cli.cli.tail import Tail
    from k2cli.log import LogOutput
    from k2cli.trade import TradeV2

LOGGED_EVERY_SECONDS = 30.0
# Summing thousands of symbols up takes milliseconds.
SYMBOLS_EVERY_SECONDS = 1.0
_ALWAYS = ("trades", "rate", "last_id", "missing")

log: FilteringBoundLogger = structlog.get_logger()


class RecordingOutput(Redrawn):
    """The progress of a recording on stderr.

    A line that stays in place on a terminal, a log line now and then elsewhere.

    Args:
        console: On stderr.
        log_output: On a terminal, log lines scroll by above the progress.
        pipe: Where the records go, if that is stdout.
        per_symbol: Whether to show, on a terminal, what comes of every symbol: as many
            as half the screen holds, those with trouble and the busiest.
    """

    def __init__(
        self,
        console: Console,
        log_output: LogOutput,
        pipe: PipeOutput | None = None,
        *,
        per_symbol: bool = False,
    ) -> None:
        self._console = console
        self._log_output = log_output
        self._pipe = pipe
        self._live: Live | None = None
        self._closing = ExitStack()
        self._tail: Tail | None = None
        self._pace = CountRate(time.monotonic())
        self._per_symbol = per_symbol
        self._symbol_paces: dict[str, CountRate] = {}
        self._symbols: list[Text] = []
        self._next_symbols_seconds = 0.0

    def start(self, tail: Tail) -> None:
        """Show that it begins."""
        self._tail = tail
        if self._pipe is not None:
            self._pipe.start(tail)
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            self.start_drawing(tail, LOGGED_EVERY_SECONDS)
            return
        self._live = live_line(self._console)
        self._closing.enter_context(self._log_output.diverted(self._print))
        self._live.start()
        self._closing.callback(self._live.stop)
        tail.stop.before_exit(self._live.stop)
        self.start_drawing(tail, 1 / REDRAWS_PER_SECOND)

    def write(self, trade: TradeV2) -> Awaitable[None] | None:
        """Hand a trade to stdout if the records go there; the tail counts it."""
        return self._pipe.write(trade) if self._pipe is not None else None

    def write_burst(
        self, burst: Burst, start: int, stop: int
    ) -> Awaitable[None] | None:
        """Hand trades to stdout, if the records go there."""
        if self._pipe is None:
            return None
        return self._pipe.write_burst(burst, start, stop)

    def waits_seconds(self) -> float:
        """Tell how long the reader of stdout has not read, if records go there."""
        return self._pipe.waits_seconds() if self._pipe is not None else 0.0

    def finish(self) -> None:
        """Stop waiting for a reader that does not read."""
        if self._pipe is not None:
            self._pipe.finish()

    def close(self) -> None:
        """Take the progress line away."""
        self.stop_drawing()
        with suppress(OSError):
            self._closing.close()
        if self._pipe is not None:
            self._pipe.close()

    def _print(self, line: str) -> None:
        self._console.print(Text.from_ansi(line))

    def draw(self) -> None:
        """Show how it is doing."""
        if self._tail is None:
            return
        progress = self._progress(self._tail)
        if self._live is not None:
            line = progress_line(progress, self._console.width - 1)
            if self._per_symbol:
                self._sum_up(self._tail)
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
                **(
                    {"size": size_text(progress.size_bytes)}
                    if progress.size_bytes is not None
                    else {}
                ),
            )

    def _sum_up(self, tail: Tail) -> None:
        """Draw the table of symbols anew, if it is time for that."""
        now_seconds = time.monotonic()
        if now_seconds < self._next_symbols_seconds:
            return
        self._next_symbols_seconds = now_seconds + SYMBOLS_EVERY_SECONDS
        symbols = list(tail.ledger.to_dict()["symbols"].items())
        for symbol, figures in symbols:
            pace = self._symbol_paces.setdefault(
                symbol, CountRate(tail.started_seconds)
            )
            figures["rate"] = round(pace.per_second(figures["trades"], now_seconds))
        most = max(1, self._console.height // 2)
        table = symbol_table(symbols, always=_ALWAYS, most=most)
        self._symbols = [fit(line, self._console.width - 1) for line in table]

    def _progress(self, tail: Tail) -> Progress:
        capture = tail.capture
        last = tail.flow.last_trade
        repairing = tail.ledger.open
        return Progress(
            connection=tail.connection(),
            uptime_seconds=tail.uptime_seconds(),
            name=capture.name if capture is not None else "stdout",
            size_bytes=capture.finished_bytes + capture.size_bytes
            if capture is not None
            else None,
            trades=tail.flow.passed,
            trades_per_second=self._pace.per_second(tail.flow.passed, time.monotonic()),
            lag_us=lag_us(last) if last and not tail.source.replayed else None,
            gaps=tail.ledger.gaps,
            repaired=tail.ledger.repaired,
            repairing=repairing,
            lost=tail.ledger.missing - repairing,
            most_trades=tail.options.count,
            most_seconds=tail.options.duration,
            simulated=tail.source.simulated if last is None else last.exchange == "SIM",
        )

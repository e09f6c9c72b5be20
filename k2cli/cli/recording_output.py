"""The progress of a recording, on stderr."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import structlog
from rich.live import Live
from rich.text import Text

from k2cli.cli.redrawn import REDRAWS_PER_SECOND, Redrawn
from k2cli.display.digits import size_text
from k2cli.display.lag import lag_us
from k2cli.display.progress import Progress, progress_line
from k2cli.display.window import RateWindow

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rich.console import Console
    from structlog.typing import FilteringBoundLogger

    from k2cli.cli.pipe_output import PipeOutput
    from k2cli.cli.tail import Tail
    from k2cli.log import LogOutput
    from k2cli.trade import TradeV2

LOGGED_EVERY_SECONDS = 30.0

log: FilteringBoundLogger = structlog.get_logger()


class RecordingOutput(Redrawn):
    """The progress of a recording on stderr.

    A line that stays in place on a terminal, a log line now and then elsewhere.

    Args:
        console: On stderr.
        log_output: On a terminal, log lines scroll by above the progress.
        pipe: Where the records go, if that is stdout.
    """

    def __init__(
        self, console: Console, log_output: LogOutput, pipe: PipeOutput | None = None
    ) -> None:
        self._console = console
        self._log_output = log_output
        self._pipe = pipe
        self._live: Live | None = None
        self._closing = ExitStack()
        self._tail: Tail | None = None
        self._rate = RateWindow(time.monotonic())

    def start(self, tail: Tail) -> None:
        """Show that it begins."""
        self._tail = tail
        if self._pipe is not None:
            self._pipe.start(tail)
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            self.start_drawing(tail, LOGGED_EVERY_SECONDS)
            return
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._closing.enter_context(self._log_output.diverted(self._print))
        self._live.start()
        self._closing.callback(self._live.stop)
        tail.stop.before_exit(self._live.stop)
        self.start_drawing(tail, 1 / REDRAWS_PER_SECOND)

    def write(self, trade: TradeV2) -> Awaitable[None] | None:
        """Count a trade, and hand it to stdout if the records go there."""
        self._rate.add(time.monotonic())
        return self._pipe.write(trade) if self._pipe is not None else None

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
            self._live.update(line, refresh=True)
        elif progress.trades:
            log.info(
                "Recording",
                trades=progress.trades,
                trades_per_second=round(progress.trades_per_second, 1),
                gaps=progress.gaps,
                repaired=progress.repaired,
                missing=progress.missing,
                **(
                    {"size": size_text(progress.size_bytes)}
                    if progress.size_bytes is not None
                    else {}
                ),
            )

    def _progress(self, tail: Tail) -> Progress:
        capture = tail.capture
        last = tail.last_trade
        return Progress(
            connection=tail.connection(),
            uptime_seconds=tail.uptime_seconds(),
            name=capture.name if capture is not None else "stdout",
            size_bytes=capture.finished_bytes + capture.size_bytes
            if capture is not None
            else None,
            trades=tail.passed,
            trades_per_second=self._rate.per_second(time.monotonic()),
            lag_us=lag_us(last) if last and not tail.source.replayed else None,
            gaps=tail.ledger.gaps,
            repaired=tail.ledger.repaired,
            missing=tail.ledger.missing,
            simulated=tail.source.simulated if last is None else last.exchange == "SIM",
        )

"""The live table on a terminal."""

from __future__ import annotations

import select
import sys
import time
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

from k2cli.cli.redrawn import REDRAWS_PER_SECOND, Redrawn
from k2cli.cli.stdout import STDOUT
from k2cli.display.live import LiveTable
from k2cli.display.market import MarketState
from k2cli.display.status import Status
from k2cli.display.table import Frame, TableView

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from k2cli.binance.burst import Burst
    from k2cli.cli.tail import Tail
    from k2cli.log import LogOutput
    from k2cli.trade import TradeV2

# Log lines held while the table has the screen, shown when it gives it back.
_LOG_LINES_HELD = 100


class TableOutput(Redrawn):
    """The live table on a terminal.

    Args:
        console: The terminal on stdout.
        log_output: Log lines are shown in the table meanwhile, and again after it.
        picture: File for a picture of the last screen.
    """

    def __init__(
        self, console: Console, log_output: LogOutput, picture: Path | None = None
    ) -> None:
        self._console = console
        self._log_output = log_output
        self._picture = picture
        self._live = LiveTable(console)
        self._held: deque[str] = deque(maxlen=_LOG_LINES_HELD)
        self._closing = ExitStack()
        self._tail: Tail | None = None

    def start(self, tail: Tail) -> None:
        """Take the screen over."""
        self._tail = tail
        catalog = tail.lookup.catalog
        self._view = TableView(catalog.price_decimals(), catalog.size_decimals())
        self._market = MarketState(
            tail.lookup.symbols, started_seconds=time.monotonic()
        )
        self._closing.enter_context(self._log_output.diverted(self._held.append))
        tail.stop.before_exit(self._live.stop)
        self._live.start()
        self.start_drawing(tail, 1 / REDRAWS_PER_SECOND)

    def write(self, trade: TradeV2) -> None:
        """Take note of a trade; it is on the screen with the next redraw."""
        self._market.observe(trade, time.monotonic())

    def write_burst(self, burst: Burst, start: int, stop: int) -> None:
        """Take note of many trades."""
        now_seconds = time.monotonic()
        for index in range(start, stop):
            self._market.observe(burst.trade(index), now_seconds)

    def finish(self) -> None:
        """Nobody holds up the end here."""

    def close(self) -> None:
        """Give the screen back, and show what was logged."""
        self.stop_drawing()
        try:
            if self._picture is not None and self._tail is not None:
                self._live.refresh(self._frame)
                self._live.save_svg(self._picture, "k2 stream")
        finally:
            self._live.stop()
            self._closing.close()
            for line in self._held:
                self._log_output.write(f"{line}\n")
            self._held.clear()

    def draw(self) -> None:
        """Send what changed since the last time."""
        # A terminal that is held with Ctrl-S takes nothing: skip, do not wait.
        if sys.platform != "win32" and not select.select((), (STDOUT,), (), 0)[1]:
            return
        self._live.refresh(self._frame)

    def _frame(self, width: int, height: int) -> Frame:
        tail = self._tail
        assert tail is not None, "drawn before the start"  # noqa: S101 - for the type checker
        now_seconds = time.monotonic()
        last = tail.last_trade
        simulated = tail.source.simulated if last is None else last.exchange == "SIM"
        capture = tail.capture
        status = Status(
            host=tail.source.name,
            exchange="SIM" if simulated else "BINANCE",
            connection=tail.connection(),
            uptime_seconds=tail.uptime_seconds(),
            trades=tail.passed,
            trades_per_second=self._market.per_second(now_seconds),
            reconnects=tail.client.reconnects,
            gaps=tail.ledger.gaps,
            repaired=tail.ledger.repaired,
            missing=tail.ledger.missing,
            log_message=self._log_output.latest_warning,
            recording=capture.name if capture is not None else None,
            recorded=capture.trades_written if capture is not None else 0,
            label="REPLAY" if tail.source.replayed else None,
        )
        return self._view.frame(
            self._market, status, width=width, height=height, now_seconds=now_seconds
        )

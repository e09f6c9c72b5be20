"""The live table on a terminal."""

from __future__ import annotations

import asyncio
import select
import signal
import sys
import time
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

from k2cli.cli.keys import Keyboard, Suspension, in_foreground
from k2cli.cli.redrawn import REDRAWS_PER_SECOND, Redrawn
from k2cli.cli.stdout import STDOUT
from k2cli.display.controls import Controls
from k2cli.display.market import WINDOWS_SECONDS, MarketState
from k2cli.display.meters import LagMeter
from k2cli.display.numbers import Precision
from k2cli.display.screen import ScreenView
from k2cli.display.status import Notice, Status
from k2cli.display.terminal import LiveTable, save_svg

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from k2cli.binance.burst import Burst
    from k2cli.cli.tail import Tail
    from k2cli.display.text import Frame
    from k2cli.log import LogOutput
    from k2cli.trade import TradeV2

# Log lines held while the table has the screen, shown when it gives it back.
_LOG_LINES_HELD = 100
_PICTURE_SIZE = (120, 34)


class TableOutput(Redrawn):
    """The live table on a terminal.

    Args:
        console: The terminal on stdout.
        log_output: Log lines are shown in the table meanwhile, and again after it.
        picture: File for a picture of the last screen.
        sort: Name of the column to sort by at first.
        window_seconds: Window of time for change and trend at first.
    """

    def __init__(
        self,
        console: Console,
        log_output: LogOutput,
        picture: Path | None = None,
        *,
        sort: str | None = None,
        window_seconds: float,
    ) -> None:
        self._log_output = log_output
        self._picture = picture
        self._live = LiveTable(console)
        self._held: deque[str] = deque(maxlen=_LOG_LINES_HELD)
        self._closing = ExitStack()
        self._tail: Tail | None = None
        self._controls = Controls(
            sort=sort,
            windows_seconds=tuple(sorted({*WINDOWS_SECONDS, window_seconds})),
            window_seconds=window_seconds,
        )
        self._lag = LagMeter()
        self._notice = Notice()
        self._keyboard = Keyboard(self._press)
        self._paused: tuple[MarketState, float] | None = None

    def start(self, tail: Tail) -> None:
        """Take the screen over."""
        self._tail = tail
        catalog = tail.lookup.catalog
        self._view = ScreenView(
            Precision(catalog.price_decimals(), catalog.size_decimals())
        )
        self._market = MarketState(
            tail.lookup.symbols,
            started_seconds=time.monotonic(),
            windows_seconds=self._controls.windows_seconds,
        )
        self._closing.enter_context(self._log_output.diverted(self._held.append))
        tail.stop.before_exit(self._leave)
        if self._live.is_usable:
            suspension = Suspension(self._leave, self.draw_soon)
            suspension.start()
            self._closing.callback(suspension.stop)
            self._redraw_when_resized()
        self.start_drawing(tail, 1 / REDRAWS_PER_SECOND)

    def write(self, trade: TradeV2) -> None:
        """Take note of a trade; it is on the screen with the next redraw."""
        facts = (
            trade.symbol,
            trade.price,
            trade.quantity,
            trade.side,
            trade.source_sequence or 0,
            trade.timestamp,
            trade.vendor_data.get("source") == "backfill",
        )
        self._market.observe((facts,), time.monotonic())

    def write_burst(self, burst: Burst, start: int, stop: int) -> None:
        """Take note of many trades."""
        self._market.observe(burst.facts(start, stop), time.monotonic())

    def waits_seconds(self) -> float:
        """Nobody is waited for here."""
        return 0.0

    def finish(self) -> None:
        """Nobody holds up the end here."""

    def close(self) -> None:
        """Give the screen back, and show what was logged."""
        self.stop_drawing()
        try:
            if self._picture is not None and self._tail is not None:
                # As on a terminal, wherever it is made.
                self._controls.has_keys = True
                width, height = _PICTURE_SIZE
                frame = self._frame(width, height)
                save_svg(self._picture, frame, "k2 stream", width=width, height=height)
        finally:
            self._leave()
            self._closing.close()
            for line in self._held:
                self._log_output.write(f"{line}\n")
            self._held.clear()

    def draw(self) -> None:
        """Send what changed since the last time."""
        # A terminal that is held with Ctrl-S takes nothing: skip, do not wait.
        if sys.platform != "win32" and not select.select((), (STDOUT,), (), 0)[1]:
            return
        # A job that went on in the background may be in the foreground by now: a shell
        # need not say so.
        self._enter()
        self._live.refresh(self._frame)

    def _enter(self) -> None:
        """Take the terminal, if it is ours; harmless twice."""
        if not (self._live.is_usable and in_foreground()):
            return
        self._live.start()
        self._keyboard.start()
        self._controls.has_keys = self._keyboard.is_listening

    def _leave(self) -> None:
        """Give the terminal back; harmless twice."""
        self._keyboard.stop()
        self._live.stop()

    def _redraw_when_resized(self) -> None:
        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGWINCH, self.draw_soon)
            self._closing.callback(loop.remove_signal_handler, signal.SIGWINCH)

    def _press(self, key: str) -> None:
        tail = self._tail
        assert tail is not None, "no keys before the start"  # noqa: S101 - for the type checker
        controls = self._controls
        try:
            if controls.press(key):
                tail.stop.request()
            if not controls.is_paused:
                self._paused = None
            elif self._paused is None:
                self._paused = (self._market.copied(), time.monotonic())
            self._market.follow(controls.shows)
        except Exception as exc:
            tail.stop.fail(exc)
        self.draw_soon()

    def _frame(self, width: int, height: int) -> Frame:
        now_seconds = time.monotonic()
        market, market_seconds = self._paused or (self._market, now_seconds)
        return self._view.frame(
            market,
            self._status(now_seconds),
            self._controls,
            width=width,
            height=height,
            now_seconds=market_seconds,
        )

    def _status(self, now_seconds: float) -> Status:
        tail = self._tail
        assert tail is not None, "drawn before the start"  # noqa: S101 - for the type checker
        last = tail.flow.last_trade
        repairing = tail.ledger.open
        # Any address may be that of a made-up market: its trades say it.
        exchange = "SIM" if tail.source.simulated else ""
        capture = tail.capture
        # A replay's trades are from another day: their age says nothing.
        lag_us = None
        if not tail.source.replayed:
            lag_us = self._lag.sample(last, now_seconds)
        return Status(
            host=tail.source.name,
            exchange=last.exchange if last is not None else exchange,
            connection=tail.connection(),
            uptime_seconds=tail.uptime_seconds(),
            trades=tail.flow.passed,
            trades_per_second=self._market.per_second(now_seconds),
            reconnects=tail.client.reconnects,
            gaps=tail.ledger.gaps,
            repaired=tail.ledger.repaired,
            repairing=repairing,
            lost=tail.ledger.missing - repairing,
            duplicates=tail.ledger.duplicates,
            lag_us=lag_us,
            is_paused=self._controls.is_paused,
            log_message=self._notice.text(
                self._log_output.latest_warning,
                now_seconds=now_seconds,
                time_us=time.time_ns() // 1000,
            ),
            recording=capture.name if capture is not None else None,
            recorded=capture.trades_written if capture is not None else 0,
            label="REPLAY" if tail.source.replayed else None,
        )

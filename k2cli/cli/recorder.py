"""The capture file of a run: gone on with, flushed, and looked after."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from k2cli.capture.losses import Losses
from k2cli.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.burst import Burst
    from k2cli.capture.file import CaptureFile
    from k2cli.capture.ledger import Ledger
    from k2cli.capture.sequence import IdRange
    from k2cli.trade import TradeV2

# How often the file is looked after.
TEND_SECONDS = 1.0
_MOST_NAMED = 20

log: FilteringBoundLogger = structlog.get_logger()


class Recorder:
    """Writes trades to a capture file without keeping them from the disk.

    Args:
        capture: The file, open.
        on_failure: Told when the file cannot be written any more.
    """

    def __init__(
        self, capture: CaptureFile, on_failure: Callable[[Exception], None]
    ) -> None:
        self._capture = capture
        self._on_failure = on_failure
        self._losses = Losses(capture.path) if capture.path is not None else None
        self._flush_is_due = False

    async def resume(self, ledger: Ledger) -> None:
        """Go on where the capture stopped, symbol by symbol, holes included.

        Raises:
            OutputError: If that cannot be read.
        """
        if not self._capture.platform_sequence:
            if self._losses is not None:
                self._losses.forget()
            return
        symbols = list(ledger.trackers)
        last_trades = await asyncio.to_thread(self._capture.last_trades, symbols)
        for symbol, last in last_trades.items():
            ledger.trackers[symbol].resume(*last)
        lost = self._losses.read() if self._losses is not None else {}
        for symbol in symbols:
            ledger.trackers[symbol].remember(lost.get(symbol, []))
        anew = [symbol for symbol in symbols if symbol not in last_trades]
        if anew:
            log.info(
                "Symbols that the capture does not have yet", symbols=anew[:_MOST_NAMED]
            )

    def lost(self, symbol: str, ids: IdRange) -> None:
        """Note ids that were given up, before what is behind them is written.

        Raises:
            OutputError: If they cannot be noted.
        """
        if self._losses is not None:
            self._losses.add(symbol, ids)

    def write(self, trade: TradeV2) -> None:
        """Write a trade.

        Raises:
            OutputError: If the file cannot be written any more.
        """
        self._capture.write(trade)
        self._flush_soon()

    def write_burst(self, burst: Burst, start: int, stop: int) -> None:
        """Write some of the trades of a burst.

        Raises:
            OutputError: If the file cannot be written any more.
        """
        lines = burst.lines(start, stop, self._capture.platform_sequence + 1)
        self._capture.write_lines(lines, burst.exchange, burst.received_us)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_is_due:
            # At the earliest after whatever else has arrived by now, so that a burst is
            # written at once and a lone trade without delay.
            self._flush_is_due = True
            loop = asyncio.get_running_loop()
            if self._capture.flush_after_seconds:
                loop.call_later(self._capture.flush_after_seconds, self.flush)
            else:
                loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._flush_is_due = False
        try:
            self._capture.flush()
        except OutputError as exc:
            self._on_failure(exc)

    async def tend(self) -> None:
        """See that the file is still there, and ask the disk to keep what it got."""
        try:
            while True:
                await asyncio.sleep(TEND_SECONDS)
                self._capture.check()
                now = time.monotonic()
                if self._capture.sync_due(now):
                    await asyncio.to_thread(self._capture.sync, now)
        except OutputError as exc:
            self._on_failure(exc)

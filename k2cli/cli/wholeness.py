"""Keeping a run whole: gaps repaired, silences looked into, the end in order."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from k2cli.capture.delivery import Delivery
from k2cli.capture.silence import SilenceWatch
from k2cli.cli.repairer import Repairer
from k2cli.log import Sparing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.client import BinanceWebSocketClient
    from k2cli.binance.lookup import Lookup
    from k2cli.capture.delivery import Deliver
    from k2cli.capture.ledger import Ledger
    from k2cli.capture.sequence import IdRange
    from k2cli.cli.source import Source
    from k2cli.trade import PlainTrade, TradeV2

_LOOK_EVERY_SECONDS = 1.0
# A trade that the history has and the stream has not is late; after that it is lost.
LATE_SECONDS = 2.0

log: FilteringBoundLogger = structlog.get_logger()


class Wholeness:
    """Stands between the stream client and the outputs, and sees that nothing is lost.

    Args:
        source: The exchange.
        lookup: The symbols.
        ledger: The account.
        client: The stream, whose connections it may have replaced.
        at_once: As for ``Delivery``.
        in_order: As for ``Delivery``.
        on_lost: Told of ids that were given up.
        max_backfill: Trades that a gap may have to be repaired; 0 for no repairs.
    """

    def __init__(
        self,
        source: Source,
        lookup: Lookup,
        ledger: Ledger,
        client: BinanceWebSocketClient,
        *,
        at_once: Deliver | None,
        in_order: Deliver | None,
        on_lost: Callable[[str, IdRange], None],
        max_backfill: int,
    ) -> None:
        self._ledger = ledger
        self._client = client
        self._on_lost = on_lost
        self._max_backfill = max_backfill
        # The account names all.
        self._gap_lines, self._lost_lines = Sparing(), Sparing()
        self._delivery = Delivery(
            ledger,
            at_once=at_once,
            in_order=in_order,
            on_gap=self._on_gap,
            on_lost=self._report_lost,
        )
        self._repairer = Repairer(
            source, lookup, ledger, self._repaired, self._delivery.lost
        )

    def start(self) -> list[asyncio.Task[None]]:
        """Start to watch and to repair; whoever calls cancels the tasks in the end."""
        watching = [self._watch_holds()]
        if self._max_backfill:
            watching += [self._watch_silence(), self._repairer.run()]
        return [asyncio.create_task(work) for work in watching]

    def arrived(self, trade: TradeV2) -> Awaitable[None] | None:
        """Take a trade from the stream."""
        return self._delivery.arrived(trade, time.monotonic())

    def pass_over(self, trades: Sequence[PlainTrade], start: int, stop: int) -> int:
        """Take many trades from the stream; see ``Delivery.pass_over``."""
        return self._delivery.pass_over(trades, start, stop)

    async def repair_for(self, seconds: float) -> None:
        """Give repairs that are under way so long to come to an end."""
        if self._max_backfill:
            await self._repairer.until_idle(seconds)

    async def finish(self, *, whole: bool) -> None:
        """Hand on what is held; see ``Delivery.finish``."""
        left = self._delivery.held
        await self._delivery.finish(whole=whole)
        if left and not whole:
            log.warning(
                "Stopped before a gap was repaired: the next run goes on before it",
                trades_not_written=left,
            )

    def _repaired(self, trade: TradeV2) -> Awaitable[None] | None:
        return self._delivery.arrived(trade, time.monotonic(), repaired=True)

    def _on_gap(self, symbol: str, ids: IdRange) -> bool:
        trades = ids[1] - ids[0] + 1
        repairing = trades <= self._max_backfill
        tell = log.info if self._gap_lines.allows(time.monotonic()) else log.debug
        tell(
            "Sequence gap",
            symbol=symbol,
            first_id=ids[0],
            last_id=ids[1],
            trades=trades,
            repairing=repairing,
        )
        if repairing:
            self._repairer.repair(symbol, ids)
        return repairing

    def _report_lost(self, symbol: str, ids: IdRange) -> None:
        tell = log.warning if self._lost_lines.allows(time.monotonic()) else log.debug
        tell(
            "Trades are missing",
            symbol=symbol,
            first_id=ids[0],
            last_id=ids[1],
            trades=ids[1] - ids[0] + 1,
        )
        self._on_lost(symbol, ids)

    async def _watch_holds(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            self._delivery.give_up_stale(time.monotonic())

    async def _watch_silence(self) -> None:
        silence = SilenceWatch(time.monotonic())
        trackers = self._ledger.trackers
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            counts = {symbol: one.trades for symbol, one in trackers.items()}
            for symbol in silence.odd(counts, time.monotonic()):
                await self._look_into(symbol)

    async def _look_into(self, symbol: str) -> None:
        """Find out whether a silent symbol is quiet, or its stream has stalled."""
        tracker = self._ledger.trackers[symbol]
        newest = await self._repairer.newest_id(symbol)
        if newest is None or newest <= (tracker.last_id or 0):
            return
        await asyncio.sleep(LATE_SECONDS)
        if newest <= (tracker.last_id or 0):
            return
        self._client.replace_connection(
            symbol, f"{symbol} is silent, but its history goes on"
        )
        self._delivery.unseen(symbol, newest, time.monotonic())

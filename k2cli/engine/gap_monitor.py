"""Watching a run for gaps and stalls, and having them filled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from k2cli.completeness.doubts import Doubts
from k2cli.completeness.sequencer import Sequencer
from k2cli.completeness.stalls import StallDetector
from k2cli.engine.backfiller import Backfiller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from structlog.typing import FilteringBoundLogger

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.completeness.reorder import ReorderBuffer
    from k2cli.completeness.sequencer import Deliver
    from k2cli.engine.protocols import TradeHistory
    from k2cli.trade import TradeBatch

_LOOK_EVERY_SECONDS = 1.0
# Trades that are taken up in one turn of the event loop.
_RECOVERED_AT_ONCE = 256
# A trade that the history has and the stream has not is late; after that it is lost.
LATE_SECONDS = 2.0

log: FilteringBoundLogger = structlog.get_logger()


class LogThrottle:
    """Says whether one more log line of a kind is worth a person's time.

    After an outage of thousands of symbols, thousands of lines say the same.

    Args:
        most: Lines in one period.
        seconds: Its length, from its first line on.
    """

    def __init__(self, most: int = 20, seconds: float = 60.0) -> None:
        self._most = most
        self._seconds = seconds
        self._since_seconds = 0.0
        self._lines = 0

    def allows(self, now_seconds: float) -> bool:
        """Count a line; return whether it is one of the first of its period.

        Args:
            now_seconds: A monotonic clock.
        """
        if not self._lines or now_seconds - self._since_seconds >= self._seconds:
            self._since_seconds, self._lines = now_seconds, 0
        self._lines += 1
        return self._lines <= self._most


class GapMonitor:
    """Stands between the stream and the sinks, and sees that nothing is lost.

    Args:
        history: The exchange's.
        ledger: Follows every symbol.
        waiting: As for ``Sequencer``.
        at_once: As for ``Sequencer``.
        in_order: As for ``Sequencer``.
        on_lost: Called with ids that were given up.
        replace_connection: Called with a symbol whose stream has stalled, and why.
        room: As for ``Sequencer``.
        max_backfill: Trades that a gap may have to be filled; 0 for no back-fill.
    """

    def __init__(
        self,
        history: TradeHistory,
        ledger: Ledger,
        waiting: ReorderBuffer,
        *,
        at_once: Deliver | None,
        in_order: Deliver | None,
        on_lost: Callable[[str, IdRange], None],
        replace_connection: Callable[[str, str], None],
        room: Callable[[], int],
        max_backfill: int,
    ) -> None:
        self._trackers = ledger.trackers
        self._on_lost = on_lost
        self._replace_connection = replace_connection
        self._max_backfill = max_backfill
        # The ledger names all.
        self._gap_lines, self._lost_lines = LogThrottle(), LogThrottle()
        self._doubt_lines = LogThrottle()
        self._asking: set[asyncio.Task[None]] = set()
        self._sequencer = Sequencer(
            ledger,
            waiting,
            at_once=at_once,
            in_order=in_order,
            on_gap=self._gap_opened,
            on_lost=self._ids_lost,
            room=room,
            doubts=Doubts(self._doubted),
        )
        # Takes trades from the stream and from the history.
        self.receive = self._sequencer.receive
        # Takes trades of the history from before the start.
        self.begin_with = self._sequencer.begin_with
        self._backfiller = Backfiller(
            history, ledger, self.receive, self._sequencer.give_up
        )

    def start(self, when: asyncio.Event | None = None) -> list[asyncio.Task[None]]:
        """Start to watch and to fill; whoever calls cancels the tasks in the end.

        Args:
            when: What is waited for before that; ``None`` for nothing.
        """
        if not self._max_backfill:
            return []

        async def begin(work: Callable[[], Awaitable[None]]) -> None:
            if when is not None:
                await when.wait()
            await work()

        watching = (self._watch_stalls, self._backfiller.run)
        return [asyncio.create_task(begin(work)) for work in watching]

    async def recover(self, trades: Iterable[TradeBatch]) -> None:
        """Take the trades that an earlier run has left waiting, each a batch of one."""
        for number, trade in enumerate(trades):
            held_back = self._sequencer.recover(trade)
            if held_back is not None:
                await held_back
            elif number % _RECOVERED_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def backfill_for(self, seconds: float) -> None:
        """Give back-fill that is under way so long to come to an end."""
        if self._max_backfill:
            await self._backfiller.until_idle(seconds)

    def _doubted(self, symbol: str) -> bool:
        say = log.warning if self._doubt_lines.allows(time.monotonic()) else log.debug
        say("Set aside a trade with an id or time beyond belief", symbol=symbol)
        if not self._max_backfill:
            return False
        asking = asyncio.create_task(self._ask(symbol))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return True

    async def _ask(self, symbol: str) -> None:
        newest_id = await self._backfiller.newest_id(symbol)
        held_back = self._sequencer.settle(symbol, newest_id)
        if held_back is not None:
            await held_back

    async def finish(self) -> None:
        """End; see ``Sequencer.finish``."""
        for asking in self._asking:
            asking.cancel()
        await self._sequencer.finish()

    def _gap_opened(self, symbol: str, ids: IdRange) -> bool:
        repairing = ids.ids <= self._max_backfill
        say = log.info if self._gap_lines.allows(time.monotonic()) else log.debug
        say(
            "Sequence gap",
            symbol=symbol,
            first_id=ids.first_id,
            last_id=ids.last_id,
            trades=ids.ids,
            repairing=repairing,
        )
        if repairing:
            self._backfiller.request(symbol, ids)
        return repairing

    def _ids_lost(self, symbol: str, ids: IdRange) -> None:
        say = log.warning if self._lost_lines.allows(time.monotonic()) else log.debug
        say(
            "Trades are missing",
            symbol=symbol,
            first_id=ids.first_id,
            last_id=ids.last_id,
            trades=ids.ids,
        )
        self._on_lost(symbol, ids)

    async def _watch_stalls(self) -> None:
        detector = StallDetector(time.monotonic())
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            counts = {symbol: one.trades for symbol, one in self._trackers.items()}
            for symbol in detector.suspects(counts, time.monotonic()):
                await self._look_into(symbol)

    async def _look_into(self, symbol: str) -> None:
        """Find out whether a silent symbol is quiet, or its stream has stalled."""
        tracker = self._trackers[symbol]
        newest = await self._backfiller.newest_id(symbol)
        if newest is None or newest <= (tracker.last_id or 0):
            return
        await asyncio.sleep(LATE_SECONDS)
        if newest <= (tracker.last_id or 0):
            return
        self._replace_connection(symbol, f"{symbol} is silent, but its history goes on")
        self._sequencer.expect(symbol, newest)

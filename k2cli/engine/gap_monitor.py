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
from k2cli.engine.gap_log import LogThrottle, RangeLog
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

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
# A trade that the exchange has had for so long and the stream has not is no more late.
LATE_SECONDS = 2.0
# Where the exchange does not tell the newest ids of all symbols, so many are asked for
# one by one at a time.
_MOST_ASKED_SINGLY = 3
# Symbols whose newest trade is asked for at a time, because one of theirs is doubted.
_MOST_ASKED_AT_ONCE = 8

log: FilteringBoundLogger = structlog.get_logger()


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
        is_live: Returns whether all connections are up.
        room: As for ``Sequencer``.
        max_backfill: Trades that a gap may have to be filled; 0 for no back-fill.

    Attributes:
        watched: Symbols whose silence may be a stall; ``None`` for all.
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
        is_live: Callable[[], bool],
        room: Callable[[], int],
        max_backfill: int,
    ) -> None:
        self.watched: frozenset[str] | None = None
        self._trackers = ledger.trackers
        self._is_live = is_live
        self._on_lost = on_lost
        self._replace_connection = replace_connection
        self._max_backfill = max_backfill
        # The ledger names all.
        self._gaps = RangeLog("Sequence gap", "info")
        self._lost = RangeLog("Trades are missing", "warning")
        self._doubt_lines, self._stray_lines = LogThrottle(), LogThrottle()
        self._asking: set[asyncio.Task[None]] = set()
        self._sequencer = Sequencer(
            ledger,
            waiting,
            at_once=at_once,
            in_order=in_order,
            on_gap=self._gap_opened,
            on_lost=self._ids_lost,
            room=room,
            doubts=Doubts(self._doubted, self._rejected),
        )
        # Takes trades from the stream and from the history.
        self.receive = self._sequencer.receive
        # Takes trades of the history from before the start.
        self.begin_with = self._sequencer.begin_with
        self._backfiller = Backfiller(
            history, ledger, self.receive, self._sequencer.give_up
        )

    @property
    def repair_seconds(self) -> float | None:
        """How long it takes to repair all gaps, about; ``None`` if nobody knows."""
        return self._backfiller.left_seconds

    def start(self, when: asyncio.Event | None = None) -> list[asyncio.Task[None]]:
        """Start to watch and to fill; whoever calls cancels the tasks in the end.

        Args:
            when: What is waited for before that; ``None`` for nothing.
        """

        async def begin(work: Callable[[], Awaitable[None]]) -> None:
            if when is not None:
                await when.wait()
            await work()

        works: list[Callable[[], Awaitable[None]]] = [self._sum_up_now_and_then]
        if self._max_backfill:
            works += [self._watch_stalls, self._backfiller.run]
        return [asyncio.create_task(begin(work)) for work in works]

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
            until_idle = asyncio.create_task(self._backfiller.until_idle(seconds))
            await asyncio.wait([until_idle, *self._asking], timeout=seconds)
            until_idle.cancel()

    def _doubted(self, symbol: str) -> bool:
        say = log.warning if self._doubt_lines.allows(time.monotonic()) else log.debug
        say("Set aside a trade with an id or time beyond belief", symbol=symbol)
        if not self._max_backfill or len(self._asking) >= _MOST_ASKED_AT_ONCE:
            return False
        asking = asyncio.create_task(self._ask(symbol))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return True

    def _rejected(self, symbol: str, trades: list[TradeBatch]) -> None:
        first = trades[0]
        say = log.warning if self._stray_lines.allows(time.monotonic()) else log.debug
        say(
            "Left out stray trades, which the exchange does not know",
            symbol=symbol,
            trades=len(trades),
            first_id=int(first.trade_ids[0]),
            first_price=first.prices[0],
            first_time=printable(first.trade_times[0]),
        )

    async def _ask(self, symbol: str) -> None:
        newest = await self._backfiller.newest(symbol)
        held_back = self._sequencer.settle(symbol, newest)
        if held_back is not None:
            await held_back

    async def finish(self) -> None:
        """End; see ``Sequencer.finish``."""
        for asking in self._asking:
            asking.cancel()
        await self._sequencer.finish()
        self._sum_up(at_once=True)

    def _gap_opened(self, symbol: str, ids: IdRange) -> bool:
        repairing = ids.ids <= self._max_backfill
        self._gaps.note(symbol, ids, time.monotonic(), repairing=repairing)
        if repairing:
            self._backfiller.request(symbol, ids)
        return repairing

    def _ids_lost(self, symbol: str, ids: IdRange) -> None:
        self._lost.note(symbol, ids, time.monotonic())
        self._on_lost(symbol, ids)

    def _sum_up(self, *, at_once: bool = False) -> None:
        for each in (self._gaps, self._lost):
            each.sum_up(time.monotonic(), at_once=at_once)

    async def _sum_up_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            self._sum_up()

    async def _watch_stalls(self) -> None:
        while not self._is_live():  # noqa: ASYNC110 - there is no event for all of them
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        detector = StallDetector(time.monotonic())
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            counts = {
                symbol: one.trades
                for symbol, one in self._trackers.items()
                if self.watched is None or symbol in self.watched
            }
            if suspects := detector.suspects(counts, time.monotonic()):
                await self._look_into(suspects, detector)

    async def _look_into(self, suspects: list[str], detector: StallDetector) -> None:
        """Find out which silent symbols are quiet, and which have stalled."""
        newest = await self._newest_ids(suspects)

        def stalled() -> list[str]:
            return [
                symbol
                for symbol in suspects
                if symbol in newest
                and detector.has_stalled(symbol, self._trackers[symbol], newest[symbol])
            ]

        if not stalled():
            return
        await asyncio.sleep(LATE_SECONDS)
        if not (found := stalled()):
            return
        # One trade that is there proves that these ids are to be trusted.
        proof = await self._backfiller.newest(found[0])
        if proof is None or int(proof.trade_ids[-1]) < (newest[found[0]] or 0):
            return
        for symbol in stalled():
            tracker, newest_id = self._trackers[symbol], newest[symbol] or 0
            known_id = detector.known_id(symbol, tracker, newest_id)
            reason = f"{symbol} is silent, but its history goes on"
            self._replace_connection(symbol, reason)
            self._sequencer.expect(symbol, newest_id, known_id)

    async def _newest_ids(self, symbols: Sequence[str]) -> Mapping[str, int | None]:
        """Return the newest ids of symbols, ``None`` for none; as far as known."""
        found = await self._backfiller.newest_ids(symbols)
        if found:
            return {symbol: found.get(symbol) for symbol in symbols}
        singly: dict[str, int | None] = {}
        for symbol in symbols[:_MOST_ASKED_SINGLY]:
            trade = await self._backfiller.newest(symbol)
            if trade is not None:
                singly[symbol] = int(trade.trade_ids[-1])
        return singly

"""Each trade once, and in order, from trades as they arrive."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.reorder import ReorderBuffer
from k2cli.completeness.sequence import Verdict, accept_contiguous

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k2cli.completeness.ledger import Ledger
    from k2cli.completeness.sequence import SequenceTracker
    from k2cli.trade import TradeBatch

    Deliver = Callable[[TradeBatch], Awaitable[None] | None]

# How many trades, of all symbols, may wait for gaps to be repaired, and how long they
# wait when no repaired trade comes. Then the gap is given up.
MOST_WAITING_TRADES = 200_000
MOST_WAITING_SECONDS = 300.0
# When a symbol has more open gaps, the first one is given up.
MOST_OPEN_GAPS = 10_000


class Sequencer:
    """Hands on each trade exactly once.

    One receiver gets trades at once, repaired ones late. The other gets the trades of a
    symbol in the order of their ids: while a gap is open, later trades wait.

    If a receiver returns an awaitable, so does the method that called it: whoever
    brings trades has to await it before bringing more.

    Args:
        ledger: Follows the sequence of every symbol.
        at_once: Receives trades as they come; may be absent.
        in_order: Receives trades in order; may be absent.
        on_gap: Called with ids that were jumped over; returns whether they will be
            repaired.
        on_lost: Called with ids that were given up.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        at_once: Deliver | None,
        in_order: Deliver | None,
        on_gap: Callable[[str, IdRange], bool],
        on_lost: Callable[[str, IdRange], None],
    ) -> None:
        self._trackers = ledger.trackers
        self._at_once = at_once
        self._in_order = in_order
        self._on_gap = on_gap
        self._on_lost = on_lost
        self._waiting = ReorderBuffer()
        # When a symbol's first gap was opened, and when a repaired trade of any symbol
        # came last: after an outage of the whole market, a repair can take minutes.
        self._opened_seconds: dict[str, float] = {}
        self._repaired_seconds = -inf
        # Symbols whose waiting trades are being handed to a slow receiver.
        self._draining: dict[str, asyncio.Future[None]] = {}

    @property
    def waiting_trades(self) -> int:
        """How many trades wait for a gap before them."""
        return self._waiting.trades

    def receive(self, batch: TradeBatch, now_seconds: float) -> Awaitable[None] | None:
        """Take trades from the stream or from the history.

        From the history, only trades that are missing are taken: a page also has
        trades between the missing ones.

        Args:
            batch: Trades of symbols that are in the ledger.
            now_seconds: The time now, by a monotonic clock.
        """
        start = 0
        while start < len(batch):
            start, held_back = self._receive_from(batch, start, now_seconds)
            if held_back is not None:
                return self._receive_rest(batch, start, now_seconds, held_back)
        return None

    async def _receive_rest(
        self,
        batch: TradeBatch,
        start: int,
        now_seconds: float,
        held_back: Awaitable[None],
    ) -> None:
        await held_back
        while start < len(batch):
            start, held_back_again = self._receive_from(batch, start, now_seconds)
            if held_back_again is not None:
                await held_back_again

    def _receive_from(
        self, batch: TradeBatch, start: int, now_seconds: float
    ) -> tuple[int, Awaitable[None] | None]:
        """Take contiguous trades, or else one; return the index of the next one."""
        if batch.is_plain:
            stop = len(batch)
            if self._waiting.trades:
                rest = range(start, stop)
                symbols, waiting = batch.symbols, self._waiting
                stop = next((i for i in rest if symbols[i] in waiting), stop)
            end = accept_contiguous(self._trackers, batch, start, stop)
            if end > start:
                return end, self._hand_on(batch.part(start, end))
        return start + 1, self._receive_one(batch, start, now_seconds)

    def _hand_on(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Hand on trades before which nothing is missing."""
        held_back = self._at_once(batch) if self._at_once is not None else None
        if self._in_order is not None:
            held_back = both(held_back, self._in_order(batch))
        return held_back

    def _receive_one(
        self, batch: TradeBatch, index: int, now_seconds: float
    ) -> Awaitable[None] | None:
        symbol, trade_id = batch.symbols[index], int(batch.trade_ids[index])
        tracker = self._trackers[symbol]
        if batch.is_backfill and trade_id not in tracker.open:
            return None
        before = tracker.last_id
        verdict = tracker.observe(trade_id, batch.timestamp_us(index))
        if verdict is Verdict.DUPLICATE:
            return None
        trade = batch.part(index, index + 1)
        if batch.is_backfill:
            tracker.repaired += 1
            self._repaired_seconds = now_seconds
        if verdict is Verdict.RESET:
            return both(self._drain(symbol), self._deliver(trade, tracker))
        if verdict is Verdict.GAP and before is not None:
            self._opened(symbol, IdRange(before + 1, trade_id - 1), now_seconds)
        return self._deliver(trade, tracker)

    def expect(self, symbol: str, newest_id: int, now_seconds: float) -> None:
        """Open a gap up to this trade, which the exchange has, if it has not come."""
        ids = self._trackers[symbol].expect(newest_id)
        if ids is not None:
            self._opened(symbol, ids, now_seconds)

    def give_up(self, symbol: str, ids: IdRange) -> Awaitable[None] | None:
        """Give ids up, and hand on the trades that waited for them."""
        self._lose(symbol, ids)
        return self._drain(symbol)

    def give_up_stale(self, now_seconds: float) -> None:
        """Give up gaps for which trades have waited too long."""
        for symbol, since in list(self._opened_seconds.items()):
            if not self._trackers[symbol].open:
                del self._opened_seconds[symbol]
            elif (
                now_seconds - max(since, self._repaired_seconds) > MOST_WAITING_SECONDS
                and symbol in self._waiting
            ):
                self._give_up_first_gap(symbol)

    async def finish(self, *, whole: bool) -> None:
        """Give up all open ids, and hand on all trades that wait.

        Args:
            whole: Whether the ledger is to have everything received. If not, as when
                a count was reached, it ends with the last trade in order.
        """
        for symbol, tracker in self._trackers.items():
            if not tracker.open and symbol not in self._waiting:
                continue
            if not whole and self._at_once is None:
                tracker.forget_open()
                continue
            self._lose(symbol, IdRange(0, tracker.last_id or 0))
            draining = self._drain(symbol)
            if draining is not None:
                await draining

    def _opened(self, symbol: str, ids: IdRange, now_seconds: float) -> None:
        self._opened_seconds.setdefault(symbol, now_seconds)
        if not self._on_gap(symbol, ids):
            self._lose(symbol, ids)
        if len(self._trackers[symbol].open) > MOST_OPEN_GAPS:
            self._give_up_first_gap(symbol)

    def _lose(self, symbol: str, ids: IdRange) -> None:
        for lost in self._trackers[symbol].give_up(*ids):
            self._on_lost(symbol, lost)

    def _deliver(
        self, trade: TradeBatch, tracker: SequenceTracker
    ) -> Awaitable[None] | None:
        symbol = trade.symbols[0]
        if not tracker.open and symbol not in self._waiting:
            return self._hand_on(trade)
        held_back = self._at_once(trade) if self._at_once is not None else None
        if self._in_order is None:
            return held_back
        self._waiting.push(trade, tracker.resets)
        held_back = both(held_back, self._make_room())
        return both(held_back, self._drain(symbol))

    def _make_room(self) -> Awaitable[None] | None:
        """Give gaps up until no more trades wait than allowed."""
        while self._waiting.trades > MOST_WAITING_TRADES:
            fullest = self._waiting.fullest()
            if fullest is None:
                break
            if not self._give_up_first_gap(fullest):
                # The receiver is slow, and no gap is open: all who bring trades wait.
                return self._drain(fullest)
        return None

    def _give_up_first_gap(self, symbol: str) -> bool:
        first = next(iter(self._trackers[symbol].open), None)
        if first is None:
            return False
        # If the receiver is slow, whoever brings the symbol's next trade waits for it.
        self.give_up(symbol, first)
        return True

    def _drain(self, symbol: str) -> Awaitable[None] | None:
        """Hand on the waiting trades before which nothing is missing any more."""
        under_way = self._draining.get(symbol)
        if under_way is not None:
            return asyncio.shield(under_way)
        held_back = self._drain_until_held_back(symbol)
        if held_back is None:
            return None
        task = asyncio.ensure_future(self._drain_slowly(symbol, held_back))
        self._draining[symbol] = task
        return asyncio.shield(task)

    def _drain_until_held_back(self, symbol: str) -> Awaitable[None] | None:
        if self._in_order is None:
            return None
        tracker = self._trackers[symbol]
        while symbol in self._waiting:
            trade = self._waiting.pop(symbol, tracker.open.first_id, tracker.resets)
            if trade is None:
                return None
            held_back = self._in_order(trade)
            if held_back is not None:
                return held_back
        return None

    async def _drain_slowly(self, symbol: str, held_back: Awaitable[None]) -> None:
        waiting: Awaitable[None] | None = held_back
        try:
            while waiting is not None:
                await waiting
                waiting = self._drain_until_held_back(symbol)
        finally:
            del self._draining[symbol]


def both(
    first: Awaitable[None] | None, second: Awaitable[None] | None
) -> Awaitable[None] | None:
    """Return what waits for one awaitable after the other, as far as there are any."""
    if first is None or second is None:
        return first or second

    async def one_after_the_other() -> None:
        await first
        await second

    return one_after_the_other()

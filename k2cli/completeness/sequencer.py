"""From trades as they arrive to trades as they are promised: once, and in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from k2cli.completeness.id_ranges import IdRange
from k2cli.completeness.sequence import Verdict, accept_behind_gaps, accept_contiguous

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k2cli.completeness.doubts import Doubts
    from k2cli.completeness.ledger import Ledger
    from k2cli.completeness.reorder import ReorderBuffer
    from k2cli.completeness.sequence import SequenceTracker
    from k2cli.trade import TradeBatch

    Deliver = Callable[[TradeBatch], Awaitable[None] | None]

# Trades that are handed on in one turn of the event loop when a gap closes.
_DRAINED_AT_ONCE = 256


class Sequencer:
    """Hands each trade on exactly once.

    One receiver gets trades at once, a repaired one late. The other gets those of a
    symbol in the order of their ids: while a gap is open, later trades wait.

    An awaitable that a method returns holds its caller back until it is awaited.

    Args:
        ledger: Follows the sequence of every symbol.
        waiting: Holds what may not be handed on in order yet.
        at_once: Takes trades as they come, if anybody does.
        in_order: Takes trades in order, if anybody does.
        on_gap: Called with ids that were jumped over; says whether they will be
            repaired.
        on_lost: Called with ids that were given up.
        room: Returns how many more trades are wanted in order: what is not wanted
            waits on.
        doubts: Sets aside what is beyond belief; ``None`` to believe everything.
    """

    def __init__(
        self,
        ledger: Ledger,
        waiting: ReorderBuffer,
        *,
        at_once: Deliver | None,
        in_order: Deliver | None,
        on_gap: Callable[[str, IdRange], bool],
        on_lost: Callable[[str, IdRange], None],
        room: Callable[[], int],
        doubts: Doubts | None = None,
    ) -> None:
        self._trackers = ledger.trackers
        self._at_once = at_once
        self._in_order = in_order
        self._on_gap = on_gap
        self._on_lost = on_lost
        self._room = room
        self._doubts = doubts
        self._waiting = waiting
        # Symbols with a gap, the one that was opened first in front.
        self._with_gaps: dict[str, None] = {}
        # Symbols whose trades are on their way to a slow receiver.
        self._draining: dict[str, asyncio.Future[None]] = {}

    def receive(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Take trades from the stream or from the history.

        Of a batch from the history, only trades that are missing are taken: between
        the ids that were asked for, a page has others.

        Args:
            batch: Trades of symbols that are in the ledger.
        """
        start, end = 0, len(batch.symbols)
        is_plain = batch.is_plain and not (
            self._doubts is not None and self._doubts.is_beyond(batch)
        )
        while start < end:
            start, held_back = self._receive_from(batch, start, is_plain=is_plain)
            if held_back is not None:
                return self._receive_rest(batch, start, is_plain, held_back)
        return None

    async def _receive_rest(
        self,
        batch: TradeBatch,
        start: int,
        is_plain: bool,
        held_back: Awaitable[None],
    ) -> None:
        await held_back
        while start < len(batch):
            start, held_back_again = self._receive_from(batch, start, is_plain=is_plain)
            if held_back_again is not None:
                await held_back_again

    def _receive_from(
        self, batch: TradeBatch, start: int, *, is_plain: bool
    ) -> tuple[int, Awaitable[None] | None]:
        """Take as many trades as go the same way; return the index of the next one."""
        if is_plain:
            waiting = self._waiting if self._waiting.trades else ()
            end = accept_contiguous(self._trackers, batch, start, waiting)
            if end > start:
                return end, self._hand_on(batch.part(start, end))
            if waiting and self._in_order is not None:
                end = accept_behind_gaps(self._trackers, batch, start, waiting)
                if end > start:
                    return end, self._let_wait(batch.part(start, end))
        return start + 1, self._receive_one(batch, start)

    def _hand_on(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Hand on trades that nothing is missing before."""
        held_back = self._at_once(batch) if self._at_once is not None else None
        if self._in_order is not None:
            held_back = both(held_back, self._in_order(batch))
        return held_back

    def _let_wait(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Let trades wait that come behind others that wait."""
        held_back = self._at_once(batch) if self._at_once is not None else None
        self._waiting.push(batch, 0)
        return both(held_back, self._make_room())

    def _receive_one(self, batch: TradeBatch, index: int) -> Awaitable[None] | None:
        symbol, trade_id = batch.symbols[index], int(batch.trade_ids[index])
        tracker = self._trackers[symbol]
        if batch.is_backfill and trade_id not in tracker.open:
            return None
        trade = batch.part(index, index + 1)
        if self._doubts is not None and not batch.is_backfill:
            believed = self._doubts.take(symbol, tracker, trade)
            if believed is not None:
                return self._observe_all(believed)
        return self._observe(trade)

    def _observe_all(self, trades: list[TradeBatch]) -> Awaitable[None] | None:
        held_back = None
        for trade in trades:
            held_back = both(held_back, self._observe(trade))
        return held_back

    def _observe(self, trade: TradeBatch) -> Awaitable[None] | None:
        symbol, trade_id = trade.symbols[0], int(trade.trade_ids[0])
        tracker = self._trackers[symbol]
        before = tracker.last_id
        verdict = tracker.observe(trade_id, trade.timestamp_us(0))
        if verdict is Verdict.DUPLICATE:
            if self._doubts is not None:
                self._doubts.note_duplicate(symbol, trade)
            return None
        if self._doubts is not None:
            self._doubts.forget_duplicates(symbol)
        if trade.is_backfill:
            tracker.repaired += 1
        if verdict is Verdict.RESET:
            return both(self._drain(symbol), self._deliver(trade, tracker))
        if verdict is Verdict.GAP and before is not None:
            self._opened(symbol, IdRange(before + 1, trade_id - 1))
        return self._deliver(trade, tracker)

    def begin_with(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Take trades of the history that come before all that is live.

        Args:
            batch: Trades of one symbol by ascending id. Until the last such batch,
                nothing else of the symbol is received.
        """
        symbol, held_back = batch.symbols[0], None
        tracker = self._trackers[symbol]
        start = 0
        for index, trade_id in enumerate(map(int, batch.trade_ids)):
            before = tracker.last_id
            verdict = tracker.observe(trade_id, batch.timestamp_us(index))
            if verdict is Verdict.NEXT or verdict is Verdict.FIRST:
                continue
            if start < index:
                held_back = both(held_back, self._hand_on(batch.part(start, index)))
            start = index + (verdict is Verdict.DUPLICATE)
            if verdict is Verdict.GAP and before is not None:
                self._opened(symbol, IdRange(before + 1, trade_id - 1))
        if start < len(batch):
            held_back = both(held_back, self._hand_on(batch.part(start, len(batch))))
        return held_back

    def settle(self, symbol: str, newest: TradeBatch | None) -> Awaitable[None] | None:
        """Take the exchange's answer to a doubt; see ``Doubts.settle``."""
        if self._doubts is None:
            return None
        tracker = self._trackers[symbol]
        resets = tracker.resets
        believed = self._doubts.settle(symbol, tracker, newest)
        # With a new count, nothing is missing before what waits of the former one.
        drained = self._drain(symbol) if tracker.resets != resets else None
        return both(drained, self._observe_all(believed))

    def _drop_doubt(self, symbol: str) -> None:
        if self._doubts is not None:
            self._doubts.drop(symbol, self._trackers[symbol])

    def expect(self, symbol: str, newest_id: int, known_id: int | None = None) -> None:
        """Learn that the exchange has newer trades than have come; open that gap.

        Args:
            symbol: The symbol.
            newest_id: Of the newest one.
            known_id: The id to begin behind if nothing of the symbol has ever come.
        """
        tracker = self._trackers[symbol]
        if tracker.last_id is None and known_id is not None:
            tracker.resume(known_id, 0)
        ids = tracker.expect(newest_id)
        if ids is not None:
            self._opened(symbol, ids)

    def give_up(self, symbol: str, ids: IdRange) -> Awaitable[None] | None:
        """Give ids up, and hand on what waited for them."""
        self._lose(symbol, ids)
        return self._drain(symbol)

    def recover(self, trade: TradeBatch) -> Awaitable[None] | None:
        """Take a trade that an earlier run has left waiting, just read from there."""
        symbol = trade.symbols[0]
        tracker = self._trackers.get(symbol)
        if tracker is None:
            # Of a symbol that this run does not follow: it waits on.
            self._waiting.push_again(trade, 0)
            return None
        before, trade_id = tracker.last_id, int(trade.trade_ids[0])
        verdict = tracker.observe(trade_id, trade.timestamp_us(0))
        if verdict is Verdict.DUPLICATE:
            return None
        held_back = self._drain(symbol) if verdict is Verdict.RESET else None
        if verdict is Verdict.GAP and before is not None:
            self._opened(symbol, IdRange(before + 1, trade_id - 1))
        return both(held_back, self._order(trade, tracker, self._waiting.push_again))

    async def finish(self) -> None:
        """End: what waits is left to the next run, or handed on if there is none."""
        for symbol in self._doubts.symbols() if self._doubts is not None else ():
            held_back = self.settle(symbol, None)
            if held_back is not None:
                await held_back
            self._drop_doubt(symbol)
        if self._waiting.persists:
            await asyncio.gather(*self._draining.values())
            return
        for symbol, tracker in self._trackers.items():
            if symbol in self._waiting:
                self._lose(symbol, IdRange(0, tracker.last_id or 0))
                draining = self._drain(symbol)
                if draining is not None:
                    await draining

    def _opened(self, symbol: str, ids: IdRange) -> None:
        open_gaps = self._trackers[symbol].open
        if len(open_gaps) == 1:
            # Its earlier gaps are closed: it is behind the others.
            self._with_gaps.pop(symbol, None)
        self._with_gaps[symbol] = None
        if not self._on_gap(symbol, ids):
            self._lose(symbol, ids)

    def _lose(self, symbol: str, ids: IdRange) -> None:
        for lost in self._trackers[symbol].give_up(*ids):
            self._on_lost(symbol, lost)

    def _deliver(
        self, trade: TradeBatch, tracker: SequenceTracker
    ) -> Awaitable[None] | None:
        held_back = self._at_once(trade) if self._at_once is not None else None
        return both(held_back, self._order(trade, tracker, self._waiting.push))

    def _order(
        self,
        trade: TradeBatch,
        tracker: SequenceTracker,
        wait: Callable[[TradeBatch, int], None],
    ) -> Awaitable[None] | None:
        """Hand a trade on if nothing is before it, or let it wait."""
        if self._in_order is None:
            return None
        symbol = trade.symbols[0]
        order = tracker.resets, int(trade.trade_ids[0])
        first = self._waiting.first(symbol)
        is_next = not tracker.open or order[1] < (tracker.open.first_id or 0)
        if (
            is_next
            and symbol not in self._draining
            and (not first or order < first)
            and self._room()
        ):
            held_back = self._in_order(trade)
        else:
            wait(trade, tracker.resets)
            tracker.pending += 1
            held_back = self._make_room()
        return both(held_back, self._drain(symbol))

    def _make_room(self) -> Awaitable[None] | None:
        """Give up the gap that was opened first, if no more trades may wait."""
        if not self._waiting.is_full:
            return None
        for symbol in list(self._with_gaps):
            if self._trackers[symbol].open and symbol in self._waiting:
                return self.give_up(symbol, next(iter(self._trackers[symbol].open)))
            del self._with_gaps[symbol]
        return None

    def _drain(self, symbol: str) -> Awaitable[None] | None:
        """Hand on what nothing is missing before any more."""
        under_way = self._draining.get(symbol)
        if under_way is not None:
            return asyncio.shield(under_way)
        more, held_back = self._drain_some(symbol)
        if held_back is None and not more:
            return None
        task = asyncio.ensure_future(self._drain_slowly(symbol, held_back))
        self._draining[symbol] = task
        return asyncio.shield(task)

    def _drain_some(self, symbol: str) -> tuple[bool, Awaitable[None] | None]:
        """Hand on the first of the trades that wait; return whether more may go."""
        first, tracker = self._waiting.first(symbol), self._trackers[symbol]
        before_id = tracker.open.first_id
        if self._in_order is None or first is None:
            return False, None
        if before_id is not None and first >= (tracker.resets, before_id):
            return False, None
        most = min(_DRAINED_AT_ONCE, self._room())
        batches = self._waiting.pop(symbol, before_id, tracker.resets, most)
        drained, held_back = 0, None
        for batch in batches:
            drained += len(batch)
            held_back = both(held_back, self._in_order(batch))
        tracker.pending -= drained
        return drained == most and self._room() > 0, held_back

    async def _drain_slowly(
        self, symbol: str, held_back: Awaitable[None] | None
    ) -> None:
        more = True
        try:
            while more or held_back is not None:
                if held_back is not None:
                    await held_back
                else:
                    # Others have their turn between.
                    await asyncio.sleep(0)
                more, held_back = self._drain_some(symbol)
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

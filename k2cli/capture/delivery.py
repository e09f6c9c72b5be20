"""From trades as they arrive to trades as they are promised: once, and in order."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from k2cli.capture.hold import Hold
from k2cli.capture.sequence import Verdict, pass_over

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from k2cli.capture.ledger import Ledger
    from k2cli.capture.sequence import IdRange, SequenceTracker
    from k2cli.trade import PlainTrade, TradeV2

    Deliver = Callable[[TradeV2], Awaitable[None] | None]

# How many trades, of all symbols, wait at most for gaps before them to be repaired, and
# how long they wait without a repaired trade coming. Then the gap is given up.
HOLD_TRADES = 200_000
HOLD_SECONDS = 300.0
# More of a symbol at once are not followed: the first one is given up.
MOST_OPEN_GAPS = 10_000


class Delivery:
    """Hands each trade on exactly once.

    One receiver gets trades at once, a repaired one late. The other gets those of a
    symbol in the order of their ids: while a gap is open, later trades are held.

    Whatever gives an awaitable holds its caller back until it is awaited.

    Args:
        ledger: Follows the sequence of every symbol.
        at_once: Takes trades as they come, if anybody does.
        in_order: Takes trades in order, if anybody does.
        on_gap: Told of ids that were jumped over; says whether they will be repaired.
        on_lost: Told of ids that were given up.
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
        self._hold = Hold()
        # When a symbol's first gap was opened, and when a repaired trade of any last
        # came: after an outage of the whole market, a symbol's turn can take minutes.
        self._opened_seconds: dict[str, float] = {}
        self._repaired_seconds = -inf
        # Symbols whose held trades are on their way to a slow receiver.
        self._draining: dict[str, asyncio.Future[None]] = {}

    @property
    def held(self) -> int:
        """How many trades wait for a gap before them."""
        return self._hold.trades

    def arrived(
        self, trade: TradeV2, now_seconds: float, *, repaired: bool = False
    ) -> Awaitable[None] | None:
        """Take a trade from the stream or from the history.

        Args:
            trade: The trade.
            now_seconds: The time now, by a monotonic clock.
            repaired: Whether it is from the history.
        """
        symbol = trade.symbol
        tracker = self._trackers[symbol]
        before = tracker.last_id
        verdict = tracker.observe(trade.source_sequence or 0, trade.timestamp)
        if verdict is Verdict.NEXT and symbol not in self._hold:
            return self._deliver(trade, tracker)
        if verdict is Verdict.DUPLICATE:
            return None
        if repaired:
            tracker.repaired += 1
            self._repaired_seconds = now_seconds
        if verdict is Verdict.RESET:
            return _both(self._drain(symbol), self._deliver(trade, tracker))
        if verdict is Verdict.GAP and before is not None:
            self._opened_seconds.setdefault(symbol, now_seconds)
            self._opened(symbol, (before + 1, (trade.source_sequence or 0) - 1))
        return self._deliver(trade, tracker)

    def pass_over(self, trades: Sequence[PlainTrade], start: int, stop: int) -> int:
        """Find trades that may be handed on at once, to every receiver.

        They count as handed on; that is up to the caller.

        Args:
            trades: Many, in the order in which they came.
            start: Index of the first one.
            stop: Index after the last one.

        Returns:
            The index of the first one that has to go through ``arrived``, or ``stop``.
        """
        if self._hold.trades:
            rest = range(start, stop)
            stop = next((i for i in rest if trades[i][2] in self._hold), stop)
        return pass_over(self._trackers, trades, start, stop)

    def unseen(self, symbol: str, newest_id: int, now_seconds: float) -> IdRange | None:
        """Learn that the exchange has newer trades than have come; open that gap."""
        ids = self._trackers[symbol].expect(newest_id)
        if ids is not None:
            self._opened_seconds.setdefault(symbol, now_seconds)
            self._opened(symbol, ids)
        return ids

    def lost(self, symbol: str, ids: IdRange) -> Awaitable[None] | None:
        """Give ids up, and let go what waited for them."""
        self._give_up(symbol, ids)
        return self._drain(symbol)

    def give_up_stale(self, now_seconds: float) -> None:
        """Give up the gaps that have held trades for too long."""
        for symbol, since in list(self._opened_seconds.items()):
            tracker = self._trackers[symbol]
            if tracker.first_open_id is None:
                del self._opened_seconds[symbol]
            elif (
                now_seconds - max(since, self._repaired_seconds) > HOLD_SECONDS
                and symbol in self._hold
            ):
                self._give_up_first_gap(symbol)

    async def finish(self, *, whole: bool) -> None:
        """End: what is open is lost, and what is held is handed on.

        Args:
            whole: Whether everything is to be accounted for. If not, as when a count
                was reached, gaps behind the last trade in order are no part of it.
        """
        for symbol, tracker in self._trackers.items():
            if tracker.first_open_id is None and symbol not in self._hold:
                continue
            if not whole and self._at_once is None:
                tracker.forget_open()
                continue
            self._give_up(symbol, (0, tracker.last_id or 0))
            draining = self._drain(symbol)
            if draining is not None:
                await draining

    def _opened(self, symbol: str, ids: IdRange) -> None:
        if not self._on_gap(symbol, ids):
            self._give_up(symbol, ids)
        if self._trackers[symbol].open_gaps > MOST_OPEN_GAPS:
            self._give_up_first_gap(symbol)

    def _give_up(self, symbol: str, ids: IdRange) -> None:
        tracker = self._trackers[symbol]
        for part in tracker.open_ranges(*ids):
            self._on_lost(symbol, part)
        tracker.give_up(*ids)

    def _deliver(
        self, trade: TradeV2, tracker: SequenceTracker
    ) -> Awaitable[None] | None:
        held_back = self._at_once(trade) if self._at_once is not None else None
        if self._in_order is None:
            return held_back
        symbol = trade.symbol
        if tracker.first_open_id is None and symbol not in self._hold:
            return _both(held_back, self._in_order(trade))
        self._hold.push(trade, tracker.resets)
        held_back = _both(held_back, self._make_room())
        return _both(held_back, self._drain(symbol))

    def _make_room(self) -> Awaitable[None] | None:
        """Give gaps up until no more is held than may be."""
        while self._hold.trades > HOLD_TRADES:
            fullest = self._hold.fullest()
            if fullest is None:
                break
            if not self._give_up_first_gap(fullest):
                # Not a gap but a slow receiver: it holds back all who bring more.
                return self._drain(fullest)
        return None

    def _give_up_first_gap(self, symbol: str) -> bool:
        tracker = self._trackers[symbol]
        open_ids = tracker.open_ranges(0, tracker.last_id or 0)
        if not open_ids:
            return False
        # If the receiver is slow, whoever brings the symbol's next trade waits for it.
        self.lost(symbol, open_ids[0])
        return True

    def _drain(self, symbol: str) -> Awaitable[None] | None:
        """Hand on what nothing is missing before any more."""
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
        while symbol in self._hold:
            trade = self._hold.pop(symbol, tracker.first_open_id, tracker.resets)
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


def _both(
    first: Awaitable[None] | None, second: Awaitable[None] | None
) -> Awaitable[None] | None:
    if first is None or second is None:
        return first or second

    async def one_after_the_other() -> None:
        await first
        await second

    return one_after_the_other()

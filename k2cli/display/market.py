"""What the table knows: per symbol the last trade, sums, and the pace."""

from __future__ import annotations

import heapq
from decimal import Context, Decimal
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k2cli.trade import TradeV2

# Wide enough that a sum of products of two decimal(18,8) is exact for centuries.
_EXACT = Context(prec=76)

_BUCKETS = 10
_BUCKETS_PER_SECOND = 2

MAX_SYMBOLS = 20_000
"""Most symbols kept; Binance Spot lists a sixth of it. Others only count in total."""


class Direction(IntEnum):
    """How the last price compares with the one before that was different."""

    DOWN = -1
    SAME = 0
    UP = 1


class RateWindow:
    """Events per second over the last five seconds.

    Counts stand in half-second buckets, so that memory and work do not depend on the
    number of events.

    Args:
        started_seconds: When counting began, on the clock of ``now_seconds``.
    """

    __slots__ = ("_counts", "_head", "_started_seconds", "_total")

    def __init__(self, started_seconds: float) -> None:
        self._started_seconds = started_seconds
        self._counts = [0] * _BUCKETS
        self._head = int(started_seconds * _BUCKETS_PER_SECOND)
        self._total = 0

    def add(self, now_seconds: float) -> None:
        """Count one event.

        Args:
            now_seconds: A clock that does not go back; if it does, the event counts
                into the newest bucket.
        """
        bucket = int(now_seconds * _BUCKETS_PER_SECOND)
        if bucket > self._head:
            self._advance(bucket)
        self._counts[self._head % _BUCKETS] += 1
        self._total += 1

    def per_second(self, now_seconds: float) -> float:
        """Give the mean rate over the window, or since the start if that is shorter.

        Args:
            now_seconds: The same clock as for ``add``.
        """
        bucket = int(now_seconds * _BUCKETS_PER_SECOND)
        if bucket > self._head:
            self._advance(bucket)
        oldest_seconds = (self._head - _BUCKETS + 1) / _BUCKETS_PER_SECOND
        # The floor keeps a first trade from reading as thousands a second.
        span_seconds = now_seconds - max(oldest_seconds, self._started_seconds)
        return self._total / max(1.0, span_seconds)

    def _advance(self, bucket: int) -> None:
        if bucket - self._head >= _BUCKETS:
            self._counts = [0] * _BUCKETS
            self._total = 0
        else:
            for passed in range(self._head + 1, bucket + 1):
                index = passed % _BUCKETS
                self._total -= self._counts[index]
                self._counts[index] = 0
        self._head = bucket


class SymbolState:
    """What is known of one symbol. Fields are read by the columns.

    Attributes:
        symbol: Name as on the wire.
        base_asset: Unit of sizes and volume; empty until known.
        quote_asset: Unit of prices and notional; empty until known.
        last_price: Digits as received; empty while quiet.
        last_size: Digits as received.
        side: Taker side of the last trade, ``"BUY"`` or ``"SELL"``.
        direction: Last price against the different one before it.
        last_sequence: Exchange trade id of the last trade, -1 before the first.
        last_trade_us: Trade time of the last trade, Unix microseconds.
        trades: Trades seen, backfilled ones included.
        volume: Sum of quantities, base asset, exact.
        notional: Sum of price times quantity, quote asset, exact.
        rate: Pace over the last seconds, without backfilled trades.
    """

    __slots__ = (
        "base_asset",
        "direction",
        "last_price",
        "last_sequence",
        "last_size",
        "last_trade_us",
        "notional",
        "quote_asset",
        "rate",
        "side",
        "symbol",
        "trades",
        "volume",
    )

    def __init__(self, symbol: str, started_seconds: float) -> None:
        self.symbol = symbol
        self.base_asset = ""
        self.quote_asset = ""
        self.last_price = ""
        self.last_size = ""
        self.side = ""
        self.direction = Direction.SAME
        self.last_sequence = -1
        self.last_trade_us = 0
        self.trades = 0
        self.volume = Decimal(0)
        self.notional = Decimal(0)
        self.rate = RateWindow(started_seconds)

    @property
    def is_quiet(self) -> bool:
        """Whether it has not traded yet."""
        return not self.trades


class MarketState:
    """The symbols on show, in the order in which they were asked for.

    Args:
        symbols: Symbols asked for; they are on show before they trade. Others are
            added when they trade.
        started_seconds: Now, on the clock of ``observe``.
    """

    def __init__(self, symbols: Iterable[str] = (), *, started_seconds: float) -> None:
        self._started_seconds = started_seconds
        self._states = {s: SymbolState(s, started_seconds) for s in symbols}
        self._rate = RateWindow(started_seconds)
        self.trades = 0

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, symbol: str) -> SymbolState:
        """Give one symbol's state.

        Raises:
            KeyError: If it was neither asked for nor seen.
        """
        return self._states[symbol]

    def observe(self, trade: TradeV2, now_seconds: float) -> None:
        """Take note of one trade.

        A trade older than the last one shown (a repaired one comes late) adds to the
        sums and leaves last price, direction and pace alone.

        Args:
            trade: Price and quantity must be decimal digits.
            now_seconds: A monotonic clock.
        """
        self.trades += 1
        state = self._states.get(trade.symbol)
        if state is None:
            if len(self._states) >= MAX_SYMBOLS:
                self._rate.add(now_seconds)
                return
            state = SymbolState(trade.symbol, self._started_seconds)
            self._states[trade.symbol] = state
        if not state.trades:
            state.quote_asset = trade.currency
            state.base_asset = trade.vendor_data.get("base_asset", "")

        price = trade.price
        quantity = Decimal(trade.quantity)
        state.trades += 1
        state.volume = _EXACT.add(state.volume, quantity)
        state.notional = _EXACT.fma(Decimal(price), quantity, state.notional)

        sequence = trade.source_sequence
        if sequence is not None:
            if sequence < state.last_sequence:
                return
            state.last_sequence = sequence
        elif trade.timestamp < state.last_trade_us:
            return
        self._rate.add(now_seconds)
        state.rate.add(now_seconds)
        if price != state.last_price:
            if state.last_price:
                new, old = Decimal(price), Decimal(state.last_price)
                if new != old:
                    state.direction = Direction.UP if new > old else Direction.DOWN
            state.last_price = price
        state.last_size = trade.quantity
        state.side = trade.side
        state.last_trade_us = trade.timestamp

    def per_second(self, now_seconds: float) -> float:
        """Give the pace of all symbols together, trades per second.

        Args:
            now_seconds: The same clock as for ``observe``.
        """
        return self._rate.per_second(now_seconds)

    def rows(self, limit: int) -> list[SymbolState]:
        """Choose the symbols for a screen.

        Args:
            limit: Most symbols that fit.

        Returns:
            All in their order if they fit; else those with the most trades so far,
            most first. (The pace would make rows jump; the count settles.)
        """
        if len(self._states) <= limit:
            return list(self._states.values())
        return heapq.nlargest(limit, self._states.values(), key=_trades)


def _trades(state: SymbolState) -> int:
    return state.trades

"""Trades, symbols, where they come from, and the log of what was published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from decimal import Context, Decimal
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_trade_id = attrgetter("id")
_trade_time_us = attrgetter("trade_time_us")
_exact = Context(prec=200)


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade, as the exchange knows it before it is put into any wire form.

    Attributes:
        symbol: Upper case, e.g. ``"BTCUSDT"``.
        id: Per symbol and consecutive.
        price: Decimal digits, quote asset per base asset, as they go onto the wire.
        quantity: Decimal digits, base asset, as they go onto the wire.
        trade_time_us: When it was matched, Unix microseconds UTC.
        event_time_us: When its event was produced, Unix microseconds UTC.
        buyer_is_maker: Whether the taker sold.
        best_match: The field that Binance documents as "ignore"; ``None`` leaves it
            out of events.
    """

    symbol: str
    id: int
    price: str
    quantity: str
    trade_time_us: int
    event_time_us: int
    buyer_is_maker: bool
    best_match: bool | None = True


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """What the catalog says about a symbol; its steps are decimal digits."""

    symbol: str
    base: str
    quote: str
    status: str = "TRADING"
    tick_size: str = "0.00000001"
    step_size: str = "0.00000001"


class TradeSource(ABC):
    """A source of trades that the exchange plays in order.

    Attributes:
        exchange_name: ``"SIM"`` for a made-up market, else that of the recording.
        symbols: The catalog, by symbol.
        waits_for_subscriber: Whether playing starts when the first client subscribes.
        waits_for_readers: Whether a slow reader slows the playing, instead of being
            disconnected.
        pauses_when_alone: Whether playing pauses while nobody is subscribed.
    """

    exchange_name = "SIM"
    symbols: Mapping[str, SymbolInfo]
    waits_for_subscriber = False
    waits_for_readers = False
    pauses_when_alone = False

    @abstractmethod
    def timeline(self, origin_us: int) -> Iterator[tuple[int, Trade]]:
        """Yield each trade with its time in microseconds after the start."""


class Totals:
    """Sums over all trades of a symbol since the exchange opened, for tickers."""

    def __init__(self) -> None:
        self.first: Trade | None = None
        self.last: Trade | None = None
        self.count = 0
        self.low = self.high = self.volume = self.quote_volume = Decimal(0)

    def add(self, trade: Trade) -> None:
        """Add a trade."""
        price, quantity = Decimal(trade.price), Decimal(trade.quantity)
        if self.first is None:
            self.first, self.low, self.high = trade, price, price
        if self.last is None or trade.id > self.last.id:
            self.last = trade
        self.count += 1
        self.low, self.high = min(self.low, price), max(self.high, price)
        self.volume = _exact.add(self.volume, quantity)
        self.quote_volume = _exact.add(
            self.quote_volume, _exact.multiply(price, quantity)
        )


class _SymbolLog:
    """The newest trades of one symbol, ascending by id."""

    def __init__(self) -> None:
        self.trades: list[Trade] = []
        self.published_at: list[float] = []
        self.totals = Totals()
        self._totalled = 0

    def append(self, trade: Trade, now_seconds: float) -> None:
        trades = self.trades
        if not trades or trade.id > trades[-1].id:
            trades.append(trade)
            self.published_at.append(now_seconds)
            return
        # A recording may hold back-filled trades late; the history is in order.
        index = bisect_left(trades, trade.id, key=_trade_id)
        if trades[index].id != trade.id:
            trades.insert(index, trade)
            self.published_at.insert(index, self.published_at[index])
            if index < self._totalled:
                self.totals.add(trade)
                self._totalled += 1

    def drop_oldest(self, count: int) -> None:
        self.total_up(count)
        del self.trades[:count]
        del self.published_at[:count]
        self._totalled -= count

    def total_up(self, end: int | None = None) -> Totals:
        """Add the trades up to a position; the work is left until it is needed."""
        end = len(self.trades) if end is None else end
        for trade in self.trades[self._totalled : end]:
            self.totals.add(trade)
        self._totalled = max(self._totalled, end)
        return self.totals


class TradeLog:
    """All that was published: the history of the API, and the truth for tests.

    Args:
        limit: Trades kept per symbol; the oldest go when there are a quarter more.
        total_limit: Trades kept of all symbols, some 250 bytes each; beyond that, each
            symbol's oldest go in proportion to what it has.

    Attributes:
        lag_seconds: How far the history is behind what was published.
        withhold_next: How many of the next trades are kept out of the history.
    """

    def __init__(self, limit: int = 100_000, total_limit: int = 1_000_000) -> None:
        self.lag_seconds = 0.0
        self.withhold_next = 0
        self._limit = limit
        self._total_limit = total_limit
        self._unchecked = 0
        self._symbols: dict[str, _SymbolLog] = {}
        self._withheld: dict[str, list[int]] = {}

    def extend(self, trades: Iterable[Trade], now_seconds: float) -> None:
        """Add trades in the order of publication, at a time of a monotonic clock."""
        symbols = self._symbols
        most = self._limit + self._limit // 4
        for trade in trades:
            if self.withhold_next:
                self.withhold_next -= 1
                ids = self._withheld.setdefault(trade.symbol, [])
                insort(ids, trade.id)
                del ids[: -self._limit]
                continue
            log = symbols.get(trade.symbol)
            if log is None:
                log = symbols[trade.symbol] = _SymbolLog()
            log.append(trade, now_seconds)
            if len(log.trades) > most:
                log.drop_oldest(len(log.trades) - self._limit)
            self._unchecked += 1
        # In small steps: a long one would hold up the streams.
        if self._unchecked > self._total_limit // 32:
            self._unchecked = 0
            total = sum(len(log.trades) for log in symbols.values())
            excess = max(0, total - self._total_limit)
            for log in symbols.values():
                log.drop_oldest(len(log.trades) * excess // max(1, total))

    def ids(self, symbol: str) -> list[int]:
        """Return the ids in the history, ascending, whatever the lag."""
        return [trade.id for trade in self.trades(symbol)]

    def trades(self, symbol: str) -> list[Trade]:
        """Return the trades in the history, ascending by id, whatever the lag."""
        log = self._symbols.get(symbol)
        return list(log.trades) if log else []

    def withheld_ids(self, symbol: str) -> list[int]:
        """Return the ids that were published and kept out of the history."""
        return list(self._withheld.get(symbol, ()))

    def page(
        self, symbol: str, from_id: int | None, count: int, now_seconds: float
    ) -> list[Trade]:
        """Return trades ascending by id, the newest ones if there is no ``from_id``."""
        log = self._symbols.get(symbol)
        if log is None:
            return []
        end = len(log.trades)
        if self.lag_seconds:
            end = bisect_right(log.published_at, now_seconds - self.lag_seconds)
        if from_id is None:
            return log.trades[max(0, end - count) : end]
        start = bisect_left(log.trades, from_id, hi=end, key=_trade_id)
        return log.trades[start : min(end, start + count)]

    def since(self, symbol: str, start_us: int, count: int) -> list[Trade]:
        """Return trades from a trade time on, ascending by id."""
        log = self._symbols.get(symbol)
        if log is None:
            return []
        start = bisect_left(log.trades, start_us, key=_trade_time_us)
        return log.trades[start : start + count]

    def totals(self, symbol: str) -> Totals:
        """Return a symbol's sums since the exchange opened."""
        log = self._symbols.get(symbol)
        return log.total_up() if log else Totals()

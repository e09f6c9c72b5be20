"""The one trade log: what was published, and what the history shows of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from decimal import Context, Decimal
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k2cli.simulator.trades import Trade

_trade_id = attrgetter("id")
_exact = Context(prec=200)


class SymbolLog:
    """The newest trades of one symbol, ascending by id.

    Args:
        limit: How many trades are kept at least; the oldest go when there are a
            quarter more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.trades: list[Trade] = []
        self.published_at: list[float] = []
        self.totals = Totals()
        self._folded = 0

    def append(self, trade: Trade, now_seconds: float) -> None:
        """Add a trade; one that is there already is left as it is."""
        trades = self.trades
        if not trades or trade.id > trades[-1].id:
            trades.append(trade)
            self.published_at.append(now_seconds)
        else:
            # A recording may hold repaired trades late; the history is in order.
            index = bisect_left(trades, trade.id, key=_trade_id)
            if trades[index].id != trade.id:
                trades.insert(index, trade)
                self.published_at.insert(index, self.published_at[index])
                if index < self._folded:
                    self.totals.add(trade)
                    self._folded += 1
        if len(trades) > self._limit + self._limit // 4:
            self.forget(len(trades) - self._limit)

    def forget(self, count: int) -> None:
        """Let the oldest trades go."""
        self._fold(count)
        del self.trades[:count]
        del self.published_at[:count]
        self._folded -= count

    def up_to_date(self) -> Totals:
        """Give the totals; the work is left until somebody asks."""
        self._fold(len(self.trades))
        return self.totals

    def _fold(self, end: int) -> None:
        for trade in self.trades[self._folded : end]:
            self.totals.add(trade)
        self._folded = max(self._folded, end)


class Totals:
    """Sums over all trades of a symbol since the exchange opened, for tickers."""

    def __init__(self) -> None:
        self.first: Trade | None = None
        self.last: Trade | None = None
        self.count = 0
        self.low = self.high = self.volume = self.quote_volume = Decimal(0)

    def add(self, trade: Trade) -> None:
        """Count a trade in."""
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


class TradeLog:
    """All that was published, for the history and for whoever checks a client.

    Args:
        limit: Trades kept per symbol; the oldest go first.
        total_limit: Trades kept of all symbols, some 250 bytes each; beyond that, each
            symbol's oldest go in proportion to what it has.
    """

    def __init__(self, limit: int = 100_000, total_limit: int = 1_000_000) -> None:
        self._limit = limit
        self._total_limit = total_limit
        self._unchecked = 0
        self._symbols: dict[str, SymbolLog] = {}
        self._withheld: dict[str, list[int]] = {}
        self._withhold_next = 0
        self.lag_seconds = 0.0
        """How far the history trails what was published."""

    def extend(self, trades: Iterable[Trade], now_seconds: float) -> None:
        """Take trades in.

        Args:
            trades: In the order of publication.
            now_seconds: A monotonic clock, for the lag.
        """
        symbols = self._symbols
        for trade in trades:
            if self._withhold_next:
                self._withhold(trade)
                continue
            log = symbols.get(trade.symbol)
            if log is None:
                log = symbols[trade.symbol] = SymbolLog(self._limit)
            log.append(trade, now_seconds)
            self._unchecked += 1
        # In small steps: a long one would hold up the streams.
        if self._unchecked > self._total_limit // 32:
            self._unchecked = 0
            self._keep_within_total()

    def _keep_within_total(self) -> None:
        total = sum(len(log.trades) for log in self._symbols.values())
        excess = total - self._total_limit
        if excess > 0:
            for log in self._symbols.values():
                log.forget(len(log.trades) * excess // total)

    def withhold(self, count: int) -> None:
        """Keep the next trades out of the history for ever."""
        self._withhold_next += count

    def _withhold(self, trade: Trade) -> None:
        self._withhold_next -= 1
        ids = self._withheld.setdefault(trade.symbol, [])
        insort(ids, trade.id)
        del ids[: -self._limit]

    def ids(self, symbol: str) -> list[int]:
        """Give the ids in the history, ascending, whatever the lag."""
        log = self._symbols.get(symbol)
        return [trade.id for trade in log.trades] if log else []

    def trades(self, symbol: str) -> list[Trade]:
        """Give the trades in the history, ascending by id, whatever the lag."""
        log = self._symbols.get(symbol)
        return list(log.trades) if log else []

    def withheld_ids(self, symbol: str) -> list[int]:
        """Give the ids that were published and kept out of the history."""
        return list(self._withheld.get(symbol, ()))

    def page(
        self, symbol: str, from_id: int | None, count: int, now_seconds: float
    ) -> list[Trade]:
        """Read the history.

        Args:
            symbol: Upper case.
            from_id: First id wanted; without it the newest trades are given.
            count: Longest answer.
            now_seconds: The clock of ``extend``.

        Returns:
            Trades ascending by id; none if there are none from there on.
        """
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
        """Give trades from a trade time on, ascending by id."""
        log = self._symbols.get(symbol)
        if log is None:
            return []
        start = bisect_left(log.trades, start_us, key=attrgetter("trade_time_us"))
        return log.trades[start : start + count]

    def totals(self, symbol: str) -> Totals:
        """Give a symbol's sums since the exchange opened."""
        log = self._symbols.get(symbol)
        return log.up_to_date() if log else Totals()

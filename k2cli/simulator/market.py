"""A made-up market: seeded, with busy and quiet symbols, bursts and both sides."""

from __future__ import annotations

import heapq
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from k2cli.errors import SettingsError
from k2cli.simulator.listings import LISTINGS, Listing, decimal_digits, listings
from k2cli.simulator.trades import Trade, TradeSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_SEED = 20_260_721
DEFAULT_RATE = 120.0
MAX_RATE = 1_000_000.0
MAX_SIZE = 20_000
MAX_BURST = 1_000.0

_MOST_NAMED = 40
_MAX_FILLS = 150
_FILLS_EXPONENT = 0.7
# One taker's order is filled by as many makers as a Pareto draw says; this is its mean.
_MEAN_FILLS = sum(k ** (-1 / _FILLS_EXPONENT) for k in range(1, _MAX_FILLS + 1))

_FOLLOW_UP_SHARE = 0.25
_FOLLOW_UP_GAP = 0.05
# Orders come in flurries; the pauses between them are longer in exchange, so that the
# mean stays what the rate says.
_PAUSE_GAP = (1 - _FOLLOW_UP_SHARE * _FOLLOW_UP_GAP) / (1 - _FOLLOW_UP_SHARE)
_SAME_SIDE_SHARE = 0.75
_MAX_DELAY_US = 200_000

_PERIOD_US = 10_000_000
_CALM_US = 9_000_000


class Market(TradeSource):
    """An endless made-up market on an exchange called ``SIM``.

    Two markets with the same arguments make the same trades with the same pauses
    between them; only the time of day at which they start differs.

    Args:
        seed: Any number.
        rate: Mean trades per second over all symbols, above 0 and up to 1,000,000.
        symbols: Which of the market's symbols to trade; all of them by default. The
            rate is shared by those that are left.
        trade_limit: End after so many trades; never by default.
        size: How many symbols there are; Binance has some 3,500. By default those of
            ``LISTINGS``.
        burst: How many times busier the last second of every ten is than the others;
            the mean stays what ``rate`` says.

    Raises:
        SettingsError: The rate, the size or the burst is out of range, or there is no
            such symbol.
    """

    def __init__(
        self,
        seed: int = DEFAULT_SEED,
        rate: float = DEFAULT_RATE,
        symbols: Sequence[str] | None = None,
        trade_limit: int | None = None,
        *,
        size: int | None = None,
        burst: float = 1.0,
    ) -> None:
        size = len(LISTINGS) if size is None else size
        for possible, what, allowed in (
            (0 < rate <= MAX_RATE, f"a rate of {rate:g} trades per second",
             f"one above 0 and up to {MAX_RATE:,.0f}"),
            (1 <= size <= MAX_SIZE, f"a market of {size:,} symbols",
             f"a size from 1 to {MAX_SIZE:,}"),
            (1 <= burst <= MAX_BURST, f"a burst of {burst:g} times the rate",
             f"one from 1 to {MAX_BURST:g}"),
        ):  # fmt: skip
            if not possible:
                raise SettingsError(f"{what} is not possible", f"Choose {allowed}")
        self.seed = seed
        self.rate = rate
        self.trade_limit = trade_limit
        self._clock = BurstClock(burst)
        self._listings = _chosen(listings(size), symbols)
        self.symbols = {listing.symbol: listing.info() for listing in self._listings}

    def timeline(self, origin_us: int) -> Iterator[tuple[int, Trade]]:
        """Yield the trades by the time of their event; see ``TradeSource``."""
        trades = self._endless(origin_us)
        return trades if self.trade_limit is None else islice(trades, self.trade_limit)

    def _endless(self, origin_us: int) -> Iterator[tuple[int, Trade]]:
        open_listings = [item for item in self._listings if item.status == "TRADING"]
        total_weight = sum(item.weight for item in open_listings)
        books = [
            _Book(item, self.seed, self.rate * item.weight / total_weight, self._clock)
            for item in open_listings
        ]
        queue = [(book.event_offset_us, index) for index, book in enumerate(books)]
        heapq.heapify(queue)
        while queue:
            due_us, index = queue[0]
            book = books[index]
            for trade in book.fills(origin_us):
                yield due_us, trade
            heapq.heapreplace(queue, (book.event_offset_us, index))


def _chosen(
    market: Sequence[Listing], symbols: Sequence[str] | None
) -> Sequence[Listing]:
    if symbols is None:
        return market
    by_symbol = {listing.symbol: listing for listing in market}
    unknown = [symbol for symbol in symbols if symbol not in by_symbol]
    if unknown:
        raise SettingsError(
            f"the made-up market has no {', '.join(unknown)}",
            f"It has {', '.join(list(by_symbol)[:_MOST_NAMED])}"
            + (" and others" if len(by_symbol) > _MOST_NAMED else ""),
        )
    chosen = [by_symbol[symbol] for symbol in dict.fromkeys(symbols)]
    if not any(listing.status == "TRADING" for listing in chosen):
        raise SettingsError(
            "none of the symbols chosen is traded", "Add one such as BTCUSDT"
        )
    return chosen


class _Book:
    """One symbol's orders: each is filled at one time, sweeping some price levels."""

    def __init__(
        self, listing: Listing, seed: int, rate: float, clock: BurstClock
    ) -> None:
        self._listing = listing
        self._clock = clock
        self._random = Random(f"{seed}/{listing.symbol}")  # noqa: S311
        self._mean_gap_us = _MEAN_FILLS / rate * 1e6
        self._next_id = self._random.randrange(10**7, 4 * 10**9)
        self._start_ticks = listing.price_units // listing.tick_units
        self._mid_ticks = self._start_ticks
        # A usual move between two orders is 1/50,000 of the price.
        self._move_ticks = max(1, self._start_ticks // 50_000)
        self._buyer_is_maker = self._random.random() < 0.5
        self._steady_us = 0
        self._trade_offset_us = 0
        self.event_offset_us = 0
        self._schedule(self._random.random() * self._mean_gap_us)

    def _schedule(self, gap_us: float) -> None:
        draw = self._random.random
        self._steady_us += int(gap_us)
        self._trade_offset_us = self._clock.played_us(self._steady_us)
        delay_us = 1_000 + int(1_000 * draw())
        if draw() < 0.02:
            delay_us += int(_MAX_DELAY_US * draw() ** 2)
        self.event_offset_us = max(
            self.event_offset_us, self._trade_offset_us + delay_us
        )

    def fills(self, origin_us: int) -> list[Trade]:
        """Fill the order that is due, and schedule the next one."""
        draw = self._random.random
        listing = self._listing
        symbol = listing.symbol
        tick_units, price_decimals = listing.tick_units, listing.price_decimals
        step_units, decimals = listing.step_units, listing.quantity_decimals
        usual_steps = listing.usual_steps
        times_us = origin_us + self._trade_offset_us, origin_us + self.event_offset_us
        if draw() >= _SAME_SIDE_SHARE:
            self._buyer_is_maker = not self._buyer_is_maker
        seller_takes = self._buyer_is_maker
        direction = -1 if seller_takes else 1
        fills = min(_MAX_FILLS, int((1.0 - draw()) ** -_FILLS_EXPONENT))
        # Buyers pay the ask, one tick above the bid that sellers get.
        ticks = first_ticks = self._mid_ticks + (0 if seller_takes else 1)
        next_id = self._next_id
        trades = []
        price = decimal_digits(ticks * tick_units, price_decimals)
        for position in range(fills):
            if position and draw() < 0.3:
                ticks = max(1, ticks + direction)
                price = decimal_digits(ticks * tick_units, price_decimals)
            steps = int(usual_steps * 0.4 * min(1e4, (1.0 - draw()) ** -0.8)) or 1
            quantity = decimal_digits(steps * step_units, decimals)
            number = next_id + position
            trades.append(
                Trade(symbol, number, price, quantity, *times_us, seller_takes)
            )
        self._next_id = next_id + fills
        self._walk((ticks - first_ticks) // 2)
        pause = _FOLLOW_UP_GAP if draw() < _FOLLOW_UP_SHARE else _PAUSE_GAP
        self._schedule(self._random.expovariate(1.0) * pause * self._mean_gap_us)
        return trades

    def _walk(self, impact_ticks: int) -> None:
        reach = self._move_ticks
        moved = self._mid_ticks + impact_ticks + self._random.randint(-reach, reach)
        # The walk is kept within a third around its start: an endless one would end
        # at zero, and a demo must not.
        third = max(1, self._start_ticks // 3)
        self._mid_ticks = min(
            max(moved, self._start_ticks - third, 1), self._start_ticks + third
        )


class BurstClock:
    """Makes the last second of every ten ``burst`` times as busy as the others."""

    def __init__(self, burst: float) -> None:
        self._burst = burst
        # How fast the steady time passes in a calm second, so that ten seconds of one
        # are ten of the other.
        self._calm_speed = _PERIOD_US / (_CALM_US + (_PERIOD_US - _CALM_US) * burst)

    def played_us(self, steady_us: int) -> int:
        """Return when something happens that would happen then if all were steady."""
        if self._burst == 1:
            return steady_us
        periods, rest_us = divmod(steady_us, _PERIOD_US)
        calm_us = _CALM_US * self._calm_speed
        if rest_us < calm_us:
            return periods * _PERIOD_US + int(rest_us / self._calm_speed)
        burst_us = (rest_us - calm_us) / (self._calm_speed * self._burst)
        return periods * _PERIOD_US + _CALM_US + int(burst_us)

"""Prints: the fills of one taker order together, as traders read a tape."""

from __future__ import annotations

from collections import deque
from copy import copy
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from k2cli.trade import TradeBatch

Fills = tuple[
    *tuple[str, str, str, str, bool],
    *tuple[int, int, int, int],
    *tuple[float, float, float, float, float, float, float, float],
]
"""Fills of one taker order that came together: the market on show is made of these.

Symbol, taker side, price and quantity of the last fill as digits, and whether they are
from the history; their number, the last one's trade id and trade time in microseconds,
and that in milliseconds (Unix); sum of quantities, sum of price times quantity, largest
quantity; first, highest, lowest and last price, and the last price that differs from
it, 0 if none does. A plain tuple: nearly every trade makes one.
"""

FLOORS_USD = (0.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
"""Least worth of the prints on a tape, to choose from; 0 for every print."""

# By the number of floors that are reached.
_FLOORS_ABOVE = (*FLOORS_USD, inf)

TAPE_PRINTS = 250
"""Latest prints kept for each floor: more than a tall screen shows."""


def fills_of(batch: TradeBatch) -> Iterator[Fills]:
    """Return the trades of a batch, those of one order as one, as orders begin.

    Every trade passes here: it does no more than it must.
    """
    times: Sequence[str] | Sequence[int]
    milliseconds: Sequence[str] | Sequence[int]
    if batch.is_plain:
        times = batch.trade_times
        milliseconds = [digits[:-3] for digits in batch.trade_times]
    else:
        times = list(batch.timestamps_us())
        milliseconds = [us // 1000 for us in times]
    symbols, trade_ids = batch.symbols, batch.trade_ids
    price_digits, size_digits = batch.prices, batch.quantities
    orders: list[list[Any]] = []
    latest: dict[str, list[Any]] = {}
    for place, symbol, side, millisecond, price, size in zip(
        count(),
        symbols,
        batch.sides(),
        milliseconds,
        map(float, price_digits),
        map(float, size_digits),
        strict=False,
    ):
        order = latest.get(symbol)
        if order is None or order[1] != millisecond or order[0] != side:
            # fmt: off
            latest[symbol] = order = [
                side, millisecond, place, 1, size, price * size, size,
                price, price, price, price, 0.0,
            ]
            # fmt: on
            orders.append(order)
            continue
        order[2] = place
        order[3] += 1
        order[4] += size
        order[5] += price * size
        if size > order[6]:
            order[6] = size
        if price != order[10]:
            order[11], order[10] = order[10], price
            if price > order[8]:
                order[8] = price
            elif price < order[9]:
                order[9] = price
    is_backfill = batch.is_backfill
    # fmt: off
    for (
        side, _, place, trades, total, notional, largest, first, high, low, last, before
    ) in orders:
        time_us = int(times[place])
        yield (
            symbols[place], side, price_digits[place], size_digits[place], is_backfill,
            trades, int(trade_ids[place]), time_us, time_us // 1000,
            total, notional, largest, first, high, low, last, before,
        )
    # fmt: on


class Print:
    """The fills of one taker order: same symbol, taker side and millisecond.

    Attributes:
        latest: The fills that came last.
        millisecond: Trade time, Unix milliseconds.
        trades: Number of fills.
        size: Sum of quantities, base asset.
        notional: Sum of price times quantity, quote asset.
        largest: Quantity of the largest fill.
        usd: The notional in USD; 0 while there is no rate.
        delta: Taker buys minus sells of the symbol so far, this print included.
        is_large: Whether it is large for its symbol.
        floors: Number of the floors that it has reached.
        next_floor_usd: The least of the others.
    """

    __slots__ = (
        *("latest", "millisecond", "trades", "size", "notional", "largest"),
        *("usd", "delta", "is_large", "floors", "next_floor_usd"),
    )

    def __init__(
        self,
        latest: Fills,
        millisecond: int,
        trades: int,
        size: float,
        notional: float,
        largest: float,
        usd: float,
    ) -> None:
        self.latest = latest
        self.millisecond = millisecond
        self.trades = trades
        self.size = size
        self.notional = notional
        self.largest = largest
        self.usd = usd
        self.delta = 0.0
        self.is_large = False
        self.floors, self.next_floor_usd = 1, FLOORS_USD[1]

    @property
    def symbol(self) -> str:
        """Name as on the wire."""
        return self.latest[0]

    @property
    def side(self) -> str:
        """Taker side, ``"BUY"`` or ``"SELL"``."""
        return self.latest[1]

    @property
    def price_digits(self) -> str:
        """Price of the latest fill, as received."""
        return self.latest[2]

    @property
    def size_digits(self) -> str:
        """Quantity of the latest fill, as received."""
        return self.latest[3]

    @property
    def is_backfill(self) -> bool:
        """Whether the trades are from the history."""
        return self.latest[4]

    @property
    def mean_price(self) -> float:
        """Mean price of the fills, weighted by quantity."""
        return self.notional / self.size if self.size else float(self.price_digits)


class Tapes:
    """The latest prints above each floor. A print grows while its fills come.

    Attributes:
        begin: Puts a new print on the tape that has every print.
    """

    def __init__(self) -> None:
        self._tapes = [deque[Print](maxlen=TAPE_PRINTS) for _ in FLOORS_USD]
        self.begin = self._tapes[0].append

    def raise_floor(self, one: Print) -> None:
        """Put a print on the tapes whose floor it has reached since the last time."""
        usd, reached = one.usd, one.floors
        while usd >= _FLOORS_ABOVE[reached]:
            self._tapes[reached].append(one)
            reached += 1
        one.floors, one.next_floor_usd = reached, _FLOORS_ABOVE[reached]

    def latest(self, floor: int = 0) -> list[Print]:
        """Return the prints of a tape, newest first.

        Args:
            floor: Index into ``FLOORS_USD``.
        """
        return list(reversed(self._tapes[floor]))

    def largest(
        self, since_ms: int, most: int, fits: Callable[[str], bool]
    ) -> list[Print]:
        """Return the prints of most worth in USD, the largest first.

        Args:
            since_ms: Trade time of the oldest to look at, Unix milliseconds.
            most: How many to return.
            fits: Whether a symbol counts.
        """
        found: list[Print] = []
        for tape in reversed(self._tapes[1:]):
            found = [
                one for one in tape if one.millisecond >= since_ms and fits(one.symbol)
            ]
            if len(found) >= most:
                break
        return sorted(found, key=lambda one: one.usd, reverse=True)[:most]

    def copied(self) -> Self:
        """Return a copy, to be read only."""
        other = copy(self)
        other._tapes = [tape.copy() for tape in self._tapes]  # noqa: SLF001 - of its own class
        return other

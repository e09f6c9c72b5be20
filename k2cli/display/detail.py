"""What is kept of a symbol that is looked at closely: candles, sizes, its tape."""

from __future__ import annotations

from collections import Counter, deque
from copy import copy
from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING, NamedTuple, Self

from k2cli.display.meters import TICKS_PER_SECOND
from k2cli.display.prints import TAPE_PRINTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from k2cli.display.prints import Print

CANDLES = 60
"""Candles that a window of time is divided into."""

SIZE_STEPS = 2
"""Classes of the histogram of sizes in a factor of ten."""

EVENT_KINDS = ("gap", "repaired", "missing")
"""What can happen to a symbol's completeness, the gravest last."""

_MOST_EVENTS = 500


@dataclass(slots=True)
class Candle:
    """Prices and amounts of one stretch of time.

    Attributes:
        place: Number of the stretch on the clock.
        open: First price, ``close`` the last one, ``high`` and ``low`` the extremes.
        volume: Sum of quantities, base asset.
        bought: Notional of taker buys, ``sold`` of taker sells, quote asset.
        trades: Number of trades.
    """

    place: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    bought: float
    sold: float
    trades: int

    def merge(self, later: Candle) -> None:
        """Add what came after it in the same stretch."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.bought += later.bought
        self.sold += later.sold
        self.trades += later.trades


class Event(NamedTuple):
    """A change of a symbol's completeness.

    Attributes:
        seconds: When, on the clock of ``MarketState.observe``.
        kind: One of ``EVENT_KINDS``.
        trades: How many trades were repaired or are missing; how many gaps there were.
    """

    seconds: float
    kind: str
    trades: int


class SymbolDetail:
    """Candles for every window of time, sizes, prints and gaps of one symbol.

    Args:
        now_seconds: The clock of ``MarketState.observe``.
        windows_seconds: Lengths of the windows of time.
    """

    __slots__ = (
        *("started_seconds", "prints", "sizes", "events"),
        *("_tick", "_open", "_candles"),
    )

    def __init__(self, now_seconds: float, windows_seconds: Iterable[float]) -> None:
        self.started_seconds = now_seconds
        self.prints: deque[Print] = deque(maxlen=TAPE_PRINTS)
        self.sizes: Counter[int] = Counter()
        self.events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._tick = -1
        self._open: Candle | None = None
        self._candles: dict[float, deque[Candle]] = {
            seconds: deque(maxlen=CANDLES + 1) for seconds in windows_seconds
        }

    def add(
        self, price: float, size: float, notional: float, tick: int, *, is_buy: bool
    ) -> None:
        """Take note of a live trade.

        Args:
            price: Its price.
            size: Its quantity, base asset.
            notional: Price times quantity.
            tick: Half-second of the clock.
            is_buy: Whether the taker bought.
        """
        if notional > 0:
            self.sizes[floor(log10(notional) * SIZE_STEPS)] += 1
        candle = self._open
        if candle is None or tick != self._tick:
            self._fold()
            candle = Candle(tick, price, price, price, price, 0.0, 0.0, 0.0, 0)
            self._open, self._tick = candle, tick
        if price > candle.high:
            candle.high = price
        elif price < candle.low:
            candle.low = price
        candle.close = price
        candle.volume += size
        candle.trades += 1
        if is_buy:
            candle.bought += notional
        else:
            candle.sold += notional

    def candles(self, seconds: float, now_seconds: float) -> list[Candle]:
        """Return the candles of a window, oldest first; those without trades lack.

        ``place`` counts up to ``CANDLES - 1``, which is the present one.
        """
        self._fold()
        now = int(now_seconds / (seconds / CANDLES))
        found = []
        for candle in self._candles[seconds]:
            place = candle.place - now + CANDLES - 1
            if 0 <= place < CANDLES:
                one = copy(candle)
                one.place = place
                found.append(one)
        return found

    def copied(self) -> Self:
        """Return a copy that stays as it is."""
        self._fold()
        other = copy(self)
        other.prints, other.events = self.prints.copy(), self.events.copy()
        other.sizes = self.sizes.copy()
        other._candles = {  # noqa: SLF001 - of its own class
            seconds: deque(map(copy, candles), maxlen=CANDLES + 1)
            for seconds, candles in self._candles.items()
        }
        return other

    def _fold(self) -> None:
        """Add what the last half-second brought to the candles of every window."""
        latest = self._open
        if latest is None:
            return
        self._open = None
        for seconds, candles in self._candles.items():
            place = int(self._tick / TICKS_PER_SECOND / (seconds / CANDLES))
            if candles and candles[-1].place >= place:
                candles[-1].merge(latest)
            else:
                first = copy(latest)
                first.place = place
                candles.append(first)


def merged(candles: Sequence[Candle], group: int) -> list[Candle]:
    """Join the candles of every so many neighbouring places."""
    found: list[Candle] = []
    for candle in candles:
        place = candle.place // group
        if found and found[-1].place == place:
            found[-1].merge(candle)
        else:
            first = copy(candle)
            first.place = place
            found.append(first)
    return found

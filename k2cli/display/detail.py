"""What is kept of a symbol that is looked at closely: candles, sizes, its tape."""

from __future__ import annotations

from bisect import bisect
from collections import deque
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from k2cli.display.meters import TICKS_PER_SECOND
from k2cli.display.prints import TAPE_PRINTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from k2cli.display.prints import Print
    from k2cli.display.symbol import SymbolState

CANDLES = 60
"""Candles that a window of time is divided into."""

# Notionals at which the classes of the histogram of sizes begin.
_SIZES = [step * 10.0**power for power in range(-8, 13) for step in (1, 3)]

EVENT_KINDS = ("gap", "repaired", "missing")
"""What can happen to a symbol's completeness, the gravest last."""

_MOST_EVENTS = 500

# Volume, notional, buys minus sells, and trades of a symbol.
_Sums = tuple[float, float, float, int]


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

    Amounts of a candle are differences of the symbol's sums, so that a trade costs next
    to nothing.

    Args:
        state: The symbol.
        now_seconds: The clock of ``MarketState.observe``.
        windows_seconds: Lengths of the windows of time.

    Attributes:
        started_seconds: When it was begun.
        prints: The latest prints.
        events: What happened to its completeness.
        tick: Half-second of the clock of the candle that is open; -1 without one.
        high: Highest price in it, ``low`` the lowest one.
    """

    __slots__ = (
        *("started_seconds", "prints", "events", "tick", "high", "low"),
        *("_state", "_open", "_sums", "_sizes", "_candles"),
    )

    def __init__(
        self, state: SymbolState, now_seconds: float, windows_seconds: Iterable[float]
    ) -> None:
        self.started_seconds = now_seconds
        self.prints: deque[Print] = deque(maxlen=TAPE_PRINTS)
        self.events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self.tick = -1
        self.high = self.low = 0.0
        self._state = state
        self._open = 0.0
        # Before the open candle.
        self._sums: _Sums = (0.0, 0.0, 0.0, 0)
        self._sizes = [0] * (len(_SIZES) + 1)
        self._candles: dict[float, deque[Candle]] = {
            seconds: deque(maxlen=CANDLES + 1) for seconds in windows_seconds
        }

    def count_size(self, notional: float) -> None:
        """Take note of the size of a print that is complete."""
        self._sizes[bisect(_SIZES, notional)] += 1

    def begin_candle(
        self,
        tick: int,
        price: float,
        trades: int,
        size: float,
        notional: float,
        *,
        is_buy: bool,
    ) -> None:
        """Begin a candle with live trades, which are in the symbol's sums already.

        Args:
            tick: Half-second of the clock.
            price: Of the first one.
            trades: Their number.
            size: Sum of their quantities.
            notional: Sum of their prices times quantities.
            is_buy: Whether the taker bought.
        """
        state = self._state
        sums = state.volume, state.notional, state.delta, state.trades
        sums = _moved(sums, -1, trades, size, notional, is_buy=is_buy)
        self._fold(sums)
        self.tick = tick
        self._open = self.high = self.low = price
        self._sums = sums

    def leave_out(
        self, trades: int, size: float, notional: float, *, is_buy: bool
    ) -> None:
        """Let trades that came late be in no candle."""
        self._sums = _moved(self._sums, 1, trades, size, notional, is_buy=is_buy)

    def sizes(self) -> list[tuple[float, int]]:
        """Return the least notional of each class that has trades, and their number.

        Classes between them are there too; the smallest is first.
        """
        begins = (0.0, *_SIZES)
        used = [place for place, count in enumerate(self._sizes) if count]
        if not used:
            return []
        found = range(used[0], used[-1] + 1)
        return [(begins[place], self._sizes[place]) for place in found]

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
        other._sizes = self._sizes.copy()  # noqa: SLF001 - of its own class
        other._candles = {  # noqa: SLF001 - of its own class
            seconds: deque(map(copy, candles), maxlen=CANDLES + 1)
            for seconds, candles in self._candles.items()
        }
        return other

    def _fold(self, sums: _Sums | None = None) -> None:
        """Add what the last half-second brought to the candles of every window.

        Args:
            sums: The symbol's sums at its end; those of now if not given.
        """
        if self.tick < 0:
            return
        state = self._state
        if sums is None:
            sums = state.volume, state.notional, state.delta, state.trades
        volume, notional, delta, trades = (
            now - then for now, then in zip(sums, self._sums, strict=True)
        )
        latest = Candle(
            place=0,
            open=self._open,
            high=self.high,
            low=self.low,
            close=state.price,
            volume=volume,
            bought=(notional + delta) / 2,
            sold=(notional - delta) / 2,
            trades=int(trades),
        )
        for seconds, candles in self._candles.items():
            place = int(self.tick / TICKS_PER_SECOND / (seconds / CANDLES))
            if candles and candles[-1].place >= place:
                candles[-1].merge(latest)
            else:
                first = copy(latest)
                first.place = place
                candles.append(first)
        self.tick = -1


def _moved(
    sums: _Sums, sign: int, trades: int, size: float, notional: float, *, is_buy: bool
) -> _Sums:
    """Return sums with trades more or less."""
    volume, total, delta, count = sums
    return (
        volume + sign * size,
        total + sign * notional,
        delta + sign * (notional if is_buy else -notional),
        count + sign * trades,
    )


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

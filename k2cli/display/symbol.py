"""What the screen knows of one symbol."""

from __future__ import annotations

from copy import copy
from enum import IntEnum
from typing import TYPE_CHECKING, Self

from k2cli.display.window import TICKS_PER_SECOND, PriceWindow, RateWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

BALANCE_HALF_LIFE_SECONDS = 60.0
"""After so long a trade weighs half as much in the balance of buyers and sellers."""

FEWEST_FOR_LARGE = 100
"""Trades of a symbol before one can be called large."""

LARGE_TIMES_MEAN = 4.0
"""How many times the mean notional of its symbol a large trade is worth at least."""


class Direction(IntEnum):
    """How the last price compares with the different one before it."""

    DOWN = -1
    SAME = 0
    UP = 1


class SymbolState:
    """One symbol's figures. Columns read them; ``MarketState`` writes them.

    Sums are floats: they are shown with four digits, and a float keeps fifteen. What is
    shown in full is kept as the exchange's own digits.

    Attributes:
        symbol: Name as on the wire.
        last_price: Digits as received; empty while quiet.
        last_size: Digits as received.
        last_is_large: Whether the last trade was a large one.
        side: Taker side of the last trade, ``"BUY"`` or ``"SELL"``.
        direction: Last price against the different one before it.
        last_trade_id: Exchange trade id of the last trade, -1 before the first.
        last_trade_us: Trade time of the last trade, Unix microseconds.
        last_seconds: Its arrival, on the clock of ``MarketState.observe``.
        moved_seconds: When the price last changed, likewise.
        price: ``last_price`` as a number.
        first_price: The first live price of the session.
        high: Highest price, ``high_price`` its digits.
        low: Lowest price, ``low_price`` its digits.
        trades: Trades seen, back-filled ones included.
        volume: Sum of quantities, base asset.
        notional: Sum of price times quantity, quote asset.
        bought: Notional of taker buys, of which half fades in a minute.
        sold: Notional of taker sells, likewise.
        large_notional: What a trade must exceed to be large: a running estimate of
            what one in a hundred exceeds.
        tick: Half-second of the clock that ``recent`` counts; -1 before it begins.
        recent: Trades in it, not yet in ``rate``.
        rate: Pace over the last seconds, without back-filled trades.
        windows: Prices over the windows of time, shortest first.
        is_followed: Whether its trades go to the tape.
    """

    __slots__ = (
        "bought",
        "direction",
        "first_price",
        "high",
        "high_price",
        "is_followed",
        "large_notional",
        "last_is_large",
        "last_price",
        "last_seconds",
        "last_size",
        "last_trade_id",
        "last_trade_us",
        "low",
        "low_price",
        "moved_seconds",
        "notional",
        "price",
        "rate",
        "recent",
        "side",
        "sold",
        "symbol",
        "tick",
        "trades",
        "volume",
        "windows",
    )

    def __init__(self, symbol: str, started_seconds: float) -> None:
        self.symbol = symbol
        self.last_price = self.last_size = self.side = ""
        self.last_is_large = False
        self.direction = Direction.SAME
        self.last_trade_id = -1
        self.last_trade_us = 0
        self.last_seconds = self.moved_seconds = started_seconds
        self.price = self.first_price = 0.0
        self.high, self.low = 0.0, float("inf")
        self.high_price = self.low_price = ""
        self.trades = 0
        self.volume = self.notional = 0.0
        self.bought = self.sold = 0.0
        self.large_notional = 0.0
        self.tick = -1
        self.recent = 0
        self.rate = RateWindow(started_seconds)
        self.windows: list[PriceWindow] = []
        self.is_followed = True

    @property
    def is_quiet(self) -> bool:
        """Whether it has not traded live yet."""
        return not self.last_price

    @property
    def vwap(self) -> float:
        """Mean price of the session, weighted by quantity; 0 while nothing traded."""
        return self.notional / self.volume if self.volume else 0.0

    @property
    def bought_share(self) -> float | None:
        """Taker buys' share of the notional, 0 to 1, what is recent weighing most."""
        both = self.bought + self.sold
        return self.bought / both if both else None

    def begin(self, price: float, now_seconds: float, windows: Sequence[float]) -> None:
        """Start the session with its first live price.

        Args:
            price: The price.
            now_seconds: Now.
            windows: Lengths of the windows of time to keep, in seconds, shortest first.
        """
        self.first_price = self.price = price
        self.tick = int(now_seconds * TICKS_PER_SECOND)
        self.windows = [PriceWindow(seconds, now_seconds) for seconds in windows]

    def settle(self, now_seconds: float) -> None:
        """Bring windows, pace and balance up to a moment; not before it has begun.

        Args:
            now_seconds: The clock of ``MarketState.observe``.
        """
        if self.is_quiet:
            return
        if self.recent:
            self.rate.add(self.tick / TICKS_PER_SECOND, self.recent)
            self.recent = 0
        passed = int(now_seconds * TICKS_PER_SECOND) - self.tick
        if passed <= 0:
            return
        self.tick += passed
        faded = 0.5 ** (passed / TICKS_PER_SECOND / BALANCE_HALF_LIFE_SECONDS)
        self.bought *= faded
        self.sold *= faded
        for window in self.windows:
            if not window.advance(self.price, now_seconds):
                break  # longer ones have longer buckets

    def is_large(self, notional: float) -> bool:
        """Say whether a trade is a large one, and learn from it.

        Large is what exceeds 99 in 100 trades of the symbol and is worth at least
        four times their mean. The first hundred set the scale. After that each trade
        moves it a little: up by 2 % if it exceeds it, else down by a 99th of that, so
        that it settles where one trade in a hundred exceeds it (a frugal quantile: no
        list of trades is kept).

        Args:
            notional: Price times quantity.
        """
        exceeds = notional > self.large_notional
        if self.trades <= FEWEST_FOR_LARGE:
            if exceeds:
                self.large_notional = notional
            return False
        if not exceeds:
            self.large_notional *= 0.9998
            return False
        self.large_notional *= 1.02
        return notional * self.trades >= LARGE_TIMES_MEAN * self.notional

    def window(self, seconds: float) -> PriceWindow | None:
        """Give the window of a length, if it is kept and the symbol has traded."""
        return next((one for one in self.windows if one.seconds == seconds), None)

    def change(self, seconds: float | None) -> float:
        """Give the relative change of the price, e.g. 0.01 for 1 %.

        Args:
            seconds: Over which window; ``None`` for the session. A session shorter
                than the window counts from its start.
        """
        start = self.first_price
        window = self.window(seconds) if seconds is not None else None
        if window is not None and window.is_full:
            start = window.closes()[0]
        return self.price / start - 1 if start else 0.0

    def trend(self, seconds: float) -> list[float]:
        """Give prices over a window, oldest first, the last one being the latest.

        While the session is shorter than the window, it is the session's.

        Args:
            seconds: The window.
        """
        # Early on, the shorter windows show the same time more finely.
        fit = (w for w in self.windows if w.seconds == seconds or not w.is_full)
        window = next(fit, None)
        return [*(window.closes() if window else ()), self.price]

    def copied(self) -> Self:
        """Give a copy that stays as it is."""
        other = copy(self)
        other.rate = self.rate.copied()
        other.windows = [window.copied() for window in self.windows]
        return other

"""One symbol's figures, as its trades change them."""

from __future__ import annotations

from copy import copy
from enum import IntEnum
from typing import TYPE_CHECKING, Self

from k2cli.display.meters import TICKS_PER_SECOND, PriceWindow, RateWindow
from k2cli.display.numbers import age_text, short_span, span_text
from k2cli.display.prints import Fills, Print

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2cli.display.detail import SymbolDetail


WINDOWS_SECONDS = (60.0, 300.0, 900.0, 3600.0)
"""Lengths of the windows of time that prices are kept for."""

BALANCE_HALF_LIFE_SECONDS = 60.0
"""After this time a trade weighs half as much in the balance of buyers and sellers."""

FEWEST_FOR_LARGE = 100
"""Prints of a symbol before one can be called large."""

LARGE_TIMES_MEAN = 4.0
"""How many times the mean notional of its symbol a large print is worth at least."""


# Of a symbol that has not traded live.
_NO_FILLS: Fills = (
    *("", "", "", "", False, 0, -1, 0, 0),
    *(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
)


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
        last: The last live fills.
        last_is_large: Whether they are part of a large print.
        last_seconds: Their arrival, on the clock of ``MarketState.observe``.
        direction: Last price against the different one before it.
        moved_seconds: When the price last changed, likewise.
        price: The last price.
        first_price: The first live price of the session.
        high: Highest price, ``low`` the lowest one.
        trades: Trades seen, back-filled ones included.
        volume: Sum of quantities, base asset.
        notional: Sum of price times quantity, quote asset.
        bought: Notional of taker buys, of which half fades in a minute.
        sold: Notional of taker sells, likewise.
        prints: Prints that are complete.
        large_notional: What a print must exceed to be large: a running estimate of
            what one in a hundred exceeds.
        tick: Half-second of the clock that ``recent`` counts; -1 before it begins.
        recent: Trades in it, not yet in ``rate``.
        rate: Live trades per second, without back-filled ones.
        windows: Prices over the windows of time, shortest first.
        is_followed: Whether its prints go to the tape.
        quote: Quote asset; empty while unknown.
        usd_rate: USD that one unit of it is worth; 0 if unknown.
        delta: Notional of taker buys minus that of sells, quote asset.
        print: The latest print, which may still grow.
        detail: Candles, sizes and prints, if it is looked at closely.
        started_seconds: When it was begun to be followed.
    """

    __slots__ = (
        *("symbol", "last", "last_is_large", "last_seconds", "direction"),
        "moved_seconds",
        *("price", "first_price", "high", "low"),
        *("trades", "volume", "notional", "bought", "sold"),
        *("prints", "large_notional"),
        *("tick", "recent", "rate", "windows", "is_followed"),
        *("quote", "usd_rate", "delta", "print", "detail"),
        "started_seconds",
    )

    def __init__(self, symbol: str, started_seconds: float) -> None:
        self.symbol = symbol
        self.last = _NO_FILLS
        self.last_is_large = False
        self.direction = Direction.SAME
        self.started_seconds = started_seconds
        self.last_seconds = self.moved_seconds = started_seconds
        self.price = self.first_price = 0.0
        self.high, self.low = 0.0, float("inf")
        self.trades = 0
        self.volume = self.notional = 0.0
        self.bought = self.sold = 0.0
        self.prints = 0
        self.large_notional = 0.0
        self.tick = -1
        self.recent = 0
        self.rate = RateWindow(started_seconds)
        self.windows: list[PriceWindow] = []
        self.is_followed = True
        self.quote = ""
        self.usd_rate = self.delta = 0.0
        self.print: Print | None = None
        self.detail: SymbolDetail | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether it has not traded live yet."""
        return self.last is _NO_FILLS

    @property
    def side(self) -> str:
        """Taker side of the last trade, ``"BUY"`` or ``"SELL"``."""
        return self.last[1]

    @property
    def last_price(self) -> str:
        """Digits as received; empty while quiet."""
        return self.last[2]

    @property
    def last_size(self) -> str:
        """Digits as received."""
        return self.last[3]

    @property
    def last_trade_us(self) -> int:
        """Trade time of the last trade, Unix microseconds."""
        return self.last[7]

    @property
    def vwap(self) -> float:
        """Mean price of the session, weighted by quantity; 0 while nothing traded."""
        return self.notional / self.volume if self.volume else 0.0

    @property
    def bought_share(self) -> float:
        """Taker buys' share of the notional, 0 to 1, recent trades weighing most."""
        both = self.bought + self.sold
        return self.bought / both if both else 0.0

    def begin(self, price: float, now_seconds: float, windows: Sequence[float]) -> None:
        """Start the session with its first live price; shortest window first."""
        self.first_price = self.price = price
        self.tick = int(now_seconds * TICKS_PER_SECOND)
        self.windows = [PriceWindow(seconds, now_seconds) for seconds in windows]

    def advance(self, now_seconds: float) -> None:
        """Bring windows, rate and balance up to a moment; nothing before ``begin``."""
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

    def take(
        self,
        fills: Fills,
        now_seconds: float,
        windows_seconds: Sequence[float],
        *,
        is_past: bool = False,
    ) -> bool:
        """Add fills of one order that came together.

        Back-filled ones, and such as are older than the last ones shown, add to the
        sums and leave last price, direction and rate alone.

        Args:
            fills: Become a new ``print``, or part of the latest one.
            now_seconds: The clock of ``MarketState.observe``.
            windows_seconds: Lengths of the windows of time, for the first live trade.
            is_past: Whether they are of before the start: then back-filled ones count
                as any others.

        Returns:
            Whether they are live.
        """
        # fmt: off
        (
            _, side, _, _, is_backfill,
            trades, trade_id, time_us, millisecond,
            size, notional, largest, first, high, low, price, before,
        ) = fills
        # fmt: on
        is_buy = side == "BUY"
        self.trades += trades
        self.volume += size
        self.notional += notional
        self.delta = delta = self.delta + (notional if is_buy else -notional)
        if high > self.high:
            self.high = high
        if low < self.low:
            self.low = low

        usd = notional * self.usd_rate
        latest, detail = self.print, self.detail
        if (
            latest is not None
            and latest.millisecond == millisecond
            and latest.latest[1] == side
            and latest.latest[4] == is_backfill
        ):
            latest.latest = fills
            latest.trades += trades
            latest.size += size
            latest.notional += notional
            latest.usd += usd
            if largest > latest.largest:
                latest.largest = largest
        else:
            if latest is not None:
                self._complete(latest)
            latest = self.print = Print(
                fills, millisecond, trades, size, notional, largest, usd
            )
            if detail is not None:
                detail.prints.append(latest)
        latest.delta = delta
        if latest.notional > self.large_notional:
            latest.is_large = self._is_large(latest.notional)

        if (is_backfill and not is_past) or (
            # An exchange that restarts its ids has lower ids at later times.
            trade_id < self.last[6] and time_us <= self.last[7]
        ):
            if detail is not None:
                detail.leave_out(trades, size, notional, is_buy=is_buy)
            return False

        tick = int(now_seconds * TICKS_PER_SECOND)
        if tick != self.tick:
            if self.is_quiet:
                self.begin(first, now_seconds, windows_seconds)
            else:
                self.advance(now_seconds)
        if detail is not None:
            if detail.tick != tick:
                detail.begin_candle(tick, first, trades, size, notional, is_buy=is_buy)
            if high > detail.high:
                detail.high = high
            if low < detail.low:
                detail.low = low
        self.recent += trades
        if is_buy:
            self.bought += notional
        else:
            self.sold += notional
        before = before or self.price
        if price != before:
            self.direction = Direction.UP if price > before else Direction.DOWN
            self.moved_seconds = now_seconds
            self.price = price
        self.last, self.last_is_large = fills, latest.is_large
        self.last_seconds = now_seconds
        return True

    def _complete(self, one: Print) -> None:
        """Learn from a print that does not grow any more.

        The first hundred set the scale of what is large. After that each moves it a
        little: up by 2 % if it exceeds it, else down by a 99th of that, so that it
        settles where one print in a hundred exceeds it (a frugal quantile: no list of
        prints is kept).
        """
        self.prints += 1
        exceeds = one.notional > self.large_notional
        if self.prints > FEWEST_FOR_LARGE:
            self.large_notional *= 1.02 if exceeds else 0.9998
        elif exceeds:
            self.large_notional = one.notional
        if self.detail is not None:
            self.detail.count_size(one.notional)

    def _is_large(self, notional: float) -> bool:
        """Return whether a print exceeds 99 in 100, and four times the mean."""
        return (
            notional > self.large_notional
            and self.prints >= FEWEST_FOR_LARGE
            and notional * self.prints >= LARGE_TIMES_MEAN * self.notional
        )

    def window(self, seconds: float) -> PriceWindow | None:
        """Return the window of a length, if it is kept and the symbol has traded."""
        return next((one for one in self.windows if one.seconds == seconds), None)

    def change(self, seconds: float | None) -> float:
        """Return the relative change of the price, e.g. 0.01 for 1 %.

        Args:
            seconds: Over which window; ``None`` for the session. A session shorter
                than the window counts from its start.
        """
        start = self.first_price
        window = self.window(seconds) if seconds is not None else None
        if window is not None and window.is_full:
            start = window.oldest
        return self.price / start - 1 if start else 0.0

    def trend(self, seconds: float) -> list[float]:
        """Return prices over a window, oldest first, the last one being the latest.

        While the session is shorter than the window, it is the session's.
        """
        window = self._finest_window(seconds)
        return [*(window.closes() if window else ()), self.price]

    def trend_seconds(self, seconds: float) -> float:
        """Return the time that ``trend`` looks back over."""
        window = self._finest_window(seconds)
        return window.seen_seconds if window else 0.0

    def _finest_window(self, seconds: float) -> PriceWindow | None:
        # Early on, the shorter windows show the same time more finely.
        fit = (w for w in self.windows if w.seconds == seconds or not w.is_full)
        return next(fit, None)

    def copied(self) -> Self:
        """Return a copy that stays as it is."""
        if self.print is not None:
            # One that has been copied does not grow any more.
            self._complete(self.print)
            self.print = None
        other = copy(self)
        other.rate = self.rate.copied()
        other.windows = [window.copied() for window in self.windows]
        if self.detail is not None:
            other.detail = self.detail.copied()
        return other


def seen_text(states: Sequence[SymbolState], window_seconds: float) -> str:
    """Say how much of the window of time changes are over, e.g. ``"45s/5m"``."""
    windows = [state.window(window_seconds) for state in states]
    if not windows or any(window is not None and window.is_full for window in windows):
        return span_text(window_seconds)
    seconds = max((one.seen_seconds for one in windows if one is not None), default=0)
    seen = age_text(seconds) if seconds >= 1 else "0s"
    return f"{seen}/{short_span(window_seconds)}"

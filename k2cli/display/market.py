"""What the screen knows: every symbol's figures, and the tape of latest trades."""

from __future__ import annotations

from collections import deque
from copy import copy
from enum import IntEnum
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, Self

from k2cli.display.meters import TICKS_PER_SECOND, PriceWindow, RateWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from k2cli.trade import TradeBatch

MAX_SYMBOLS = 20_000
"""Most symbols kept; Binance Spot lists a sixth of it. Others only count in total."""

TAPE_TRADES = 250
"""Latest trades kept: more than a tall screen shows."""

WINDOWS_SECONDS = (60.0, 300.0, 900.0, 3600.0)
"""Lengths of the windows of time that prices are kept for."""

BALANCE_HALF_LIFE_SECONDS = 60.0
"""After this time a trade weighs half as much in the balance of buyers and sellers."""

FEWEST_FOR_LARGE = 100
"""Trades of a symbol before one can be called large."""

LARGE_TIMES_MEAN = 4.0
"""How many times the mean notional of its symbol a large trade is worth at least."""

TradeFacts = tuple[str, str, str, str, int, int, bool]
"""What the screen needs of a trade.

Symbol, price and quantity as decimal digits, taker side, exchange trade id, trade time
in Unix microseconds, and whether it was back-filled.
"""


def trade_facts(batch: TradeBatch) -> Iterator[TradeFacts]:
    """Return what the screen needs of each trade of a batch."""
    indexes = range(len(batch))
    return zip(
        batch.symbols,
        batch.prices,
        batch.quantities,
        map(batch.side, indexes),
        map(int, batch.trade_ids),
        map(batch.timestamp_us, indexes),
        repeat(batch.is_backfill),
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
        rate: Live trades per second, without back-filled ones.
        windows: Prices over the windows of time, shortest first.
        is_followed: Whether its trades go to the tape.
    """

    __slots__ = (
        *("symbol", "last_price", "last_size", "last_is_large", "side", "direction"),
        *("last_trade_id", "last_trade_us", "last_seconds", "moved_seconds"),
        *("price", "first_price", "high", "high_price", "low", "low_price"),
        *("trades", "volume", "notional", "bought", "sold", "large_notional"),
        *("tick", "recent", "rate", "windows", "is_followed"),
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

    def is_large(self, notional: float) -> bool:
        """Return whether a trade is a large one, and learn from it.

        Large is what exceeds 99 in 100 trades of the symbol and is worth at least
        four times their mean. The first hundred set the scale. After that each trade
        moves it a little: up by 2 % if it exceeds it, else down by a 99th of that, so
        that it settles where one trade in a hundred exceeds it (a frugal quantile: no
        list of trades is kept).
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
            start = window.closes()[0]
        return self.price / start - 1 if start else 0.0

    def trend(self, seconds: float) -> list[float]:
        """Return prices over a window, oldest first, the last one being the latest.

        While the session is shorter than the window, it is the session's.
        """
        # Early on, the shorter windows show the same time more finely.
        fit = (w for w in self.windows if w.seconds == seconds or not w.is_full)
        window = next(fit, None)
        return [*(window.closes() if window else ()), self.price]

    def copied(self) -> Self:
        """Return a copy that stays as it is."""
        other = copy(self)
        other.rate = self.rate.copied()
        other.windows = [window.copied() for window in self.windows]
        return other


class TapeEntry(NamedTuple):
    """One trade on the tape; price and quantity are digits as received."""

    symbol: str
    price: str
    quantity: str
    side: str
    trade_id: int
    timestamp_us: int
    is_backfill: bool
    is_large: bool


class MarketState:
    """The symbols on show, in the order in which they were asked for.

    Args:
        symbols: Symbols asked for; they are on show before they trade. Others are
            added when they trade.
        started_seconds: Now, on the clock of ``observe``.
        windows_seconds: Windows of time that prices are kept for.
    """

    def __init__(
        self,
        symbols: Iterable[str] = (),
        *,
        started_seconds: float,
        windows_seconds: Iterable[float] = WINDOWS_SECONDS,
    ) -> None:
        self._started_seconds = started_seconds
        self._windows = sorted(set(windows_seconds))
        self._states = {s: SymbolState(s, started_seconds) for s in symbols}
        self._rate = RateWindow(started_seconds)
        self._follows: Callable[[str], bool] = lambda _: True
        # Plain tuples: names cost time, and only the few that are drawn need them.
        self._tape: deque[tuple[str, str, str, str, int, int, bool, bool]]
        self._tape = deque(maxlen=TAPE_TRADES)
        self.trades = 0

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[SymbolState]:
        return iter(self._states.values())

    def __getitem__(self, symbol: str) -> SymbolState:
        return self._states[symbol]

    def observe(self, trades: Iterable[TradeFacts], now_seconds: float) -> None:
        """Take note of trades that arrived together.

        A back-filled trade, and one older than the last one shown, adds to the sums and
        leaves last price, direction and rate alone.

        Every trade passes here: it does no more than it must, in one loop.

        Args:
            trades: In the order of arrival. Price and quantity must be decimal digits.
            now_seconds: A monotonic clock.
        """
        states, tape = self._states, self._tape
        tick = int(now_seconds * TICKS_PER_SECOND)
        seen = live = 0
        for trade in trades:
            symbol, price_digits, size_digits, side, trade_id, time_us, late = trade
            seen += 1
            state = states.get(symbol)
            if state is None:
                state = self._add(symbol)
                if state is None:
                    live += 1
                    continue
            price, size = float(price_digits), float(size_digits)
            notional = price * size
            state.trades += 1
            state.volume += size
            state.notional += notional
            large = state.is_large(notional)
            if state.is_followed:
                tape.append((*trade, large))
            if price > state.high:
                state.high, state.high_price = price, price_digits
            if price < state.low:
                state.low, state.low_price = price, price_digits
            if late or (
                # An exchange that restarts its ids has lower ids at later times.
                trade_id < state.last_trade_id and time_us <= state.last_trade_us
            ):
                continue

            live += 1
            if tick != state.tick:
                if state.last_price:
                    state.advance(now_seconds)
                else:
                    state.begin(price, now_seconds, self._windows)
            state.recent += 1
            if side == "BUY":
                state.bought += notional
            else:
                state.sold += notional
            if price != state.price:
                state.direction = (
                    Direction.UP if price > state.price else Direction.DOWN
                )
                state.moved_seconds = now_seconds
                state.price = price
            state.last_price, state.last_size = price_digits, size_digits
            state.last_is_large, state.side = large, side
            state.last_trade_id, state.last_trade_us = trade_id, time_us
            state.last_seconds = now_seconds
        self.trades += seen
        if live:
            self._rate.add(now_seconds, live)

    def tape(self) -> list[TapeEntry]:
        """Return the latest trades of the symbols followed, newest first."""
        return [TapeEntry(*entry) for entry in reversed(self._tape)]

    def per_second(self, now_seconds: float) -> float:
        """Return the live trades per second of all symbols together."""
        return self._rate.per_second(now_seconds)

    def follow(self, follows: Callable[[str], bool]) -> None:
        """Choose the symbols whose trades go to the tape from now on."""
        self._follows = follows
        for state in self:
            state.is_followed = follows(state.symbol)

    def copied(self) -> Self:
        """Return a copy that stays as it is, for a paused screen."""
        other = copy(self)
        states = {name: state.copied() for name, state in self._states.items()}
        other._states = states  # noqa: SLF001 - of its own class
        other._rate = self._rate.copied()  # noqa: SLF001 - of its own class
        other._tape = self._tape.copy()  # noqa: SLF001 - of its own class
        return other

    def _add(self, symbol: str) -> SymbolState | None:
        if len(self._states) >= MAX_SYMBOLS:
            return None
        state = SymbolState(symbol, self._started_seconds)
        state.is_followed = self._follows(symbol)
        self._states[symbol] = state
        return state

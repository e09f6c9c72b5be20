"""What the screen knows: every symbol's figures, and the tape of latest trades."""

from __future__ import annotations

from copy import copy
from enum import IntEnum
from heapq import nlargest
from itertools import repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Self

from k2cli.display.detail import Event, SymbolDetail
from k2cli.display.meters import (
    TICKS_PER_SECOND,
    CountRate,
    PriceWindow,
    RateWindow,
)
from k2cli.display.prints import Print, Tapes, TradeFacts
from k2cli.display.usd import DOLLARS, UsdRates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from k2cli.trade import Instrument, TradeBatch

MAX_SYMBOLS = 20_000
"""Most symbols kept; Binance Spot lists a sixth of it. Others only count in total."""

MOST_DETAILED = 100
"""Symbols up to which each is looked at closely from the start on, not when opened."""

WINDOWS_SECONDS = (60.0, 300.0, 900.0, 3600.0)
"""Lengths of the windows of time that prices are kept for."""

BALANCE_HALF_LIFE_SECONDS = 60.0
"""After this time a trade weighs half as much in the balance of buyers and sellers."""

FEWEST_FOR_LARGE = 100
"""Trades of a symbol before one can be called large."""

LARGE_TIMES_MEAN = 4.0
"""How many times the mean notional of its symbol a large trade is worth at least."""

BREADTH_SECONDS = 2.0
"""How often the whole market is looked at."""

# Symbols that the line about the market names.
_MOVERS = 6
_NO_INSTRUMENTS: Mapping[str, Instrument] = MappingProxyType({})


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
        quote: Quote asset; empty while unknown.
        usd_rate: USD that one unit of it is worth; 0 if unknown.
        delta: Notional of taker buys minus that of sells, quote asset.
        print: The latest print, which may still grow.
        detail: Candles, sizes and prints, if it is looked at closely.
        started_seconds: When it was begun to be followed.
    """

    __slots__ = (
        *("symbol", "last_price", "last_size", "last_is_large", "side", "direction"),
        *("last_trade_id", "last_trade_us", "last_seconds", "moved_seconds"),
        *("price", "first_price", "high", "high_price", "low", "low_price"),
        *("trades", "volume", "notional", "bought", "sold", "large_notional"),
        *("tick", "recent", "rate", "windows", "is_followed"),
        *("quote", "usd_rate", "delta", "print", "detail"),
        "started_seconds",
    )

    def __init__(self, symbol: str, started_seconds: float) -> None:
        self.symbol = symbol
        self.last_price = self.last_size = self.side = ""
        self.last_is_large = False
        self.direction = Direction.SAME
        self.last_trade_id = -1
        self.last_trade_us = 0
        self.started_seconds = started_seconds
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
        self.quote = ""
        self.usd_rate = self.delta = 0.0
        self.print: Print | None = None
        self.detail: SymbolDetail | None = None

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
        other = copy(self)
        other.rate = self.rate.copied()
        other.windows = [window.copied() for window in self.windows]
        if self.detail is not None:
            other.detail = self.detail.copied()
        # A print that has been copied does not grow any more.
        self.print = None
        return other


class Mover(NamedTuple):
    """A symbol and its relative change."""

    symbol: str
    change: float


class Breadth(NamedTuple):
    """The whole market at a glance.

    Attributes:
        rising: Symbols whose price is higher than at the window's beginning.
        falling: Symbols whose price is lower.
        unchanged: Symbols that traded, and are neither.
        usd_per_second: Worth of the trades, over the last seconds.
        delta_usd: Taker buys minus sells since the start.
        movers: The largest changes, the largest first.
        prints: The largest prints of the window, the largest first.
    """

    rising: int
    falling: int
    unchanged: int
    usd_per_second: float
    delta_usd: float
    movers: tuple[Mover, ...]
    prints: tuple[Print, ...]


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
        self._tapes = Tapes()
        # Symbols by base and quote asset.
        self._pairs: dict[tuple[str, str], SymbolState] = {}
        self._usd = UsdRates(self._price_of)
        # Symbols whose quote asset is no dollar.
        self._converted: list[SymbolState] = []
        self._tick = -1
        self._turnover = CountRate(started_seconds)
        self._breadth: Breadth | None = None
        self._breadth_of: tuple[object, ...] = ()
        self.trades = 0
        self.turnover_usd = 0.0

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[SymbolState]:
        return iter(self._states.values())

    def __getitem__(self, symbol: str) -> SymbolState:
        return self._states[symbol]

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._states

    def observe(
        self,
        trades: Iterable[TradeFacts],
        now_seconds: float,
        instruments: Mapping[str, Instrument] = _NO_INSTRUMENTS,
        *,
        is_past: bool = False,
    ) -> None:
        """Take note of trades that arrived together.

        A back-filled trade, and one older than the last one shown, adds to the sums and
        leaves last price, direction and rate alone.

        Every trade passes here: it does no more than it must, in one loop.

        Args:
            trades: In the order of arrival. Price and quantity must be decimal digits.
            now_seconds: A monotonic clock.
            instruments: Base and quote asset, by symbol, as far as known.
            is_past: Whether these are trades of before the start, and ``now_seconds``
                is when they were made: back-filled ones count as any others then.
        """
        states, tapes = self._states, self._tapes
        begin_print = tapes.begin
        tick = int(now_seconds * TICKS_PER_SECOND)
        if tick != self._tick:
            self._tick = tick
            self._refresh_rates()
        seen = live = 0
        turnover_usd = 0.0
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
            if not state.trades:
                self._introduce(state, instruments.get(symbol), now_seconds)
            state.trades += 1
            state.volume += size
            state.notional += notional
            is_buy = side == "BUY"
            if is_buy:
                state.delta += notional
            else:
                state.delta -= notional
            large = state.is_large(notional)
            usd = notional * state.usd_rate
            if state.is_followed:
                millisecond = time_us // 1000
                latest = state.print
                if (
                    latest is not None
                    and latest.millisecond == millisecond
                    and (fill := latest.latest)[3] == side
                    and fill[6] == late
                ):
                    latest.latest = trade
                    latest.trades += 1
                    latest.size += size
                    latest.notional += notional
                    latest.usd += usd
                    latest.delta = state.delta
                    if size > latest.largest:
                        latest.largest = size
                    if large:
                        latest.is_large = True
                else:
                    begun = Print(
                        trade, millisecond, size, notional, usd, state.delta, large
                    )
                    begin_print(begun)
                    if state.detail is not None:
                        state.detail.begin_print(begun, latest)
                    latest = state.print = begun
                if latest.usd >= latest.next_floor_usd:
                    tapes.raise_floor(latest)
            if price > state.high:
                state.high, state.high_price = price, price_digits
            if price < state.low:
                state.low, state.low_price = price, price_digits
            if (late and not is_past) or (
                # An exchange that restarts its ids has lower ids at later times.
                trade_id < state.last_trade_id and time_us <= state.last_trade_us
            ):
                if state.detail is not None:
                    state.detail.leave_out(size, notional, is_buy=is_buy)
                continue

            live += 1
            turnover_usd += usd
            if tick != state.tick:
                if state.last_price:
                    state.advance(now_seconds)
                else:
                    state.begin(price, now_seconds, self._windows)
            detail = state.detail
            if detail is not None and detail.tick != tick:
                detail.begin_candle(tick, price, size, notional, is_buy=is_buy)
            state.recent += 1
            if is_buy:
                state.bought += notional
            else:
                state.sold += notional
            if price != state.price:
                state.direction = (
                    Direction.UP if price > state.price else Direction.DOWN
                )
                state.moved_seconds = now_seconds
                state.price = price
                if detail is not None:
                    if price > detail.high:
                        detail.high = price
                    elif price < detail.low:
                        detail.low = price
            state.last_price, state.last_size = price_digits, size_digits
            state.last_is_large, state.side = large, side
            state.last_trade_id, state.last_trade_us = trade_id, time_us
            state.last_seconds = now_seconds
        self.trades += seen
        if not is_past:
            self.turnover_usd += turnover_usd
        if live:
            self._rate.add(now_seconds, live)

    def tape(self, floor: int = 0) -> list[Print]:
        """Return the latest prints of the symbols followed, newest first.

        Args:
            floor: Index into ``FLOORS_USD``: the least that they are worth.
        """
        return self._tapes.latest(floor)

    def open(self, symbol: str, now_seconds: float) -> None:
        """Look at a symbol closely from now on, if that has not begun before."""
        state = self._states[symbol]
        if state.detail is None:
            state.detail = SymbolDetail(state, now_seconds, self._windows)
            prints = reversed(self.tape())
            state.detail.prints.extend(one for one in prints if one.symbol == symbol)

    def note_event(
        self, symbol: str, kind: str, trades: int, now_seconds: float
    ) -> None:
        """Note a gap, repaired or missing trades on the symbol's time line."""
        state = self._states.get(symbol)
        if state is not None and state.detail is not None:
            state.detail.events.append(Event(now_seconds, kind, trades))

    def breadth(
        self,
        window_seconds: float,
        now_seconds: float,
        shows: Callable[[str], bool] = lambda _: True,
        shown: object = None,
    ) -> Breadth:
        """Return the whole market at a glance; it is computed every two seconds.

        Args:
            window_seconds: The window of time for changes.
            now_seconds: The clock of ``observe``.
            shows: Whether a symbol counts.
            shown: Anything that differs where ``shows`` does.
        """
        asked = (window_seconds, shown, int(now_seconds / BREADTH_SECONDS))
        if self._breadth is None or asked != self._breadth_of:
            self._breadth_of = asked
            self._breadth = self._look_around(window_seconds, now_seconds, shows)
        return self._breadth

    def _look_around(
        self, window_seconds: float, now_seconds: float, shows: Callable[[str], bool]
    ) -> Breadth:
        place = self._windows.index(window_seconds)
        changes = []
        rising = falling = last_us = 0
        delta_usd = 0.0
        for state in self:
            if state.is_quiet or not shows(state.symbol):
                continue
            window = state.windows[place]
            start = window.oldest if window.is_full else state.first_price
            change = state.price / start - 1 if start else 0.0
            changes.append((abs(change), state.symbol, change))
            rising += change > 0
            falling += change < 0
            delta_usd += state.delta * state.usd_rate
            last_us = max(last_us, state.last_trade_us)
        since_ms = int(last_us / 1000 - window_seconds * 1000)
        return Breadth(
            rising=rising,
            falling=falling,
            unchanged=len(changes) - rising - falling,
            usd_per_second=self._turnover.per_second(self.turnover_usd, now_seconds),
            delta_usd=delta_usd,
            movers=tuple(
                Mover(symbol, change)
                for _, symbol, change in nlargest(_MOVERS, changes)
            ),
            prints=tuple(self._tapes.largest(since_ms, _MOVERS, shows)),
        )

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
        other._tapes = self._tapes.copied()  # noqa: SLF001 - of its own class
        return other

    def _add(self, symbol: str) -> SymbolState | None:
        if len(self._states) >= MAX_SYMBOLS:
            return None
        state = SymbolState(symbol, self._started_seconds)
        state.is_followed = self._follows(symbol)
        self._states[symbol] = state
        return state

    def _introduce(
        self,
        state: SymbolState,
        instrument: Instrument | None,
        now_seconds: float,
    ) -> None:
        """Learn a symbol's assets with its first trade."""
        if instrument is not None:
            state.quote = instrument.quote_asset
            self._pairs[instrument.base_asset, instrument.quote_asset] = state
            self._usd.follow(state.quote)
            state.usd_rate = self._usd.rate(state.quote)
            if state.quote not in DOLLARS:
                self._converted.append(state)
        if len(self._states) <= MOST_DETAILED:
            self.open(state.symbol, now_seconds)

    def _refresh_rates(self) -> None:
        self._usd.refresh()
        for state in self._converted:
            state.usd_rate = self._usd.rate(state.quote)

    def _price_of(self, base: str, quote: str) -> float:
        state = self._pairs.get((base, quote))
        return state.price if state is not None else 0.0

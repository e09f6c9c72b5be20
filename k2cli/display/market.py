"""What the screen knows: every symbol's figures, and the tape of latest trades."""

from __future__ import annotations

from copy import copy
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple, Self

from k2cli.display.detail import Event, SymbolDetail
from k2cli.display.meters import TICKS_PER_SECOND, CountRate, RateWindow
from k2cli.display.prints import Print, Tapes, fills_of
from k2cli.display.symbol import WINDOWS_SECONDS, SymbolState
from k2cli.display.usd import DOLLARS, UsdRates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from k2cli.trade import Instrument, TradeBatch

MAX_SYMBOLS = 20_000
"""Most symbols kept; Binance Spot lists a sixth of it. Others only count in total."""

MOST_DETAILED = 100
"""Symbols up to which each is looked at closely from the start on, not when opened."""

BREADTH_SECONDS = 2.0
"""How often the whole market is looked at."""

MOST_NAMED = 6
"""Movers, and largest prints, that are told of the whole market."""


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
        self, batch: TradeBatch, now_seconds: float, *, is_past: bool = False
    ) -> None:
        """Take note of trades that arrived together.

        Args:
            batch: In the order of arrival.
            now_seconds: A monotonic clock.
            is_past: Whether these are trades of before the start, and ``now_seconds``
                is when they were made: back-filled ones count as any others then.
        """
        states, tapes, windows = self._states, self._tapes, self._windows
        tick = int(now_seconds * TICKS_PER_SECOND)
        if tick != self._tick:
            self._tick = tick
            self._refresh_rates()
        live = 0
        turnover_usd = 0.0
        for fills in fills_of(batch):
            symbol, trades, notional = fills[0], fills[5], fills[10]
            state = states.get(symbol)
            if state is None:
                state = self._add(symbol)
                if state is None:
                    live += trades
                    continue
            if not state.trades:
                self._introduce(state, batch.instruments[symbol], now_seconds)
            before = state.print
            if state.take(fills, now_seconds, windows, is_past=is_past):
                live += trades
                turnover_usd += notional * state.usd_rate
            latest = state.print
            if latest is not None and state.is_followed:
                if latest is not before:
                    tapes.begin(latest)
                if latest.usd >= latest.next_floor_usd:
                    tapes.raise_floor(latest)
        self.trades += len(batch)
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
        changes = []
        rising = falling = last_us = 0
        delta_usd = 0.0
        for state in self:
            if state.is_quiet or not shows(state.symbol):
                continue
            state.advance(now_seconds)
            change = state.change(window_seconds)
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
                for _, symbol, change in nlargest(MOST_NAMED, changes)
            ),
            prints=tuple(self._tapes.largest(since_ms, MOST_NAMED, shows)),
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
        instrument: Instrument,
        now_seconds: float,
    ) -> None:
        """Learn a symbol's assets with its first trade."""
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

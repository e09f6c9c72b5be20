"""What the screen knows: every symbol's figures, and the tape of latest trades."""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING, NamedTuple, Self

from k2cli.display.symbol import Direction, SymbolState
from k2cli.display.window import TICKS_PER_SECOND, RateWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_SYMBOLS = 20_000
"""Most symbols kept; Binance Spot lists a sixth of it. Others only count in total."""

TAPE_TRADES = 250
"""Latest trades kept: more than a tall screen shows."""

WINDOWS_SECONDS = (60.0, 300.0, 900.0, 3600.0)
"""Lengths of the windows of time that prices are kept for."""

TradeFacts = tuple[str, str, str, str, int, int, bool]
"""What the screen needs of a trade.

Symbol, price and quantity as decimal digits, taker side, exchange trade id, trade time
in Unix microseconds, and whether it was back-filled.
"""


class TapeEntry(NamedTuple):
    """One trade on the tape.

    Attributes:
        trade: Its facts.
        is_large: Whether it is large for its symbol.
    """

    trade: TradeFacts
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
        self.tape: deque[TapeEntry] = deque(maxlen=TAPE_TRADES)
        self.trades = 0

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[SymbolState]:
        return iter(self._states.values())

    def __getitem__(self, symbol: str) -> SymbolState:
        """Give one symbol's state.

        Raises:
            KeyError: If it was neither asked for nor seen.
        """
        return self._states[symbol]

    def observe(self, trades: Iterable[TradeFacts], now_seconds: float) -> None:
        """Take note of trades that arrived together.

        A back-filled trade, and one older than the last one shown, adds to the sums and
        leaves last price, direction and pace alone.

        This is on the way of every trade: it does no more than it must, in one loop.

        Args:
            trades: In the order of arrival. Price and quantity must be decimal digits.
            now_seconds: A monotonic clock.
        """
        states, tape = self._states, self.tape
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
                tape.append(TapeEntry(trade, large))
            if price > state.high:
                state.high, state.high_price = price, price_digits
            if price < state.low:
                state.low, state.low_price = price, price_digits
            if late or (
                # An exchange that begins to count anew has lower ids at later times.
                trade_id < state.last_trade_id and time_us <= state.last_trade_us
            ):
                continue

            live += 1
            if tick != state.tick:
                if state.last_price:
                    state.settle(now_seconds)
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

    def per_second(self, now_seconds: float) -> float:
        """Give the pace of all symbols together, trades per second.

        Args:
            now_seconds: The same clock as for ``observe``.
        """
        return self._rate.per_second(now_seconds)

    def follow(self, follows: Callable[[str], bool]) -> None:
        """Choose the symbols whose trades go to the tape from now on.

        Args:
            follows: Says it for a symbol.
        """
        self._follows = follows
        for state in self:
            state.is_followed = follows(state.symbol)

    def copied(self) -> Self:
        """Give a copy that stays as it is, for a picture that stands still."""
        other = copy(self)
        states = {name: state.copied() for name, state in self._states.items()}
        other._states = states  # noqa: SLF001 - of its own class
        other._rate = self._rate.copied()  # noqa: SLF001 - of its own class
        other.tape = self.tape.copy()
        return other

    def _add(self, symbol: str) -> SymbolState | None:
        if len(self._states) >= MAX_SYMBOLS:
            return None
        state = SymbolState(symbol, self._started_seconds)
        state.is_followed = self._follows(symbol)
        self._states[symbol] = state
        return state

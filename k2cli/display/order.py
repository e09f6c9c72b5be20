"""Which symbols are shown, and in which order: one that does not jump about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2cli.display.columns import COLUMNS, Row

if TYPE_CHECKING:
    from k2cli.display.columns import SortKey
    from k2cli.display.controls import Controls
    from k2cli.display.market import MarketState
    from k2cli.display.precision import Precision
    from k2cli.display.symbol import SymbolState

RESORT_SECONDS = 2.0
"""Rows change places at most so often, unless a key asks for it."""

_KEYS = {
    column.name: column.sort_key for column in COLUMNS if column.sort_key is not None
}


class Order:
    """Sorts symbols, now and then.

    Args:
        precision: Needed to make rows.
    """

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._sorted: list[SymbolState] = []
        self._asked: tuple[object, ...] = ()
        self._sorted_seconds = 0.0
        self._sorted_trades = 0

    def rows(
        self,
        market: MarketState,
        controls: Controls,
        *,
        limit: int,
        now_seconds: float,
    ) -> list[SymbolState]:
        """Give all symbols that fit the filter, in order.

        Without a column to sort by, that is the order in which they were asked for if
        they fit on the screen, else the busiest first: those with the most trades so
        far. (The pace would make rows jump; the count settles.)

        Args:
            market: The symbols.
            controls: Filter and order.
            limit: Most symbols that fit.
            now_seconds: The clock of the market.
        """
        # A paused market is a copy: its identity tells that the states are others.
        asked = (
            id(market),
            controls.sort,
            controls.is_ascending,
            controls.window_seconds,
            controls.filter,
            len(market) > limit,
        )
        # At first everything moves: until it settles there is nothing to be read.
        due = (
            now_seconds - self._sorted_seconds >= RESORT_SECONDS
            or market.trades > 2 * self._sorted_trades
        )
        if asked != self._asked or due or not self._sorted:
            self._sorted = self._sort(market, controls, limit, now_seconds)
            self._asked, self._sorted_seconds = asked, now_seconds
            self._sorted_trades = market.trades
        return self._sorted

    def _sort(
        self,
        market: MarketState,
        controls: Controls,
        limit: int,
        now_seconds: float,
    ) -> list[SymbolState]:
        states = [state for state in market if controls.shows(state.symbol)]
        if controls.sort is None:
            if len(states) <= limit:
                return states
            return sorted(states, key=_trades, reverse=True)

        key_of = _KEYS[controls.sort]

        def key(state: SymbolState) -> SortKey:
            state.settle(now_seconds)
            window_seconds = controls.window_seconds
            return key_of(Row(state, now_seconds, window_seconds, self._precision, {}))

        # Those that have not traded come last, whichever way round.
        named = controls.sort == "symbol"
        ready = [state for state in states if named or not state.is_quiet]
        quiet = [state for state in states if not named and state.is_quiet]
        return [*sorted(ready, key=key, reverse=not controls.is_ascending), *quiet]


def _trades(state: SymbolState) -> int:
    return state.trades

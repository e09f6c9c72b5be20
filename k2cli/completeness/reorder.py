"""Keeping trades in order: later ones wait until a gap before them is repaired."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.trade import TradeBatch


class ReorderBuffer:
    """Trades that wait for a gap before them, by symbol.

    It has no limit of its own: the ``Sequencer`` gives gaps up when it gets too full.

    Attributes:
        trades: How many wait, of all symbols.
    """

    def __init__(self) -> None:
        self.trades = 0
        # By reset and trade id, which together are unique within a symbol, so that
        # trades are never compared.
        self._waiting: dict[str, list[tuple[tuple[int, int], TradeBatch]]] = {}

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._waiting

    def push(self, trade: TradeBatch, resets: int = 0) -> None:
        """Add a trade.

        Args:
            trade: A batch of one.
            resets: How many times the symbol's ids had started over before this trade.
        """
        waiting = self._waiting.setdefault(trade.symbols[0], [])
        heapq.heappush(waiting, ((resets, int(trade.trade_ids[0])), trade))
        self.trades += 1

    def pop(
        self, symbol: str, before_id: int | None, resets: int = 0
    ) -> TradeBatch | None:
        """Remove and return the symbol's trade with the lowest id.

        Args:
            symbol: The symbol.
            before_id: The first id missing: return no trade from there on. ``None`` if
                nothing is missing.
            resets: How many resets ``before_id`` comes after; trades from before the
                last one are before it.
        """
        waiting = self._waiting.get(symbol)
        if not waiting or (
            before_id is not None and waiting[0][0] >= (resets, before_id)
        ):
            return None
        trade = heapq.heappop(waiting)[1]
        if not waiting:
            del self._waiting[symbol]
        self.trades -= 1
        return trade

    def fullest(self) -> str | None:
        """Return the symbol with the most trades waiting, if any wait."""
        return max(
            self._waiting, key=lambda each: len(self._waiting[each]), default=None
        )

"""Keeping a capture in order: later trades wait while a gap before them is repaired."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k2cli.trade import TradeV2


class Hold:
    """Trades that have come but may not be written yet, by symbol.

    It grows only through ``push``; whoever pushes sees to its limit by giving a gap up.

    Attributes:
        trades: How many are held, of all symbols.
    """

    def __init__(self) -> None:
        self.trades = 0
        # By count and trade id, which together are unique within a symbol, so that
        # trades are never compared.
        self._held: dict[str, list[tuple[tuple[int, int], TradeV2]]] = {}

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._held

    def push(self, trade: TradeV2, count: int = 0) -> None:
        """Take a trade in.

        Args:
            trade: The trade.
            count: How often the exchange had begun to count the symbol's trades anew.
        """
        held = self._held.setdefault(trade.symbol, [])
        heapq.heappush(held, ((count, trade.source_sequence or 0), trade))
        self.trades += 1

    def pop(self, symbol: str, before_id: int | None, count: int = 0) -> TradeV2 | None:
        """Let the symbol's trade with the lowest id go.

        Args:
            symbol: Whose.
            before_id: Only if its id is lower, so that nothing is missing before it;
                any if ``None``.
            count: Which count that id is of; trades of an earlier one go before it.
        """
        held = self._held.get(symbol)
        if not held or (before_id is not None and held[0][0] >= (count, before_id)):
            return None
        trade = heapq.heappop(held)[1]
        if not held:
            del self._held[symbol]
        self.trades -= 1
        return trade

    def fullest(self) -> str | None:
        """Give the symbol that holds the most, if any does."""
        return max(self._held, key=lambda symbol: len(self._held[symbol]), default=None)

"""Which of the trades of a run are wanted; what is missing is judged before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from k2cli.trade import TradeBatch


class TradeFilter:
    """Which trades go to the sinks; the ledger counts all.

    Args:
        side: Only those of this taker side, ``"BUY"`` or ``"SELL"``.
        min_notional: Only those worth at least this, in their quote asset.

    Attributes:
        side: As given.
        min_notional: As given.
        takes_all: Whether every trade passes.
    """

    def __init__(
        self, side: str | None = None, min_notional: Decimal | None = None
    ) -> None:
        self.side = side
        self.min_notional = min_notional
        self.takes_all = side is None and min_notional is None

    def indexes(self, batch: TradeBatch) -> Sequence[int]:
        """Return the indexes of the trades that pass."""
        if self.takes_all:
            return range(len(batch))
        side, least = self.side, self.min_notional
        return [
            index
            for index in range(len(batch))
            if (side is None or batch.side(index) == side)
            and (least is None or batch.notional(index) >= least)
        ]

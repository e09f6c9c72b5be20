"""Trades of before the start, shown as if they had come when they were made."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from k2cli.display.market import trade_facts
from k2cli.display.meters import TICKS_PER_SECOND

if TYPE_CHECKING:
    from k2cli.display.market import MarketState
    from k2cli.display.prints import TradeFacts
    from k2cli.trade import TradeBatch


def observe_past(
    market: MarketState, batch: TradeBatch, offset_seconds: float
) -> float:
    """Take note of trades at the times at which they were made.

    Args:
        market: Takes them; its clock goes on from one time to the next.
        batch: Trades, ascending by their times.
        offset_seconds: The clock of ``MarketState.observe`` less Unix time.

    Returns:
        The clock of ``MarketState.observe`` after that.
    """

    def tick(facts: TradeFacts) -> int:
        return int((facts[5] / 1e6 + offset_seconds) * TICKS_PER_SECOND)

    seconds = 0.0
    for reached, together in groupby(trade_facts(batch), tick):
        seconds = (reached + 0.5) / TICKS_PER_SECOND
        market.observe(together, seconds, batch.instruments, is_past=True)
    return seconds

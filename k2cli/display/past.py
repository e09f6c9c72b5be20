"""Trades of before the start, shown as if they had come when they were made."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from k2cli.display.meters import TICKS_PER_SECOND

if TYPE_CHECKING:
    from k2cli.display.market import MarketState
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

    def tick(place_and_us: tuple[int, int]) -> int:
        return int((place_and_us[1] / 1e6 + offset_seconds) * TICKS_PER_SECOND)

    seconds = 0.0
    for reached, together in groupby(enumerate(batch.timestamps_us()), tick):
        places = [place for place, _ in together]
        seconds = (reached + 0.5) / TICKS_PER_SECOND
        market.observe(batch.part(places[0], places[-1] + 1), seconds, is_past=True)
    return seconds

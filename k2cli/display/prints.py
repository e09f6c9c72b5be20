"""Prints: the fills of one taker order together, as traders read a tape."""

from __future__ import annotations

from collections import deque
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

FLOORS_USD = (0.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
"""Least worth of the prints on a tape, to choose from; 0 for every print."""

TAPE_PRINTS = 250
"""Latest prints kept for each floor: more than a tall screen shows."""


@dataclass(slots=True)
class Print:
    """The fills of one taker order: same symbol, taker side and millisecond.

    Attributes:
        symbol: Name as on the wire.
        side: Taker side, ``"BUY"`` or ``"SELL"``.
        millisecond: Trade time, Unix milliseconds.
        is_backfill: Whether the trades are from the history.
        price_digits: Price of the latest fill, digits as received.
        size_digits: Its quantity, likewise.
        trade_id: Its exchange trade id.
        size: Sum of quantities, base asset.
        notional: Sum of price times quantity, quote asset.
        largest: Quantity of the largest fill.
        usd: The notional in USD; 0 while there is no rate.
        delta: Taker buys minus sells of the symbol so far, this print included.
        is_large: Whether a fill was large for the symbol.
        trades: Number of fills.
        floors: How many of the floors it has reached.
    """

    symbol: str
    side: str
    millisecond: int
    is_backfill: bool
    price_digits: str
    size_digits: str
    trade_id: int
    size: float
    notional: float
    largest: float
    usd: float
    delta: float
    is_large: bool
    trades: int = 1
    floors: int = 0

    @property
    def mean_price(self) -> float:
        """Mean price of the fills, weighted by quantity."""
        return self.notional / self.size if self.size else float(self.price_digits)


class Tapes:
    """The latest prints above each floor. A print grows while its fills come."""

    def __init__(self) -> None:
        self._tapes = [deque[Print](maxlen=TAPE_PRINTS) for _ in FLOORS_USD]

    def note(self, one: Print) -> None:
        """Put a print on the tapes whose floor it has reached since the last time."""
        while one.floors < len(FLOORS_USD) and one.usd >= FLOORS_USD[one.floors]:
            self._tapes[one.floors].append(one)
            one.floors += 1

    def latest(self, floor: int = 0) -> list[Print]:
        """Return the prints of a tape, newest first.

        Args:
            floor: Index into ``FLOORS_USD``.
        """
        return list(reversed(self._tapes[floor]))

    def largest(
        self, since_ms: int, most: int, fits: Callable[[str], bool]
    ) -> list[Print]:
        """Return the prints of most worth in USD, the largest first.

        Args:
            since_ms: Trade time of the oldest to look at, Unix milliseconds.
            most: How many to return.
            fits: Whether a symbol counts.
        """
        found: list[Print] = []
        for tape in reversed(self._tapes[1:]):
            found = [
                one for one in tape if one.millisecond >= since_ms and fits(one.symbol)
            ]
            if len(found) >= most:
                break
        return sorted(found, key=lambda one: one.usd, reverse=True)[:most]

    def copied(self) -> Self:
        """Return a copy to which nothing is added."""
        other = copy(self)
        other._tapes = [tape.copy() for tape in self._tapes]  # noqa: SLF001 - of its own class
        return other

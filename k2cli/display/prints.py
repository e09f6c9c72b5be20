"""Prints: the fills of one taker order together, as traders read a tape."""

from __future__ import annotations

from collections import deque
from copy import copy
from math import inf
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

TradeFacts = tuple[str, str, str, str, int, int, bool]
"""What the screen needs of a trade.

Symbol, price and quantity as decimal digits, taker side, exchange trade id, trade time
in Unix microseconds, and whether it was back-filled.
"""

FLOORS_USD = (0.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
"""Least worth of the prints on a tape, to choose from; 0 for every print."""

TAPE_PRINTS = 250
"""Latest prints kept for each floor: more than a tall screen shows."""


class Print:
    """The fills of one taker order: same symbol, taker side and millisecond.

    Every trade makes or changes one: it is as plain as it can be.

    Attributes:
        latest: The latest fill: symbol, price and quantity as digits, taker side, trade
            id, trade time in Unix microseconds, and whether it was back-filled.
        millisecond: Trade time, Unix milliseconds.
        size: Sum of quantities, base asset.
        notional: Sum of price times quantity, quote asset.
        largest: Quantity of the largest fill.
        usd: The notional in USD; 0 while there is no rate.
        delta: Taker buys minus sells of the symbol so far, this print included.
        is_large: Whether a fill was large for the symbol.
        trades: Number of fills.
        next_floor_usd: The least of the floors that it has not reached.
    """

    __slots__ = (
        *("latest", "millisecond", "size", "notional", "largest", "usd", "delta"),
        *("is_large", "trades", "next_floor_usd"),
    )

    def __init__(
        self,
        latest: TradeFacts,
        millisecond: int,
        size: float,
        notional: float,
        usd: float,
        delta: float,
        is_large: bool,
    ) -> None:
        self.latest = latest
        self.millisecond = millisecond
        self.size = self.largest = size
        self.notional = notional
        self.usd = usd
        self.delta = delta
        self.is_large = is_large
        self.trades = 1
        self.next_floor_usd = FLOORS_USD[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Print) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def symbol(self) -> str:
        """Name as on the wire."""
        return self.latest[0]

    @property
    def price_digits(self) -> str:
        """Price of the latest fill, as received."""
        return self.latest[1]

    @property
    def size_digits(self) -> str:
        """Quantity of the latest fill, as received."""
        return self.latest[2]

    @property
    def side(self) -> str:
        """Taker side, ``"BUY"`` or ``"SELL"``."""
        return self.latest[3]

    @property
    def trade_id(self) -> int:
        """Exchange trade id of the latest fill."""
        return self.latest[4]

    @property
    def is_backfill(self) -> bool:
        """Whether the trades are from the history."""
        return self.latest[6]

    @property
    def mean_price(self) -> float:
        """Mean price of the fills, weighted by quantity."""
        return self.notional / self.size if self.size else float(self.price_digits)


class Tapes:
    """The latest prints above each floor. A print grows while its fills come."""

    def __init__(self) -> None:
        self._tapes = [deque[Print](maxlen=TAPE_PRINTS) for _ in FLOORS_USD]
        above = (*FLOORS_USD[1:], inf)
        self._floors = list(zip(self._tapes, FLOORS_USD, above, strict=True))[1:]

    def begin(self, one: Print) -> None:
        """Put a new print on the tape that has every print."""
        self._tapes[0].append(one)

    def raise_floor(self, one: Print) -> None:
        """Put a print on the tapes whose floor it has reached since the last time."""
        for tape, floor_usd, next_usd in self._floors:
            if one.next_floor_usd <= floor_usd <= one.usd:
                tape.append(one)
                one.next_floor_usd = next_usd

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
        """Return a copy, to be read only."""
        other = copy(self)
        other._tapes = [tape.copy() for tape in self._tapes]  # noqa: SLF001 - of its own class
        return other

"""How many decimals a symbol's prices and sizes are shown with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k2cli.display.digits import grouped, significant_decimals

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST_PRICE_DECIMALS = 2


@dataclass(slots=True)
class Precision:
    """Writes prices and sizes with as many decimals as their symbol has.

    Args:
        price_decimals: Decimals of a symbol's tick size, by symbol. Where unknown, the
            most decimals seen so far are shown, so that numbers do not jitter.
        size_decimals: Decimals of a symbol's step size, likewise.
    """

    price_decimals: Mapping[str, int] = field(default_factory=dict)
    size_decimals: Mapping[str, int] = field(default_factory=dict)
    _prices: dict[str, int] = field(default_factory=dict, init=False)
    _sizes: dict[str, int] = field(default_factory=dict, init=False)

    def price(self, symbol: str, digits: str) -> tuple[str, str]:
        """Give a price as grouped integer part and fraction; see ``grouped``."""
        decimals = self.price_decimals.get(symbol)
        if decimals is None:
            seen = self._prices.get(symbol, _LEAST_PRICE_DECIMALS)
            decimals = self._prices[symbol] = max(seen, significant_decimals(digits))
        return grouped(digits, decimals)

    def size(self, symbol: str, digits: str) -> tuple[str, str]:
        """Give a size as grouped integer part and fraction; see ``grouped``."""
        decimals = self.size_decimals.get(symbol)
        if decimals is None:
            seen = self._sizes.get(symbol, 0)
            decimals = self._sizes[symbol] = max(seen, significant_decimals(digits))
        return grouped(digits, decimals)

    def mean_price(self, symbol: str, price: float) -> tuple[str, str]:
        """Give a computed price, rounded to the symbol's decimals."""
        decimals = self.price_decimals.get(symbol)
        if decimals is None:
            decimals = self._prices.get(symbol, _LEAST_PRICE_DECIMALS)
        whole, _, fraction = f"{price:,.{decimals}f}".partition(".")
        return whole, f".{fraction}" if fraction else ""

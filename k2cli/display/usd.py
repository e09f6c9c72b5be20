"""What a quote asset is worth in USD, by the stream's own pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DOLLARS = ("USDT", "USDC", "FDUSD", "TUSD", "USD", "USDP", "BUSD", "DAI", "USD1")
"""Assets that count as one USD; earlier ones are asked for prices first."""

# Assets that others are often priced in, where they have no pair with a dollar.
_BRIDGES = ("BTC", "ETH", "BNB")


class UsdRates:
    """Rates of the quote assets that are on show.

    Args:
        price_of: Returns the last price of a base and a quote asset, 0 if unknown.
    """

    def __init__(self, price_of: Callable[[str, str], float]) -> None:
        self._price_of = price_of
        self._rates = dict.fromkeys(DOLLARS, 1.0)

    def rate(self, asset: str) -> float:
        """Return the USD that one unit was worth lately; 0 if unknown."""
        return self._rates.get(asset, 0.0)

    def follow(self, asset: str) -> None:
        """Keep the rate of an asset up to date from now on."""
        if asset not in self._rates:
            self._rates[asset] = self._look_up(asset)

    def refresh(self) -> None:
        """Take the latest prices; a rate that is not known any more stays."""
        for asset, before in self._rates.items():
            if asset not in DOLLARS:
                self._rates[asset] = self._look_up(asset) or before

    def _look_up(self, asset: str) -> float:
        for dollar in DOLLARS:
            if price := self._price(asset, dollar):
                return price
        for bridge in _BRIDGES:
            if bridge != asset and (price := self._price(asset, bridge)):
                in_dollars = (self._price(bridge, dollar) for dollar in DOLLARS)
                if rate := next(filter(None, in_dollars), 0.0):
                    return price * rate
        return 0.0

    def _price(self, asset: str, other: str) -> float:
        """Return the price of an asset in another one, by their pair either way."""
        if price := self._price_of(asset, other):
            return price
        inverse = self._price_of(other, asset)
        return 1 / inverse if inverse else 0.0

"""The symbols of the made-up market, and how each of them behaves."""

from __future__ import annotations

from dataclasses import dataclass

from k2cli.simulator.trades import SymbolInfo

UNITS = 10**8
"""Prices and quantities are counted in units of 1e-8, the finest that Binance has."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol of the made-up market.

    Attributes:
        base: Base asset.
        quote: Quote asset.
        price_units: Where its price starts, in units of 1e-8.
        tick_units: Smallest price step, in units of 1e-8.
        step_units: Smallest quantity step, in units of 1e-8.
        usual_steps: A usual quantity, in steps.
        weight: Its share of the market's trades, relative to the others.
        price_decimals: Digits after the point that prices are padded to.
        quantity_decimals: Digits after the point that quantities are padded to.
        status: As in the catalog; only ``"TRADING"`` symbols trade.
    """

    base: str
    quote: str
    price_units: int
    tick_units: int
    step_units: int
    usual_steps: int
    weight: float
    price_decimals: int = 8
    quantity_decimals: int = 8
    status: str = "TRADING"

    @property
    def symbol(self) -> str:
        """Base and quote in one word."""
        return self.base + self.quote

    def info(self) -> SymbolInfo:
        """Give the catalog's entry."""
        return SymbolInfo(
            symbol=self.symbol,
            base=self.base,
            quote=self.quote,
            status=self.status,
            tick_size=decimal_digits(self.tick_units, self.price_decimals),
            step_size=decimal_digits(self.step_units, self.quantity_decimals),
        )


def decimal_digits(units: int, decimals: int) -> str:
    """Write a number of 1e-8 units as digits, padded to so many decimals.

    Args:
        units: The number times 10^8; what ``decimals`` cannot show must be zero.
        decimals: Digits after the point, at least 1 and at most 8.
    """
    whole, fraction = divmod(units, UNITS)
    return f"{whole}.{fraction:08d}"[: decimals - 8 or None]


def _listing(
    pair: str,
    price: float,
    tick: float,
    step: float,
    usual_steps: int,
    weight: float,
    *,
    price_decimals: int = 8,
    quantity_decimals: int = 8,
    status: str = "TRADING",
) -> Listing:
    base, quote = pair.split("/")
    tick_units = round(tick * UNITS)
    return Listing(
        base=base,
        quote=quote,
        price_units=round(price * UNITS) // tick_units * tick_units,
        tick_units=tick_units,
        step_units=round(step * UNITS),
        usual_steps=usual_steps,
        weight=weight,
        price_decimals=price_decimals,
        quantity_decimals=quantity_decimals,
        status=status,
    )


# fmt: off
LISTINGS: tuple[Listing, ...] = (
    _listing("BTC/USDT", 64_230.51, 0.01, 0.00001, 45, 300),
    _listing("ETH/USDT", 3_412.87, 0.01, 0.0001, 110, 210),
    _listing("SOL/USDT", 172.64, 0.01, 0.001, 650, 85),
    _listing("BNB/USDT", 604.10, 0.10, 0.001, 210, 45),
    _listing("XRP/USDT", 0.5873, 0.0001, 1, 260, 60),
    _listing("DOGE/USDT", 0.12784, 0.00001, 1, 900, 55),
    _listing("ADA/USDT", 0.4519, 0.0001, 0.1, 2_100, 24),
    _listing("LTC/USDT", 84.32, 0.01, 0.001, 1_300, 10),
    _listing("PEPE/USDT", 0.00001184, 0.00000001, 1, 7_400_000, 48),
    _listing("SHIB/USDT", 0.00001862, 1e-8, 1, 6_100_000, 20, quantity_decimals=2),
    _listing("1INCH/USDT", 0.3861, 0.0001, 0.1, 800, 2),
    _listing("币安人生/USDT", 0.17342, 0.00001, 0.1, 3_300, 5),
    _listing("FDUSD/USDT", 0.9987, 0.0001, 1, 1_500, 12),
    _listing("USDC/USDT", 1.0001, 0.0001, 1, 900, 14),
    _listing("BTC/FDUSD", 64_301.02, 0.01, 0.00001, 90, 62),
    _listing("ETH/USDC", 3_413.20, 0.01, 0.0001, 160, 26),
    _listing("BTC/EUR", 59_310.44, 0.01, 0.00001, 60, 9),
    _listing("ETH/EUR", 3_151.90, 0.01, 0.0001, 120, 4),
    _listing("ETH/BTC", 0.05313, 0.00001, 0.0001, 700, 16),
    _listing("BNB/BTC", 0.009406, 0.000001, 0.001, 180, 3),
    _listing("SOL/BTC", 0.0026873, 0.0000001, 0.01, 90, 2),
    _listing("USDT/TRY", 34.21, 0.01, 1, 310, 9),
    _listing("BTC/BRL", 361_420, 1, 0.00001, 80, 1),
    _listing("BTC/IDRT", 1_042_300_000, 1, 0.000001, 300, 0.12, price_decimals=2),
    _listing("WBTC/BTC", 0.9994, 0.0001, 0.00001, 900, 0.12),
    _listing("SHIB/DOGE", 0.00014571, 0.00000001, 1, 90_000, 0.06),
    _listing("LUNA/BUSD", 0.5241, 0.0001, 0.01, 1, 0, status="BREAK"),
    _listing("BTC/BUSD", 27_114.08, 0.01, 0.00001, 1, 0, status="BREAK"),
    _listing("FTT/USDT", 1.4217, 0.0001, 0.01, 1, 0, status="HALT"),
)
# fmt: on

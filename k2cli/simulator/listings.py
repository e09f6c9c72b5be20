"""The symbols of the made-up market: the usual ones, and as many as Binance has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from k2cli.simulator.trades import SymbolInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = 10**8
"""Prices and quantities are counted in units of 1e-8, the finest that Binance has."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol of the made-up market; its steps are counted in ``UNITS``.

    Attributes:
        price_units: Where its price starts.
        usual_steps: A usual quantity, in steps.
        weight: Its share of the market's trades, relative to the others.
        price_decimals: Digits after the point that prices are padded to.
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
        """Return the catalog's entry."""
        return SymbolInfo(
            symbol=self.symbol,
            base=self.base,
            quote=self.quote,
            status=self.status,
            tick_size=decimal_digits(self.tick_units, self.price_decimals),
            step_size=decimal_digits(self.step_units, self.quantity_decimals),
        )


def decimal_digits(units: int, decimals: int) -> str:
    """Write a number of 1e-8 units as digits, padded to 1 to 8 decimals."""
    whole, fraction = divmod(units, UNITS)
    return f"{whole}.{fraction:08d}"[: decimals - 8 or None]


def _listing(
    pair: str, price: float, tick: float, step: float, usual: int, weight: float,
    **other: Any,
) -> Listing:  # fmt: skip
    base, quote = pair.split("/")
    tick_units = round(tick * UNITS)
    price_units = round(price * UNITS) // tick_units * tick_units
    step_units = round(step * UNITS)
    return Listing(
        base, quote, price_units, tick_units, step_units, usual, weight, **other
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

# A market as large as Binance's: a few busy symbols, most of them quiet.

# Quote assets: their worth in USDT, how many bases are traded against them, and how
# much of a base's trading they get, relative to USDT.
_QUOTES = (
    ("USDT", 1.0, 1.0, 1.0),
    ("USDC", 1.0, 0.6, 0.25),
    ("BTC", 64_230.0, 0.6, 0.06),
    ("TRY", 1 / 34, 0.5, 0.08),
    ("FDUSD", 1.0, 0.3, 0.12),
    ("BNB", 604.0, 0.3, 0.03),
    ("EUR", 1.08, 0.25, 0.05),
    ("ETH", 3_413.0, 0.15, 0.03),
    ("BRL", 0.18, 0.1, 0.02),
    ("JPY", 0.0065, 0.1, 0.02),
)
_CONSONANTS = "BCDFGHJKLMNPRSTVWXZ"
_VOWELS = "AEIOU"
_SHAPES = ("cvc", "cvcv", "cvvc", "vcvc", "cvccv", "cvcvc")
# Trading falls off with a base's rank as steeply as this.
_BUSIEST_WEIGHT = 40.0
_TAIL_EXPONENT = 0.8
_USUAL_TRADE_USDT = 300.0
# Keeps the largest quantities within what Binance's lot sizes allow.
_MOST_USUAL_STEPS = 2_000_000


def listings(count: int) -> tuple[Listing, ...]:
    """Return so many listings; fewer are the beginning of more."""
    made_up = _made_up()
    missing = max(count - len(LISTINGS), 0)
    return (*LISTINGS[:count], *(next(made_up) for _ in range(missing)))


def _made_up() -> Iterator[Listing]:
    random = Random("listings")  # noqa: S311 - names, not secrets
    taken = {name for item in LISTINGS for name in (item.base, item.quote)}
    taken |= {quote for quote, *_ in _QUOTES}
    symbols = {item.symbol for item in LISTINGS}
    rank = 0
    while True:
        base = _name(random)
        worth_usdt = 10 ** random.uniform(-4, 3.5)
        if base in taken:
            continue
        taken.add(base)
        rank += 1
        weight = _BUSIEST_WEIGHT * rank**-_TAIL_EXPONENT
        for quote, quote_usdt, share_of_bases, share in _QUOTES:
            # Two pairs may spell the same symbol; an exchange lists only one of them.
            if random.random() < share_of_bases and base + quote not in symbols:
                symbols.add(base + quote)
                price = worth_usdt / quote_usdt
                yield _made_up_listing(base, quote, price, worth_usdt, weight * share)


def _name(random: Random) -> str:
    letters = {"c": _CONSONANTS, "v": _VOWELS}
    name = "".join(random.choice(letters[kind]) for kind in random.choice(_SHAPES))
    return f"1000{name}" if random.random() < 0.01 else name


def _made_up_listing(
    base: str, quote: str, price: float, worth_usdt: float, weight: float
) -> Listing:
    # Prices of five digits, as far as the finest tick allows.
    price_units = max(round(price * UNITS), 1_000)
    tick_units = 10 ** max(int(math.log10(price_units)) - 4, 0)
    quantity = _USUAL_TRADE_USDT / worth_usdt
    step_units = 10 ** min(max(int(math.log10(quantity * UNITS)) - 2, 3), 8)
    return Listing(
        base=base,
        quote=quote,
        price_units=price_units // tick_units * tick_units,
        tick_units=tick_units,
        step_units=step_units,
        usual_steps=min(round(quantity * UNITS / step_units), _MOST_USUAL_STEPS),
        weight=weight,
    )

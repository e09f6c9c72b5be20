"""The listings of a market as large as Binance's: a few busy symbols, most quiet."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

from k2cli.simulator.market_listing import LISTINGS, UNITS, Listing

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """Give so many listings; fewer are the beginning of more.

    Args:
        count: At least 1. Up to as many as there are, they are the market's own; those
            after them are made up, busy ones first on the whole.
    """
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

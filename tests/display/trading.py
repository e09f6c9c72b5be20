"""What the screen's tests show: trades, each told in a line, and a status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from k2cli.display.market import MarketState
from k2cli.display.status import Status
from k2cli.trade import FIRST_MICROSECONDS, Instrument, TradeBatch
from tests.batches import FIRST_TIME_US, RECEIVED_US

LIVE = Status(
    host="stream.binance.com",
    exchange="BINANCE",
    connection="live",
    uptime_seconds=134.2,
    trades=204_118,
    trades_per_second=1284.2,
    lag_us=38_000,
)

Facts = tuple[str, str, str, str, int, int, bool]
"""Symbol, price, quantity, side, trade id, time, and whether it is back-filled.

Times are Unix microseconds; small ones count from a moment in 2024.
"""


def observe(
    market: MarketState,
    trades: Iterable[Facts],
    now_seconds: float,
    instruments: Mapping[str, Instrument] | None = None,
) -> None:
    """Have a market take note of trades that arrive together."""
    for _, together in groupby(trades, key=lambda trade: trade[-1]):
        market.observe(batch(list(together), instruments or {}), now_seconds)


def batch(trades: list[Facts], instruments: Mapping[str, Instrument]) -> TradeBatch:
    """Return trades, which are all back-filled or none, as a batch."""
    symbols, prices, sizes, sides, ids, times, backfilled = zip(*trades, strict=True)
    times_us = [us if us >= FIRST_MICROSECONDS else FIRST_TIME_US + us for us in times]
    return TradeBatch(
        instruments={one: instruments.get(one) or usdt(one) for one in symbols},
        received_us=RECEIVED_US,
        symbols=symbols,
        trade_ids=[str(number) for number in ids],
        prices=prices,
        quantities=sizes,
        trade_times=[str(us) for us in times_us],
        event_times=[None] * len(trades),
        buyer_is_maker=["false" if side == "BUY" else "true" for side in sides],
        best_match=[None] * len(trades),
        message_ids=[""] * len(trades),
        is_backfill=backfilled[0],
    )


def usdt(symbol: str) -> Instrument:
    """Return a symbol that is quoted in USDT, whatever its name."""
    return Instrument(symbol, "BINANCE", symbol.removesuffix("USDT"), "USDT")

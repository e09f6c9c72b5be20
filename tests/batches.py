"""Batches of trades for tests, whatever the layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from k2cli.trade import Instrument, TradeBatch

BTC, ETH = "BTCUSDT", "ETHUSDT"
RECEIVED_US = 1_723_161_254_087_896
FIRST_TIME_US = 1_723_161_255_000_000


def instrument(symbol: str, exchange: str = "SIM") -> Instrument:
    """Return what is known of a symbol that is quoted in USDT."""
    return Instrument(symbol, exchange, symbol.removesuffix("USDT"), "USDT")


def trade_batch(
    ids: Iterable[int],
    symbols: str | Sequence[str] = BTC,
    *,
    times_us: Sequence[int] | None = None,
    exchange: str = "SIM",
    is_backfill: bool = False,
    is_plain: bool = True,
) -> TradeBatch:
    """Return trades with these ids.

    Args:
        ids: Trade ids.
        symbols: The symbol of all, or one for each.
        times_us: Trade times; they grow with the ids if they are not given.
        exchange: The exchange of all.
        is_backfill: Whether they are from the history.
        is_plain: Whether they are as Binance usually sends them, if the rest is.
    """
    ids = list(ids)
    count = len(ids)
    symbols = [symbols] * count if isinstance(symbols, str) else list(symbols)
    times = times_us or [FIRST_TIME_US + 1000 * trade_id for trade_id in ids]
    instruments = {symbol: instrument(symbol, exchange) for symbol in symbols}
    return TradeBatch(
        instruments=instruments,
        received_us=RECEIVED_US,
        symbols=symbols,
        trade_ids=[str(trade_id) for trade_id in ids],
        prices=["61837.63000000"] * count,
        quantities=["0.02000000"] * count,
        trade_times=[str(time_us) for time_us in times],
        event_times=[None if is_backfill else str(time_us + 500) for time_us in times],
        buyer_is_maker=["false" if trade_id % 2 else "true" for trade_id in ids],
        best_match=["true"] * count,
        message_ids=[f"f3b0c4ce-5d0a-4a7e-9f0e-{each:012x}" for each in ids],
        is_backfill=is_backfill,
        is_plain=is_plain
        and not is_backfill
        and all(one.is_plain for one in instruments.values())
        and all(len(str(time_us)) == 16 for time_us in times),
    )


def ids_of(batch: TradeBatch) -> list[int]:
    """Return the trade ids of a batch."""
    return [int(trade_id) for trade_id in batch.trade_ids]

"""Captures to export."""

from __future__ import annotations

from typing import Any

from k2cli.binance.decoder import convert_binance_trade_to_v2

FIRST_TIME_US = 1_767_311_999_000_000  # a second before midnight


def record(
    number: int, trade_id: int, symbol: str = "BTCUSDT", **changes: Any
) -> bytes:
    """One line of a capture; ``changes`` are of the exchange's message."""
    time_us = FIRST_TIME_US + number * 100_000
    message: dict[str, Any] = {
        "e": "trade",
        "E": time_us + 1_000,
        "s": symbol,
        "t": trade_id,
        "p": "61837.63000000",
        "q": "0.02000000",
        "T": time_us,
        "m": number % 2 == 0,
        "M": True,
    } | changes
    return convert_binance_trade_to_v2(message).to_json_line(number)


def capture(count: int = 20, *, symbols: tuple[str, ...] = ("BTCUSDT",)) -> list[bytes]:
    """A whole capture of some symbols in turn; ids are those of its first symbol."""
    return [
        record(
            number, 1_000 + (number - 1) // len(symbols), symbols[number % len(symbols)]
        )
        for number in range(1, count + 1)
    ]


def backfilled(line: bytes) -> bytes:
    """The same record as a repaired one, as k2 writes it."""
    import orjson

    trade = orjson.loads(line)
    del trade["vendor_data"]["event_time"]
    trade["vendor_data"]["source"] = "backfill"
    return orjson.dumps(trade) + b"\n"

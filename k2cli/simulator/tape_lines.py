"""The two kinds of recorded lines that a tape can play, read one line at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from k2cli.simulator.trades import Trade

_name = re.compile(r"[A-Z0-9_-]{1,32}")
_digits = re.compile(r"[0-9]+(\.[0-9]+)?")
# Milliseconds stay below this until the year 5138; microseconds are above since 1973.
_MICROSECONDS_FROM = 10**14

# Quote assets, to split a symbol of which a recording says no more than its name.
# A wrong split harms nothing here: it is the demo's catalog that shows it.
_QUOTES = sorted(
    "USDT USDC BUSD TUSD USDP FDUSD USDS USD1 USD PAX DAI BTC ETH BNB SOL XRP TRX DOGE "
    "DOT EUR EURI AEUR GBP AUD TRY BRL RUB UAH NGN ZAR JPY MXN ARS COP CZK PLN RON IDR "
    "IDRT BIDR BKRW BVND GYEN VAI UST".split(),
    key=len,
    reverse=True,
)


class NotRecorded(ValueError):
    """A line is neither a TradeV2 record nor a time followed by a frame."""


@dataclass(frozen=True, slots=True)
class RecordedTrade:
    """A trade and what its line says beside it.

    Attributes:
        received_us: When it was received, Unix microseconds UTC.
        trade: The trade.
        base: Base asset, if the line says so.
        quote: Quote asset, if the line says so.
        exchange: E.g. ``"BINANCE"``.
    """

    received_us: int
    trade: Trade
    base: str | None
    quote: str | None
    exchange: str


def read_line(line: bytes) -> RecordedTrade | None:
    """Read a recorded line.

    Args:
        line: Without its end of line.

    Returns:
        The trade, or ``None`` for a frame that is no trade, such as a reply.

    Raises:
        NotRecorded: The line is of neither kind, and why.
    """
    if line.startswith(b"{"):
        return _record(_object(line))
    received, _, frame = line.partition(b" ")
    if not received.isdigit() or len(received) > 20:
        raise NotRecorded("it is neither a TradeV2 record nor a time and a frame")
    return _frame(int(received) // 1_000, _object(frame))


def split_symbol(symbol: str) -> tuple[str, str]:
    """Guess base and quote by the longest known quote that the symbol ends on."""
    for quote in _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol, ""


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotRecorded(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise NotRecorded("not a JSON object")
    return value


def _record(record: dict[str, Any]) -> RecordedTrade:
    vendor = record.get("vendor_data")
    if not isinstance(vendor, dict):
        raise NotRecorded("no TradeV2 record: it has no vendor_data")
    trade_time_us = _integer(record, "timestamp")
    event_time = vendor.get("event_time", vendor.get("E"))
    buyer_is_maker = vendor.get("is_buyer_maker")
    if buyer_is_maker not in ("true", "false"):
        raise NotRecorded("is_buyer_maker is neither true nor false")
    best_match = vendor.get("is_best_match")
    exchange = _text(record, "exchange")
    if not _name.fullmatch(exchange):
        raise NotRecorded("exchange is no name of an exchange")
    return RecordedTrade(
        received_us=_integer(record, "ingestion_timestamp"),
        trade=Trade(
            symbol=_text(record, "symbol"),
            id=_integer(record, "source_sequence"),
            price=_decimal(record, "price"),
            quantity=_decimal(record, "quantity"),
            trade_time_us=trade_time_us,
            event_time_us=trade_time_us
            if event_time is None
            else _microseconds(_number(event_time, "event_time")),
            buyer_is_maker=buyer_is_maker == "true",
            best_match=None if best_match is None else best_match == "true",
        ),
        base=vendor.get("base_asset"),
        quote=vendor.get("quote_asset"),
        exchange=exchange,
    )


def _frame(received_us: int, message: dict[str, Any]) -> RecordedTrade | None:
    event = message.get("data", message)
    if not isinstance(event, dict) or event.get("e") != "trade":
        return None
    buyer_is_maker, best_match = event.get("m"), event.get("M")
    if not isinstance(buyer_is_maker, bool):
        raise NotRecorded("m is neither true nor false")
    return RecordedTrade(
        received_us=received_us,
        trade=Trade(
            symbol=_text(event, "s"),
            id=_integer(event, "t"),
            price=_decimal(event, "p"),
            quantity=_decimal(event, "q"),
            trade_time_us=_microseconds(_integer(event, "T")),
            event_time_us=_microseconds(_integer(event, "E")),
            buyer_is_maker=buyer_is_maker,
            best_match=best_match if isinstance(best_match, bool) else None,
        ),
        base=None,
        quote=None,
        exchange="BINANCE",
    )


def _microseconds(time: int) -> int:
    return time if time > _MICROSECONDS_FROM else time * 1_000


def _integer(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    if type(value) is not int or not 0 <= value < 2**63:
        raise NotRecorded(f"{key} is no whole number")
    return value


def _number(text: object, key: str) -> int:
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()):
        raise NotRecorded(f"{key} is no whole number")
    return int(text[:19])


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise NotRecorded(f"{key} is missing")
    return value


def _decimal(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not _digits.fullmatch(value):
        raise NotRecorded(f"{key} is no decimal number in quotes")
    return value

"""From Binance's trade event to ``TradeV2``."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from k2cli.binance.message_ids import MessageIds
from k2cli.binance.symbols import parse_binance_symbol
from k2cli.binance.wire import TRADE, decode_frame, excerpt, unwrap
from k2cli.errors import MalformedMessage
from k2cli.trade import TradeV2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k2cli.binance.catalog import Catalog

BINANCE = "BINANCE"

# Digits as the exchange sends them: no sign, no exponent, ASCII only.
_is_decimal = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?").fullmatch

# Microseconds from here on, milliseconds below: in microseconds this is 1973, in
# milliseconds the year 5138. Not every server honours timeUnit (Binance.US, old tapes).
_FIRST_MICROSECONDS = 10**14
_LAST_MICROSECONDS = 10**17
_MAX_TRADE_ID = 2**63 - 1


def now_us() -> int:
    """Give the time now, Unix microseconds UTC."""
    return time.time_ns() // 1000


_message_ids = MessageIds()


def convert_binance_trade_to_v2(
    message: str | bytes | Mapping[str, Any],
    *,
    catalog: Catalog | None = None,
    ingestion_timestamp: int | None = None,
    exchange: str = BINANCE,
) -> TradeV2:
    """Convert one ``@trade`` event.

    Args:
        message: The frame as received, or the event in it, wrapped or not.
        catalog: Where base and quote asset come from; without it, the symbol's ending.
        ingestion_timestamp: When the frame was received, Unix microseconds UTC; now if
            not given.
        exchange: The record's ``exchange``.

    Raises:
        MalformedMessage: If it is not a trade event as Binance documents it.
    """
    received_us = now_us() if ingestion_timestamp is None else ingestion_timestamp
    if isinstance(message, str | bytes):
        event = decode_frame(message)
    else:
        event = unwrap(dict(message))
    symbol = event.get("s")
    assets: dict[str, tuple[str, str]] = {}
    if type(symbol) is str:
        base, quote, _ = parse_binance_symbol(symbol, catalog)
        assets[symbol] = (base, quote)
    return trade_from_event(event, assets, received_us, exchange)


def trade_from_event(
    event: Mapping[str, Any],
    assets: Mapping[str, tuple[str, str]],
    received_us: int,
    exchange: str,
) -> TradeV2:
    """Convert an event that is out of its wrapping.

    Args:
        event: The event's own keys.
        assets: Base and quote asset of every symbol that was asked for.
        received_us: When its frame was received, Unix microseconds UTC.
        exchange: The record's ``exchange``.

    Raises:
        MalformedMessage: If it is not a trade event as Binance documents it, or of a
            symbol that was not asked for.
    """
    try:
        symbol = event["s"]
        trade_id = event["t"]
        price = event["p"]
        quantity = event["q"]
        trade_time = event["T"]
        buyer_is_maker = event["m"]
    except KeyError as exc:
        raise _malformed(event, f"without {exc}") from None
    if event.get("e") != TRADE:
        raise _malformed(event, "of another type")
    if type(symbol) is not str or symbol not in assets:
        raise _malformed(event, "of a symbol not asked for")
    if not (type(trade_id) is int and 0 <= trade_id <= _MAX_TRADE_ID):
        raise _malformed(event, "with a strange trade id")
    if not (
        type(price) is str
        and _is_decimal(price)
        and type(quantity) is str
        and _is_decimal(quantity)
    ):
        raise _malformed(event, "whose price or quantity is no decimal text")
    if type(buyer_is_maker) is not bool:
        raise _malformed(event, "whose m is neither true nor false")
    timestamp_us = _microseconds(event, trade_time)

    base, quote = assets[symbol]
    vendor_data = {"is_buyer_maker": "true" if buyer_is_maker else "false"}
    best_match = event.get("M")
    if type(best_match) is bool:
        vendor_data["is_best_match"] = "true" if best_match else "false"
    vendor_data["event_type"] = TRADE
    event_time = event.get("E")
    if event_time is not None:
        _microseconds(event, event_time)
        vendor_data["event_time"] = str(event_time)
    vendor_data["trade_time"] = str(trade_time)
    vendor_data["base_asset"] = base
    vendor_data["quote_asset"] = quote
    return TradeV2(
        message_id=_message_ids.take(1)[0],
        trade_id=f"{exchange}-{trade_id}",
        symbol=symbol,
        exchange=exchange,
        asset_class="crypto",
        timestamp=timestamp_us,
        price=price,
        quantity=quantity,
        currency=quote,
        side="SELL" if buyer_is_maker else "BUY",
        trade_conditions=[],
        source_sequence=trade_id,
        ingestion_timestamp=received_us,
        platform_sequence=None,
        vendor_data=vendor_data,
    )


def trade_from_history(
    entry: object,
    symbol: str,
    pair: tuple[str, str],
    received_us: int,
    exchange: str,
) -> TradeV2:
    """Convert one entry of ``trades.historical``: a trade that the stream lost.

    It is marked as such, and has no event time, which the history does not keep.

    Args:
        entry: As received.
        symbol: Whose history was asked for; entries do not say.
        pair: Its base and quote asset.
        received_us: When the reply was received, Unix microseconds UTC.
        exchange: The record's ``exchange``.

    Raises:
        MalformedMessage: If it is not a trade as Binance documents it.
    """
    if not isinstance(entry, dict):
        raise MalformedMessage(f"no trade in the history: {excerpt(entry)}")
    event = {
        "e": TRADE,
        "s": symbol,
        "t": entry.get("id"),
        "p": entry.get("price"),
        "q": entry.get("qty"),
        "T": entry.get("time"),
        "m": entry.get("isBuyerMaker"),
        "M": entry.get("isBestMatch"),
    }
    trade = trade_from_event(event, {symbol: pair}, received_us, exchange)
    trade.vendor_data["source"] = "backfill"
    return trade


def _microseconds(event: Mapping[str, Any], wire_time: object) -> int:
    if type(wire_time) is int and 0 < wire_time < _LAST_MICROSECONDS:
        return wire_time if wire_time >= _FIRST_MICROSECONDS else wire_time * 1000
    raise _malformed(event, "with a strange time")


def _malformed(event: Mapping[str, Any], what: str) -> MalformedMessage:
    return MalformedMessage(f"trade event {what}: {excerpt(event)}")

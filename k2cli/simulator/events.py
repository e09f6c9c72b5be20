"""Events of the market streams in their wire forms, and the frames around them."""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from k2cli.simulator.trades import Trade

_TEXT_FIN = 0x81


class Form(IntFlag):
    """How a connection wants its events; every combination is a form of its own."""

    COMBINED = 1
    """Wrapped as ``{"stream":…,"data":…}``."""
    MICROSECONDS = 2
    """Times in microseconds instead of milliseconds."""
    UNFRAMED = 4
    """Without the WebSocket header: the connection compresses and frames by itself."""


FORMS = 8
"""How many forms there are."""


def lower_ascii(text: str) -> str:
    """Lower A to Z and nothing else: other alphabets stay as the exchange has them."""
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "replace")


def trade_stream(symbol: str) -> str:
    """Name the stream of a symbol's trades, e.g. ``btcusdt@trade``."""
    return f"{lower_ascii(symbol)}@trade"


def trade_message(trade: Trade, stream: str, form: int) -> bytes:
    """Encode a trade's event, keys in the order in which Binance has them.

    Args:
        trade: The trade.
        stream: Name of the stream it is sent on.
        form: A combination of ``Form``.

    Returns:
        A whole text frame, or the bare text if ``Form.UNFRAMED`` is in the form.
    """
    event_time, trade_time = trade.event_time_us, trade.trade_time_us
    if not form & 2:
        event_time //= 1_000
        trade_time //= 1_000
    event: dict[str, Any] = {
        "e": "trade",
        "E": event_time,
        "s": trade.symbol,
        "t": trade.id,
        "p": trade.price,
        "q": trade.quantity,
        "T": trade_time,
        "m": trade.buyer_is_maker,
    }
    if trade.best_match is not None:
        event["M"] = trade.best_match
    text = orjson.dumps({"stream": stream, "data": event} if form & 1 else event)
    return text if form & 4 else text_frame(text)


def shutdown_message(event_time_us: int, form: int) -> bytes:
    """Encode the notice that a stream connection is about to be ended."""
    unit = 1 if form & Form.MICROSECONDS else 1_000
    event = {"e": "serverShutdown", "E": event_time_us // unit}
    if form & Form.COMBINED:
        return orjson.dumps({"stream": "!serverShutdown", "data": event})
    return orjson.dumps(event)


def text_frame(text: bytes) -> bytes:
    """Put the header of an unmasked, unfragmented text frame before a text."""
    size = len(text)
    if size < 126:
        return bytes((_TEXT_FIN, size)) + text
    if size < 65_536:
        return bytes((_TEXT_FIN, 126, size >> 8, size & 0xFF)) + text
    return bytes((_TEXT_FIN, 127)) + size.to_bytes(8, "big") + text

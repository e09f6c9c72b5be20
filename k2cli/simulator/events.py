"""Events of the market streams, in the forms that connections want them in."""

from __future__ import annotations

from decimal import Context, Decimal
from enum import IntFlag
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from k2cli.simulator.trades import Trade

_TEXT_FIN = 0x81
_exact = Context(prec=200)
_of_one_order = attrgetter("symbol", "trade_time_us", "price", "buyer_is_maker")


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


def stream_name(symbol: str, kind: str = "trade") -> str:
    """Return the name of a symbol's stream, e.g. ``btcusdt@trade``."""
    # A to Z in lower case and nothing else: other alphabets stay as they are.
    lower = symbol.encode("utf-8", "surrogatepass").lower().decode("utf-8", "replace")
    return f"{lower}@{kind}"


# What trades become: each event with its keys in Binance's order, and its times divided
# by a unit of 1 or 1,000.


def trade_event(trade: Trade, unit: int) -> dict[str, Any]:
    """Return the event of one trade."""
    event: dict[str, Any] = {
        "e": "trade",
        "E": trade.event_time_us // unit,
        "s": trade.symbol,
        "t": trade.id,
        "p": trade.price,
        "q": trade.quantity,
        "T": trade.trade_time_us // unit,
        "m": trade.buyer_is_maker,
    }
    if trade.best_match is not None:
        event["M"] = trade.best_match
    return event


def fills(trades: Iterable[Trade]) -> Iterator[list[Trade]]:
    """Group the trades that one taker's order made at one price."""
    for _, group in groupby(trades, _of_one_order):
        yield list(group)


def aggregate(group: Sequence[Trade], unit: int) -> dict[str, Any]:
    """Return what the history says about such a group."""
    first, last = group[0], group[-1]
    quantity = Decimal(0)
    for each in group:
        quantity = _exact.add(quantity, Decimal(each.quantity))
    return {
        # The id of the first fill serves as the aggregate's id: it is unique and
        # ascends, though it is not consecutive as Binance's is.
        "a": first.id,
        "p": first.price,
        "q": format(quantity, "f"),
        "f": first.id,
        "l": last.id,
        "T": first.trade_time_us // unit,
        "m": first.buyer_is_maker,
        "M": True,
    }


def _aggregate_event(group: Sequence[Trade], _: str, unit: int) -> dict[str, Any]:
    head = {"e": "aggTrade", "E": group[-1].event_time_us // unit, "s": group[0].symbol}
    return head | aggregate(group, unit)


def _book_event(group: Sequence[Trade], tick_size: str, _: int) -> dict[str, Any]:
    """Return the best prices after a trade: they are one tick apart."""
    last = group[-1]
    price, tick = Decimal(last.price), Decimal(tick_size)
    bid = price if last.buyer_is_maker else max(price - tick, tick)
    digits = f".{-int(price.as_tuple().exponent)}f"
    return {
        "u": last.id,
        "s": last.symbol,
        "b": format(bid, digits),
        "B": last.quantity,
        "a": format(bid + tick, digits),
        "A": last.quantity,
    }


GROUP_EVENTS: Mapping[str, Callable[[Sequence[Trade], str, int], dict[str, Any]]] = {
    "aggTrade": _aggregate_event,
    "bookTicker": _book_event,
}
"""Events of a group of fills, by kind of stream: from it, the tick size and a unit."""


def shutdown_message(event_time_us: int, form: int) -> bytes:
    """Encode the notice that a stream connection is about to be ended."""
    event = {"e": "serverShutdown", "E": event_time_us // unit_of(form)}
    return encode(event, "!serverShutdown", form | Form.UNFRAMED)


# Plain numbers below: an enum's operators cost more than the encoding.


def unit_of(form: int) -> int:
    """Return what times in microseconds are divided by."""
    return 1 if form & 2 else 1_000


def encode(event: dict[str, Any], stream: str, form: int) -> bytes:
    """Encode an event in a ``Form``: a whole text frame unless it is ``UNFRAMED``."""
    text = orjson.dumps({"stream": stream, "data": event} if form & 1 else event)
    return text if form & 4 else text_frame(text)


def text_frame(text: bytes) -> bytes:
    """Put the header of an unmasked, unfragmented text frame before a text."""
    size = len(text)
    if size < 126:
        return bytes((_TEXT_FIN, size)) + text
    if size < 65_536:
        return bytes((_TEXT_FIN, 126, size >> 8, size & 0xFF)) + text
    return bytes((_TEXT_FIN, 127)) + size.to_bytes(8, "big") + text

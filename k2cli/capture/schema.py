"""What a recorded line must be: a TradeV2 that agrees with itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import orjson
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from k2cli.errors import printable
from k2cli.trade import KEYS, PlatformSequence, TradeId, TradeV2, VendorData

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Exchange = Literal["BINANCE", "SIM"]

EXCHANGES: tuple[str, ...] = get_args(Exchange)
"""What ``exchange`` may be."""

BACKFILL = "backfill"
"""The ``source`` of a repaired trade."""

# Times as the wire has them: microseconds from the first bound on, else milliseconds.
_FIRST_MICROSECONDS = 10**14
_MOST_SHOWN = 40
_MOST_NAMED = 12


# Price and quantity as the exchange writes them: no zero in front, and above 0.
_DIGITS = r"(?:0|[1-9][0-9]{0,29})"
_AmountText = Annotated[
    str,
    Field(
        strict=True,
        pattern=rf"^{_DIGITS}(\.[0-9]{{1,30}})?$",
        description="decimal digits in a text, above 0 and without an exponent",
    ),
]


@dataclass(slots=True)
class RecordedTrade(TradeV2):
    """A trade of Binance Spot in a capture: fewer values than a TradeV2 may have."""

    exchange: Annotated[Exchange, Field(description=" or ".join(EXCHANGES))]
    asset_class: Annotated[Literal["crypto"], Field(description="crypto")]
    price: _AmountText
    quantity: _AmountText
    side: Annotated[Literal["BUY", "SELL"], Field(description="BUY or SELL")]
    source_sequence: TradeId
    platform_sequence: PlatformSequence


def violations(record: object) -> list[str]:
    """Say what is wrong with a record; nothing, if it is as the schema has it.

    Args:
        record: One line, read as JSON.

    Returns:
        What is wrong, in words that are fit for printing.
    """
    if not isinstance(record, dict):
        return [f"no JSON object: {_shown(record)}"]
    try:
        _adapter().validate_python(record)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        found = [_described(error) for error in errors[:_MOST_NAMED]]
        if len(errors) > _MOST_NAMED:
            found.append(f"and {len(errors) - _MOST_NAMED} more")
        return found
    return [] if tuple(record) == KEYS else ["keys are in another order"]


def canonical_lines(exchange: str) -> re.Pattern[str]:
    r"""Return a pattern for lines that are right at first sight.

    It takes nothing that ``violations`` objects to, at a fraction of its cost; what it
    does not take may be right all the same, as with keys of ``vendor_data`` in another
    order.

    Args:
        exchange: The one that the lines must name.

    Returns:
        A pattern for whole lines with their ``\n``, to be used with ``findall`` and
        ``fullmatch``. Its groups: trade id, symbol, timestamp (microseconds), currency,
        ``SELL`` if that is the side, platform_sequence, event time, and a text that is
        empty unless the trade was repaired.
    """
    # Optional pieces are alternatives with nothing, which is faster than "?".
    hex_digit, number, name = "[0-9a-f]", "[1-9][0-9]{0,17}", r'[^\x00-\x1f"\\]{1,20}'
    decimal, boolean = rf"(?![0.]+\"){_DIGITS}\.[0-9]{{1,30}}", "(?:true|false)"
    return re.compile(
        rf'^{{"message_id":"{hex_digit}{{8}}-{hex_digit}{{4}}-4{hex_digit}{{3}}'
        rf'-[89ab]{hex_digit}{{3}}-{hex_digit}{{12}}",'
        rf'"trade_id":"{re.escape(exchange)}-({number})","symbol":"({name})",'
        rf'"exchange":"{re.escape(exchange)}","asset_class":"crypto",'
        rf'"timestamp":([1-9][0-9]{{15}}),"price":"{decimal}","quantity":"{decimal}",'
        rf'"currency":"({name})","side":"(?:(SELL)|BUY)","trade_conditions":\[\],'
        rf'"source_sequence":\1,"ingestion_timestamp":{number},'
        rf'"platform_sequence":({number}),'
        r'"vendor_data":{"is_buyer_maker":"(?(5)true|false)",'
        rf'(?:"is_best_match":"{boolean}",|)"event_type":"trade",'
        r'(?:("event_time":"[1-9][0-9]{0,16}",)|)"trade_time":"\3",'
        rf'"base_asset":"{name}","quote_asset":"\4"'
        rf'(?(7)|(?:(,"source":"{BACKFILL}")|))}}}}\n',
        re.MULTILINE,
    )


@cache
def _adapter() -> TypeAdapter[RecordedTrade]:
    return TypeAdapter(Annotated[RecordedTrade, AfterValidator(_agreeing)])


@cache
def _expected() -> dict[tuple[int | str, ...], str]:
    """Return what is expected of a key, by its place in the record."""
    places = {(key,): field for key, field in _properties(RecordedTrade).items()} | {
        ("vendor_data", key): field for key, field in _properties(VendorData).items()
    }
    return {place: field["description"] for place, field in places.items()}


def _properties(kind: type[Any]) -> dict[str, Any]:
    properties: dict[str, Any] = TypeAdapter(kind).json_schema()["properties"]
    return properties


def _described(error: ErrorDetails) -> str:
    place = error["loc"]
    if not place:  # keys that do not agree
        return str(error["ctx"]["error"])
    name = ".".join(
        str(part) if part in KEYS or place[:1] == ("vendor_data",) else _shown(part)
        for part in place[:2]
    )
    name = printable(name, _MOST_SHOWN)
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown key {name}"
    expected = _expected().get(place, "a text")
    return f"{name} is {_shown(error['input'])}, expected: {expected}"


def _agreeing(trade: RecordedTrade) -> RecordedTrade:
    """Check that what a record says twice is the same."""
    vendor_data = trade.vendor_data
    found = [
        f"{name} is {_shown(amount)}, expected: above 0"
        for name, amount in (("price", trade.price), ("quantity", trade.quantity))
        if not amount.strip("0.")
    ]
    trade_id = f"{trade.exchange}-{trade.source_sequence}"
    if trade.trade_id != trade_id:
        found.append(f"trade_id is {_shown(trade.trade_id)}, not {trade_id}")
    trade_time = int(vendor_data["trade_time"])
    if trade_time < _FIRST_MICROSECONDS:
        trade_time *= 1000
    if trade.timestamp != trade_time:
        found.append(
            f"timestamp is {trade.timestamp}, "
            f"but vendor_data.trade_time is {vendor_data['trade_time']}"
        )
    if (trade.side == "SELL") is not (vendor_data["is_buyer_maker"] == "true"):
        found.append(
            f"side is {trade.side}, "
            f"but vendor_data.is_buyer_maker is {vendor_data['is_buyer_maker']}"
        )
    if trade.currency != vendor_data["quote_asset"]:
        found.append(
            f"currency is {_shown(trade.currency)}, "
            f"but vendor_data.quote_asset is {_shown(vendor_data['quote_asset'])}"
        )
    if "source" in vendor_data and "event_time" in vendor_data:
        found.append("vendor_data has both source and event_time")
    if found:
        raise ValueError("; ".join(found))
    return trade


def _shown(value: object) -> str:
    try:
        return printable(orjson.dumps(value), _MOST_SHOWN)
    except orjson.JSONEncodeError:
        return "nested too deeply"  # orjson reads deeper nesting than it writes

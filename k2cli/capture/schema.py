"""What a recorded line must be: TradeV2, key by key, and in agreement with itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from k2cli.errors import printable
from k2cli.trade import TradeV2

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = tuple(TradeV2.__slots__)
"""The keys of a record, in their order."""

EXCHANGES = ("BINANCE", "SIM")
"""What ``exchange`` may be."""

BACKFILL = "backfill"
"""The ``source`` of a repaired trade."""

MAX_ID = 2**63 - 1
"""The highest trade id."""

# Times as the wire has them: microseconds from the first bound on, else milliseconds.
_FIRST_MICROSECONDS = 10**14
_MOST_SHOWN = 40

_is_uuid4 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
).fullmatch
_is_decimal = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?").fullmatch
_is_wire_time = re.compile(r"[1-9][0-9]{0,16}").fullmatch


def _is_text(value: object) -> bool:
    return type(value) is str and value != ""


def _is_time_us(value: object) -> bool:
    return type(value) is int and value > 0


def _fits(pattern: Callable[[str], object]) -> Callable[[object], bool]:
    return lambda value: type(value) is str and bool(pattern(value))


def _one_of(*values: str) -> Callable[[object], bool]:
    return lambda value: type(value) is str and value in values


_Rule = tuple["Callable[[object], bool]", str]

_RULES: dict[str, _Rule] = {
    "message_id": (_fits(_is_uuid4), "no UUID v4"),
    "trade_id": (_is_text, "no text"),
    "symbol": (_is_text, "no text"),
    "exchange": (_one_of(*EXCHANGES), f"none of {', '.join(EXCHANGES)}"),
    "asset_class": (_one_of("crypto"), "not crypto"),
    "timestamp": (_is_time_us, "no time in microseconds"),
    "price": (_fits(_is_decimal), "no decimal text"),
    "quantity": (_fits(_is_decimal), "no decimal text"),
    "currency": (_is_text, "no text"),
    "side": (_one_of("BUY", "SELL"), "neither BUY nor SELL"),
    "trade_conditions": (
        lambda value: type(value) is list and all(type(one) is str for one in value),
        "no array of texts",
    ),
    "source_sequence": (
        lambda value: type(value) is int and 0 <= value <= MAX_ID,
        "no trade id",
    ),
    "ingestion_timestamp": (_is_time_us, "no time in microseconds"),
    "platform_sequence": (
        lambda value: type(value) is int and value >= 1,
        "no number from 1 on",
    ),
    "vendor_data": (
        lambda value: (
            type(value) is dict and all(type(one) is str for one in value.values())
        ),
        "no object of texts",
    ),
}

_is_boolean = _one_of("true", "false")
# The rule of each, and whether it may be absent.
_VENDOR_RULES: dict[str, tuple[_Rule, bool]] = {
    "is_buyer_maker": ((_is_boolean, "neither true nor false"), False),
    "is_best_match": ((_is_boolean, "neither true nor false"), True),
    "event_type": ((_one_of("trade"), "not trade"), False),
    "event_time": ((_fits(_is_wire_time), "no time in digits"), True),
    "trade_time": ((_fits(_is_wire_time), "no time in digits"), False),
    "base_asset": ((_is_text, "no text"), False),
    "quote_asset": ((_is_text, "no text"), False),
    "source": ((_one_of(BACKFILL), f"not {BACKFILL}"), True),
}


def violations(record: object) -> list[str]:
    """Say what is wrong with a record; nothing, if it is as the schema has it.

    Args:
        record: One line, read as JSON.

    Returns:
        What is wrong, in words that are fit for printing.
    """
    if not isinstance(record, dict):
        return [f"no JSON object: {_shown(record)}"]
    found = _wrong_keys(record)
    for key, (is_right, wrong) in _RULES.items():
        if key in record and not is_right(record[key]):
            found.append(f"{key} is {wrong}: {_shown(record[key])}")
    vendor_data = record.get("vendor_data")
    if isinstance(vendor_data, dict):
        for key, ((is_right, wrong), may_be_absent) in _VENDOR_RULES.items():
            if key not in vendor_data:
                if not may_be_absent:
                    found.append(f"vendor_data lacks {key}")
            elif not is_right(vendor_data[key]):
                found.append(
                    f"vendor_data.{key} is {wrong}: {_shown(vendor_data[key])}"
                )
    if found:
        return found
    return _contradictions(record)


def canonical_lines(exchange: str) -> re.Pattern[str]:
    r"""Give a pattern for lines that are beyond doubt.

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
    decimal, boolean = r"[0-9]{1,30}\.[0-9]{1,30}", "(?:true|false)"
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


def _wrong_keys(record: dict[str, Any]) -> list[str]:
    keys = tuple(record)
    if keys == KEYS:
        return []
    lacking = [key for key in KEYS if key not in record]
    foreign = [_shown(key) for key in keys if key not in KEYS]
    found = []
    if lacking:
        found.append(f"lacks {', '.join(lacking)}")
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        found.append(f"has {', '.join(foreign[:3])}{more} besides")
    return found or ["keys are in another order"]


def _contradictions(record: dict[str, Any]) -> list[str]:
    vendor_data: dict[str, str] = record["vendor_data"]
    found = []
    trade_id = f"{record['exchange']}-{record['source_sequence']}"
    if record["trade_id"] != trade_id:
        found.append(f"trade_id is {_shown(record['trade_id'])}, not {trade_id}")
    trade_time = int(vendor_data["trade_time"])
    if trade_time < _FIRST_MICROSECONDS:
        trade_time *= 1000
    if record["timestamp"] != trade_time:
        found.append(
            f"timestamp is {record['timestamp']}, "
            f"vendor_data.trade_time {vendor_data['trade_time']}"
        )
    if (record["side"] == "SELL") is not (vendor_data["is_buyer_maker"] == "true"):
        found.append(
            f"side is {record['side']}, "
            f"vendor_data.is_buyer_maker {vendor_data['is_buyer_maker']}"
        )
    if record["currency"] != vendor_data["quote_asset"]:
        found.append(
            f"currency is {_shown(record['currency'])}, "
            f"vendor_data.quote_asset {_shown(vendor_data['quote_asset'])}"
        )
    if "source" in vendor_data and "event_time" in vendor_data:
        found.append("repaired, and with an event_time all the same")
    return found


def _shown(value: object) -> str:
    try:
        return printable(orjson.dumps(value), _MOST_SHOWN)
    except orjson.JSONEncodeError:
        return "nested too deeply"  # orjson reads deeper nesting than it writes

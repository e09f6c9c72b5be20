from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.binance.convert import convert_binance_trade_to_v2, trade_from_history
from k2cli.capture.schema import KEYS, canonical_lines, violations

T_US = 1_723_161_255_342_000


def record() -> dict[str, Any]:
    return {
        "message_id": "f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11",
        "trade_id": "BINANCE-3735683259",
        "symbol": "BTCUSDT",
        "exchange": "BINANCE",
        "asset_class": "crypto",
        "timestamp": T_US,
        "price": "61837.63000000",
        "quantity": "0.02000000",
        "currency": "USDT",
        "side": "SELL",
        "trade_conditions": [],
        "source_sequence": 3735683259,
        "ingestion_timestamp": T_US + 900,
        "platform_sequence": 1,
        "vendor_data": {
            "is_buyer_maker": "true",
            "is_best_match": "true",
            "event_type": "trade",
            "event_time": "1723161255342500",
            "trade_time": "1723161255342000",
            "base_asset": "BTC",
            "quote_asset": "USDT",
        },
    }


def as_line(record: dict[str, Any]) -> str:
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode()


def is_canonical(line: str) -> bool:
    return canonical_lines("BINANCE").fullmatch(line) is not None


def event(**changes: Any) -> dict[str, Any]:
    return {
        "e": "trade",
        "E": T_US + 500,
        "s": "BTCUSDT",
        "t": 3735683259,
        "p": "61837.63000000",
        "q": "0.02000000",
        "T": T_US,
        "m": False,
        "M": True,
    } | changes


def test_what_the_converter_makes_is_right_and_beyond_doubt() -> None:
    buy = convert_binance_trade_to_v2(event())
    sell = convert_binance_trade_to_v2(event(m=True))
    without_best_match = event()
    del without_best_match["M"]
    entry = {
        "id": 1,
        "price": "1.5",
        "qty": "2.0",
        "time": T_US,
        "isBuyerMaker": True,
        "isBestMatch": True,
    }
    repaired = trade_from_history(entry, "BTCUSDT", ("BTC", "USDT"), T_US, "BINANCE")
    for trade in (
        buy,
        sell,
        convert_binance_trade_to_v2(without_best_match),
        repaired,
    ):
        line = trade.to_json_line(7).decode()
        assert violations(orjson.loads(line)) == []
        assert is_canonical(line)
    found = canonical_lines("BINANCE").findall(repaired.to_json_line(7).decode())
    assert found == [
        ("1", "BTCUSDT", str(T_US), "USDT", "SELL", "7", "", ',"source":"backfill"')
    ]


def test_milliseconds_and_rare_values_are_right_too() -> None:
    for trade in (
        convert_binance_trade_to_v2(event(T=T_US // 1000, E=T_US // 1000)),
        convert_binance_trade_to_v2(event(p="61837", q="5", t=0)),
        convert_binance_trade_to_v2(event(), exchange="SIM"),
    ):
        assert violations(orjson.loads(trade.to_json_line(1))) == []


def test_symbols_need_not_be_ascii() -> None:
    trade = convert_binance_trade_to_v2(event(s="币安人生USDT"))
    line = trade.to_json_line(1).decode()
    assert violations(orjson.loads(line)) == []
    assert is_canonical(line)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("message_id", "f3b0c4ce-5d0a-1a7e-9f0e-0d5c2f9f2b11", "no UUID v4"),
        ("message_id", None, "message_id is no UUID v4: null"),
        ("trade_id", "BINANCE-1", "trade_id is "),
        ("trade_id", "SIM-3735683259", "not BINANCE-3735683259"),
        ("symbol", "", "symbol is no text"),
        ("exchange", "KRAKEN", "exchange is none of BINANCE, SIM"),
        ("asset_class", "stocks", "asset_class is not crypto"),
        ("timestamp", "1723161255342000", "timestamp is no time"),
        ("timestamp", float(T_US), "timestamp is no time"),
        ("timestamp", T_US + 1, "vendor_data.trade_time 1723161255342000"),
        ("timestamp", T_US // 1000, "vendor_data.trade_time"),
        ("price", 61837.63, "price is no decimal text: 61837.63"),
        ("price", "6.1e4", "price is no decimal text"),
        ("price", "-1", "price is no decimal text"),
        ("price", "", "price is no decimal text"),
        ("price", "1.", "price is no decimal text"),
        ("price", "१.५", "price is no decimal text"),
        ("quantity", "1E-8", "quantity is no decimal text"),
        ("quantity", "0.1\n", "quantity is no decimal text"),
        ("currency", "BTC", "vendor_data.quote_asset"),
        ("side", "BUY", "vendor_data.is_buyer_maker true"),
        ("side", "sell", "side is neither BUY nor SELL"),
        ("trade_conditions", None, "trade_conditions is no array of texts"),
        ("trade_conditions", [1], "trade_conditions is no array of texts"),
        ("source_sequence", None, "source_sequence is no trade id: null"),
        ("source_sequence", "3735683259", "source_sequence is no trade id"),
        ("source_sequence", True, "source_sequence is no trade id"),
        ("source_sequence", -1, "source_sequence is no trade id"),
        ("ingestion_timestamp", None, "ingestion_timestamp is no time"),
        ("platform_sequence", None, "platform_sequence is no number from 1 on: null"),
        ("platform_sequence", 0, "platform_sequence is no number from 1 on"),
        ("vendor_data", [], "vendor_data is no object of texts"),
        ("vendor_data.is_buyer_maker", True, "vendor_data is no object of texts"),
        ("vendor_data.is_buyer_maker", "yes", "neither true nor false"),
        ("vendor_data.is_best_match", "1", "neither true nor false"),
        ("vendor_data.event_type", "aggTrade", "event_type is not trade"),
        ("vendor_data.event_time", "soon", "event_time is no time in digits"),
        ("vendor_data.trade_time", "1.5", "trade_time is no time in digits"),
        ("vendor_data.base_asset", "", "base_asset is no text"),
        ("vendor_data.source", "hearsay", "source is not backfill"),
        ("vendor_data.source", "backfill", "repaired, and with an event_time"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: Any, says: str) -> None:
    wrong = record()
    outer, _, inner = key.partition(".")
    if inner:
        wrong[outer][inner] = value
    else:
        wrong[outer] = value
    assert says in "; ".join(violations(wrong))
    assert not is_canonical(as_line(wrong))


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_lacks_is_named(key: str) -> None:
    wrong = record()
    del wrong[key]
    assert violations(wrong) == [f"lacks {key}"]
    assert not is_canonical(as_line(wrong))


@pytest.mark.parametrize(
    "key",
    ["is_buyer_maker", "event_type", "trade_time", "base_asset", "quote_asset"],
)
def test_a_key_of_vendor_data_that_lacks_is_named(key: str) -> None:
    wrong = record()
    del wrong["vendor_data"][key]
    assert violations(wrong) == [f"vendor_data lacks {key}"]
    assert not is_canonical(as_line(wrong))


def test_foreign_keys_and_another_order_are_named() -> None:
    more = record() | {"colour": "red"}
    assert violations(more) == ['has "colour" besides']
    assert not is_canonical(as_line(more))
    turned = dict(reversed(record().items()))
    assert violations(turned) == ["keys are in another order"]
    assert not is_canonical(as_line(turned))
    assert violations([1]) == ["no JSON object: [1]"]


def test_what_is_named_can_be_printed() -> None:
    wrong = record() | {"symbol": "", "price": "\x1b[2J" * 99, "\x1b]0;": 1}
    wrong["side"] = orjson.loads("[" * 900 + "]" * 900)
    text = "; ".join(violations(wrong))
    assert text.isprintable()
    assert len(text) < 400
    assert "nested too deeply" in text


PIECES = [
    *("0", "1", "9", "00", "-", ".", "e5", '"', ",", ":", "{", "}", "[", "]", "\\"),
    *("true", "false", "null", "BUY", "SELL", "SIM", "BTC", "usdt", " ", "\t", "\r"),
    *(
        "\n",
        "é",
        "\u2028",
        "\x85",
        "\x7f",
        "२",
        '"a":1,',
        ',"source":"backfill"',
        '"event_time":"5",',
        "\x00",
    ),
]


@given(
    st.lists(
        st.tuples(st.integers(0, 640), st.integers(0, 30), st.sampled_from(PIECES)),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_beyond_doubt_is_right(cuts: list[tuple[int, int, str]]) -> None:
    line = as_line(record())
    for start, length, piece in cuts:
        line = line[:start] + piece + line[start + length :]
    if is_canonical(line):
        assert line.count("\n") == 1
        assert violations(orjson.loads(line)) == []

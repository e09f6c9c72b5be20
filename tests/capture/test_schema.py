from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.binance.decoder import batch_from_history, convert_binance_trade_to_v2
from k2cli.capture.schema import canonical_lines, violations
from k2cli.trade import KEYS, Instrument

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
    instrument = Instrument("BTCUSDT", "BINANCE", "BTC", "USDT")
    page = batch_from_history([entry], instrument, T_US)
    assert page is not None
    repaired = page.trade(0)
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
        (
            "message_id",
            "f3b0c4ce-5d0a-1a7e-9f0e-0d5c2f9f2b11",
            "expected: a random UUID (version 4)",
        ),
        ("message_id", None, "message_id is null, expected: a random UUID"),
        ("trade_id", "BINANCE-1", "trade_id is "),
        ("trade_id", "SIM-3735683259", "not BINANCE-3735683259"),
        ("symbol", "", 'symbol is "", expected: a symbol'),
        ("exchange", "KRAKEN", 'exchange is "KRAKEN", expected: BINANCE or SIM'),
        ("asset_class", "stocks", 'asset_class is "stocks", expected: crypto'),
        ("timestamp", "1723161255342000", "expected: Unix microseconds UTC"),
        ("timestamp", float(T_US), "timestamp is 1723161255342000.0, expected: "),
        ("timestamp", T_US + 1, "vendor_data.trade_time is 1723161255342000"),
        ("timestamp", T_US // 1000, "vendor_data.trade_time"),
        ("price", 61837.63, "price is 61837.63, expected: decimal digits"),
        ("price", "6.1e4", "expected: decimal digits"),
        ("price", "-1", "expected: decimal digits"),
        ("price", "", "expected: decimal digits"),
        ("price", "1.", "expected: decimal digits"),
        ("price", "१.५", "expected: decimal digits"),
        ("quantity", "1E-8", "expected: decimal digits"),
        ("quantity", "0.1\n", "expected: decimal digits"),
        ("currency", "BTC", "vendor_data.quote_asset"),
        ("side", "BUY", "but vendor_data.is_buyer_maker is true"),
        ("side", "sell", 'side is "sell", expected: BUY or SELL'),
        ("trade_conditions", None, "trade_conditions is null, expected: an array"),
        ("trade_conditions", [1], "trade_conditions.0 is 1, expected: a text"),
        (
            "source_sequence",
            None,
            "source_sequence is null, expected: the exchange's trade id",
        ),
        (
            "source_sequence",
            "3735683259",
            'source_sequence is "3735683259", expected: ',
        ),
        ("source_sequence", True, "source_sequence is true, expected: "),
        ("source_sequence", -1, "source_sequence is -1, expected: "),
        ("ingestion_timestamp", None, "ingestion_timestamp is null, expected: "),
        (
            "platform_sequence",
            None,
            "platform_sequence is null, expected: the position",
        ),
        ("platform_sequence", 0, "platform_sequence is 0, expected: the position"),
        ("vendor_data", [], "vendor_data is [], expected: an object of texts"),
        ("vendor_data.is_buyer_maker", True, "vendor_data.is_buyer_maker is true, "),
        ("vendor_data.is_buyer_maker", "yes", 'expected: "true" or "false"'),
        ("vendor_data.is_best_match", "1", 'expected: "true" or "false"'),
        (
            "vendor_data.event_type",
            "aggTrade",
            'event_type is "aggTrade", expected: "trade"',
        ),
        (
            "vendor_data.event_time",
            "soon",
            'vendor_data.event_time is "soon", expected: ',
        ),
        (
            "vendor_data.trade_time",
            "1.5",
            'vendor_data.trade_time is "1.5", expected: ',
        ),
        ("vendor_data.base_asset", "", 'base_asset is "", expected: a text'),
        ("vendor_data.source", "hearsay", 'source is "hearsay", expected: "backfill"'),
        ("vendor_data.source", "backfill", "both source and event_time"),
        ("vendor_data.note", 7, "vendor_data.note is 7, expected: a text"),
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
    assert violations(wrong) == [f"{key} is missing"]
    assert not is_canonical(as_line(wrong))


@pytest.mark.parametrize(
    "key",
    ["is_buyer_maker", "event_type", "trade_time", "base_asset", "quote_asset"],
)
def test_a_key_of_vendor_data_that_lacks_is_named(key: str) -> None:
    wrong = record()
    del wrong["vendor_data"][key]
    assert violations(wrong) == [f"vendor_data.{key} is missing"]
    assert not is_canonical(as_line(wrong))


def test_foreign_keys_and_another_order_are_named() -> None:
    more = record() | {"colour": "red"}
    assert violations(more) == ['unknown key "colour"']
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


def test_of_many_faults_the_first_are_named() -> None:
    found = violations(record() | {f"key{number}": 1 for number in range(5000)})
    assert found[0] == 'unknown key "key0"'
    assert len(found) < 20
    assert found[-1].endswith(" more")


def test_other_keys_of_vendor_data_are_right() -> None:
    more = record()
    more["vendor_data"] = {"note": "", **more["vendor_data"], "more": "x"}
    assert violations(more) == []


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

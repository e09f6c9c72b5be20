from __future__ import annotations

import gzip
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from k2cli.binance.convert import (
    convert_binance_trade_to_v2,
    now_us,
    trade_from_event,
    trade_from_history,
)

from k2cli.binance.catalog import Catalog, SymbolInfo
from k2cli.binance.wire import decode_frame
from k2cli.errors import MalformedMessage
from k2cli.trade import TradeV2

RECORDING = (
    Path(__file__).parents[3]
    / "shared"
    / "data"
    / "binance_spot_trades_20240808.txt.gz"
)
# As received on 2024-08-09.
FRAME = (
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161601438,"s":"BTCUSDT",'
    '"t":3735693016,"p":"61685.99000000","q":"0.00017000","T":1723161601437,'
    '"m":true,"M":true}}'
)
EVENT: dict[str, Any] = json.loads(FRAME)["data"]
KEYS = [
    "message_id",
    "trade_id",
    "symbol",
    "exchange",
    "asset_class",
    "timestamp",
    "price",
    "quantity",
    "currency",
    "side",
    "trade_conditions",
    "source_sequence",
    "ingestion_timestamp",
    "platform_sequence",
    "vendor_data",
]
DECIMALS = st.from_regex(r"[0-9]{1,30}(\.[0-9]{1,30})?", fullmatch=True)


def record_of(trade: TradeV2, platform_sequence: int | None = None) -> dict[str, Any]:
    line = trade.to_json_line(platform_sequence)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    record: dict[str, Any] = json.loads(line)
    return record


def test_a_real_frame_becomes_the_record_of_the_schema() -> None:
    trade = convert_binance_trade_to_v2(FRAME, ingestion_timestamp=1723161600168000)
    record = record_of(trade)
    assert uuid.UUID(record.pop("message_id")).version == 4
    assert record == {
        "trade_id": "BINANCE-3735693016",
        "symbol": "BTCUSDT",
        "exchange": "BINANCE",
        "asset_class": "crypto",
        "timestamp": 1723161601437000,
        "price": "61685.99000000",
        "quantity": "0.00017000",
        "currency": "USDT",
        "side": "SELL",
        "trade_conditions": [],
        "source_sequence": 3735693016,
        "ingestion_timestamp": 1723161600168000,
        "platform_sequence": None,
        "vendor_data": {
            "is_buyer_maker": "true",
            "is_best_match": "true",
            "event_type": "trade",
            "event_time": "1723161601438",
            "trade_time": "1723161601437",
            "base_asset": "BTC",
            "quote_asset": "USDT",
        },
    }


def test_the_keys_stand_in_the_order_of_the_schema() -> None:
    record = record_of(convert_binance_trade_to_v2(FRAME))
    assert list(record) == KEYS
    assert list(record["vendor_data"]) == [
        "is_buyer_maker",
        "is_best_match",
        "event_type",
        "event_time",
        "trade_time",
        "base_asset",
        "quote_asset",
    ]


def test_a_frame_an_event_and_its_wrapping_give_the_same_record() -> None:
    forms: list[Any] = [FRAME, FRAME.encode(), json.loads(FRAME), EVENT]
    records = [
        record_of(convert_binance_trade_to_v2(form, ingestion_timestamp=1))
        for form in forms
    ]
    for record in records:
        del record["message_id"]
    assert all(record == records[0] for record in records)


def test_the_taker_sells_if_the_buyer_was_the_maker() -> None:
    assert convert_binance_trade_to_v2({**EVENT, "m": True}).side == "SELL"
    assert convert_binance_trade_to_v2({**EVENT, "m": False}).side == "BUY"
    buying = convert_binance_trade_to_v2({**EVENT, "m": False})
    assert buying.vendor_data["is_buyer_maker"] == "false"


def test_a_record_says_when_it_was_received() -> None:
    before = now_us()
    trade = convert_binance_trade_to_v2(FRAME)
    assert before <= trade.ingestion_timestamp <= now_us()
    assert abs(before - time.time() * 1e6) < 60e6


def test_the_exchange_is_named_in_the_record_and_in_the_trade_id() -> None:
    trade = convert_binance_trade_to_v2(FRAME, exchange="SIM")
    assert (trade.exchange, trade.trade_id) == ("SIM", "SIM-3735693016")


def test_base_and_quote_come_from_the_catalog() -> None:
    info = SymbolInfo("BTCUSDT", "BTCU", "SDT", "TRADING", "0", "0")
    catalog = Catalog([info], whole=True, fetched_at_seconds=0.0)
    trade = convert_binance_trade_to_v2(FRAME, catalog=catalog)
    assert trade.currency == "SDT"
    assert trade.vendor_data["base_asset"] == "BTCU"
    assert trade.vendor_data["quote_asset"] == "SDT"


def test_a_symbol_that_cannot_be_split_says_so() -> None:
    trade = convert_binance_trade_to_v2({**EVENT, "s": "这是测试币456"})
    assert trade.currency == "UNKNOWN"
    assert trade.vendor_data["base_asset"] == "这是测试币456"
    assert record_of(trade)["symbol"] == "这是测试币456"


def test_microseconds_are_kept_and_milliseconds_made_into_them() -> None:
    event = {**EVENT, "E": 1723161601438456, "T": 1723161601437123}
    in_us, in_ms = (
        convert_binance_trade_to_v2(event),
        convert_binance_trade_to_v2(EVENT),
    )
    assert in_us.timestamp == 1723161601437123
    assert in_us.vendor_data["event_time"] == "1723161601438456"
    assert in_us.vendor_data["trade_time"] == "1723161601437123"
    assert in_ms.timestamp == 1723161601437000
    assert in_ms.vendor_data["trade_time"] == "1723161601437"


@given(st.integers(1, 10**14 - 1))
def test_times_below_a_hundred_trillion_are_milliseconds(wire_time: int) -> None:
    trade = convert_binance_trade_to_v2({**EVENT, "T": wire_time})
    assert trade.timestamp == wire_time * 1000
    assert trade.vendor_data["trade_time"] == str(wire_time)


@given(st.integers(10**14, 10**17 - 1))
def test_times_from_a_hundred_trillion_on_are_microseconds(wire_time: int) -> None:
    trade = convert_binance_trade_to_v2({**EVENT, "T": wire_time, "E": wire_time})
    assert trade.timestamp == wire_time
    assert trade.vendor_data["event_time"] == str(wire_time)


@given(DECIMALS, DECIMALS)
def test_prices_and_quantities_keep_every_digit(price: str, quantity: str) -> None:
    frame = json.dumps({**EVENT, "p": price, "q": quantity})
    trade = convert_binance_trade_to_v2(frame)
    assert (trade.price, trade.quantity) == (price, quantity)
    record = record_of(trade)
    assert (record["price"], record["quantity"]) == (price, quantity)


def test_the_best_match_is_left_out_if_the_exchange_leaves_it_out() -> None:
    event = {key: value for key, value in EVENT.items() if key != "M"}
    assert "is_best_match" not in convert_binance_trade_to_v2(event).vendor_data
    against = convert_binance_trade_to_v2({**EVENT, "M": False})
    assert against.vendor_data["is_best_match"] == "false"


def test_an_event_without_its_own_time_is_a_trade_all_the_same() -> None:
    event = {key: value for key, value in EVENT.items() if key != "E"}
    assert "event_time" not in convert_binance_trade_to_v2(event).vendor_data


def test_the_order_ids_of_old_events_are_passed_over() -> None:
    old = {**EVENT, "b": 88, "a": 50, "unheard-of": {"x": [1]}}
    new, plain = (
        record_of(convert_binance_trade_to_v2(event, ingestion_timestamp=1))
        for event in (old, EVENT)
    )
    del new["message_id"], plain["message_id"]
    assert new == plain


@given(st.permutations(list(EVENT)))
def test_the_keys_of_an_event_may_stand_in_any_order(order: list[str]) -> None:
    frame = json.dumps({key: EVENT[key] for key in order})
    record = record_of(convert_binance_trade_to_v2(frame, ingestion_timestamp=1))
    usual = record_of(convert_binance_trade_to_v2(EVENT, ingestion_timestamp=1))
    del record["message_id"], usual["message_id"]
    assert record == usual
    assert list(record["vendor_data"]) == list(usual["vendor_data"])


WRONG: list[tuple[str, Any]] = [
    ("e", "aggTrade"),
    ("e", "blockTrade"),
    ("e", None),
    ("s", 7),
    ("s", None),
    ("s", ["BTCUSDT"]),
    ("t", "3735693016"),
    ("t", -1),
    ("t", 1.5),
    ("t", True),
    ("t", None),
    ("t", 2**63),
    ("p", 61685.99),
    ("p", ""),
    ("p", "1e5"),
    ("p", "1E-8"),
    ("p", "-1"),
    ("p", "+1"),
    ("p", ".5"),
    ("p", "5."),
    ("p", "1.0\n"),
    ("p", " 1.0"),
    ("p", "٣"),
    ("p", "NaN"),
    ("p", "Infinity"),
    ("p", "1,0"),
    ("p", "9" * 31),
    ("p", None),
    ("q", 0),
    ("q", "0x10"),
    ("q", "1_000"),
    ("q", ["1"]),
    ("T", "1723161601437"),
    ("T", 0),
    ("T", -1),
    ("T", 1723161601437.5),
    ("T", 10**17),
    ("T", True),
    ("T", None),
    ("E", "soon"),
    ("E", 0),
    ("E", 10**17),
    ("m", 1),
    ("m", "true"),
    ("m", None),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_field_of_another_kind_makes_the_message_malformed(
    key: str, value: Any
) -> None:
    with pytest.raises(MalformedMessage) as caught:
        convert_binance_trade_to_v2({**EVENT, key: value})
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("key", ["e", "s", "t", "p", "q", "T", "m"])
def test_a_field_that_is_absent_makes_the_message_malformed(key: str) -> None:
    event = {name: value for name, value in EVENT.items() if name != key}
    with pytest.raises(MalformedMessage):
        convert_binance_trade_to_v2(event)


def test_a_trade_of_a_symbol_not_asked_for_is_malformed() -> None:
    with pytest.raises(MalformedMessage, match="not asked for"):
        trade_from_event(EVENT, {"ETHUSDT": ("ETH", "USDT")}, 1, "BINANCE")


def test_what_a_malformed_message_says_cannot_reach_a_terminal_raw() -> None:
    hostile = {**EVENT, "p": "\x1b[2J\x1b]0;owned\x07\u202e", "s": "\x00\r\n"}
    with pytest.raises(MalformedMessage) as caught:
        convert_binance_trade_to_v2(hostile)
    assert str(caught.value).isprintable()


def test_an_event_nested_too_deeply_is_malformed_and_nothing_worse() -> None:
    frame = b'{"e":"trade","x":' + b"[" * 1000 + b"]" * 1000 + b"}"
    with pytest.raises(MalformedMessage):
        convert_binance_trade_to_v2(frame)


def converts_or_is_malformed(frame: bytes) -> None:
    try:
        trade = convert_binance_trade_to_v2(frame)
    except MalformedMessage as exc:
        said = exc.message
    else:
        record = record_of(trade)
        said = record["price"]
        assert list(record) == KEYS
        assert record["price"] in decode_frame(frame).values()
    assert said.isprintable()


@given(st.binary(max_size=300))
def test_random_bytes_are_malformed_and_nothing_worse(frame: bytes) -> None:
    converts_or_is_malformed(frame)


@settings(max_examples=50)
@given(st.recursive(st.none() | st.integers() | st.text(max_size=4), st.lists))
def test_random_json_is_malformed_and_nothing_worse(value: Any) -> None:
    converts_or_is_malformed(json.dumps(value).encode())
    converts_or_is_malformed(json.dumps({"stream": "x", "data": value}).encode())


@settings(max_examples=300)
@given(st.data())
def test_a_mutated_frame_is_a_trade_or_malformed_and_nothing_worse(
    data: st.DataObject,
) -> None:
    frame = bytearray(FRAME.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(frame)))
        taken = data.draw(st.integers(0, 4))
        frame[at : at + taken] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"9" * 20, b"null", b'"', b"-"])
        )
    converts_or_is_malformed(bytes(frame))


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(list(EVENT)), VALUES, min_size=1))
def test_an_event_with_random_values_is_a_trade_or_malformed(
    changes: dict[str, Any],
) -> None:
    converts_or_is_malformed(json.dumps({**EVENT, **changes}).encode())


def test_each_conversion_gets_an_id_of_its_own() -> None:
    ids = {convert_binance_trade_to_v2(FRAME).message_id for _ in range(300)}
    assert len(ids) == 300


@pytest.mark.skipif(not RECORDING.exists(), reason="the recording is not at hand")
def test_every_field_of_every_recorded_trade_is_right() -> None:
    quotes = {"BTCUSDT": ("BTC", "USDT"), "ETHUSDT": ("ETH", "USDT")}
    count = 0
    for line in gzip.decompress(RECORDING.read_bytes()).splitlines():
        nanoseconds, _, frame = line.partition(b" ")
        received_us = int(nanoseconds) // 1000
        trade = convert_binance_trade_to_v2(frame, ingestion_timestamp=received_us)
        event = json.loads(frame)["data"]
        base, quote = quotes[event["s"]]
        record = json.loads(trade.to_json_line())
        assert len(record.pop("message_id")) == 36
        assert record == {
            "trade_id": "BINANCE-" + str(event["t"]),
            "symbol": event["s"],
            "exchange": "BINANCE",
            "asset_class": "crypto",
            "timestamp": event["T"] * 1000,
            "price": event["p"],
            "quantity": event["q"],
            "currency": quote,
            "side": "SELL" if event["m"] else "BUY",
            "trade_conditions": [],
            "source_sequence": event["t"],
            "ingestion_timestamp": received_us,
            "platform_sequence": None,
            "vendor_data": {
                "is_buyer_maker": str(event["m"]).lower(),
                "is_best_match": str(event["M"]).lower(),
                "event_type": "trade",
                "event_time": str(event["E"]),
                "trade_time": str(event["T"]),
                "base_asset": base,
                "quote_asset": quote,
            },
        }
        count += 1
    assert count == 15_863


# As trades.historical gives the same trade, in microseconds.
HISTORY_ENTRY: dict[str, Any] = {
    "id": 3735693016,
    "price": "61685.99000000",
    "qty": "0.00017000",
    "quoteQty": "10.48661830",
    "time": 1723161601437000,
    "isBuyerMaker": True,
    "isBestMatch": True,
}


def repaired(**changes: Any) -> TradeV2:
    entry = HISTORY_ENTRY | changes
    return trade_from_history(entry, "BTCUSDT", ("BTC", "USDT"), 5, "BINANCE")


def test_a_trade_of_the_history_is_that_of_the_stream_and_marked() -> None:
    live = record_of(convert_binance_trade_to_v2(FRAME, ingestion_timestamp=5))
    late = record_of(repaired())
    assert uuid.UUID(late.pop("message_id")).version == 4
    del live["message_id"]
    assert late["vendor_data"].pop("source") == "backfill"
    # The history keeps no event time.
    del live["vendor_data"]["event_time"]
    # Its digits are those of the wire, and here they are of different units.
    assert live["vendor_data"].pop("trade_time") == "1723161601437"
    assert late["vendor_data"].pop("trade_time") == "1723161601437000"
    assert late == live


def test_the_history_may_tell_milliseconds() -> None:
    assert repaired(time=1723161601437).timestamp == 1723161601437000


def test_a_history_without_best_match_leaves_it_out() -> None:
    assert "is_best_match" not in repaired(isBestMatch=None).vendor_data


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": -1},
        {"id": "3735693016"},
        {"id": True},
        {"price": 61685.99},
        {"price": "1e5"},
        {"qty": None},
        {"time": 0},
        {"time": "1723161601437"},
        {"isBuyerMaker": 1},
    ],
)
def test_an_entry_of_the_history_that_is_no_trade_is_malformed(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(MalformedMessage):
        repaired(**changes)


@pytest.mark.parametrize("entry", [None, 1, "text \x1b[2J", [], [HISTORY_ENTRY]])
def test_an_entry_of_the_history_that_is_no_object_is_malformed(entry: object) -> None:
    with pytest.raises(MalformedMessage) as caught:
        trade_from_history(entry, "BTCUSDT", ("BTC", "USDT"), 5, "BINANCE")
    assert str(caught.value).isprintable()

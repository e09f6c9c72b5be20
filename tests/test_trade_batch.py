"""Batches of trades: what is in them, and their lines, the fast way and the plain."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k2cli.trade import FIRST_MICROSECONDS, Instrument, TradeBatch
from tests.batches import BTC, ETH, RECEIVED_US, ids_of, instrument, trade_batch

booleans = st.sampled_from(["true", "false"])
decimals = st.decimals(0, 10**12, allow_nan=False, places=8).map("{:f}".format)
microseconds = st.integers(10**15, 10**16 - 1).map(str)
INSTRUMENTS = {
    symbol: Instrument(symbol, exchange, base, quote)
    for symbol, exchange, base, quote in [
        ("BTCUSDT", "BINANCE", "BTC", "USDT"),
        ("1000SATSFDUSD", "BINANCE", "1000SATS", "FDUSD"),
        ("ETHBTC", "SIM", "ETH", "BTC"),
    ]
}


@st.composite
def plain_batches(draw: st.DrawFn) -> TradeBatch:
    count = draw(st.integers(0, 5))

    def column(values: st.SearchStrategy[str]) -> list[str]:
        return draw(st.lists(values, min_size=count, max_size=count))

    return TradeBatch(
        instruments=INSTRUMENTS,
        received_us=draw(st.integers(0, 2**62)),
        symbols=column(st.sampled_from(list(INSTRUMENTS))),
        trade_ids=column(st.integers(0, 2**62).map(str)),
        prices=column(decimals),
        quantities=column(decimals),
        trade_times=column(microseconds),
        event_times=column(microseconds),
        buyer_is_maker=column(booleans),
        best_match=column(booleans),
        message_ids=column(st.uuids(version=4).map(str)),
        is_plain=True,
    )


@given(plain_batches(), st.one_of(st.none(), st.integers(0, 2**62)))
def test_a_plain_batch_has_the_lines_of_its_trades(
    batch: TradeBatch, first: int | None
) -> None:
    numbers = [None if first is None else first + each for each in range(len(batch))]
    expected = [
        trade.to_json_line(number).decode()
        for trade, number in zip(batch.trades(), numbers, strict=True)
    ]
    assert batch.json_lines(first) == expected
    assert dataclasses.replace(batch, is_plain=False).json_lines(first) == expected


@given(plain_batches())
def test_sides_and_times_of_all_are_those_of_each(batch: TradeBatch) -> None:
    for one in (batch, dataclasses.replace(batch, is_plain=False)):
        assert list(one.sides()) == [trade.side for trade in batch.trades()]
        assert list(one.timestamps_us()) == [t.timestamp for t in batch.trades()]


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 7))
def test_a_part_has_the_trades_from_one_to_another(
    count: int, start: int, stop: int
) -> None:
    batch = trade_batch(range(count))
    part = batch.part(start, stop)
    assert part.json_lines() == batch.json_lines()[start:stop]
    assert part.received_us == batch.received_us
    assert part.is_plain


@given(st.integers(0, 5), st.sets(st.integers(0, 4)))
def test_trades_can_be_selected(count: int, wanted: set[int]) -> None:
    batch = trade_batch(range(count))
    indexes = sorted(index for index in wanted if index < len(batch))
    lines = batch.json_lines()
    assert batch.select(indexes).json_lines() == [lines[index] for index in indexes]


def test_a_part_of_the_history_is_of_the_history() -> None:
    batch = trade_batch([1, 2, 3], is_backfill=True)
    assert batch.part(1, 2).is_backfill
    assert not batch.select([0]).is_plain


def test_all_of_a_batch_is_the_batch() -> None:
    batch = trade_batch([1, 2, 3])
    assert batch.part(0, 3) is batch
    assert batch.select([0, 1, 2]) is batch


def test_a_trade_has_the_values_of_its_column() -> None:
    batch = trade_batch([7, 8], [BTC, ETH], times_us=[10**15, 10**15 + 1])
    assert len(batch) == 2
    assert batch.exchange == "SIM"
    assert ids_of(batch) == [7, 8]
    assert batch.trade(1).to_dict() == {
        "message_id": "f3b0c4ce-5d0a-4a7e-9f0e-000000000008",
        "trade_id": "SIM-8",
        "symbol": "ETHUSDT",
        "exchange": "SIM",
        "asset_class": "crypto",
        "timestamp": 1_000_000_000_000_001,
        "price": "61837.63000000",
        "quantity": "0.02000000",
        "currency": "USDT",
        "side": "SELL",
        "trade_conditions": [],
        "source_sequence": 8,
        "ingestion_timestamp": RECEIVED_US,
        "platform_sequence": None,
        "vendor_data": {
            "is_buyer_maker": "true",
            "is_best_match": "true",
            "event_type": "trade",
            "event_time": "1000000000000501",
            "trade_time": "1000000000000001",
            "base_asset": "ETH",
            "quote_asset": "USDT",
        },
    }


def test_a_trade_of_the_history_says_so_and_has_no_event_time() -> None:
    vendor_data = trade_batch([7], is_backfill=True).trade(0).vendor_data
    assert vendor_data["source"] == "backfill"
    assert "event_time" not in vendor_data


def test_what_the_exchange_did_not_say_is_absent() -> None:
    batch = dataclasses.replace(trade_batch([7], is_plain=False), best_match=[None])
    (line,) = batch.json_lines()
    assert "is_best_match" not in json.loads(line)["vendor_data"]


def test_the_side_is_the_takers() -> None:
    batch = dataclasses.replace(
        trade_batch([1, 2]), buyer_is_maker=["true", "false"], is_plain=False
    )
    assert [batch.side(0), batch.side(1)] == ["SELL", "BUY"]
    assert [trade.side for trade in batch.trades()] == ["SELL", "BUY"]


@pytest.mark.parametrize(
    ("trade_time", "timestamp_us"),
    [
        ("1723161255342123", 1_723_161_255_342_123),
        ("1723161255342", 1_723_161_255_342_000),
        (str(FIRST_MICROSECONDS), FIRST_MICROSECONDS),
        (str(FIRST_MICROSECONDS - 1), (FIRST_MICROSECONDS - 1) * 1000),
        ("0", 0),
    ],
)
def test_times_are_microseconds_whatever_the_wire_used(
    trade_time: str, timestamp_us: int
) -> None:
    batch = trade_batch([1], times_us=[int(trade_time)], is_plain=False)
    assert batch.timestamp_us(0) == timestamp_us
    record = json.loads(batch.json_lines()[0])
    assert record["timestamp"] == timestamp_us
    assert record["vendor_data"]["trade_time"] == trade_time


def test_the_notional_is_exact() -> None:
    batch = dataclasses.replace(
        trade_batch([1]), prices=["0.10000000"], quantities=["0.20000000"]
    )
    assert batch.notional(0) == Decimal("0.02")
    assert batch.notional(0) == batch.trade(0).notional


def test_lines_are_numbered_from_the_first_on() -> None:
    for is_plain in (True, False):
        lines = trade_batch([5, 6, 7], is_plain=is_plain).json_lines(41)
        numbers = [json.loads(line)["platform_sequence"] for line in lines]
        assert numbers == [41, 42, 43]


@pytest.mark.parametrize("symbol", ["币安人生USDT", 'A"B\\USDT', "A\nUSDT", "btcusdt"])
def test_a_name_that_json_may_have_to_escape_is_not_plain(symbol: str) -> None:
    assert not instrument(symbol).is_plain
    batch = trade_batch([1], symbol)
    assert not batch.is_plain
    (line,) = batch.json_lines()
    assert line.count("\n") == 1
    assert json.loads(line)["symbol"] == symbol


def test_text_that_is_not_ascii_is_written_as_it_is() -> None:
    (line,) = trade_batch([1], "币安人生USDT").json_lines()
    assert '"symbol":"币安人生USDT"' in line
    assert '"base_asset":"币安人生"' in line


@pytest.mark.parametrize("instrument", INSTRUMENTS.values(), ids=INSTRUMENTS)
def test_usual_names_are_plain(instrument: Instrument) -> None:
    assert instrument.is_plain


def test_an_empty_batch_has_no_lines() -> None:
    assert trade_batch([]).json_lines(1) == []
    assert list(trade_batch([]).trades()) == []

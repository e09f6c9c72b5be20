from __future__ import annotations

import json
from decimal import Decimal

import pytest

from k2cli.trade import KEYS, TradeV2


@pytest.fixture
def trade() -> TradeV2:
    return TradeV2(
        message_id="f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11",
        trade_id="BINANCE-3735683259",
        symbol="币安人生USDT",
        exchange="BINANCE",
        asset_class="crypto",
        timestamp=1723161255342000,
        price="0.10000000",
        quantity="0.20000000",
        currency="USDT",
        side="SELL",
        trade_conditions=[],
        source_sequence=3735683259,
        ingestion_timestamp=1723161254087896,
        platform_sequence=None,
        vendor_data={"is_buyer_maker": "true"},
    )


def test_the_notional_is_exact(trade: TradeV2) -> None:
    assert trade.notional == Decimal("0.02")


def test_a_line_is_compact_json_with_text_as_it_is(trade: TradeV2) -> None:
    line = trade.to_json_line()
    assert line.decode() == (
        '{"message_id":"f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11",'
        '"trade_id":"BINANCE-3735683259","symbol":"币安人生USDT",'
        '"exchange":"BINANCE","asset_class":"crypto","timestamp":1723161255342000,'
        '"price":"0.10000000","quantity":"0.20000000","currency":"USDT",'
        '"side":"SELL","trade_conditions":[],"source_sequence":3735683259,'
        '"ingestion_timestamp":1723161254087896,"platform_sequence":null,'
        '"vendor_data":{"is_buyer_maker":"true"}}\n'
    )


def test_a_record_in_a_capture_has_its_number(trade: TradeV2) -> None:
    assert json.loads(trade.to_json_line(41))["platform_sequence"] == 41
    assert trade.platform_sequence is None
    trade.platform_sequence = 7
    assert json.loads(trade.to_json_line())["platform_sequence"] == 7
    assert json.loads(trade.to_json_line(0))["platform_sequence"] == 0


def test_a_dict_has_every_field_in_the_order_of_the_schema(trade: TradeV2) -> None:
    assert tuple(trade.to_dict()) == KEYS
    assert trade.to_dict()["vendor_data"] == trade.vendor_data

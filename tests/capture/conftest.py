"""Trades for the tests of captures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from k2cli.trade import TradeV2

MakeTrade = Callable[..., TradeV2]


@pytest.fixture
def make_trade() -> MakeTrade:
    def make(
        trade_id: int, symbol: str = "BTCUSDT", exchange: str = "BINANCE"
    ) -> TradeV2:
        return TradeV2(
            message_id="f3b0c4ce-5d0a-4a7e-9f0e-0d5c2f9f2b11",
            trade_id=f"{exchange}-{trade_id}",
            symbol=symbol,
            exchange=exchange,
            asset_class="crypto",
            timestamp=1_723_161_255_342_000 + trade_id,
            price="61837.63000000",
            quantity="0.02000000",
            currency="USDT",
            side="SELL",
            trade_conditions=[],
            source_sequence=trade_id,
            ingestion_timestamp=1_723_161_254_087_896,
            platform_sequence=None,
            vendor_data={"is_buyer_maker": "true", "base_asset": "BTC"},
        )

    return make

"""The public library as type checkers see it: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import assert_type

import k2cli
from k2cli import (
    BinanceConfig,
    BinanceWebSocketClient,
    CaptureSink,
    IdRange,
    Ledger,
    Report,
    Session,
    SimulatedExchange,
    TradeV2,
)


async def tail() -> None:
    trades = k2cli.tail("BTCUSDT", "ETHUSDT")
    assert_type(trades, AsyncGenerator[TradeV2, None])
    async for trade in trades:
        assert_type(trade.symbol, str)
        assert_type(trade.price, str)
        assert_type(trade.timestamp, int)
        assert_type(trade.source_sequence, int | None)
        assert_type(trade.vendor_data, dict[str, str])


async def session(path: Path) -> None:
    async with Session(
        ["BTCUSDT"],
        sinks=[CaptureSink(path, rotation="1d")],
        config=BinanceConfig(reconnect_delay=1),
        side="BUY",
        min_notional=1000,
    ) as running:
        ledger = await running.run(count=1000, duration_seconds=60.0)
        assert_type(ledger, Ledger)
        assert_type(ledger.missing, int)
        assert_type(ledger.trackers["BTCUSDT"].missing_ranges, list[IdRange])
        running.stop()


def files(path: Path) -> None:
    report = k2cli.verify(path)
    assert_type(report, Report)
    assert_type(report.whole, bool)
    assert_type(report.missing, int)
    assert_type(k2cli.verify([path, "trades.jsonl"]), Report)
    assert_type(k2cli.read(path), Iterator[TradeV2])


async def client() -> None:
    async with SimulatedExchange(seed=1) as exchange:
        assert_type(exchange.url, str)
        client = BinanceWebSocketClient(["BTCUSDT"], url=exchange.url)
        assert_type(client.symbols, list[str])
        async for trade in client:
            assert_type(trade, TradeV2)
        await BinanceWebSocketClient(on_message=print).connect()
        await BinanceWebSocketClient.from_config(BinanceConfig()).disconnect()


def functions() -> None:
    assert_type(k2cli.parse_binance_symbol("BTCUSDT"), tuple[str, str, str])
    assert_type(k2cli.convert_binance_trade_to_v2(b"{}"), TradeV2)

"""Which symbols are tailed, and what is asked of the exchange for it."""

from __future__ import annotations

from itertools import islice

import pytest

from k2cli.cli.options import TailOptions
from k2cli.cli.source import Source, binance_source
from k2cli.config import BinanceConfig
from k2cli.simulator import Market, SimulatedExchange


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def source_of(exchange: SimulatedExchange) -> Source:
    return binance_source(
        BinanceConfig(websocket_url=exchange.url, api_url=exchange.api_url)
    )


async def test_how_busy_symbols_are_is_asked_where_they_need_several_connections() -> (
    None
):
    market = Market(size=450, rate=1_000)
    trades = [trade for _, trade in islice(market.timeline(0), 500)]
    async with SimulatedExchange(Market(size=450, rate=0.001)) as exchange:
        await exchange.publish(trades)
        source = source_of(exchange)

        few = await source.select(TailOptions(quote=["EUR"]))
        connections_for_few = exchange.api_connections_accepted
        every = await source.select(TailOptions(all_symbols=True))
        named = await source.select(TailOptions(symbols=list(exchange.symbols)))

    assert few.activity == {}
    assert connections_for_few == 1
    assert len(every.symbols) == 447
    assert every.activity["BTCUSDT"] > 20
    assert named.activity == every.activity

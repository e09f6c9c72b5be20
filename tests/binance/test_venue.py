"""Which symbols are followed, and what is asked of the exchange for it."""

from __future__ import annotations

from itertools import islice

import pytest

from k2cli.binance.lookup import Lookup
from k2cli.binance.venue import BinanceVenue, SymbolSelection
from k2cli.config import BinanceConfig
from k2cli.simulator import Market, SimulatedExchange


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


async def look_up(exchange: SimulatedExchange, selection: SymbolSelection) -> Lookup:
    config = BinanceConfig(websocket_url=exchange.url, api_url=exchange.api_url)
    return await BinanceVenue.from_config(config, selection).look_up()


async def test_how_busy_symbols_are_is_asked_where_they_need_several_connections() -> (
    None
):
    market = Market(size=450, rate=1_000)
    trades = [trade for _, trade in islice(market.timeline(0), 500)]
    async with SimulatedExchange(Market(size=450, rate=0.001)) as exchange:
        await exchange.publish(trades)

        few = await look_up(exchange, SymbolSelection(quote=["EUR"]))
        connections_for_few = exchange.api_connections_accepted
        every = await look_up(exchange, SymbolSelection(all=True))
        named = await look_up(exchange, SymbolSelection(symbols=list(exchange.symbols)))

    assert few.activity == {}
    assert connections_for_few == 1
    assert len(every.symbols) == 447
    assert every.activity["BTCUSDT"] > 20
    assert named.activity == every.activity

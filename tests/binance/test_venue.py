"""Which symbols are followed, and what is asked of the exchange for it."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from k2cli.binance.lookup import CatalogSource
from k2cli.binance.venue import BinanceVenue, SymbolSelection
from k2cli.config import BinanceConfig
from k2cli.errors import UnknownSymbol
from k2cli.shards import Shard
from k2cli.simulator import Market, SimulatedExchange
from k2cli.trade import TradeBatch

if TYPE_CHECKING:
    from k2cli.engine.protocols import Venue
    from tests.binance.conftest import MakeTrades


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def venue_of(
    exchange: SimulatedExchange, selection: SymbolSelection | None = None
) -> BinanceVenue:
    config = BinanceConfig(websocket_url=exchange.url, api_url=exchange.api_url)
    return BinanceVenue.from_config(config, selection, proxy=False)


def test_a_venue_is_named_after_its_host() -> None:
    config = BinanceConfig()
    assert BinanceVenue.from_config(config).name == "stream.binance.com"
    named = BinanceVenue.from_config(config, name="embedded exchange")
    assert named.name == "embedded exchange"


async def test_the_symbols_of_the_configuration_are_followed_if_none_is_named(
    exchange: SimulatedExchange,
) -> None:
    lookup = await venue_of(exchange).look_up()
    assert lookup.symbols == ["BTCUSDT", "ETHUSDT"]
    assert lookup.warnings == ()
    assert lookup.pair("BTCUSDT") == ("BTC", "USDT")
    assert set(lookup.price_decimals()) == {"BTCUSDT", "ETHUSDT"}
    assert set(lookup.quantity_decimals()) == {"BTCUSDT", "ETHUSDT"}


async def test_named_symbols_are_followed_as_people_write_them(
    exchange: SimulatedExchange,
) -> None:
    selection = SymbolSelection(symbols=["eth/btc,bnbbtc", "ETHBTC"])
    lookup = await venue_of(exchange, selection).look_up()
    assert lookup.symbols == ["ETHBTC", "BNBBTC"]


async def test_symbols_are_chosen_by_their_assets(exchange: SimulatedExchange) -> None:
    selection = SymbolSelection(symbols=["ETHBTC"], quote=["eur"], base=["btc", "ETH"])
    lookup = await venue_of(exchange, selection).look_up()
    assert lookup.symbols[0] == "ETHBTC"
    assert {lookup.pair(symbol) for symbol in lookup.symbols[1:]} <= {
        ("BTC", "EUR"),
        ("ETH", "EUR"),
    }
    assert len(lookup.symbols) > 1


async def test_conditions_that_nothing_fits_are_an_error(
    exchange: SimulatedExchange,
) -> None:
    with pytest.raises(UnknownSymbol, match="no symbol with the base asset"):
        await venue_of(exchange, SymbolSelection(base=["NOSUCH"])).look_up()


async def test_a_symbol_that_does_not_exist_is_an_error(
    exchange: SimulatedExchange,
) -> None:
    with pytest.raises(UnknownSymbol, match="no symbol BTCUSTD"):
        await venue_of(exchange, SymbolSelection(symbols=["BTCUSTD"])).look_up()


async def test_how_busy_symbols_are_is_asked_where_they_need_several_connections() -> (
    None
):
    market = Market(size=500, rate=1_000)
    trades = [trade for _, trade in islice(market.timeline(0), 500)]
    async with SimulatedExchange(Market(size=500, rate=0.001)) as exchange:
        await exchange.publish(trades)

        few = await venue_of(exchange, SymbolSelection(quote=["EUR"])).look_up()
        connections_for_few = exchange.api_connections_accepted
        every = await venue_of(exchange, SymbolSelection(all=True)).look_up()
        names = SymbolSelection(symbols=list(exchange.symbols))
        named = await venue_of(exchange, names).look_up()

    assert few.activity == {}
    assert connections_for_few == 1
    assert len(every.symbols) == 497
    assert every.activity["BTCUSDT"] > 20
    assert named.activity == every.activity


async def test_its_stream_and_its_history_have_the_same_trades(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    # What the engine needs of a venue, whatever its class.
    venue: Venue = venue_of(exchange, SymbolSelection(symbols=["BTCUSDT"]))
    batches: list[TradeBatch] = []
    live, all_there = asyncio.Event(), asyncio.Event()

    def take(batch: TradeBatch) -> None:
        batches.append(batch)
        if sum(map(len, batches)) == 10:
            all_there.set()

    symbols = await venue.look_up()
    stream = venue.stream(symbols, take, live.set)
    running = asyncio.create_task(stream.connect())
    await live.wait()
    assert (stream.health().live, stream.health().connections) == (1, 1)
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(make_trades(10))
    await all_there.wait()
    await stream.disconnect()
    await running
    assert stream.reconnects == 0

    history = venue.history(symbols)
    page = await history.page("BTCUSDT", 1, 1000)
    await history.close()
    assert page is not None
    assert list(page.trade_ids) == [t for batch in batches for t in batch.trade_ids]
    assert {batch.exchange for batch in [*batches, page]} == {"SIM"}


def test_a_stream_needs_what_was_looked_up() -> None:
    config = BinanceConfig()
    venue = BinanceVenue(config, CatalogSource(config.api_url))
    with pytest.raises(TypeError, match="look_up"):
        venue.stream(["BTCUSDT"], lambda batch: None, lambda: None)


async def test_shares_are_a_market_together(exchange: SimulatedExchange) -> None:
    whole = (
        await venue_of(exchange, SymbolSelection(quote=["USDT"])).look_up()
    ).symbols
    shares = []
    for number in (1, 2):
        selection = SymbolSelection(
            symbols=["BNBBTC"], quote=["USDT"], shard=Shard(number, 2)
        )
        shares += list((await venue_of(exchange, selection).look_up()).symbols)
    assert sorted(shares) == sorted([*whole, "BNBBTC"])


async def test_a_share_without_symbols_is_an_error(exchange: SimulatedExchange) -> None:
    number = next(n for n in range(1, 10) if not Shard(n, 9).has("BTCUSDT"))
    selection = SymbolSelection(symbols=["BTCUSDT"], shard=Shard(number, 9))
    with pytest.raises(UnknownSymbol, match=f"none of the 1 symbols .* {number}/9"):
        await venue_of(exchange, selection).look_up()

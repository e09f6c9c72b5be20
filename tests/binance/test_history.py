from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection

from k2cli.binance.history import BinanceHistory
from k2cli.errors import ConnectFailed, RestrictedLocation, TooManyRequests
from k2cli.simulator import SimulatedExchange, parse_fault

if TYPE_CHECKING:
    from k2cli.engine.protocols import TradeHistory
    from tests.binance.conftest import MakeTrades, StartServer

ASSETS = {"BTCUSDT": ("BTC", "USDT")}


def history_of(exchange: SimulatedExchange, **options: Any) -> BinanceHistory:
    return BinanceHistory(
        exchange.api_url,
        ASSETS,
        proxy=False,
        clock=lambda: 6000.0,
        **options,
    )


@pytest.fixture
async def history(exchange: SimulatedExchange) -> AsyncIterator[BinanceHistory]:
    history = history_of(exchange)
    yield history
    await history.close()


async def test_a_page_begins_with_the_id_asked_for(
    history: TradeHistory, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    assert exchange.api_connections_accepted == 0
    await exchange.publish(make_trades(30))
    page = await history.page("BTCUSDT", 11, 3)
    assert page is not None
    assert list(page.trade_ids) == ["11", "12", "13"]
    assert page.is_backfill
    assert page.instruments["BTCUSDT"].quote_asset == "USDT"
    assert await history.page("BTCUSDT", 31, 1000) is None
    assert exchange.api_connections_accepted == 1


async def test_more_than_a_page_is_no_error(
    history: BinanceHistory, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    await exchange.publish(make_trades(1100))
    page = await history.page("BTCUSDT", 1, 5000)
    assert page is not None
    assert len(page) == 1000


async def test_the_newest_id_is_known(
    history: TradeHistory, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    assert await history.newest("BTCUSDT") is None
    assert await history.newest_ids(["BTCUSDT"]) == {}
    await exchange.publish(make_trades(30))
    newest = await history.newest("BTCUSDT")
    assert newest is not None
    assert newest.trade_ids == ["30"]
    assert await history.newest_ids(["BTCUSDT"]) == {"BTCUSDT": 30}


async def test_half_of_the_weight_is_used(history: BinanceHistory) -> None:
    for _ in range(120):
        assert history.reserve() == 0
    assert history.reserve() == 60


async def test_a_closed_history_connects_again(
    history: BinanceHistory, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    await exchange.publish(make_trades(1))
    await history.close()
    assert await history.newest_ids(["BTCUSDT"]) == {"BTCUSDT": 1}
    (connection,) = exchange.api_connections
    await history.close()
    await history.close()
    await connection.ended.wait()
    assert exchange.api_connections == []
    assert await history.newest_ids(["BTCUSDT"]) == {"BTCUSDT": 1}
    assert exchange.api_connections_accepted == 2


async def test_many_requests_at_once_share_a_connection(
    history: BinanceHistory, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    await exchange.publish(make_trades(20))
    pages = await asyncio.gather(
        *(history.page("BTCUSDT", first, 1) for first in range(1, 21))
    )
    assert [page.trade_ids[0] for page in pages if page] == [
        str(number) for number in range(1, 21)
    ]
    assert exchange.api_connections_accepted == 1


async def test_a_connection_that_failed_is_replaced(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    await exchange.publish(make_trades(1))
    history = history_of(exchange, reply_timeout_seconds=0.05)
    exchange.add_fault(parse_fault("api-mute@0:1"))
    with pytest.raises(ConnectFailed, match="in time"):
        await history.newest("BTCUSDT")
    assert await history.newest_ids(["BTCUSDT"]) == {"BTCUSDT": 1}
    assert exchange.api_connections_accepted == 2
    await history.close()


async def test_a_limit_leaves_the_connection_open(
    history: BinanceHistory, exchange: SimulatedExchange
) -> None:
    exchange.add_fault(parse_fault("api-error@0:429"))
    with pytest.raises(TooManyRequests):
        await history.page("BTCUSDT", 1, 1)
    assert await history.page("BTCUSDT", 1, 1) is None
    assert exchange.api_connections_accepted == 1


async def test_a_refusal_is_that_of_the_api(
    history: BinanceHistory, exchange: SimulatedExchange
) -> None:
    exchange.add_fault("refuse@0:451")
    with pytest.raises(RestrictedLocation):
        await history.newest("BTCUSDT")


async def test_ids_are_found_by_time(
    history: BinanceHistory, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    made = [
        replace(trade, trade_time_us=trade.trade_time_us + 1000 * trade.id)
        for trade in make_trades(30)
    ]
    assert await history.ids_since("BTCUSDT", 0) is None
    await exchange.publish(made)
    assert await history.ids_since("BTCUSDT", made[10].trade_time_us) == (11, 30)
    assert await history.ids_since("BTCUSDT", made[-1].trade_time_us + 1000) is None


async def test_another_address_has_its_turn_after_a_failure(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    await exchange.publish(make_trades(3))
    # Nobody listens there: the port is the exchange's only on another address.
    dead = exchange.api_url.replace("127.0.0.1", "127.0.0.2")
    now_seconds = [6000.0]
    history = BinanceHistory(
        dead,
        ASSETS,
        fallback_urls=[exchange.api_url],
        proxy=False,
        clock=lambda: now_seconds[0],
    )
    with pytest.raises(ConnectFailed):
        await history.page("BTCUSDT", 1, 1)
    assert await history.page("BTCUSDT", 1, 1) is not None
    await history.close()
    assert await history.page("BTCUSDT", 1, 1) is not None
    # After an hour that was well, the first one has its turn again.
    now_seconds[0] += 3600
    await history.close()
    with pytest.raises(ConnectFailed):
        await history.page("BTCUSDT", 1, 1)


async def test_no_address_is_of_another_exchange(
    exchange: SimulatedExchange,
    make_trades: MakeTrades,
    start_server: StartServer,
) -> None:
    await exchange.publish(make_trades(3))

    async def unlike(connection: ServerConnection) -> None:
        await connection.wait_closed()

    history = BinanceHistory(
        exchange.api_url,
        ASSETS,
        fallback_urls=[await start_server(unlike)],
        proxy=False,
    )
    assert await history.page("BTCUSDT", 1, 1) is not None
    exchange.api_connections[0].reset()
    with pytest.raises(ConnectFailed, match="lost"):
        await history.page("BTCUSDT", 1, 1)
    with pytest.raises(ConnectFailed, match="another exchange"):
        await history.page("BTCUSDT", 1, 1)
    page = await history.page("BTCUSDT", 1, 1)
    assert page is not None
    assert page.exchange == "SIM"
    await history.close()


async def test_a_location_that_is_refused_is_told_what_that_means(
    history: TradeHistory, exchange: SimulatedExchange
) -> None:
    exchange.add_fault(parse_fault("refuse@0:451:api"))
    with pytest.raises(RestrictedLocation, match="Gaps cannot be filled from here"):
        await history.page("BTCUSDT", 1, 1)

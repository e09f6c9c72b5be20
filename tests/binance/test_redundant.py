"""Two connections for the same symbols, and a client that hands on each trade once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from k2cli import BinanceWebSocketClient
from k2cli.binance.status import ConnectionState
from k2cli.errors import AttemptsExhausted, ExchangeRefused
from k2cli.simulator import SimulatedExchange
from k2cli.trade import TradeBatch

if TYPE_CHECKING:
    from tests.binance.conftest import Connected, Inbox, MakeTrades, StartServer

TRADE = {
    "e": "trade",
    "E": 1723161601438456,
    "s": "BTCUSDT",
    "p": "61685.99000000",
    "q": "0.00017000",
    "T": 1723161601437123,
    "m": True,
    "M": True,
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k2cli.binance.redundant.APART_SECONDS", 0.0)


def client_of(url: str, inbox: Inbox | None, **options: Any) -> BinanceWebSocketClient:
    taking = {} if inbox is None else {"on_message": inbox.take}
    return BinanceWebSocketClient(
        ["BTCUSDT"],
        url=url,
        on_status=None if inbox is None else inbox.note,
        redundant=True,
        proxy=False,
        **{"reconnect_delay": 1e-3, **taking, **options},
    )


async def two_listen(exchange: SimulatedExchange) -> None:
    await exchange.wait_subscribed("BTCUSDT", listeners=2)


async def test_each_trade_comes_once(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange.url, inbox)
    async with connected(client):
        await two_listen(exchange)
        for first in range(1, 101, 10):
            await exchange.publish(make_trades(10, first))
        await inbox.holds(100)
        assert client.health().live == 2

    assert inbox.ids == [*range(1, 101)]
    assert client.first_with.total() == 100
    assert {name for name, _ in client.first_with} == {"A", "B"}


async def test_the_second_connection_is_opened_later(
    exchange: SimulatedExchange,
    inbox: Inbox,
    connected: Connected,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("k2cli.binance.redundant.APART_SECONDS", 0.1)
    async with connected(client_of(exchange.url, inbox)):
        begun = asyncio.get_running_loop().time()
        await inbox.reached(ConnectionState.LIVE)
        await inbox.reached(ConnectionState.LIVE, times=2)
        assert asyncio.get_running_loop().time() - begun >= 0.1


async def test_iterating_brings_each_trade_once(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    ids = []

    async def publish() -> None:
        await two_listen(exchange)
        await exchange.publish(make_trades(30))
        exchange.stream_connections[0].reset()
        await exchange.publish(make_trades(30, 31))

    publishing = asyncio.create_task(publish())
    async for trade in client_of(exchange.url, None):
        ids.append(trade.source_sequence)
        if len(ids) == 60:
            break
    await publishing
    assert ids == [*range(1, 61)]


async def test_one_is_enough_while_the_other_cannot_be_had(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange.url, inbox, max_reconnect_attempts=2)
    with capture_logs() as logs:
        async with connected(client):
            await two_listen(exchange)
            exchange.add_fault("refuse@0:503:2:streams")
            exchange.stream_connections[0].reset()
            async with asyncio.timeout(20):
                while not any(e["event"].startswith("One of two") for e in logs):
                    await exchange.publish([])
            health = client.health()
            assert (health.live, health.connections) == (1, 2)
            assert health.delivers
            await exchange.publish(make_trades(10))
            await inbox.holds(10)

    assert inbox.ids == [*range(1, 11)]


@pytest.mark.parametrize(
    ("status", "error"), [(503, AttemptsExhausted), (451, ExchangeRefused)]
)
async def test_it_fails_if_neither_can_be_had(
    exchange: SimulatedExchange, inbox: Inbox, status: int, error: type[Exception]
) -> None:
    exchange.add_fault(f"refuse@0:{status}")
    client = client_of(exchange.url, inbox, max_reconnect_attempts=2)
    async with asyncio.timeout(20):
        with pytest.raises(error):
            await client.connect()
    assert exchange.connections_accepted == 0


async def test_an_end_before_the_second_is_opened_is_an_end(
    exchange: SimulatedExchange, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2cli.binance.redundant.APART_SECONDS", 3600.0)
    client = client_of(exchange.url, inbox)
    running = asyncio.create_task(client.connect())
    await inbox.reached(ConnectionState.LIVE)
    async with asyncio.timeout(10):
        await client.disconnect()
        await running
    assert exchange.connections_accepted == 1


async def test_trades_stay_in_order_while_their_receiver_is_slow(
    exchange: SimulatedExchange, make_trades: MakeTrades, connected: Connected
) -> None:
    ids: list[str] = []
    doors = asyncio.Semaphore(0)
    waits = asyncio.Event()

    async def keep(batch: TradeBatch) -> None:
        waits.set()
        await doors.acquire()
        ids.extend(batch.trade_ids)

    async with connected(client_of(exchange.url, None, on_batch=keep)):
        await two_listen(exchange)
        await exchange.publish(make_trades(5))
        await waits.wait()
        # The other connection brings these: the first one's has to wait.
        for first in (6, 11, 16):
            await exchange.publish(make_trades(5, first))
        for _ in range(20):
            doors.release()

    assert ids == [str(number) for number in range(1, 21)]


async def test_no_connection_is_of_another_exchange(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
    start_server: StartServer,
) -> None:
    asked = asyncio.Event()

    async def unlike(connection: ServerConnection) -> None:
        asked.set()
        await connection.wait_closed()

    url = (await start_server(unlike)).replace("127.0.0.1", "localhost")
    async with connected(client_of(exchange.url, inbox, fallback_urls=[url])):
        await asked.wait()
        await two_listen(exchange)
        await exchange.publish(make_trades(3))
        await inbox.holds(3)

    assert [trade.exchange for trade in inbox.trades] == ["SIM"] * 3


async def test_a_connection_that_lacks_a_symbol_is_replaced(
    inbox: Inbox,
    connected: Connected,
    start_server: StartServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("k2cli.binance.redundant.LOOK_SECONDS", 0.05)
    opened = asyncio.Semaphore(0)

    async def trade(connection: ServerConnection) -> None:
        for trade_id in range(1, 1000):
            await connection.send(orjson.dumps({**TRADE, "t": trade_id}))
            await asyncio.sleep(0.01)

    async def say_nothing(connection: ServerConnection) -> None:
        opened.release()
        await connection.wait_closed()

    deaf = (await start_server(say_nothing)).replace("127.0.0.1", "localhost")
    with capture_logs() as logs:
        async with connected(
            client_of(await start_server(trade), inbox, fallback_urls=[deaf])
        ):
            await opened.acquire()
            await opened.acquire()

    (replaced, *_) = (e for e in logs if e["event"] == "Replacing the connection")
    assert replaced["reason"] == "BTCUSDT comes over the other connection only"

"""Make before break: a connection is replaced without a trade lost or repeated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from k2cli import BinanceWebSocketClient
from k2cli.binance.status import ConnectionState
from k2cli.binance.transport import StreamConnection
from k2cli.simulator import SimulatedExchange, parse_fault

if TYPE_CHECKING:
    from tests.binance.conftest import Connected, Inbox, MakeTrades


def client_of(
    exchange: SimulatedExchange, inbox: Inbox, **options: float
) -> BinanceWebSocketClient:
    return BinanceWebSocketClient(
        ["BTCUSDT"],
        inbox.take,
        exchange.url,
        on_status=inbox.note,
        reconnect_delay=1e-3,
        proxy=False,
        **options,  # type: ignore[arg-type]  # the options used here are floats
    )


async def two_connections(exchange: SimulatedExchange) -> None:
    await exchange.wait_subscribed("BTCUSDT", listeners=2)


async def one_connection(exchange: SimulatedExchange) -> None:
    async with asyncio.timeout(20):
        while len(exchange.stream_connections) > 1:
            await exchange.stream_connections[0].ended.wait()


async def test_the_new_connection_delivers_before_the_old_one_is_closed(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange, inbox)
    trades = make_trades(60)
    async with connected(client):
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(trades[:20])
        await inbox.holds(20)
        (old,) = exchange.stream_connections
        client.replace_connection("BTCUSDT", "a test wants it")
        await two_connections(exchange)
        assert old.is_open  # nothing has come over the new one yet
        await exchange.publish(trades[20:40])
        await old.ended.wait()
        await exchange.publish(trades[40:])
        await inbox.holds(60)

    assert inbox.ids == [trade.id for trade in trades]
    assert client.reconnects == 1
    assert ConnectionState.WAITING not in inbox.states


async def test_an_old_connection_is_replaced(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    with capture_logs() as logs:
        async with connected(
            client_of(exchange, inbox, max_connection_age_seconds=0.2)
        ):
            await two_connections(exchange)
            await exchange.publish(make_trades(5))
            await inbox.holds(5)

    assert inbox.ids == [trade.id for trade in make_trades(5)]
    reasons = [e["reason"] for e in logs if e["event"] == "Replacing the connection"]
    assert reasons[0] == "it is getting old"


@pytest.mark.parametrize("lead", ["never", "50ms"])
async def test_an_announced_shutdown_loses_nothing(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
    lead: str,
) -> None:
    trades = make_trades(30)
    async with connected(client_of(exchange, inbox)):
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(trades[:10])
        exchange.add_fault(f"shutdown@0:{lead}")
        if lead == "never":
            await two_connections(exchange)
        else:
            # The old one may be closed before or after the new one is there.
            async with asyncio.timeout(20):
                while exchange.connections_accepted < 2:
                    await inbox.reached(ConnectionState.LIVE, times=2)
        await exchange.publish(trades[10:20])
        await one_connection(exchange)
        await exchange.publish(trades[20:])
        await inbox.holds(30)

    assert inbox.ids == [trade.id for trade in trades]


async def test_a_connection_that_plays_dead_is_replaced(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    trades = make_trades(20)
    with capture_logs() as logs:
        async with connected(client_of(exchange, inbox, ping_interval=0.1)):
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.publish(trades[:10])
            await inbox.holds(10)
            exchange.add_fault(parse_fault("stall@0"))
            await inbox.reached(ConnectionState.LIVE, times=2)
            await exchange.publish(trades[10:])
            await inbox.holds(20)

    assert inbox.ids == [trade.id for trade in trades]
    (replaced,) = [e for e in logs if e["event"] == "Replacing the connection"]
    assert "not even answers to pings" in replaced["reason"]


async def test_a_quiet_market_is_no_fault(
    exchange: SimulatedExchange,
    inbox: Inbox,
    connected: Connected,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = asyncio.Semaphore(0)
    ping = StreamConnection.ping

    def counted(connection: StreamConnection) -> None:
        rounds.release()
        ping(connection)

    monkeypatch.setattr(StreamConnection, "ping", counted)
    async with connected(client_of(exchange, inbox, ping_interval=0.3)):
        for _ in range(3):  # pings and answers, and not one trade
            await rounds.acquire()
        (connection,) = exchange.stream_connections
        assert connection.is_open

    assert exchange.connections_accepted == 1


async def test_a_successor_that_is_lost_leaves_the_old_one_in_charge(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange, inbox)
    trades = make_trades(30)
    async with connected(client):
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(trades[:10])
        await inbox.holds(10)
        client.replace_connection("BTCUSDT", "a test wants it")
        await two_connections(exchange)
        exchange.stream_connections[-1].reset()
        await inbox.reached(ConnectionState.LIVE, times=3)
        await two_connections(exchange)
        await exchange.publish(trades[10:])
        await inbox.holds(30)

    assert inbox.ids == [trade.id for trade in trades]
    assert ConnectionState.WAITING not in inbox.states


async def test_a_good_connection_is_kept_when_no_other_can_be_had(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange, inbox, max_reconnect_attempts=2)
    trades = make_trades(20)
    with capture_logs() as logs:
        async with connected(client):
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.publish(trades[:10])
            await inbox.holds(10)
            exchange.add_fault("refuse@0:503")
            client.replace_connection("BTCUSDT", "a test wants it")
            async with asyncio.timeout(20):
                while not any(e["event"].startswith("Keeping") for e in logs):
                    await exchange.publish([])
            await exchange.publish(trades[10:])
            await inbox.holds(20)

    assert inbox.ids == [trade.id for trade in trades]


async def test_a_good_connection_is_kept_when_every_other_is_lost_at_once(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange, inbox, max_reconnect_attempts=3)
    trades = make_trades(20)
    with capture_logs() as logs:
        async with connected(client):
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.publish(trades[:10])
            await inbox.holds(10)
            client.replace_connection("BTCUSDT", "a test wants it")
            async with asyncio.timeout(20):
                while not any(e["event"].startswith("Keeping") for e in logs):
                    for successor in exchange.stream_connections[1:]:
                        successor.reset()
                    await exchange.publish([])
            await exchange.publish(trades[10:])
            await inbox.holds(20)

    assert inbox.ids == [trade.id for trade in trades]


async def test_closing_during_a_handover_hands_on_what_has_come(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange, inbox)
    async with connected(client):
        await inbox.reached(ConnectionState.LIVE)
        client.replace_connection("BTCUSDT", "a test wants it")
        await two_connections(exchange)
        await exchange.publish(make_trades(10))

    assert inbox.ids == [trade.id for trade in make_trades(10)]

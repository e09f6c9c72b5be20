from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import pytest

from k2cli import BinanceWebSocketClient
from k2cli.errors import AttemptsExhausted, RestrictedLocation
from k2cli.simulator import SimulatedExchange

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from k2cli.trade import TradeV2
    from tests.binance.conftest import MakeTrades


def client_of(exchange: SimulatedExchange, **options: Any) -> BinanceWebSocketClient:
    return BinanceWebSocketClient(["BTCUSDT"], url=exchange.url, proxy=False, **options)


def trades_of(client: BinanceWebSocketClient) -> AsyncGenerator[TradeV2]:
    return cast("AsyncGenerator[TradeV2]", aiter(client))


async def publish_when_subscribed(
    exchange: SimulatedExchange, make_trades: MakeTrades, count: int
) -> None:
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(make_trades(count))


def other_tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}


async def test_trades_can_be_iterated_over_until_one_breaks_off(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    before = other_tasks()
    publishing = asyncio.create_task(
        publish_when_subscribed(exchange, make_trades, 2500)
    )
    received = []
    async for trade in client_of(exchange):
        received.append(trade.source_sequence)
        if len(received) == 2000:
            (session,) = exchange.stream_connections
            break
    await publishing
    assert received == list(range(1, 2001))
    await session.ended.wait()
    while other_tasks() - before:
        await asyncio.wait(other_tasks() - before)
    assert exchange.stream_connections == []


async def test_a_client_can_be_iterated_over_again(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    client = client_of(exchange)
    for _ in range(2):
        publishing = asyncio.create_task(
            publish_when_subscribed(exchange, make_trades, 1)
        )
        async with aclosing(trades_of(client)) as trades:
            assert (await anext(trades)).source_sequence == 1
        await publishing
        assert exchange.stream_connections == []


async def test_disconnect_ends_an_iteration_after_what_has_arrived(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    client = client_of(exchange)
    publishing = asyncio.create_task(
        publish_when_subscribed(exchange, make_trades, 900)
    )
    received = []
    disconnecting: asyncio.Task[None] | None = None
    async for trade in client:
        received.append(trade.source_sequence)
        disconnecting = disconnecting or asyncio.create_task(client.disconnect())
    assert received == list(range(1, 901))
    assert disconnecting is not None
    await asyncio.gather(publishing, disconnecting)


async def test_an_error_of_the_client_comes_out_of_the_iteration(
    exchange: SimulatedExchange,
) -> None:
    exchange.add_fault("refuse@0:451")
    with pytest.raises(RestrictedLocation):
        await anext(trades_of(client_of(exchange)))


async def test_an_iteration_ends_with_its_error_after_what_has_arrived(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    publishing = asyncio.create_task(publish_when_subscribed(exchange, make_trades, 5))
    client = client_of(exchange, reconnect_delay=0.001, max_reconnect_attempts=2)
    received: list[int | None] = []

    async def iterate() -> None:
        async for trade in client:
            received.append(trade.source_sequence)
            if len(received) == 5:
                exchange.add_fault("refuse@0:503")
                await exchange.disconnect()

    with pytest.raises(AttemptsExhausted):
        await iterate()
    await publishing
    assert received == [1, 2, 3, 4, 5]


async def test_an_error_of_the_loop_body_closes_the_connection(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    publishing = asyncio.create_task(publish_when_subscribed(exchange, make_trades, 1))

    async def iterate() -> None:
        async with aclosing(trades_of(client_of(exchange))) as trades:
            async for _ in trades:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await iterate()
    await publishing
    assert exchange.stream_connections == []


async def test_an_iteration_that_is_cancelled_leaves_no_task_behind(
    exchange: SimulatedExchange,
) -> None:
    before = other_tasks()

    async def iterate() -> None:
        async for _ in client_of(exchange):
            raise AssertionError("nothing was published")

    iterating = asyncio.create_task(iterate())
    await exchange.wait_subscribed("BTCUSDT")
    (session,) = exchange.stream_connections
    iterating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await iterating
    await session.ended.wait()
    assert other_tasks() - before == set()


async def test_a_client_is_iterated_over_or_given_on_message_and_not_both(
    exchange: SimulatedExchange,
) -> None:
    client = BinanceWebSocketClient(["BTCUSDT"], print, exchange.url)
    with pytest.raises(RuntimeError, match="not both"):
        await anext(trades_of(client))


async def test_a_slow_loop_body_misses_nothing(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    # More than the queue between connection and loop takes.
    publishing = asyncio.create_task(
        publish_when_subscribed(exchange, make_trades, 3000)
    )
    received = []
    async with aclosing(trades_of(client_of(exchange))) as trades:
        async for trade in trades:
            received.append(trade.source_sequence)
            if len(received) % 100 == 0:
                await asyncio.sleep(0)
            if len(received) == 3000:
                break
    await publishing
    assert received == list(range(1, 3001))

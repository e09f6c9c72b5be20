"""What the tests of the embedded exchange share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from k2cli.simulator import SimulatedExchange, Trade

Make = Callable[..., list[Trade]]
Listen = Callable[..., Awaitable[ClientConnection]]
Ids = Callable[..., Awaitable[list[int]]]
AllOf = Callable[..., Awaitable[list[str | bytes]]]
Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def make() -> Make:
    """Make trades with consecutive ids."""

    def make_trades(
        count: int = 1, first: int = 1, symbol: str = "BTCUSDT"
    ) -> list[Trade]:
        return [
            Trade(
                symbol,
                number,
                f"{100 + number % 7}.50000000",
                "0.00200000",
                1_723_161_601_437_123 + number * 1_000,
                1_723_161_601_438_456 + number * 1_000,
                number % 2 == 0,
            )
            for number in range(first, first + count)
        ]

    return make_trades


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Connect as a plain client, and wait until the exchange knows of it."""
    clients: list[ClientConnection] = []

    async def connect_to(
        exchange: SimulatedExchange,
        *symbols: str,
        path: str | None = None,
        listeners: int = 1,
        **options: Any,
    ) -> ClientConnection:
        symbols = symbols or ("BTCUSDT",)
        if path is None:
            names = "/".join(f"{symbol.lower()}@trade" for symbol in symbols)
            path = f"/stream?streams={names}"
        options.setdefault("compression", None)
        client = await connect(
            f"ws://127.0.0.1:{exchange.port}{path}", ping_interval=None, **options
        )
        clients.append(client)
        if "@trade" in path:
            await exchange.wait_subscribed(*symbols, listeners=listeners)
        return client

    yield connect_to
    await asyncio.gather(*(client.close() for client in clients))


@pytest.fixture
def ids() -> Ids:
    """Receive so many trades, and give their ids."""

    async def receive(client: ClientConnection, count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            message = orjson.loads(await client.recv())
            event = message.get("data", message)
            if event.get("e") == "trade":
                found.append(event["t"])
        return found

    return receive


@pytest.fixture
def all_of() -> AllOf:
    """Receive all that a source plays, and close the connection then."""

    async def receive(
        exchange: SimulatedExchange, client: ClientConnection
    ) -> list[str | bytes]:
        async def collect() -> list[str | bytes]:
            return [message async for message in client]

        collecting = asyncio.create_task(collect())
        await exchange.finished.wait()
        await exchange.disconnect(1000)
        return await collecting

    return receive


@pytest.fixture
def ask() -> Ask:
    """Send a request, and give the reply."""

    async def request(
        client: ClientConnection, method: str, **params: Any
    ) -> dict[str, Any]:
        text = orjson.dumps({"id": "a-1", "method": method, "params": params})
        await client.send(text, text=True)
        reply = orjson.loads(await client.recv())
        assert isinstance(reply, dict)
        return reply

    return request

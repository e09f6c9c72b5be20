"""Stream connections as a plain client sees them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import k2cli
from k2cli.errors import SettingsError
from k2cli.simulator import EXCHANGE_HEADER, Market, Rules, SimulatedExchange

FREE = Rules(client_frames_per_second=None)


@pytest.mark.parametrize(
    ("path", "wrapped", "microseconds"),
    [
        ("/ws/btcusdt@trade", False, False),
        ("/ws/xrpusdt@trade/btcusdt@trade", False, False),
        ("/ws/btcusdt@trade?timeUnit=MICROSECOND", False, True),
        ("/ws/btcusdt@trade?timeUnit=millisecond", False, False),
        ("/stream?streams=btcusdt@trade", True, False),
        (
            "/stream?streams=xrpusdt@trade/btcusdt@trade&timeUnit=microsecond",
            True,
            True,
        ),
        ("/stream?timeUnit=MICROSECOND&streams=btcusdt%40trade%2Fa%40b", True, True),
    ],
)
async def test_the_address_decides_the_form(
    path: str, wrapped: bool, microseconds: bool, make: Any
) -> None:
    async with (
        SimulatedExchange() as exchange,
        connect(f"ws://127.0.0.1:{exchange.port}{path}") as client,
    ):
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(make())
        message = orjson.loads(await client.recv())
        assert (message.get("stream") == "btcusdt@trade") is wrapped
        event = message.get("data", message)
        assert list(event) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
        assert (event["T"] > 10**14) is microseconds
        assert client.response is not None
        assert client.response.headers[EXCHANGE_HEADER] == "SIM"


async def test_fills_of_one_order_are_one_aggregate(make: Any, listen: Any) -> None:
    one, other = make(2)
    order = [replace(one, id=number, quantity="0.00100000") for number in (5, 6, 7)]
    async with SimulatedExchange() as exchange:
        client = await listen(exchange, path="/ws/btcusdt@aggTrade/btcusdt@bookTicker")
        await exchange.publish([*order, replace(other, id=8)])
        received = [orjson.loads(await client.recv()) for _ in range(4)]
    aggregates = [event for event in received if "a" in event and "f" in event]
    books = [event for event in received if "u" in event]
    assert [(each["f"], each["l"], each["q"]) for each in aggregates] == [
        (5, 7, "0.00300000"),
        (8, 8, "0.00200000"),
    ]
    assert list(aggregates[0]) == ["e", "E", "s", *"apqflTmM"]
    assert aggregates[0]["E"] == 1_723_161_601_439
    assert list(books[0]) == ["u", "s", *"bBaA"]
    # A buyer takes the ask, a seller the bid; a tick of BTCUSDT is a cent.
    assert [(each["u"], each["b"], each["a"]) for each in books] == [
        (7, "101.49000000", "101.50000000"),
        (8, "102.50000000", "102.51000000"),
    ]


async def test_a_symbol_beyond_ascii_streams(make: Any) -> None:
    async with (
        SimulatedExchange() as exchange,
        connect(f"{exchange.url}?streams=币安人生usdt@trade") as client,
    ):
        await exchange.wait_subscribed("币安人生USDT")
        await exchange.publish(make(symbol="币安人生USDT"))
        message = await client.recv(decode=False)
        assert '"s":"币安人生USDT"'.encode() in message
        assert '{"stream":"币安人生usdt@trade"'.encode() in message


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_compression_only_if_asked_for(
    compression: str | None, listen: Any, make: Any, ids: Any
) -> None:
    async with SimulatedExchange() as exchange:
        client = await listen(exchange, compression=compression)
        agreed = client.response.headers.get("Sec-WebSocket-Extensions", "")
        assert ("permessage-deflate" in agreed) is (compression is not None)
        await exchange.publish(make(700))
        assert await ids(client, 700) == list(range(1, 701))


@pytest.mark.parametrize("kind", ["text", "ping", "pong"])
async def test_too_many_frames_of_any_kind_end_the_connection(
    kind: str, listen: Any
) -> None:
    async with SimulatedExchange() as exchange:
        client = await listen(exchange)
        for number in range(6):
            if kind == "text":
                await client.send(f'{{"method":"LIST_SUBSCRIPTIONS","id":{number}}}')
            elif kind == "ping":
                await client.ping()
            else:
                await client.pong(b"unasked")
        await client.wait_closed()
        assert client.close_code == 1008
        assert client.close_reason == "Too many requests"


async def test_five_frames_a_second_are_allowed(listen: Any) -> None:
    async with SimulatedExchange() as exchange:
        client = await listen(exchange)
        for _ in range(5):
            await (await client.ping())
        assert client.close_code is None


async def test_pings_differ_and_must_be_answered(listen: Any) -> None:
    async with SimulatedExchange(
        rules=replace(FREE, ping_interval_seconds=0.01, pong_timeout_seconds=5)
    ) as exchange:
        client = await listen(exchange)
        payloads: list[bytes] = []
        enough = asyncio.Event()
        receive = client.protocol.recv_frame

        def watch(frame: Any) -> None:
            if frame.opcode == 9:
                payloads.append(bytes(frame.data))
                if len(payloads) == 8:
                    enough.set()
            receive(frame)

        client.protocol.recv_frame = watch
        await enough.wait()
        assert len(set(payloads)) == len(payloads)
        assert client.close_code is None


async def test_a_ping_without_its_echo_ends_the_connection(listen: Any) -> None:
    async with SimulatedExchange(
        rules=replace(FREE, ping_interval_seconds=0.02, pong_timeout_seconds=0.05)
    ) as exchange:
        client = await listen(exchange)
        receive = client.protocol.recv_frame

        def forget_pings(frame: Any) -> None:
            if frame.opcode != 9:
                receive(frame)

        client.protocol.recv_frame = forget_pings
        await client.pong(b"unsolicited")
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (1008, "Pong timeout")


@pytest.mark.parametrize(("code", "seen"), [(None, 1006), (1001, 1001), (1008, 1008)])
async def test_a_connection_has_its_time(
    code: int | None, seen: int, listen: Any
) -> None:
    async with SimulatedExchange(
        rules=Rules(lifetime_seconds=0.05, lifetime_close_code=code)
    ) as exchange:
        client = await listen(exchange, path="/ws")
        await client.wait_closed()
        assert client.close_code == seen


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/", 404, b""),
        ("/wss/btcusdt@trade", 404, b""),
        ("/stream/btcusdt@trade", 404, b""),
        ("/ws?timeUnit=SECOND", 400, b"-1194"),
        ("/stream?streams=" + "a" * 8_000, 414, b""),
        ("/stream?streams=" + "a" * 9_000, 414, b""),
    ],
)
async def test_addresses_that_lead_nowhere(path: str, status: int, body: bytes) -> None:
    async with SimulatedExchange() as exchange:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://127.0.0.1:{exchange.port}{path}")
        assert caught.value.response.status_code == status
        assert body in caught.value.response.body


async def test_the_last_part_of_a_raw_address_is_not_checked(listen: Any) -> None:
    async with SimulatedExchange() as exchange:
        for path in ("/ws", "/ws/", "/ws/0", "/ws/nope@trade", "/stream"):
            await listen(exchange, path=path) if "@" not in path else None
        assert exchange.connections_accepted == 4


async def test_too_many_attempts_are_refused() -> None:
    async with SimulatedExchange(rules=Rules(connection_attempts=2)) as exchange:
        for _ in range(2):
            async with connect(exchange.url):
                pass
        with pytest.raises(InvalidStatus) as caught:
            await connect(exchange.url)
        assert caught.value.response.status_code == 429
        assert int(caught.value.response.headers["Retry-After"]) > 200
        assert exchange.connection_attempts == 3
        assert exchange.connections_accepted == 2


async def test_a_reader_far_behind_a_live_market_is_disconnected(
    listen: Any, make: Any
) -> None:
    rules = Rules(outgoing_bytes=1_000_000)
    async with SimulatedExchange(rules=rules) as exchange:
        client = await listen(exchange, max_queue=1)
        first = 1
        while exchange.stream_connections:
            await exchange.publish(make(2_000, first))
            first += 2_000
            assert first < 400_000
        received: list[int] = []
        with suppress(ConnectionClosed):
            async for message in client:
                received += [orjson.loads(message)["data"]["t"]]
        assert client.close_code == 1006
        # What came before is whole: nothing is dropped from the middle.
        assert received == list(range(1, len(received) + 1))


async def test_a_live_market_streams_what_is_in_its_history(
    listen: Any, all_of: Any
) -> None:
    market = Market(rate=20_000, trade_limit=3_000)
    async with SimulatedExchange(market, start_when_subscribed=True) as exchange:
        client = await listen(exchange, "BTCUSDT", "ETHUSDT")
        received = [
            orjson.loads(message)["data"] for message in await all_of(exchange, client)
        ]
        for symbol in ("BTCUSDT", "ETHUSDT"):
            streamed = [each["t"] for each in received if each["s"] == symbol]
            assert streamed == exchange.log.ids(symbol)
        assert exchange.published_count == 3_000


async def test_the_end_is_prompt_and_clean_with_clients_connected(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    exchange = SimulatedExchange(Market(rate=2_000))
    await exchange.start()
    clients = [await connect(exchange.url) for _ in range(3)]
    mute = socket.create_connection(("127.0.0.1", exchange.port))
    await exchange.stop()
    for client in clients:
        await client.wait_closed()
        assert client.close_code == 1001
    mute.close()
    assert not caplog.records or all(
        r.levelname in ("DEBUG", "INFO") for r in caplog.records
    )
    assert capfd.readouterr() == ("", "")


async def test_clients_that_vanish_leave_no_trace(
    capfd: pytest.CaptureFixture[str], make: Any
) -> None:
    async with SimulatedExchange() as exchange:
        client = await connect(f"{exchange.url}?streams=btcusdt@trade")
        await exchange.wait_subscribed("BTCUSDT")
        client.transport.abort()
        while exchange.stream_connections:
            await exchange.publish(make(10))
        garbage = socket.create_connection(("127.0.0.1", exchange.port))
        garbage.sendall(b"\x16\x03\x01\x00\xa5 not http\r\n\r\n")
        garbage.close()
        async with connect(exchange.url):
            pass
    assert capfd.readouterr() == ("", "")


async def test_a_seed_is_enough_for_a_market() -> None:
    async with k2cli.SimulatedExchange(seed=1) as exchange:
        client = k2cli.BinanceWebSocketClient(
            ["BTCUSDT"], url=exchange.url, proxy=False
        )
        async for trade in client:
            assert trade.exchange == "SIM"
            break
        await client.disconnect()
        assert exchange.log.ids("BTCUSDT")
    with pytest.raises(ValueError, match="not both"):
        k2cli.SimulatedExchange(Market(), seed=1)


async def test_a_taken_port_is_said_so() -> None:
    async with SimulatedExchange() as exchange:
        with pytest.raises(SettingsError, match="cannot listen"):
            await SimulatedExchange(port=exchange.port).start()

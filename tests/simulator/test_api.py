"""The WebSocket API and REST as a plain client sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from k2cli.simulator import Market, Rules, SimulatedExchange, Trade

NOW_US = 1_723_161_630_123_456


@pytest.fixture
async def exchange(make: Any) -> AsyncIterator[SimulatedExchange]:
    async with SimulatedExchange(wall_clock_us=lambda: NOW_US) as running:
        await running.publish(make(1_500, 1_001))
        yield running


@pytest.fixture
async def client(exchange: SimulatedExchange) -> AsyncIterator[ClientConnection]:
    async with connect(exchange.api_url) as connected:
        yield connected


async def test_the_envelope_echoes_the_id_and_counts_the_weight(
    client: ClientConnection,
) -> None:
    counts = []
    for request_id in (b"7", b'"b-2"', b"null"):
        await client.send(b'{"id":%b,"method":"ping"}' % request_id, text=True)
        reply = await client.recv(decode=False)
        assert reply.startswith(b'{"id":%b,"status":200,"result":{},' % request_id)
        limit = orjson.loads(reply)["rateLimits"][0]
        assert (limit["rateLimitType"], limit["limit"]) == ("REQUEST_WEIGHT", 6_000)
        counts.append(limit["count"])
    assert counts == [3, 4, 5]


@pytest.mark.parametrize("inside", [False, True])
async def test_rate_limits_can_be_left_out(
    exchange: SimulatedExchange, ask: Any, inside: bool
) -> None:
    url = exchange.api_url + ("" if inside else "?returnRateLimits=false")
    async with connect(url) as client:
        params = {"returnRateLimits": False} if inside else {}
        assert "rateLimits" not in await ask(client, "ping", **params)


@pytest.mark.parametrize(
    ("unit", "expected"), [("", NOW_US // 1_000), ("?timeUnit=MICROSECOND", NOW_US)]
)
async def test_time_in_both_units(
    exchange: SimulatedExchange, ask: Any, unit: str, expected: int
) -> None:
    async with connect(exchange.api_url + unit) as client:
        reply = await ask(client, "v3/time")
        assert reply["result"] == {"serverTime": expected}
        trade = (await ask(client, "trades.recent", symbol="BTCUSDT", limit=1))[
            "result"
        ]
        assert (trade[0]["time"] > 10**14) is bool(unit)


async def test_a_trade_has_the_documented_shape(
    client: ClientConnection, exchange: SimulatedExchange, ask: Any
) -> None:
    whole = Trade("ETHBTC", 7, "0.01361000", "0.01400000", 10**15, 10**15, True)
    await exchange.publish([whole])
    reply = await ask(client, "trades.historical", symbol="ETHBTC", fromId=7)
    assert reply["result"] == [
        {
            "id": 7,
            "price": "0.01361000",
            "qty": "0.01400000",
            "quoteQty": "0.00019054",
            "time": 10**12,
            "isBuyerMaker": True,
            "isBestMatch": True,
        }
    ]
    assert list(reply["result"][0]) == [
        "id",
        "price",
        "qty",
        "quoteQty",
        "time",
        "isBuyerMaker",
        "isBestMatch",
    ]


@pytest.mark.parametrize(
    ("params", "first", "last"),
    [
        ({}, 2_001, 2_500),
        ({"limit": 1}, 2_500, 2_500),
        ({"fromId": 1_200, "limit": 3}, 1_200, 1_202),
        ({"fromId": 1_200, "limit": 1_000}, 1_200, 2_199),
        ({"fromId": 0, "limit": 2}, 1_001, 1_002),
        ({"fromId": 2_499}, 2_499, 2_500),
        ({"fromId": 2_501}, None, None),
        ({"fromId": 10**15}, None, None),
    ],
)
async def test_history_pages(
    client: ClientConnection,
    ask: Any,
    params: dict[str, int],
    first: int | None,
    last: int | None,
) -> None:
    reply = await ask(client, "trades.historical", symbol="BTCUSDT", **params)
    ids = [trade["id"] for trade in reply["result"]]
    expected = [] if first is None or last is None else list(range(first, last + 1))
    assert ids == expected


async def test_the_history_forgets_the_oldest_and_nothing_else(
    make: Any, ask: Any
) -> None:
    async with (
        SimulatedExchange(rules=Rules(history_limit=1_000)) as exchange,
        connect(exchange.api_url) as client,
    ):
        await exchange.publish(make(5_000))
        reply = await ask(client, "trades.historical", symbol="BTCUSDT", fromId=1)
        first = reply["result"][0]["id"]
        assert 1_000 <= 5_001 - first <= 1_250
        assert exchange.log.ids("BTCUSDT") == list(range(first, 5_001))
        ticker = (await ask(client, "ticker.24hr", symbol="BTCUSDT"))["result"]
        assert ticker["count"] == ticker["lastId"] - ticker["firstId"] + 1 == 5_000
        assert ticker["volume"] == "10.00000000"


async def test_aggregates_cover_every_trade_once(
    client: ClientConnection, exchange: SimulatedExchange, ask: Any
) -> None:
    fills = [
        Trade("ETHBTC", number, price, "1.5", time_us, time_us, seller)
        for number, (price, time_us, seller) in enumerate(
            [
                ("0.05", 10**15, True),
                ("0.05", 10**15, True),
                ("0.06", 10**15, True),
                ("0.06", 10**15, False),
                ("0.06", 10**15 + 5_000, False),
            ],
            start=10,
        )
    ]
    await exchange.publish(fills)
    reply = await ask(client, "trades.aggregate", symbol="ETHBTC", fromId=10)
    assert [(each["f"], each["l"], each["q"]) for each in reply["result"]] == [
        (10, 11, "3.0"),
        (12, 12, "1.5"),
        (13, 13, "1.5"),
        (14, 14, "1.5"),
    ]
    late = await ask(client, "trades.aggregate", symbol="ETHBTC", startTime=10**12 + 5)
    assert [each["f"] for each in late["result"]] == [14]


async def test_the_catalog_has_what_clients_parse(
    client: ClientConnection, ask: Any
) -> None:
    reply = await ask(client, "exchangeInfo", symbols=["BTCUSDT", "币安人生USDT"])
    bitcoin, odd = reply["result"]["symbols"]
    assert odd["baseAsset"] == "币安人生"
    assert bitcoin["permissionSets"] == [["SPOT"]]
    filters = {each["filterType"]: each for each in bitcoin["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    bare = await ask(client, "exchangeInfo", symbol="BTCUSDT", showPermissionSets=False)
    assert bare["result"]["symbols"][0]["permissionSets"] == []


@pytest.mark.parametrize("status", ["TRADING", "HALT", "BREAK"])
async def test_the_catalog_by_status(
    client: ClientConnection, ask: Any, status: str
) -> None:
    symbols = (await ask(client, "exchangeInfo", symbolStatus=status))["result"][
        "symbols"
    ]
    assert symbols
    assert {each["status"] for each in symbols} == {status}


async def test_a_full_catalog_can_be_as_long_as_the_real_one(ask: Any) -> None:
    rules = Rules(catalog_padding_bytes=2_000_000)
    async with (
        SimulatedExchange(rules=rules) as exchange,
        connect(exchange.api_url, max_size=None) as client,
    ):
        await client.send('{"id":1,"method":"exchangeInfo"}')
        assert len(await client.recv()) > 2_000_000


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("trades.historical", {}, -1102),
        ("trades.historical", {"symbol": ""}, -1102),
        ("trades.historical", {"symbol": "NOPE"}, -1121),
        ("trades.historical", {"symbol": "btcusdt"}, -1121),
        ("trades.historical", {"symbol": "BTC USDT"}, -1100),
        ("trades.historical", {"symbol": 5}, -1100),
        ("trades.historical", {"symbol": "BTCUSDT", "limit": 1_001}, -1130),
        ("trades.historical", {"symbol": "BTCUSDT", "limit": 0}, -1130),
        ("trades.historical", {"symbol": "BTCUSDT", "limit": "ten"}, -1100),
        ("trades.historical", {"symbol": "BTCUSDT", "limit": True}, -1100),
        ("trades.historical", {"symbol": "BTCUSDT", "fromId": -1}, -1130),
        ("trades.recent", {"symbol": "BTCUSDT", "fromId": 1}, -1104),
        ("trades.aggregate", {"symbol": "BTCUSDT", "fromId": 1, "endTime": 5}, -1128),
        ("exchangeInfo", {"symbols": ["BTCUSDT", "NOPE"]}, -1121),
        ("exchangeInfo", {"symbols": ["BTCUSDT", "BTCUSDT"]}, -1151),
        ("exchangeInfo", {"symbols": []}, -1100),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbols": ["BTCUSDT"]}, -1128),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbolStatus": "TRADING"}, -1128),
        ("exchangeInfo", {"symbol": "BTCUSDT", "permissions": "SPOT"}, -1128),
        ("exchangeInfo", {"symbolStatus": "OPEN"}, -1122),
        ("ticker.24hr", {"symbol": "BTCUSDT", "type": "HUGE"}, -1139),
        ("ping", {"what": 1}, -1104),
        ("order.place", {"symbol": "BTCUSDT"}, -1000),
    ],
)
async def test_errors(
    client: ClientConnection, ask: Any, method: str, params: dict[str, Any], code: int
) -> None:
    reply = await ask(client, method, **params)
    assert list(reply) == ["id", "status", "error", "rateLimits"]
    assert (reply["id"], reply["status"]) == ("a-1", 400)
    assert reply["error"]["code"] == code
    assert reply["error"]["msg"]


@pytest.mark.parametrize(
    "text",
    ["hello", "[]", '{"id":1}', '{"id":[],"method":"ping"}', '{"method":5,"id":1}'],
)
async def test_requests_that_are_none(client: ClientConnection, text: str) -> None:
    await client.send(text)
    reply = orjson.loads(await client.recv())
    assert (reply["status"], reply["error"]["code"]) == (400, -1135)


async def test_weight_used_up_is_429_and_then_a_ban() -> None:
    rules = Rules(request_weight_per_minute=30, refusals_before_ban=2)
    async with (
        SimulatedExchange(rules=rules, wall_clock_us=lambda: NOW_US) as exchange,
        connect(exchange.api_url) as client,
    ):
        replies = []
        for _ in range(4):
            await client.send(
                '{"id":1,"method":"trades.recent","params":{"symbol":"BTCUSDT"}}'
            )
            replies.append(orjson.loads(await client.recv()))
        assert [each["status"] for each in replies] == [200, 429, 429, 418]
        error = replies[1]["error"]
        assert error["code"] == -1003
        next_minute_ms = (NOW_US // 60_000_000 + 1) * 60_000
        assert error["data"] == {
            "serverTime": NOW_US // 1_000,
            "retryAfter": next_minute_ms,
        }
        await client.wait_closed()
        assert client.close_code == 1008
        with pytest.raises(InvalidStatus) as caught:
            await connect(exchange.url)
        assert caught.value.response.status_code == 418
        assert caught.value.response.headers["Retry-After"] == "120"


async def get(exchange: SimulatedExchange, path: str) -> tuple[str, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.decode(), body


async def test_rest_answers_from_the_same_log(exchange: SimulatedExchange) -> None:
    head, body = await get(exchange, "/api/v3/time")
    assert head.startswith("HTTP/1.1 200 OK")
    assert "X-MBX-USED-WEIGHT-1M: 1" in head
    assert "X-K2-Exchange: SIM" in head
    assert orjson.loads(body) == {"serverTime": NOW_US // 1_000}
    symbols = "%5B%22BTCUSDT%22,%22ETHUSDT%22%5D"
    _, body = await get(exchange, f"/api/v3/exchangeInfo?symbols={symbols}")
    assert [each["symbol"] for each in orjson.loads(body)["symbols"]] == [
        "BTCUSDT",
        "ETHUSDT",
    ]
    path = "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=1200&limit=2"
    _, body = await get(exchange, path)
    assert [each["id"] for each in orjson.loads(body)] == [1_200, 1_201]
    head, body = await get(exchange, "/api/v3/exchangeInfo?symbol=NOPE")
    assert head.startswith("HTTP/1.1 400 ")
    assert orjson.loads(body) == {"code": -1121, "msg": "Invalid symbol."}
    head, _ = await get(exchange, "/api/v3/order")
    assert head.startswith("HTTP/1.1 404 ")
    assert exchange.connection_attempts == 0


async def test_a_stream_address_without_an_upgrade_is_refused(
    exchange: SimulatedExchange,
) -> None:
    head, _ = await get(exchange, "/stream")
    assert head.startswith("HTTP/1.1 426 ")


async def test_the_history_may_begin_before_the_start() -> None:
    market = Market(seed=1, rate=500, symbols=["BTCUSDT"])
    async with SimulatedExchange(
        market, history_seconds=10, wall_clock_us=lambda: NOW_US
    ) as exchange:
        past = exchange.log.trades("BTCUSDT")
        assert exchange.published_count == 0
        await exchange.wait_published(100)
        ids = exchange.log.ids("BTCUSDT")
    assert NOW_US - 10_000_000 <= past[0].trade_time_us < NOW_US - 9_000_000
    assert NOW_US - 1_000_000 < past[-1].trade_time_us <= NOW_US
    assert ids == list(range(past[0].id, past[0].id + len(ids)))

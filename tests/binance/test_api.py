from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from k2cli.binance.api import ILLEGAL_CHARACTERS, INVALID_SYMBOL, BinanceApiClient
from k2cli.binance.limits import WeightBudget
from k2cli.errors import (
    AccessBlocked,
    AddressBanned,
    ApiError,
    ConnectFailed,
    MalformedMessage,
    RestrictedLocation,
    TooManyRequests,
)
from k2cli.simulator import Rules, SimulatedExchange, parse_fault
from k2cli.trade import TradeBatch

if TYPE_CHECKING:
    from tests.binance.conftest import MakeTrades, StartServer, StreamHandler


@pytest.fixture
async def api(exchange: SimulatedExchange) -> AsyncIterator[BinanceApiClient]:
    async with BinanceApiClient(exchange.api_url, proxy=False) as client:
        yield client


def replying(*replies: str | bytes | dict[str, Any]) -> StreamHandler:
    """Wait for as many requests as there are replies, then send these."""

    async def handler(connection: ServerConnection) -> None:
        for _ in replies:
            await connection.recv()
        for reply in replies:
            await connection.send(
                reply
                if isinstance(reply, str | bytes)
                else orjson.dumps(reply).decode()
            )
        await connection.wait_closed()

    return handler


async def test_the_whole_catalog_is_asked_for(
    api: BinanceApiClient, exchange: SimulatedExchange
) -> None:
    info = await api.exchange_info()
    assert {each["symbol"] for each in info["symbols"]} == set(exchange.symbols)
    assert all(each.get("permissionSets", []) == [] for each in info["symbols"])
    assert api.exchange == "SIM"


async def test_some_symbols_are_asked_for(api: BinanceApiClient) -> None:
    info = await api.exchange_info(["ETHBTC", "币安人生USDT"])
    assert [each["symbol"] for each in info["symbols"]] == ["ETHBTC", "币安人生USDT"]


async def test_an_unknown_symbol_has_the_exchanges_code(api: BinanceApiClient) -> None:
    with pytest.raises(ApiError, match="Invalid symbol") as caught:
        await api.exchange_info(["BTCUSDT", "NOSUCH"])
    assert (caught.value.status, caught.value.code) == (400, INVALID_SYMBOL)
    with pytest.raises(ApiError) as caught:
        await api.exchange_info(["no such"])
    assert caught.value.code == ILLEGAL_CHARACTERS


async def test_an_error_leaves_the_connection_usable(api: BinanceApiClient) -> None:
    with pytest.raises(ApiError):
        await api.request("noSuchMethod", {})
    assert await api.request("ping", {}) == {}


async def test_a_reply_may_be_larger_than_a_mebibyte() -> None:
    rules = Rules(catalog_padding_bytes=3 * 2**20)
    async with (
        SimulatedExchange(rules=rules) as exchange,
        BinanceApiClient(exchange.api_url, proxy=False) as api,
    ):
        info = await api.exchange_info()
        assert len(orjson.dumps(info)) > 2**20
        assert len(info["symbols"]) >= len(exchange.symbols)


async def test_replies_are_matched_with_their_requests_in_any_order(
    start_server: StartServer,
) -> None:
    async def handler(connection: ServerConnection) -> None:
        requests = [orjson.loads(await connection.recv()) for _ in range(20)]
        assert len({request["id"] for request in requests}) == 20
        for request in reversed(requests):
            reply = {"id": request["id"], "status": 200, "result": request["params"]}
            await connection.send(orjson.dumps(reply).decode())
        await connection.wait_closed()

    url = await start_server(handler)
    async with BinanceApiClient(url, proxy=False) as api:
        results = await asyncio.gather(
            *(api.request("echo", {"number": number}) for number in range(20))
        )
    assert results == [{"number": number} for number in range(20)]
    assert api.exchange == "BINANCE"


async def test_messages_that_answer_nothing_are_passed_over(
    start_server: StartServer,
) -> None:
    async def handler(connection: ServerConnection) -> None:
        request = orjson.loads(await connection.recv())
        for strange in (
            "not JSON \x1b[2J",
            "[]",
            "null",
            '{"event":{"e":"serverShutdown","E":1}}',
            '{"id":null,"status":400}',
            '{"id":[1],"status":200}',
            '{"id":"1","status":200,"result":"text id"}',
            '{"id":999999,"status":200,"result":"nobody asked"}',
        ):
            await connection.send(strange)
        await connection.send(b"\xff\xfe")
        reply = orjson.dumps({"id": request["id"], "status": 200, "result": "yes"})
        await connection.send(reply.decode())
        await connection.send(reply.decode())
        await connection.wait_closed()

    url = await start_server(handler)
    with capture_logs() as logs:
        async with BinanceApiClient(url, proxy=False) as api:
            assert await api.request("time", {}) == "yes"
    texts = [entry["text"] for entry in logs]
    assert len(texts) == 2
    assert all(text.isprintable() for text in texts)


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("api-error@0:500", ApiError, 500),
        ("api-error@0:503", ApiError, 503),
        ("api-error@0:504", ApiError, 504),
    ],
)
async def test_a_failure_of_the_exchange_is_an_api_error(
    api: BinanceApiClient,
    exchange: SimulatedExchange,
    fault: str,
    kind: type[ApiError],
    status: int,
) -> None:
    exchange.add_fault(parse_fault(fault))
    with pytest.raises(kind) as caught:
        await api.request("ping", {})
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("status", "kind"), [(429, TooManyRequests), (418, AddressBanned)]
)
async def test_a_limit_says_in_how_many_seconds_to_come_again(
    start_server: StartServer,
    status: int,
    kind: type[TooManyRequests | AddressBanned],
) -> None:
    data = {"serverTime": 1_000_000, "retryAfter": 1_012_500}
    error = {"code": -1003, "msg": "Too much request weight", "data": data}
    url = await start_server(replying({"id": 1, "status": status, "error": error}))
    async with BinanceApiClient(url, proxy=False, clock=lambda: 1000.0) as api:
        with pytest.raises(kind, match="Too much request weight") as caught:
            await api.request("ping", {})
    assert caught.value.retry_after_seconds == 12.5


async def test_the_limits_of_the_embedded_exchange_are_understood(
    exchange: SimulatedExchange, api: BinanceApiClient
) -> None:
    exchange.add_fault(parse_fault("api-error@0:429"))
    with pytest.raises(TooManyRequests) as limited:
        await api.request("ping", {})
    assert 0 < (limited.value.retry_after_seconds or 0) <= 60
    exchange.add_fault(parse_fault("api-error@0:418"))
    with pytest.raises(AddressBanned) as banned:
        await api.request("ping", {})
    assert 60 < (banned.value.retry_after_seconds or 0) <= 180


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        ({"status": 429, "error": {"data": {"retryAfter": 1}}}, 0.0),
        ({"status": 429, "error": {"data": {"retryAfter": "soon"}}}, None),
        ({"status": 429, "error": {"data": None}}, None),
        ({"status": 429, "error": "text"}, None),
        ({"status": 429}, None),
    ],
)
async def test_a_limit_without_a_time_is_a_limit_all_the_same(
    start_server: StartServer, reply: dict[str, Any], seconds: float | None
) -> None:
    url = await start_server(replying({"id": 1, **reply}))
    async with BinanceApiClient(url, proxy=False) as api:
        with pytest.raises(TooManyRequests) as caught:
            await api.request("ping", {})
    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "reply",
    [
        {"id": 1},
        {"id": 1, "status": "200", "result": {}},
        {"id": 1, "status": 400, "error": None},
        {"id": 1, "status": 400, "error": {"code": "x", "msg": ["\x1b[2J"]}},
        {"id": 1, "status": 400, "error": {"code": -1, "msg": "\x1b[2J\r\n" * 99}},
    ],
)
async def test_a_strange_reply_is_an_api_error_in_one_line(
    start_server: StartServer, reply: dict[str, Any]
) -> None:
    url = await start_server(replying(reply))
    async with BinanceApiClient(url, proxy=False) as api:
        with pytest.raises(ApiError) as caught:
            await api.request("ping", {})
    assert str(caught.value).isprintable()


async def test_a_catalog_that_is_no_object_is_malformed(
    start_server: StartServer,
) -> None:
    url = await start_server(replying({"id": 1, "status": 200, "result": [1, 2]}))
    async with BinanceApiClient(url, proxy=False) as api:
        with pytest.raises(MalformedMessage, match="no object"):
            await api.exchange_info()


async def test_whoever_waits_is_told_that_the_connection_was_lost(
    start_server: StartServer,
) -> None:
    async def handler(connection: ServerConnection) -> None:
        for _ in range(3):
            await connection.recv()
        connection.transport.abort()

    url = await start_server(handler)
    async with BinanceApiClient(url, proxy=False) as api:
        waiting = [api.request("ping", {}) for _ in range(3)]
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, ConnectFailed)
            assert "was lost" in result.message
        with pytest.raises(ConnectFailed, match="was lost"):
            await api.request("ping", {})


async def test_a_reply_that_does_not_come_is_given_up(
    exchange: SimulatedExchange,
) -> None:
    exchange.add_fault(parse_fault("api-mute@0:1"))
    async with BinanceApiClient(
        exchange.api_url, proxy=False, reply_timeout_seconds=0.05
    ) as api:
        with pytest.raises(ConnectFailed, match="did not answer ping in time"):
            await api.request("ping", {})
        assert await api.request("ping", {}) == {}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, AccessBlocked),
        (418, AddressBanned),
        (429, TooManyRequests),
        (451, RestrictedLocation),
        (503, ConnectFailed),
    ],
)
async def test_a_refusal_at_the_handshake_has_its_own_error(
    exchange: SimulatedExchange, status: int, kind: type[Exception]
) -> None:
    exchange.add_fault(f"refuse@0:{status}")
    with pytest.raises(kind):
        async with BinanceApiClient(exchange.api_url, proxy=False):
            raise AssertionError("it was let in")


async def test_it_is_of_use_only_while_it_is_open(exchange: SimulatedExchange) -> None:
    api = BinanceApiClient(exchange.api_url, proxy=False)
    with pytest.raises(RuntimeError, match="context manager"):
        await api.request("ping", {})
    async with api:
        await api.request("ping", {})
        (connection,) = exchange.api_connections
    with pytest.raises(ConnectFailed):
        await api.request("ping", {})
    await connection.ended.wait()
    assert exchange.api_connections == []


PAIR = ("BTC", "USDT")


def ids_of(page: TradeBatch | None) -> list[str]:
    return [] if page is None else list(page.trade_ids)


async def test_a_page_of_the_history_begins_with_the_id_asked_for(
    api: BinanceApiClient, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    await exchange.publish(make_trades(30))
    page = await api.historical_trades("BTCUSDT", 11, 5, PAIR)
    assert page is not None
    assert ids_of(page) == ["11", "12", "13", "14", "15"]
    assert page.is_backfill
    assert page.exchange == "SIM"
    sent = exchange.log.trades("BTCUSDT")[10:15]
    # In microseconds, as those of the stream are.
    assert [t.timestamp for t in page.trades()] == [each.trade_time_us for each in sent]
    assert all(t.vendor_data["source"] == "backfill" for t in page.trades())


async def test_without_an_id_the_newest_trades_are_given(
    api: BinanceApiClient, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    assert await api.historical_trades("BTCUSDT", None, 1, PAIR) is None
    await exchange.publish(make_trades(30))
    page = await api.historical_trades("BTCUSDT", None, 2, PAIR)
    assert ids_of(page) == ["29", "30"]


async def test_behind_the_newest_trade_the_history_is_empty(
    api: BinanceApiClient, exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    await exchange.publish(make_trades(3))
    assert await api.historical_trades("BTCUSDT", 4, 1000, PAIR) is None


def entry(trade_id: int) -> dict[str, Any]:
    return {
        "id": trade_id,
        "price": "1.0",
        "qty": "2",
        "time": 1_723_161_601_437_123,
        "isBuyerMaker": False,
        "isBestMatch": True,
    }


async def test_entries_of_a_page_that_are_no_trades_are_left_out(
    start_server: StartServer,
) -> None:
    result = [entry(3), None, entry(1), {"id": "\x1b[2J"}, 7, entry(2)]
    url = await start_server(replying({"id": 1, "status": 200, "result": result}))
    with capture_logs() as logs:
        async with BinanceApiClient(url, proxy=False) as api:
            page = await api.historical_trades("BTCUSDT", 1, 1000, PAIR)
    assert page is not None
    assert ids_of(page) == ["1", "2", "3"]
    assert page.exchange == "BINANCE"
    assert [each["skipped_entries"] for each in logs] == [3]
    assert all(each["reason"].isprintable() for each in logs)


@pytest.mark.parametrize("result", [None, {}, "text", 1])
async def test_a_page_that_is_no_list_is_empty(
    start_server: StartServer, result: object
) -> None:
    url = await start_server(replying({"id": 1, "status": 200, "result": result}))
    async with BinanceApiClient(url, proxy=False) as api:
        assert await api.historical_trades("BTCUSDT", 1, 1000, PAIR) is None


async def test_the_budget_learns_from_each_reply() -> None:
    budget = WeightBudget()
    async with (
        SimulatedExchange(wall_clock_us=lambda: 6_000_000_000) as exchange,
        BinanceApiClient(
            exchange.api_url, proxy=False, budget=budget, clock=lambda: 6000.0
        ) as api,
    ):
        # Two for the connection, 118 requests of 25, and one of 20.
        for _ in range(118):
            await api.historical_trades("BTCUSDT", 1, 1, PAIR)
        assert budget.reserve(48, 6000.0) == 0
        budget.note(None, 6000.0, 48)
        await api.exchange_info(["BTCUSDT"])
        assert budget.reserve(29, 6000.0) == 60
        assert budget.reserve(28, 6000.0) == 0


async def test_the_budget_learns_from_refusals_too(start_server: StartServer) -> None:
    limits = {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": 6000,
        "count": 6001,
    }
    url = await start_server(replying({"id": 1, "status": 429, "rateLimits": [limits]}))
    budget = WeightBudget()
    async with BinanceApiClient(
        url, proxy=False, budget=budget, clock=lambda: 6000.0
    ) as api:
        with pytest.raises(TooManyRequests):
            await api.request("ping", {})
    assert budget.reserve(1, 6000.0) == 60

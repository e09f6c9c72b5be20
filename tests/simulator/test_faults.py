"""Each fault does what it says, as a plain client sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from k2cli.errors import SettingsError
from k2cli.simulator import (
    FAULTS,
    Market,
    Rules,
    SimulatedExchange,
    fault_help,
    parse_fault,
)


def faulty(*faults: str, **options: Any) -> SimulatedExchange:
    return SimulatedExchange(faults=[parse_fault(each) for each in faults], **options)


@pytest.mark.parametrize(("fault", "code"), [("drop@3", 1006), ("cut@3", 1006)])
async def test_drop_and_cut_end_tcp(
    fault: str, code: int, listen: Any, make: Any
) -> None:
    async with faulty(fault) as exchange:
        client = await listen(exchange)
        await exchange.publish(make(5))
        await client.wait_closed()
        assert client.close_code == code
        assert exchange.log.ids("BTCUSDT") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("fault", "code"), [("close@2", 1000), ("close@2:1008", 1008)])
async def test_close_sends_what_came_before(
    fault: str, code: int, listen: Any, make: Any, ids: Any
) -> None:
    async with faulty(fault) as exchange:
        client = await listen(exchange)
        await exchange.publish(make(5))
        assert await ids(client, 2) == [1, 2]
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == code


async def test_what_skip_takes_is_in_the_history(
    listen: Any, make: Any, ids: Any, ask: Any
) -> None:
    async with faulty("skip@3:4") as exchange, connect(exchange.api_url) as api:
        client = await listen(exchange)
        await exchange.publish(make(10))
        assert await ids(client, 6) == [1, 2, 3, 8, 9, 10]
        reply = await ask(api, "trades.historical", symbol="BTCUSDT", fromId=4, limit=4)
        assert [trade["id"] for trade in reply["result"]] == [4, 5, 6, 7]


async def test_skip_and_silence_can_be_about_one_symbol(
    listen: Any, make: Any, ids: Any
) -> None:
    async with faulty("skip@0:1:ETHUSDT", "silence@4:ETHUSDT") as exchange:
        client = await listen(exchange, "BTCUSDT", "ETHUSDT")
        for number in (1, 2, 3):
            await exchange.publish(make(1, number) + make(1, 100 + number, "ETHUSDT"))
        assert await ids(client, 4) == [1, 2, 102, 3]
        assert exchange.log.ids("ETHUSDT") == [101, 102, 103]


async def test_duplicate_and_reorder(listen: Any, make: Any, ids: Any) -> None:
    async with faulty("duplicate@3:2", "reorder@4:3") as exchange:
        client = await listen(exchange)
        await exchange.publish(make(8))
        assert await ids(client, 10) == [1, 2, 3, 2, 3, 4, 7, 6, 5, 8]
        assert exchange.log.ids("BTCUSDT") == list(range(1, 9))


async def test_short_history_has_not_what_was_streamed(
    listen: Any, make: Any, ids: Any
) -> None:
    async with faulty("short-history@2:3", "skip@2:3") as exchange:
        client = await listen(exchange)
        await exchange.publish(make(7))
        assert await ids(client, 4) == [1, 2, 6, 7]
        assert exchange.log.ids("BTCUSDT") == [1, 2, 6, 7]
        assert exchange.log.withheld_ids("BTCUSDT") == [3, 4, 5]


async def test_the_history_can_lag(make: Any, ask: Any) -> None:
    async with (
        faulty("history-lag@0:1h") as exchange,
        connect(exchange.api_url) as api,
    ):
        await exchange.publish(make(3))
        assert (await ask(api, "trades.recent", symbol="BTCUSDT"))["result"] == []
        exchange.add_fault(parse_fault("history-lag@0:0s"))
        assert len((await ask(api, "trades.recent", symbol="BTCUSDT"))["result"]) == 3


async def test_a_stall_is_silent_and_then_delivers(
    listen: Any, make: Any, ids: Any
) -> None:
    async with faulty("stall@2:200ms") as exchange:
        client = await listen(exchange)
        await exchange.publish(make(5))
        assert exchange.stream_connections[0].is_stalled
        assert await ids(client, 2) == [1, 2]
        pong = await client.ping()
        assert await ids(client, 3) == [3, 4, 5]
        await pong


async def test_a_stall_for_ever_leaves_new_connections_alone(
    listen: Any, make: Any, ids: Any
) -> None:
    async with faulty("stall@1") as exchange:
        dead = await listen(exchange)
        await exchange.publish(make(1))
        alive = await listen(exchange)
        await exchange.publish(make(1, 2))
        assert await ids(alive, 1) == [2]
        assert await ids(dead, 1) == [1]
        pong = await dead.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.05)
        assert dead.close_code is None
        dead.transport.abort()
        await dead.wait_closed()
        pong.exception()


async def test_a_stall_with_too_much_to_keep_ends_in_a_reset(
    listen: Any, make: Any
) -> None:
    rules = Rules(outgoing_bytes=1_000)
    async with faulty("stall@1:20ms", rules=rules) as exchange:
        client = await listen(exchange)
        await exchange.publish(make(50))
        await client.wait_closed()
        assert client.close_code == 1006


async def test_a_shutdown_is_announced_in_the_form_of_each_path(
    listen: Any, make: Any
) -> None:
    async with faulty("shutdown@1:0s") as exchange, connect(exchange.api_url) as api:
        combined = await listen(exchange)
        raw = await listen(exchange, path="/ws/btcusdt@trade", listeners=2)
        await exchange.publish(make())
        await combined.recv()
        await raw.recv()
        for client, prefix in (
            (combined, '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":'),
            (raw, '{"e":"serverShutdown","E":'),
            (api, '{"event":{"e":"serverShutdown","E":'),
        ):
            notice = await client.recv()
            assert isinstance(notice, str)
            assert notice.startswith(prefix)
            await client.wait_closed()
            assert client.close_code == 1001


async def test_a_shutdown_that_never_comes(listen: Any, make: Any, ids: Any) -> None:
    async with faulty("shutdown@1:never") as exchange:
        client = await listen(exchange)
        await exchange.publish(make(2))
        assert await ids(client, 2) == [1, 2]
        assert client.close_code is None


async def test_junk_comes_among_the_trades(listen: Any, make: Any) -> None:
    async with faulty("junk@1:13") as exchange:
        client = await listen(exchange)
        await exchange.publish(make(2))
        messages = [await client.recv() for _ in range(15)]
        assert orjson.loads(messages[0])["data"]["t"] == 1
        assert orjson.loads(messages[-1])["data"]["t"] == 2
        junk = messages[1:-1]
        assert len(set(junk)) == 13
        assert any(isinstance(each, bytes) for each in junk)
        assert any("\x1b" in each for each in junk if isinstance(each, str))
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(junk[0])


@pytest.mark.parametrize("status", [403, 404, 418, 429, 451, 500, 503, 504])
async def test_refused_handshakes(status: int) -> None:
    async with faulty(f"refuse@0:{status}:2") as exchange:
        for url in (exchange.url, exchange.api_url):
            with pytest.raises(InvalidStatus) as caught:
                await connect(url)
            response = caught.value.response
            assert response.status_code == status
            assert ("Retry-After" in response.headers) is (status in (418, 429))
            assert (b"restricted location" in response.body) is (status == 451)
            assert (b"<HTML>" in response.body) is (status == 403)
            assert response.headers["X-K2-Exchange"] == "SIM"
        async with connect(exchange.url):
            pass
        assert (exchange.connection_attempts, exchange.connections_accepted) == (3, 1)


async def test_refusing_one_service_or_for_a_while() -> None:
    rules = Rules(connection_attempts=None)
    async with faulty("refuse@0:503:streams:700ms", rules=rules) as exchange:
        async with connect(exchange.api_url):
            pass
        refusals = 0
        while not exchange.connections_accepted:
            try:
                async with connect(exchange.url):
                    pass
            except InvalidStatus:
                refusals += 1
        assert refusals


async def test_a_handshake_that_hangs() -> None:
    async with faulty("hang@0:1") as exchange:
        with pytest.raises(TimeoutError):
            await connect(exchange.url, open_timeout=0.1)
        async with connect(exchange.url):
            pass


async def test_the_api_goes_down_and_the_streams_stay(
    listen: Any, make: Any, ids: Any
) -> None:
    async with faulty("api-down@1") as exchange, connect(exchange.api_url) as api:
        client = await listen(exchange)
        await exchange.publish(make(2))
        await api.wait_closed()
        assert api.close_code == 1006
        with pytest.raises(InvalidStatus):
            await connect(exchange.api_url)
        assert await ids(client, 2) == [1, 2]


async def test_api_errors_and_silence(ask: Any) -> None:
    async with (
        faulty("api-error@0:429:1", "api-error@0:503", "api-mute@0") as exchange,
        connect(exchange.api_url) as api,
    ):
        await api.send('{"id":"unanswered","method":"ping"}')
        limited = await ask(api, "ping")
        assert limited["status"] == 429
        assert limited["error"]["data"]["retryAfter"] > 10**12
        assert (await ask(api, "ping"))["status"] == 503
        assert (await ask(api, "ping"))["status"] == 200


async def test_a_wrong_clock(listen: Any, make: Any, ask: Any) -> None:
    now_us = 1_723_161_601_000_000
    async with (
        faulty("clock-skew@0:5m:behind", wall_clock_us=lambda: now_us) as exchange,
        connect(exchange.api_url) as api,
    ):
        client = await listen(exchange)
        (trade,) = make()
        await exchange.publish([trade])
        event = orjson.loads(await client.recv())["data"]
        assert event["E"] == trade.event_time_us // 1_000 - 300_000
        server_time = (await ask(api, "time"))["result"]["serverTime"]
        assert server_time == now_us // 1_000 - 300_000


async def test_positions_count_the_trades_of_a_market(listen: Any, ids: Any) -> None:
    market = Market(rate=50_000, symbols=["BTCUSDT"], trade_limit=3_000)
    async with faulty(
        "skip@1000:10", source=market, start_when_subscribed=True
    ) as exchange:
        client = await listen(exchange)
        received = await ids(client, 2_990)
        log = exchange.log.ids("BTCUSDT")
        assert received == log[:1_000] + log[1_010:]


async def test_faults_can_be_added_while_it_runs(
    listen: Any, make: Any, ids: Any
) -> None:
    async with SimulatedExchange() as exchange:
        client = await listen(exchange)
        await exchange.disconnect()
        await client.wait_closed()
        assert client.close_code == 1006
        again = await listen(exchange)
        exchange.add_fault("shutdown@0:never")
        assert "serverShutdown" in await again.recv()
        await exchange.publish(make(2))
        exchange.add_fault(parse_fault("duplicate@0:1"))
        assert await ids(again, 3) == [1, 2, 2]
        await exchange.disconnect(1008, "enough")
        assert (again.close_code, again.close_reason) == (1008, "enough")


@pytest.mark.parametrize(
    "text",
    [
        "explode@5",
        "drop",
        "drop@",
        "drop@-1",
        "drop@x",
        "drop@5:now",
        "close@5:999",
        "close@5:1006",
        "skip@5:0",
        "stall@5:30",
        "refuse@0",
        "refuse@0:200",
        "silence@5",
        "history-lag@5",
        "api-error@0:404",
        "shutdown@5:later",
    ],
)
def test_what_is_no_fault_says_what_is_allowed(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_fault(text)
    assert "Write " in str(caught.value) or "There are drop, " in str(caught.value)


def test_every_fault_is_documented_by_its_syntax() -> None:
    assert len({kind.name for kind in FAULTS}) == len(FAULTS)
    for kind, (syntax, effect) in zip(FAULTS, fault_help(), strict=True):
        assert syntax.startswith(f"{kind.name}@POSITION")
        assert effect

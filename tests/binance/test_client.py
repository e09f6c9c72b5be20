from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from k2cli import BinanceWebSocketClient
from k2cli.binance.catalog import Catalog, SymbolInfo
from k2cli.binance.status import (
    ConnectionState,
    ConnectionStatus,
    StreamHealth,
    health_of,
)
from k2cli.config import BinanceConfig
from k2cli.errors import SettingsError
from k2cli.simulator import SimulatedExchange, parse_fault
from k2cli.trade import TradeBatch, TradeV2

if TYPE_CHECKING:
    from k2cli.binance.status import Reported
    from tests.binance.conftest import Connected, Inbox, MakeTrades, StartServer

TRADE = {
    "e": "trade",
    "E": 1723161601438456,
    "s": "BTCUSDT",
    "t": 1,
    "p": "61685.99000000",
    "q": "0.00017000",
    "T": 1723161601437123,
    "m": True,
    "M": True,
}


def client_of(
    exchange: SimulatedExchange,
    inbox: Inbox,
    symbols: list[str] | None = None,
    **options: Any,
) -> BinanceWebSocketClient:
    chosen: dict[str, Any] = {
        "on_status": inbox.note,
        "proxy": False,
        "reconnect_delay": 0.01,
    }
    return BinanceWebSocketClient(
        symbols or ["BTCUSDT"], inbox.take, exchange.url, **chosen | options
    )


async def test_what_is_published_is_received_field_by_field(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    published = make_trades(100) + make_trades(50, first=7, symbol="ETHUSDT")
    async with connected(client_of(exchange, inbox, ["BTCUSDT", "eth/usdt"])):
        await exchange.wait_subscribed("BTCUSDT", "ETHUSDT")
        await exchange.publish(published)
        await exchange.publish(make_trades(1, symbol="BNBBTC"))
        await inbox.holds(150)
    assert len(inbox.trades) == 150
    for trade, sent in zip(inbox.trades, published, strict=True):
        assert trade.symbol == sent.symbol
        assert trade.source_sequence == sent.id
        assert trade.trade_id == f"SIM-{sent.id}"
        assert (trade.price, trade.quantity) == (sent.price, sent.quantity)
        assert trade.timestamp == sent.trade_time_us
        assert trade.vendor_data["event_time"] == str(sent.event_time_us)
        assert trade.vendor_data["trade_time"] == str(sent.trade_time_us)
        assert trade.side == ("SELL" if sent.buyer_is_maker else "BUY")
        assert trade.platform_sequence is None
    assert len({trade.message_id for trade in inbox.trades}) == 150


async def test_trades_of_a_made_up_market_say_so(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    with capture_logs() as logs:
        async with connected(client_of(exchange, inbox)):
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.publish(make_trades(1))
            await inbox.holds(1)
    assert inbox.trades[0].exchange == "SIM"
    (entry,) = [each for each in logs if each["event"].startswith("Connected")]
    assert entry["simulated"] is True


async def test_recorded_trades_are_those_of_the_exchange_they_came_from(
    recorded_exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    with capture_logs() as logs:
        async with connected(client_of(recorded_exchange, inbox)):
            await inbox.holds(3)
    assert {trade.exchange for trade in inbox.trades} == {"BINANCE"}
    assert inbox.trades[0].trade_id == "BINANCE-3735693016"
    assert not any("simulated" in entry for entry in logs)


async def test_a_connection_is_logged_with_its_symbols(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    with capture_logs() as logs:
        async with connected(client_of(exchange, inbox, ["BTCUSDT", "ETHUSDT"])):
            await inbox.reached(ConnectionState.LIVE)
    (entry,) = [each for each in logs if each["log_level"] == "info"]
    assert entry["event"] == "Connected to Binance WebSocket"
    assert entry["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert entry["url"] == exchange.url


async def test_the_states_of_a_connection_are_told(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    async with connected(client_of(exchange, inbox)):
        await inbox.reached(ConnectionState.LIVE)
    assert inbox.states == [
        ConnectionState.CONNECTING,
        ConnectionState.LIVE,
        ConnectionState.CLOSED,
    ]


async def test_more_symbols_than_a_connection_takes_are_spread(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    symbols = [f"S{number}USDT" for number in range(1000)]
    client = client_of(exchange, inbox, symbols)
    with capture_logs() as logs:
        async with connected(client):
            await exchange.wait_subscribed(*symbols)
            for symbol in symbols:
                await exchange.publish(make_trades(1, symbol=symbol))
            await inbox.holds(1000)
    assert sorted(trade.symbol for trade in inbox.trades) == sorted(symbols)
    assert exchange.connections_accepted == 3
    assert client.reconnects == 0
    named = [each["symbols"] for each in logs if each["log_level"] == "info"]
    assert sorted(len(names) for names in named) == [4, 4, 4]
    assert {names[-1] for names in named} == {"and 447 more", "and 97 more"}


async def test_symbols_beyond_ascii_are_streamed(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    symbol = "币安人生USDT"
    async with connected(client_of(exchange, inbox, ["币安人生usdt"])):
        await exchange.wait_subscribed(symbol)
        await exchange.publish(make_trades(1, symbol=symbol))
        await inbox.holds(1)
    assert inbox.trades[0].symbol == symbol
    assert inbox.trades[0].vendor_data["base_asset"] == "币安人生"


async def test_base_and_quote_come_from_the_catalog(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    known = SymbolInfo("BTCUSDT", "BTCUS", "DT", "TRADING", "0", "0")
    catalog = Catalog([known], whole=False, fetched_at_seconds=0.0)
    with capture_logs() as logs:
        client = client_of(exchange, inbox, catalog=catalog)
        async with connected(client):
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.publish(make_trades(1))
            await inbox.holds(1)
    assert inbox.trades[0].currency == "DT"
    assert not [each for each in logs if each["log_level"] == "warning"]


async def test_assets_that_are_guessed_are_warned_of_once(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    known = SymbolInfo("BTCUSDT", "BTC", "USDT", "TRADING", "0", "0")
    catalog = Catalog([known], whole=False, fetched_at_seconds=0.0)
    symbols = ["BTCUSDT", "ETHUSDT", "FOOBAR"]
    with capture_logs() as logs:
        async with connected(client_of(exchange, inbox, symbols, catalog=catalog)):
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.disconnect(1000)
            await inbox.reached(ConnectionState.LIVE, times=2)
    (entry,) = [each for each in logs if "endings" in each["event"]]
    assert entry["log_level"] == "warning"
    assert entry["pairs"] == ["ETH/USDT", "FOOBAR"]


@pytest.mark.parametrize("symbols", [[], [" "], ["BTC USDT!"], ["*"]])
def test_what_cannot_be_streamed_is_refused_at_once(symbols: list[str]) -> None:
    with pytest.raises(SettingsError):
        BinanceWebSocketClient(symbols, lambda _: None)


def test_the_address_of_binance_is_the_usual_one() -> None:
    client = BinanceWebSocketClient(["btc/usdt", "BTCUSDT"])
    assert client.url == "wss://stream.binance.com:9443/stream"
    assert client.symbols == ["BTCUSDT"]


async def test_an_async_on_message_is_awaited_before_the_next_trade(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    entered: asyncio.Queue[int | None] = asyncio.Queue()
    leave = asyncio.Semaphore(0)
    inside = 0

    async def on_message(trade: TradeV2) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        entered.put_nowait(trade.source_sequence)
        await leave.acquire()
        inside -= 1

    client = BinanceWebSocketClient(["BTCUSDT"], on_message, exchange.url, proxy=False)
    async with connected(client):
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(make_trades(3))
        for expected in (1, 2, 3):
            assert await entered.get() == expected
            assert entered.empty()
            leave.release()


async def ends_with(client: BinanceWebSocketClient, error: type[Exception]) -> None:
    with pytest.raises(error, match="of the program"):
        await client.connect()


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_on_message_raises_ends_connect(
    exchange: SimulatedExchange, make_trades: MakeTrades, is_async: bool
) -> None:
    def plain(_: TradeV2) -> None:
        raise ZeroDivisionError("of the program")

    async def awaited(_: TradeV2) -> None:
        raise ZeroDivisionError("of the program")

    on_message: Callable[[TradeV2], Awaitable[None] | None]
    on_message = awaited if is_async else plain
    symbols = [f"S{number}USDT" for number in range(451)]
    client = BinanceWebSocketClient(symbols, on_message, exchange.url, proxy=False)
    ending = asyncio.create_task(ends_with(client, ZeroDivisionError))
    await exchange.wait_subscribed(*symbols)
    sessions = exchange.stream_connections
    assert len(sessions) == 2
    await exchange.publish(make_trades(1, symbol="S450USDT"))
    await ending
    for session in sessions:
        await session.ended.wait()


async def test_an_exception_group_of_on_message_comes_out_whole(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    def on_message(_: TradeV2) -> None:
        raise ExceptionGroup("of the program", [KeyError("a"), KeyError("b")])

    client = BinanceWebSocketClient(["BTCUSDT"], on_message, exchange.url, proxy=False)
    ending = asyncio.create_task(ends_with(client, ExceptionGroup))
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(make_trades(1))
    await ending


async def test_connect_runs_once_at_a_time(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    client = client_of(exchange, inbox)
    async with connected(client):
        await inbox.reached(ConnectionState.LIVE)
        with pytest.raises(RuntimeError, match="running already"):
            await client.connect()
    async with connected(client):
        await inbox.reached(ConnectionState.LIVE, times=2)


async def test_disconnect_hands_on_what_has_arrived(
    exchange: SimulatedExchange, inbox: Inbox, make_trades: MakeTrades
) -> None:
    client = client_of(exchange, inbox)
    running = asyncio.create_task(client.connect())
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(make_trades(1000))
    await inbox.holds(1)
    await client.disconnect()
    await running
    assert inbox.ids == list(range(1, 1001))
    assert inbox.states[-1] is ConnectionState.CLOSED
    assert exchange.stream_connections == []


async def test_disconnect_may_come_out_of_on_message(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    received = []

    async def on_message(trade: TradeV2) -> None:
        received.append(trade.source_sequence)
        await client.disconnect()

    client = BinanceWebSocketClient(["BTCUSDT"], on_message, exchange.url, proxy=False)
    running = asyncio.create_task(client.connect())
    await exchange.wait_subscribed("BTCUSDT")
    await exchange.publish(make_trades(3))
    await running
    assert received[0] == 1


async def test_disconnect_ends_an_attempt_to_connect(
    exchange: SimulatedExchange, inbox: Inbox
) -> None:
    exchange.add_fault("hang@0")
    client = client_of(exchange, inbox)
    running = asyncio.create_task(client.connect())
    await inbox.reached(ConnectionState.CONNECTING)
    await asyncio.sleep(0)
    await client.disconnect()
    await running
    assert inbox.states == [ConnectionState.CONNECTING, ConnectionState.CLOSED]


async def test_disconnect_ends_the_wait_for_the_next_attempt(
    exchange: SimulatedExchange, inbox: Inbox
) -> None:
    exchange.add_fault("refuse@0:503")
    client = client_of(exchange, inbox, reconnect_delay=3600)
    running = asyncio.create_task(client.connect())
    await inbox.reached(ConnectionState.WAITING)
    await client.disconnect()
    await running
    assert inbox.states[-1] is ConnectionState.CLOSED
    assert exchange.connection_attempts == 1


async def test_disconnect_of_a_client_that_is_not_connected_is_harmless() -> None:
    client = BinanceWebSocketClient(["BTCUSDT"])
    await client.disconnect()
    assert client.reconnects == 0


async def test_a_connect_that_is_cancelled_closes_its_connections(
    exchange: SimulatedExchange, inbox: Inbox
) -> None:
    client = client_of(exchange, inbox)
    running = asyncio.create_task(client.connect())
    await exchange.wait_subscribed("BTCUSDT")
    (session,) = exchange.stream_connections
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await session.ended.wait()


async def test_junk_is_counted_and_skipped_and_the_trades_go_on(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange, inbox)
    exchange.add_fault(parse_fault("junk@5:50"))
    with capture_logs() as logs:
        async with connected(client):
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.publish(make_trades(10))
            await inbox.holds(10)
    assert inbox.ids == list(range(1, 11))
    assert client.decoder.malformed_messages + client.decoder.other_messages >= 40
    assert client.decoder.malformed_messages > 20
    assert client.reconnects == 0
    for entry in logs:
        for value in entry.values():
            assert str(value).isprintable()


FRAMES: list[tuple[bytes | str, str]] = [
    (b"\x00\xff", "malformed"),
    ("", "malformed"),
    ("{", "malformed"),
    ("[]", "malformed"),
    ("[" * 1000 + "]" * 1000, "malformed"),
    ('{"e":"trade","x":' + "[" * 1000 + "]" * 1000 + "}", "malformed"),
    (orjson.dumps({**TRADE, "s": "ETHUSDT"}).decode(), "malformed"),
    (orjson.dumps({**TRADE, "p": 1.5}).decode(), "malformed"),
    (orjson.dumps({**TRADE, "e": "aggTrade"}).decode(), "other"),
    (orjson.dumps({**TRADE, "e": "\x1b[2J"}).decode(), "other"),
    ("{}", "other"),
    ('{"e":"new","x":' + "[" * 1000 + "]" * 1000 + "}", "other"),
    ('{"result":null,"id":1}', "reply"),
    ('{"error":{"code":2,"msg":"Invalid request"},"id":1}', "reply"),
    ('{"code":2,"msg":"Invalid request"}', "reply"),
    ('{"e":"serverShutdown","E":1770123456789}', "shutdown"),
    (
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        "shutdown",
    ),
    (orjson.dumps(TRADE).decode(), "trade"),
]


@pytest.mark.parametrize(
    ("frame", "kind"), FRAMES, ids=[repr(frame[:30]) for frame, _ in FRAMES]
)
async def test_each_kind_of_message_is_taken_for_what_it_is(
    start_server: StartServer,
    inbox: Inbox,
    connected: Connected,
    frame: bytes | str,
    kind: str,
) -> None:
    last = {**TRADE, "t": 99}

    async def handler(connection: ServerConnection) -> None:
        await connection.send(frame)
        await connection.send(orjson.dumps(last).decode())
        await connection.wait_closed()

    url = await start_server(handler)
    client = BinanceWebSocketClient(["BTCUSDT"], inbox.take, url, proxy=False)
    with capture_logs() as logs:
        async with connected(client):
            await inbox.holds(2 if kind == "trade" else 1)
    assert inbox.ids == ([1, 99] if kind == "trade" else [99])
    assert client.decoder.malformed_messages == (kind == "malformed")
    assert client.decoder.other_messages == (kind == "other")
    replaced = [each for each in logs if each["event"] == "Replacing the connection"]
    assert bool(replaced) is (kind == "shutdown")
    assert all(str(value).isprintable() for each in logs for value in each.values())


async def test_the_log_grows_terse_when_malformed_messages_go_on(
    start_server: StartServer, inbox: Inbox, connected: Connected
) -> None:
    async def handler(connection: ServerConnection) -> None:
        for _ in range(100):
            await connection.send("junk")
        await connection.send(orjson.dumps(TRADE).decode())
        await connection.wait_closed()

    url = await start_server(handler)
    client = BinanceWebSocketClient(["BTCUSDT"], inbox.take, url, proxy=False)
    with capture_logs() as logs:
        async with connected(client):
            await inbox.holds(1)
    levels = [each["log_level"] for each in logs if "malformed" in each["event"]]
    assert levels == ["warning"] * 20 + ["debug"] * 80
    assert client.decoder.malformed_messages == 100


async def test_trades_come_in_microseconds_or_as_the_server_has_them(
    start_server: StartServer, inbox: Inbox, connected: Connected
) -> None:
    paths: list[str] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        old = {**TRADE, "E": 1723161601438, "T": 1723161601437, "b": 88, "a": 50}
        await connection.send(orjson.dumps(old).decode())
        await connection.wait_closed()

    url = await start_server(handler)
    client = BinanceWebSocketClient(["BTCUSDT"], inbox.take, url, proxy=False)
    async with connected(client):
        await inbox.holds(1)
    assert paths == ["/stream?streams=btcusdt@trade&timeUnit=MICROSECOND"]
    assert inbox.trades[0].timestamp == 1723161601437000


async def test_a_client_without_on_message_receives_and_hands_on_nothing(
    exchange: SimulatedExchange, make_trades: MakeTrades, connected: Connected
) -> None:
    client = BinanceWebSocketClient(["BTCUSDT"], url=exchange.url, proxy=False)
    exchange.add_fault(parse_fault("close@3"))
    running = asyncio.create_task(client.connect())
    await exchange.wait_subscribed("BTCUSDT")
    (session,) = exchange.stream_connections
    await exchange.publish(make_trades(3))
    await session.ended.wait()
    await client.disconnect()
    await running
    assert client.decoder.malformed_messages == 0


def test_the_health_of_many_connections_is_that_of_the_one_that_waits_longest() -> None:
    live = ConnectionStatus(ConnectionState.LIVE)
    short = ConnectionStatus(ConnectionState.WAITING, "lost", 5.0, 1)
    long = ConnectionStatus(ConnectionState.WAITING, "refused", 20.0, 3)

    def health_at(now_seconds: float) -> StreamHealth:
        return health_of(groups, now_seconds, is_redundant=False)

    groups: list[list[Reported]] = [[], [], []]
    assert health_at(104.0) == StreamHealth(0, 3, None, 0)
    groups = [[(live, 100.0)], [(short, 100.0)], [(long, 100.0)]]
    assert health_at(104.0) == StreamHealth(1, 3, 16.0, 3)
    groups[2] = [(live, 104.0)]
    assert health_at(104.0) == StreamHealth(2, 3, 1.0, 1)
    # An attempt that should have been made by now is about to be made.
    assert health_at(200.0) == StreamHealth(2, 3, 0.0, 1)
    groups[1] = [(live, 200.0)]
    assert health_at(200.0) == StreamHealth(3, 3, delivers=True)


def test_redundant_connections_deliver_as_long_as_one_of_two_does() -> None:
    live = ConnectionStatus(ConnectionState.LIVE)
    lost = ConnectionStatus(ConnectionState.WAITING, "lost", 5.0, 1)

    def health(*groups: list[Reported]) -> StreamHealth:
        return health_of(groups, 104.0, is_redundant=True)

    both, one, none = [(live, 1.0)] * 2, [(live, 1.0)], [(lost, 100.0)] * 2
    assert health(both, [*one, (lost, 100.0)]) == StreamHealth(
        3, 4, 1.0, 1, is_redundant=True, delivers=True
    )
    assert health(both, one).delivers
    assert not health(both, none).delivers


async def test_a_client_tells_how_its_connections_are(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    client = client_of(exchange, inbox, reconnect_delay=3600)
    assert client.health() == StreamHealth(0, 0)
    async with connected(client):
        await inbox.reached(ConnectionState.LIVE)
        assert client.health() == StreamHealth(1, 1, delivers=True)
        await exchange.disconnect()
        await inbox.reached(ConnectionState.WAITING)
        health = client.health()
        assert (health.live, health.connections, health.failures) == (0, 1, 1)
        assert 0 < (health.retry_in_seconds or 0) <= 3600 * 1.1
    # What it was like before the end is worth keeping.
    assert client.health().failures == 1


def test_the_settings_are_readable_and_have_the_usual_defaults() -> None:
    client = BinanceWebSocketClient()
    assert client.symbols == ["BTCUSDT", "ETHUSDT"]
    assert client.url == "wss://stream.binance.com:9443/stream"
    assert (client.reconnect_delay, client.max_reconnect_attempts) == (5.0, 10)
    assert (client.open_timeout, client.ping_interval) == (10.0, 10.0)


def test_a_client_takes_its_settings_from_a_configuration() -> None:
    config = BinanceConfig(
        websocket_url="ws://127.0.0.1:1/stream",
        symbols=["bnb/btc"],
        reconnect_delay=1,
        max_reconnect_attempts=2,
        open_timeout=3,
        ping_interval=4,
    )
    client = BinanceWebSocketClient.from_config(config)
    assert (client.url, client.symbols) == ("ws://127.0.0.1:1/stream", ["BNBBTC"])
    assert (client.reconnect_delay, client.max_reconnect_attempts) == (1.0, 2)
    assert (client.open_timeout, client.ping_interval) == (3.0, 4.0)
    other = BinanceWebSocketClient.from_config(config, symbols=["ETHBTC"])
    assert other.symbols == ["ETHBTC"]


async def test_batches_are_handed_on_whole(
    exchange: SimulatedExchange, make_trades: MakeTrades, connected: Connected
) -> None:
    batches: list[TradeBatch] = []
    all_there = asyncio.Event()

    def on_batch(batch: TradeBatch) -> None:
        batches.append(batch)
        if sum(map(len, batches)) == 100:
            all_there.set()

    client = BinanceWebSocketClient(
        ["BTCUSDT"], url=exchange.url, on_batch=on_batch, proxy=False
    )
    async with connected(client):
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(make_trades(100))
        await all_there.wait()
    ids = [trade_id for batch in batches for trade_id in batch.trade_ids]
    assert ids == [str(number) for number in range(1, 101)]
    assert all(batch.is_plain and not batch.is_backfill for batch in batches)


def test_trades_go_to_on_message_or_to_on_batch() -> None:
    with pytest.raises(ValueError, match="not both"):
        BinanceWebSocketClient(["BTCUSDT"], print, on_batch=lambda batch: None)


async def test_a_slow_on_message_loses_nothing_at_disconnect(
    exchange: SimulatedExchange, make_trades: MakeTrades
) -> None:
    received: list[int | None] = []
    first, go_on = asyncio.Event(), asyncio.Event()

    async def on_message(trade: TradeV2) -> None:
        received.append(trade.source_sequence)
        first.set()
        await go_on.wait()

    client = BinanceWebSocketClient(["BTCUSDT"], on_message, exchange.url, proxy=False)
    running = asyncio.create_task(client.connect())
    await exchange.wait_subscribed("BTCUSDT")
    (session,) = exchange.stream_connections
    for start in range(1, 20_001, 1000):
        await exchange.publish(make_trades(1000, first=start))
    await first.wait()
    disconnecting = asyncio.create_task(client.disconnect())
    # The connection ends while on_message still has its first trade.
    await session.ended.wait()
    await disconnecting
    assert received == [1]
    go_on.set()
    await running
    assert received == list(range(1, 20_001))


async def test_another_address_has_its_turn_after_a_failure(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    # Nobody listens there: the port is the exchange's only on another address.
    dead = exchange.url.replace("127.0.0.1", "127.0.0.2")
    client = BinanceWebSocketClient(
        ["BTCUSDT"],
        inbox.take,
        dead,
        fallback_urls=[exchange.url],
        proxy=False,
        reconnect_delay=0.01,
    )
    async with connected(client):
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(make_trades(3))
        await inbox.holds(3)


@pytest.mark.parametrize("given", [{}, {"websocket_url": "ws://127.0.0.1:1"}])
def test_an_address_that_was_given_has_no_fallbacks(given: dict[str, str]) -> None:
    client = BinanceWebSocketClient.from_config(BinanceConfig.model_validate(given))
    assert bool(client.fallback_urls) is not bool(given)


async def test_a_replacement_goes_to_the_first_address_after_an_hour(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    async with SimulatedExchange() as other:
        now_seconds = [0.0]
        exchange.add_fault("refuse@0:503:1:streams")
        client = BinanceWebSocketClient(
            ["BTCUSDT"],
            inbox.take,
            exchange.url,
            fallback_urls=[other.url],
            on_status=inbox.note,
            reconnect_delay=0.01,
            clock=lambda: now_seconds[0],
            proxy=False,
        )
        async with connected(client):
            await inbox.reached(ConnectionState.LIVE)
            assert len(other.stream_connections) == 1
            now_seconds[0] = 3600.0
            client.replace_connection("BTCUSDT", "a test wants it")
            await exchange.wait_subscribed("BTCUSDT")


async def test_an_address_that_brings_nothing_before_it_is_lost_has_failed(
    exchange: SimulatedExchange,
    inbox: Inbox,
    connected: Connected,
    start_server: StartServer,
) -> None:
    async def hang_up(connection: ServerConnection) -> None:
        await connection.close()

    client = BinanceWebSocketClient(
        ["BTCUSDT"],
        inbox.take,
        await start_server(hang_up),
        fallback_urls=[exchange.url],
        reconnect_delay=0.01,
        proxy=False,
    )
    async with connected(client):
        await exchange.wait_subscribed("BTCUSDT")


def test_no_default_address_is_of_another_exchange() -> None:
    config = BinanceConfig()
    for url in (config.websocket_url, *config.fallbacks):
        assert (urlsplit(url).hostname or "").endswith(
            (".binance.com", ".binance.vision")
        )
    hosts = [urlsplit(url).netloc for url in (config.api_url, *config.api_fallbacks)]
    assert hosts == ["ws-api.binance.com:443", "ws-api.binance.com:9443"]

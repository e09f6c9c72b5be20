from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from k2cli import BinanceWebSocketClient
from k2cli.binance.decoder import MessageDecoder, Skipped
from k2cli.binance.handshake import SameExchange
from k2cli.binance.pacing import ReadPacer
from k2cli.binance.reconnecting import ReconnectingConnection
from k2cli.binance.status import ConnectionState, ConnectionStatus
from k2cli.completeness.backoff import AttemptWindow, Backoff, HostRotation
from k2cli.errors import (
    AccessBlocked,
    AddressBanned,
    AttemptsExhausted,
    ConnectFailed,
    K2Error,
    RestrictedLocation,
)
from k2cli.simulator import SimulatedExchange, parse_fault

if TYPE_CHECKING:
    from tests.binance.conftest import (
        Connected,
        Inbox,
        MakeTrades,
        StartServer,
        StreamHandler,
    )

TRADE = (
    b'{"e":"trade","E":1723161601438,"s":"BTCUSDT","t":1,"p":"1.0","q":"1.0",'
    b'"T":1723161601437,"m":true}'
)


def client_of(url: str, inbox: Inbox, **options: Any) -> BinanceWebSocketClient:
    chosen: dict[str, Any] = {
        "on_status": inbox.note,
        "proxy": False,
        "reconnect_delay": 0.01,
        "random_number": lambda: 0.5,
    }
    return BinanceWebSocketClient(["BTCUSDT"], inbox.take, url, **chosen | options)


def closing(code: int = 1000, reason: str = "", first: bytes = b"") -> StreamHandler:
    """Send a frame, if there is one, and close."""

    async def handler(connection: ServerConnection) -> None:
        if first:
            await connection.send(first, text=True)
        await connection.close(code, reason)

    return handler


@pytest.mark.parametrize("fault", ["drop@3", "close@3:1001", "cut@3"])
async def test_a_connection_that_ends_is_made_again(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
    fault: str,
) -> None:
    exchange.add_fault(parse_fault(fault))
    client = client_of(exchange.url, inbox)
    async with connected(client):
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(make_trades(3))
        await inbox.reached(ConnectionState.LIVE, times=2)
        await exchange.wait_subscribed("BTCUSDT")
        await exchange.publish(make_trades(2, first=4))
        await inbox.holds(5)
    assert inbox.ids == [1, 2, 3, 4, 5]
    assert inbox.states == [
        ConnectionState.CONNECTING,
        ConnectionState.LIVE,
        ConnectionState.WAITING,
        ConnectionState.CONNECTING,
        ConnectionState.LIVE,
        ConnectionState.CLOSED,
    ]
    assert client.reconnects == 1
    assert exchange.connections_accepted == 2


async def test_a_shutdown_that_was_announced_is_survived(
    exchange: SimulatedExchange,
    inbox: Inbox,
    make_trades: MakeTrades,
    connected: Connected,
) -> None:
    client = client_of(exchange.url, inbox)
    with capture_logs() as logs:
        async with connected(client):
            await exchange.wait_subscribed("BTCUSDT")
            exchange.add_fault("shutdown@0:0s")
            await inbox.reached(ConnectionState.LIVE, times=2)
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.publish(make_trades(1))
            await inbox.holds(1)
    (replaced,) = [e for e in logs if e["event"] == "Replacing the connection"]
    assert replaced["reason"] == Skipped.SHUTDOWN.value
    assert client.decoder.malformed_messages == client.decoder.other_messages == 0


async def test_a_drop_is_logged_with_its_reason_and_the_wait(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    with capture_logs() as logs:
        async with connected(client_of(exchange.url, inbox)):
            await exchange.wait_subscribed("BTCUSDT")
            await exchange.disconnect(1008, "Too many requests")
            await inbox.reached(ConnectionState.WAITING)
    (entry,) = [each for each in logs if each["event"].startswith("Disconnected")]
    assert entry["reason"] == (
        "the exchange closed the connection with code 1008 (Too many requests)"
    )
    assert entry["failures"] == 1
    assert entry["log_level"] == "warning"


async def test_a_reason_to_close_cannot_reach_a_terminal_raw(
    start_server: StartServer, inbox: Inbox
) -> None:
    url = await start_server(closing(1008, "\x1b[2J\x07\u202e\r\n"))
    with capture_logs() as logs, pytest.raises(AttemptsExhausted) as caught:
        await client_of(url, inbox, max_reconnect_attempts=2).connect()
    assert str(caught.value).isprintable()
    assert all(status.reason.isprintable() for status in inbox.statuses)
    assert all(str(value).isprintable() for entry in logs for value in entry.values())


async def test_attempts_that_fail_are_spaced_out_and_end(
    exchange: SimulatedExchange, inbox: Inbox
) -> None:
    exchange.add_fault("refuse@0:503")
    client = client_of(exchange.url, inbox, max_reconnect_attempts=5)
    with pytest.raises(AttemptsExhausted) as caught:
        await client.connect()
    assert exchange.connection_attempts == 5
    assert inbox.delays == pytest.approx([0.01, 0.02, 0.04, 0.08])
    assert isinstance(caught.value.__cause__, ConnectFailed)
    assert "gave up after 5 failed attempts" in caught.value.message
    assert "answered HTTP 503" in caught.value.message
    waits = [each for each in inbox.statuses if each.state is ConnectionState.WAITING]
    assert [status.failures for status in waits] == [1, 2, 3, 4]


async def test_the_very_first_connection_may_be_given_up_sooner(
    exchange: SimulatedExchange, inbox: Inbox
) -> None:
    exchange.add_fault("refuse@0:503")
    client = client_of(exchange.url, inbox, max_first_seconds=0)
    with pytest.raises(AttemptsExhausted):
        await client.connect()
    assert exchange.connection_attempts == 1


async def test_a_connection_that_was_live_has_all_its_attempts(
    exchange: SimulatedExchange, inbox: Inbox
) -> None:
    client = client_of(
        exchange.url, inbox, max_first_seconds=0, max_reconnect_attempts=3
    )
    running = asyncio.create_task(client.connect())
    await exchange.wait_subscribed("BTCUSDT")
    exchange.add_fault("refuse@0:503")
    await exchange.disconnect()
    with pytest.raises(AttemptsExhausted):
        await running
    # The connection that proved nothing counts as the first of three failures.
    assert exchange.connection_attempts == 3


async def test_a_server_that_is_gone_uses_the_attempts_up(inbox: Inbox) -> None:
    async with SimulatedExchange() as exchange:
        client = client_of(exchange.url, inbox, max_reconnect_attempts=3)
        running = asyncio.create_task(client.connect())
        await exchange.wait_subscribed("BTCUSDT")
    with pytest.raises(AttemptsExhausted, match="refused the connection"):
        await running


async def test_a_server_that_accepts_and_closes_causes_no_storm(
    start_server: StartServer, inbox: Inbox
) -> None:
    handshakes = count()

    async def handler(connection: ServerConnection) -> None:
        next(handshakes)
        await connection.close(1008, "Too many requests")

    url = await start_server(handler)
    with pytest.raises(AttemptsExhausted, match="code 1008"):
        await client_of(
            url, inbox, reconnect_delay=0.002, max_reconnect_attempts=6
        ).connect()
    assert next(handshakes) == 6
    assert inbox.delays == pytest.approx([0.002 * 2**i for i in range(5)])


async def test_a_server_that_sends_only_junk_before_it_closes_causes_no_storm(
    start_server: StartServer, inbox: Inbox
) -> None:
    url = await start_server(closing(first=b'{"result":null,"id":1}'))
    with pytest.raises(AttemptsExhausted):
        await client_of(
            url, inbox, reconnect_delay=0.001, max_reconnect_attempts=4
        ).connect()
    assert inbox.states.count(ConnectionState.LIVE) == 4


async def test_a_connection_that_delivered_starts_the_count_over(
    start_server: StartServer, inbox: Inbox, connected: Connected
) -> None:
    url = await start_server(closing(first=TRADE))
    client = client_of(url, inbox, reconnect_delay=0.001, max_reconnect_attempts=2)
    async with connected(client):
        await inbox.holds(10)
    assert len(inbox.delays) >= 9
    assert inbox.delays == pytest.approx([0.001] * len(inbox.delays))


async def test_a_connection_that_was_stable_starts_the_count_over(
    start_server: StartServer, inbox: Inbox, connected: Connected
) -> None:
    # A quiet symbol delivers nothing for long; every look at the clock is a minute on.
    minutes = count()
    url = await start_server(closing())
    client = client_of(
        url,
        inbox,
        reconnect_delay=0.001,
        max_reconnect_attempts=2,
        clock=lambda: next(minutes) * 60.0,
    )
    async with connected(client):
        await inbox.reached(ConnectionState.LIVE, times=6)
    assert inbox.delays == pytest.approx([0.001] * len(inbox.delays))


async def test_zero_attempts_means_never_giving_up(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    exchange.add_fault("refuse@0:503:20")
    client = client_of(
        exchange.url, inbox, reconnect_delay=1e-9, max_reconnect_attempts=0
    )
    async with connected(client):
        await inbox.reached(ConnectionState.LIVE)
    assert exchange.connection_attempts == 21


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (451, RestrictedLocation),
        (403, AccessBlocked),
        (418, AddressBanned),
        (404, ConnectFailed),
    ],
)
async def test_a_refusal_that_will_not_pass_ends_the_first_attempt(
    exchange: SimulatedExchange, inbox: Inbox, status: int, kind: type[K2Error]
) -> None:
    exchange.add_fault(f"refuse@0:{status}")
    with pytest.raises(kind) as caught:
        await client_of(exchange.url, inbox).connect()
    assert type(caught.value) is kind
    assert exchange.connection_attempts == 1


@pytest.mark.parametrize("status", [500, 503, 504])
async def test_a_refusal_that_may_pass_is_tried_again(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected, status: int
) -> None:
    exchange.add_fault(f"refuse@0:{status}:2")
    async with connected(client_of(exchange.url, inbox)):
        await inbox.reached(ConnectionState.LIVE)
    assert exchange.connection_attempts == 3


async def test_too_many_requests_are_waited_out_as_long_as_the_exchange_says(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    exchange.add_fault("refuse@0:429")
    async with connected(client_of(exchange.url, inbox)):
        await inbox.reached(ConnectionState.WAITING)
    assert inbox.delays == [2.0]
    assert "too many requests" in inbox.statuses[-2].reason


@pytest.mark.parametrize(
    ("status", "seconds"), [(451, 120.0), (403, 120.0), (418, 2.0)]
)
async def test_a_connection_that_was_live_is_patient_with_a_refusal(
    exchange: SimulatedExchange,
    inbox: Inbox,
    connected: Connected,
    status: int,
    seconds: float,
) -> None:
    async with connected(client_of(exchange.url, inbox)):
        await exchange.wait_subscribed("BTCUSDT")
        exchange.add_fault(f"refuse@0:{status}")
        await exchange.disconnect()
        await inbox.reached(ConnectionState.WAITING, times=2)
    assert inbox.delays[-1] == seconds


async def test_a_handshake_that_hangs_is_given_up_and_tried_again(
    exchange: SimulatedExchange, inbox: Inbox, connected: Connected
) -> None:
    exchange.add_fault("hang@0:1")
    client = client_of(exchange.url, inbox, open_timeout=0.05)
    async with connected(client):
        await inbox.reached(ConnectionState.LIVE)
    assert "did not answer in time" in inbox.statuses[1].reason


async def test_a_frame_that_is_too_large_costs_the_connection_and_no_more(
    start_server: StartServer, inbox: Inbox, connected: Connected
) -> None:
    first = iter([b"x" * (2**20 + 1)])

    async def handler(connection: ServerConnection) -> None:
        await connection.send(next(first, TRADE), text=True)
        await connection.wait_closed()

    url = await start_server(handler)
    async with connected(client_of(url, inbox)):
        await inbox.holds(1)
    assert inbox.states.count(ConnectionState.LIVE) == 2


async def test_one_connection_that_cannot_go_on_ends_the_others(
    start_server: StartServer, inbox: Inbox
) -> None:
    both_there = asyncio.Barrier(2)

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        await both_there.wait()
        if "s450usdt" in connection.request.path:
            await connection.close()
        else:
            await connection.wait_closed()

    url = await start_server(handler)
    client = BinanceWebSocketClient(
        [f"S{number}USDT" for number in range(451)],
        inbox.take,
        url,
        max_reconnect_attempts=1,
        proxy=False,
    )
    with pytest.raises(AttemptsExhausted):
        await client.connect()


class ScriptedWindow(AttemptWindow):
    """Lets some attempts pass and holds up those after them."""

    def __init__(self, passing: int) -> None:
        super().__init__()
        self._passing = passing
        self.held = asyncio.Event()

    def reserve(self, now_seconds: float) -> float:
        self._passing -= 1
        if self._passing >= 0:
            return 0.0
        self.held.set()
        return 300.0


def connection_to(
    exchange: SimulatedExchange, inbox: Inbox, window: AttemptWindow
) -> ReconnectingConnection:
    return ReconnectingConnection(
        HostRotation([f"{exchange.url}?streams=btcusdt@trade"]),
        ("BTCUSDT",),
        decoder=MessageDecoder({}),
        on_batch=lambda batch: None,
        on_status=inbox.note,
        pacer=ReadPacer(),
        exchange=SameExchange(),
        backoff=Backoff(1e-9, max_failures=0, random=lambda: 0.5),
        window=window,
        max_first_seconds=None,
        max_age_seconds=3600.0,
        ping_seconds=10.0,
        open_timeout_seconds=5.0,
        proxy=False,
        clock=lambda: 0.0,
    )


async def test_a_client_that_is_closed_as_it_connects_is_closed(
    exchange: SimulatedExchange, inbox: Inbox
) -> None:
    disconnecting: list[asyncio.Task[None]] = []

    def on_status(status: ConnectionStatus) -> None:
        inbox.note(status)
        if status.state is ConnectionState.LIVE:
            disconnecting.append(asyncio.create_task(client.disconnect()))

    client = client_of(exchange.url, inbox, on_status=on_status)
    await client.connect()
    await asyncio.gather(*disconnecting)
    assert inbox.states[-1] is ConnectionState.CLOSED
    assert exchange.stream_connections == []


async def test_a_connection_waits_when_there_were_too_many_attempts(
    exchange: SimulatedExchange, inbox: Inbox
) -> None:
    exchange.add_fault("refuse@0:503")
    window = ScriptedWindow(passing=4)
    connection = connection_to(exchange, inbox, window)
    running = asyncio.create_task(connection.run())
    await window.held.wait()
    assert inbox.states.count(ConnectionState.CONNECTING) == 4
    await connection.close()
    await running
    assert exchange.connection_attempts == 4
    assert inbox.states[-1] is ConnectionState.CLOSED


@pytest.mark.parametrize("redundant", [False, True])
async def test_all_connections_share_the_limit_of_attempts(
    exchange: SimulatedExchange,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
    redundant: bool,
) -> None:
    windows: list[ScriptedWindow] = []

    def make_window() -> ScriptedWindow:
        windows.append(ScriptedWindow(passing=5))
        return windows[-1]

    monkeypatch.setattr("k2cli.binance.client.AttemptWindow", make_window)
    exchange.add_fault("refuse@0:503")
    client = BinanceWebSocketClient(
        [f"S{number}USDT" for number in range(600)],
        inbox.take,
        exchange.url,
        on_status=inbox.note,
        reconnect_delay=1e-9,
        max_reconnect_attempts=0,
        redundant=redundant,
        proxy=False,
    )
    running = asyncio.create_task(client.connect())
    await inbox.reached(ConnectionState.CONNECTING)
    (window,) = windows
    await window.held.wait()
    await client.disconnect()
    await running
    assert exchange.connection_attempts <= 5

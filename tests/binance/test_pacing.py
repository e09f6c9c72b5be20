"""Pauses in reading: when they pay, and that nothing is lost or late by them."""

from __future__ import annotations

import asyncio
import fcntl
import ssl
import struct
import sys
import termios
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection

from k2cli import BinanceWebSocketClient
from k2cli.binance.handshake import open_websocket
from k2cli.binance.pacing import PauseRule, ReadPacer
from k2cli.binance.transport import StreamConnection
from k2cli.simulator import SimulatedExchange
from k2cli.trade import TradeBatch

from .conftest import Connected, Inbox, MakeTrades, StartServer

PAUSE_SECONDS = 0.002


def paused_after(*times_seconds: float, trades: int = 1) -> list[bool]:
    """Return after which reads a pause pays."""
    rule = PauseRule(PAUSE_SECONDS)
    return [rule.pays(trades, 100.0 + seconds) for seconds in times_seconds]


def steady(per_second: float, seconds: float = 0.5) -> list[float]:
    return [number / per_second for number in range(int(per_second * seconds))]


@given(st.lists(st.floats(2 * PAUSE_SECONDS + 1e-6, 10), max_size=50))
def test_trades_that_stand_alone_are_not_followed_by_a_pause(
    gaps_seconds: list[float],
) -> None:
    times_seconds = [sum(gaps_seconds[:number]) for number in range(len(gaps_seconds))]
    assert not any(paused_after(*times_seconds))


@pytest.mark.parametrize("per_second", [200, 500])
def test_a_slow_flow_is_read_trade_by_trade(per_second: float) -> None:
    assert not any(paused_after(*steady(per_second)))


@pytest.mark.parametrize("per_second", [1_000, 5_000, 20_000])
def test_a_fast_flow_pauses_soon_and_goes_on_pausing(per_second: float) -> None:
    pauses = paused_after(*steady(per_second))
    assert not pauses[0]
    begun = pauses.index(True)
    assert begun / per_second < 0.05
    assert all(pauses[begun:])


def test_a_short_pause_needs_a_faster_flow() -> None:
    short = PauseRule(0.001)
    assert not any(short.pays(1, seconds) for seconds in steady(5_000))
    short = PauseRule(0.001)
    assert any(short.pays(1, seconds) for seconds in steady(10_000))


def test_a_flow_that_is_read_in_steps_stays_one() -> None:
    pauses = paused_after(*steady(1 / PAUSE_SECONDS), trades=10)
    assert not pauses[0]
    assert all(pauses[2:])


def test_the_first_trade_after_a_while_is_no_flow() -> None:
    assert paused_after(0.0, 0.001, 0.002, 0.02, trades=100) == [
        False,
        True,
        True,
        False,
    ]


class Reader:
    """A connection that notes its pauses."""

    def __init__(self) -> None:
        self.changes: list[tuple[bool, float]] = []
        self.released = asyncio.Event()

    def hold(self) -> None:
        self.changes.append((True, asyncio.get_running_loop().time()))

    def release(self) -> None:
        self.changes.append((False, asyncio.get_running_loop().time()))
        self.released.set()


@pytest.mark.parametrize("count", [1, 3])
async def test_all_connections_pause_and_resume_together(count: int) -> None:
    pacer = ReadPacer(PAUSE_SECONDS)
    readers = [Reader() for _ in range(count)]
    for reader in readers:
        pacer.add(reader)
    for _ in range(3):
        pacer.received(50)
    for reader in readers:
        await reader.released.wait()
        (held, begun), (also_held, ended) = reader.changes
        assert (held, also_held) == (True, False)
        assert ended - begun >= PAUSE_SECONDS / 2
    # Until the next read, nothing is paused.
    await asyncio.sleep(0)
    assert {len(reader.changes) for reader in readers} == {2}


async def test_a_connection_that_leaves_reads_on_and_one_that_comes_waits() -> None:
    pacer = ReadPacer(PAUSE_SECONDS)
    first, second = Reader(), Reader()
    pacer.add(first)
    pacer.received(50)
    pacer.received(50)
    pacer.add(second)
    assert [held for held, _ in second.changes] == [True]
    pacer.remove(first)
    pacer.remove(first)
    assert [held for held, _ in first.changes] == [True, False]
    await second.released.wait()
    assert len(first.changes) == 2


@pytest.mark.parametrize(
    ("max_delay_seconds", "trades"), [(0.0, 50), (0.0009, 50), (0.002, 500)]
)
async def test_without_delay_or_with_full_reads_nothing_pauses(
    max_delay_seconds: float, trades: int
) -> None:
    pacer, reader = ReadPacer(max_delay_seconds), Reader()
    pacer.add(reader)
    for _ in range(5):
        pacer.received(trades)
    assert reader.changes == []


def client_of(
    exchange: SimulatedExchange, batches: list[TradeBatch], done: asyncio.Event
) -> BinanceWebSocketClient:
    def take(batch: TradeBatch) -> None:
        batches.append(batch)
        if sum(map(len, batches)) >= 2_000:
            done.set()

    return BinanceWebSocketClient(
        ["BTCUSDT"],
        url=exchange.url,
        on_batch=take,
        proxy=False,
        max_delay_seconds=0.005,
    )


async def test_a_fast_flow_is_read_in_steps_whole_and_in_order(
    exchange: SimulatedExchange, make_trades: MakeTrades, connected: Connected
) -> None:
    batches: list[TradeBatch] = []
    done = asyncio.Event()
    async with connected(client_of(exchange, batches, done)):
        await exchange.wait_subscribed("BTCUSDT")
        for trade in make_trades(2_000):
            await exchange.publish([trade])
            await asyncio.sleep(0)
        await done.wait()
    ids = [int(trade_id) for batch in batches for trade_id in batch.trade_ids]
    assert ids == list(range(1, 2_001))
    assert len(batches) < 1_000
    received_us = [batch.received_us for batch in batches]
    assert all(one <= other for one, other in pairwise(received_us))


async def test_what_is_held_when_the_client_ends_is_handed_on(
    exchange: SimulatedExchange, inbox: Inbox, make_trades: MakeTrades
) -> None:
    client = BinanceWebSocketClient(
        ["BTCUSDT"], inbox.take, exchange.url, proxy=False, max_delay_seconds=1.0
    )
    running = asyncio.create_task(client.connect())
    await exchange.wait_subscribed("BTCUSDT")
    published = make_trades(100)
    for trade in published[:50]:
        await exchange.publish([trade])
        await inbox.holds(1)
    await exchange.publish(published[50:])
    async with asyncio.timeout(0.9):
        await client.disconnect()
        await running
    assert inbox.ids == list(range(1, 101))


class Messages:
    """Takes messages."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[bytes] = asyncio.Queue()

    def frames_received(self, text: str, position: int, received_us: int) -> int:
        return position

    def message_received(self, message: bytes, received_us: int) -> None:
        self.taken.put_nowait(message)

    def connection_ended(self) -> None:
        pass


def unread_bytes(connection: StreamConnection) -> int:
    """Return what the system holds for a connection."""
    sock = connection.transport.get_extra_info("socket")
    answer = fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0" * 4)
    size: int = struct.unpack("i", answer)[0]
    return size


@pytest.mark.skipif(sys.platform == "win32", reason="it has no FIONREAD")
@pytest.mark.parametrize("uses_tls", [False, True])
async def test_a_held_connection_leaves_what_comes_to_the_system(
    start_server: StartServer,
    uses_tls: bool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go, sent = asyncio.Event(), asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        await connection.send("first")
        await go.wait()
        await connection.send("second")
        sent.set()
        await connection.wait_closed()

    options: dict[str, Any] = {}
    if uses_tls:
        options["ssl"] = request.getfixturevalue("self_signed")
        trusting = ssl._create_unverified_context
        monkeypatch.setattr("ssl.create_default_context", trusting)
    url = await start_server(talk, **options)
    if uses_tls:
        url = url.replace("ws://127.0.0.1", "wss://localhost")
    connection = await open_websocket(
        url,
        open_timeout_seconds=5,
        proxy=False,
    )
    messages = Messages()
    connection.begin(messages)
    assert await messages.taken.get() == b"first"
    await asyncio.sleep(0)  # TLS looks once more whether there is something
    connection.hold()
    connection.hold()
    go.set()
    await sent.wait()
    while not unread_bytes(connection):  # noqa: ASYNC110 - the system has no event
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert unread_bytes(connection)
    assert messages.taken.empty()
    connection.release()
    assert await messages.taken.get() == b"second"
    connection.hold()
    await connection.close()

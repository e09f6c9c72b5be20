"""What the tests of the Binance client share: an exchange, a raw server, an inbox."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from k2cli.binance.client import BinanceWebSocketClient
from k2cli.binance.status import ConnectionState, ConnectionStatus
from k2cli.simulator import Recording, SimulatedExchange, Trade
from k2cli.trade import TradeV2

MakeTrades = Callable[..., list[Trade]]
StreamHandler = Callable[[ServerConnection], Awaitable[None]]
StartServer = Callable[..., Awaitable[str]]
Connected = Callable[[BinanceWebSocketClient], AbstractAsyncContextManager[Any]]


class Inbox:
    """Keeps the trades and the states that a client reports, and waits for them."""

    def __init__(self) -> None:
        self.trades: list[TradeV2] = []
        self.statuses: list[ConnectionStatus] = []
        self._changed = asyncio.Event()

    def take(self, trade: TradeV2) -> None:
        self.trades.append(trade)
        self._changed.set()

    def note(self, status: ConnectionStatus) -> None:
        self.statuses.append(status)
        self._changed.set()

    @property
    def ids(self) -> list[int | None]:
        return [trade.source_sequence for trade in self.trades]

    @property
    def states(self) -> list[ConnectionState]:
        return [status.state for status in self.statuses]

    @property
    def delays(self) -> list[float]:
        return [s.retry_in_seconds for s in self.statuses if s.state.value == "waiting"]

    async def holds(self, count: int) -> None:
        """Wait until so many trades are there."""
        while len(self.trades) < count:
            await self._change()

    async def reached(self, state: ConnectionState, times: int = 1) -> None:
        """Wait until a state has been reported so often."""
        while self.states.count(state) < times:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's proxy out of loopback connections."""
    for scheme in ("http", "https", "ws", "wss", "socks", "all"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def make_trades() -> MakeTrades:
    """Make trades as the exchange knows them, with consecutive ids."""

    def make(count: int = 1, first: int = 1, symbol: str = "BTCUSDT") -> list[Trade]:
        return [
            Trade(
                symbol,
                number,
                price=f"{64_000 + number % 7}.51000000",
                quantity="0.00017000",
                trade_time_us=1_723_161_601_437_123 + number,
                event_time_us=1_723_161_601_438_456 + number,
                buyer_is_maker=number % 2 == 0,
            )
            for number in range(first, first + count)
        ]

    return make


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """An exchange that trades only what a test publishes."""
    async with SimulatedExchange() as running:
        yield running


@pytest.fixture
async def recorded_exchange(tmp_path: Path) -> AsyncIterator[SimulatedExchange]:
    """An exchange that plays three recorded trades to whoever subscribes first."""
    file = tmp_path / "recording.txt"
    event = (
        '{"e":"trade","E":1723161601438,"s":"BTCUSDT","t":%d,"p":"61685.99000000",'
        '"q":"0.00017000","T":1723161601437,"m":true,"M":true}'
    )
    lines = [
        f"{1_723_161_600_168_000_000 + i} " + event % (3_735_693_016 + i)
        for i in range(3)
    ]
    file.write_text("\n".join(lines) + "\n")
    async with SimulatedExchange(Recording(file, speed=0)) as running:
        yield running


@pytest.fixture
def connected() -> Connected:
    """Let a client run beside the test; whatever ends it early fails the test."""

    @asynccontextmanager
    async def run(client: BinanceWebSocketClient) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(client.connect())
        body = asyncio.current_task()
        assert body is not None
        ended_early = False

        def ended(_: asyncio.Task[None]) -> None:
            nonlocal ended_early
            ended_early = True
            body.cancel("the client has ended")

        task.add_done_callback(ended)
        try:
            yield task
        except asyncio.CancelledError:
            if not ended_early:
                raise
            await task
            raise AssertionError("connect() returned before it was to") from None
        finally:
            task.remove_done_callback(ended)
            await client.disconnect()
            if not task.done():
                await task

    return run


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    """Start a WebSocket server whose every connection a handler of the test serves."""
    servers: list[Server] = []

    async def start(handler: StreamHandler, **options: Any) -> str:
        server = await serve(handler, "127.0.0.1", 0, compression=None, **options)
        servers.append(server)
        port = next(iter(server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def start_tcp_server() -> AsyncIterator[StartServer]:
    """Start a TCP server that answers the first bytes of a connection with others."""
    servers: list[asyncio.Server] = []

    async def start(answer: bytes) -> str:
        async def talk(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            with suppress(ConnectionError):
                await reader.read(65_536)
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(server)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost "
        f"-keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context

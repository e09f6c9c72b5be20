"""What a local program or a web page can do to ``k2 simulate``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from k2cli.simulator import Rules, SimulatedExchange, SymbolInfo, Trade, connection
from k2cli.simulator.trades import TradeSource

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    "{more}\r\n"
)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Patient(TradeSource):
    """What waits for its readers, as a recording that is replayed does."""

    waits_for_readers = True

    def __init__(self) -> None:
        self.symbols = {"BTCUSDT": SymbolInfo("BTCUSDT", "BTC", "USDT")}

    def timeline(self, origin_us: int) -> Iterator[tuple[int, Trade]]:
        return iter(())


async def connect(exchange: SimulatedExchange) -> Streams:
    return await asyncio.open_connection("127.0.0.1", exchange.port)


async def status(streams: Streams, path: str, more: str = "") -> int:
    reading, writing = streams
    writing.write(HANDSHAKE.format(path=path, more=more).encode())
    return int((await reading.readuntil(b"\r\n\r\n")).split()[1])


@pytest.mark.parametrize("path", ["/stream", "/ws-api/v3", "/api/v3/time"])
async def test_a_page_of_another_site_is_refused(path: str) -> None:
    served = 200 if path.startswith("/api") else 101
    async with SimulatedExchange() as exchange:
        for origin, expected in (
            ("https://evil.example", 403),
            ("null", 403),
            ("http://127.0.0.1.evil.example", 403),
            ("http://[::1", 403),
            ("http://localhost:8000", served),
        ):
            streams = await connect(exchange)
            more = f"Origin: {origin}\r\n"
            assert await status(streams, path, more) == expected, origin
            streams[1].close()


async def test_a_client_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "HANDSHAKE_TIMEOUT_SECONDS", 0.05)
    async with SimulatedExchange() as exchange:
        reading, writing = await connect(exchange)
        writing.write(b"GET /stream HTTP/1.1\r\n")
        with suppress(ConnectionError):
            assert await reading.read() == b""
        writing.close()


async def test_one_client_more_than_allowed_is_turned_away() -> None:
    async with SimulatedExchange(rules=Rules(connections=2)) as exchange:
        streams = [await connect(exchange) for _ in range(2)]
        assert [await status(each, "/stream") for each in streams] == [101, 101]
        reading, writing = await connect(exchange)
        with suppress(ConnectionError):
            assert await reading.read() == b""
        for _, each in (*streams, (reading, writing)):
            each.close()


async def test_who_reads_no_answers_is_disconnected() -> None:
    rules = Rules(outgoing_bytes=100_000)

    async def ping_without_end(writing: asyncio.StreamWriter) -> None:
        while True:
            writing.write((b"\x89\xfd\0\0\0\0" + b"p" * 125) * 500)
            await writing.drain()

    async with SimulatedExchange(Patient(), rules=rules) as exchange:
        streams = await connect(exchange)
        assert await status(streams, "/ws-api/v3") == 101
        streams[1].transport.pause_reading()  # type: ignore[attr-defined]  # a socket's
        with pytest.raises(ConnectionError):
            await ping_without_end(streams[1])
        assert not exchange.api_connections

from __future__ import annotations

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING

import pytest

from k2cli.binance.rest import get_exchange_info
from k2cli.errors import (
    AccessBlocked,
    ApiError,
    ConnectFailed,
    ExchangeUnreachable,
    K2Error,
    MalformedMessage,
    TooManyRequests,
)
from k2cli.simulator import SimulatedExchange

if TYPE_CHECKING:
    from tests.binance.conftest import StartServer


def response(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_the_whole_catalog_is_got(exchange: SimulatedExchange) -> None:
    reply = await get_exchange_info(exchange.rest_url)
    assert {each["symbol"] for each in reply["symbols"]} == set(exchange.symbols)


async def test_some_symbols_are_got(exchange: SimulatedExchange) -> None:
    reply = await get_exchange_info(
        f"{exchange.rest_url}/", ["BTCUSDT", "币安人生USDT"]
    )
    assert [each["symbol"] for each in reply["symbols"]] == ["BTCUSDT", "币安人生USDT"]


async def test_an_unknown_symbol_has_the_exchanges_code(
    exchange: SimulatedExchange,
) -> None:
    with pytest.raises(ApiError, match="Invalid symbol") as caught:
        await get_exchange_info(exchange.rest_url, ["NOSUCH"])
    assert (caught.value.status, caught.value.code) == (400, -1121)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (response("200 OK", b"not JSON \x1b[2J"), MalformedMessage),
        (response("200 OK", b"[]"), MalformedMessage),
        (response("403 Forbidden", b"<html>blocked</html>"), AccessBlocked),
        (response("429 Slow", b"", "Retry-After: 7"), TooManyRequests),
        (response("503 Unavailable", b"{}"), ConnectFailed),
        (response("404 Not Found", b'{"code":"x","msg":1}'), ConnectFailed),
        (response("400 Bad", b'{"code":-1,"msg":"\\u001b[2J"}'), ApiError),
        # Cut off, or not HTTP at all.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", K2Error),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ConnectFailed),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ConnectFailed),
        (b"", ConnectFailed),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else "",
)
async def test_each_wrong_answer_has_its_error_in_one_line(
    start_tcp_server: StartServer, answer: bytes, kind: type[K2Error]
) -> None:
    host = await start_tcp_server(answer)
    with pytest.raises(kind) as caught:
        await get_exchange_info(f"http://{host}")
    assert str(caught.value).isprintable()


async def test_a_refusal_tells_when_to_come_again(
    start_tcp_server: StartServer,
) -> None:
    host = await start_tcp_server(response("429 Slow", b"", "Retry-After: 7"))
    with pytest.raises(TooManyRequests) as caught:
        await get_exchange_info(f"http://{host}")
    assert caught.value.retry_after_seconds == 7.0


async def test_a_refusal_that_breaks_off_is_one_all_the_same() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        # Lets the connection end with a reset.
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, linger)
        writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectFailed):
            await get_exchange_info(f"http://127.0.0.1:{port}")


async def test_nobody_listening_is_unreachable(unused_tcp_port: int) -> None:
    with pytest.raises(ExchangeUnreachable, match="cannot be reached"):
        await get_exchange_info(f"http://127.0.0.1:{unused_tcp_port}")

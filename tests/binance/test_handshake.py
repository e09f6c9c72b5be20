from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import (
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    SecurityError,
)
from websockets.http11 import Response

from k2cli.binance.handshake import (
    exchange_name,
    explain,
    explain_status,
    open_websocket,
)
from k2cli.errors import (
    AccessBlocked,
    AddressBanned,
    ConnectFailed,
    ExchangeRefused,
    K2Error,
    RestrictedLocation,
    TooManyRequests,
)
from k2cli.simulator import SimulatedExchange

if TYPE_CHECKING:
    from tests.binance.conftest import StartServer

URL = "wss://stream.binance.com:9443/stream?streams=btcusdt@trade"
HOST = "stream.binance.com:9443"
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\u202e"


def refusal(status: int, body: bytes = b"", **headers: str) -> InvalidStatus:
    fields = Headers({name.replace("_", "-"): each for name, each in headers.items()})
    return InvalidStatus(Response(status, "No", fields, body))


def with_cause(exc: Exception, cause: Exception) -> Exception:
    exc.__cause__ = cause
    return exc


def expired() -> ssl.SSLCertVerificationError:
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
    exc.verify_message = "certificate has expired"
    return exc


def not_tls(reason: str) -> ssl.SSLError:
    exc = ssl.SSLError(1, f"[SSL: {reason}]")
    exc.reason = reason
    return exc


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (451, RestrictedLocation, "does not serve this location (HTTP 451)"),
        (403, AccessBlocked, "firewall"),
        (429, TooManyRequests, "too many requests"),
        (418, AddressBanned, "banned"),
    ],
)
def test_a_refusal_has_its_own_error_and_says_what_to_do(
    status: int, kind: type[ExchangeRefused], says: str
) -> None:
    exc = explain(refusal(status), URL)
    assert type(exc) is kind
    assert HOST in exc.message
    assert says in exc.message
    assert f"HTTP {status}" in exc.message
    assert exc.hint


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        (200, True),
        (301, True),
        (400, True),
        (404, True),
        (414, True),
        (500, False),
        (502, False),
        (503, False),
        (504, False),
    ],
)
def test_another_status_is_a_failure_that_may_pass_or_not(
    status: int, permanent: bool
) -> None:
    exc = explain(refusal(status), URL)
    assert isinstance(exc, ConnectFailed)
    assert exc.message == f"{HOST} answered HTTP {status}"
    assert exc.permanent is permanent


@pytest.mark.parametrize(
    ("raised", "says", "permanent"),
    [
        (expired(), "certificate has expired", True),
        (not_tls("WRONG_VERSION_NUMBER"), "(WRONG_VERSION_NUMBER)", True),
        (InvalidURI("nonsense", "no scheme"), "no WebSocket address", True),
        (InvalidProxy("ftp://proxy", "scheme"), "the proxy failed", True),
        (InvalidProxyStatus(refusal(407).response), "the proxy failed", True),
        (ImportError("python-socks is required"), "which needs a package", True),
        (TimeoutError(), "did not answer in time", False),
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved", True),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
            "refused the connection",
            False,
        ),
        (
            OSError(
                "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), "
                f"[Errno {errno.ECONNREFUSED}] Connect call failed ('127.0.0.1', 1)"
            ),
            "refused the connection",
            False,
        ),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "no route to", True),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no route to", True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "broke off", False),
        (BrokenPipeError(errno.EPIPE, "broken"), "broke off", False),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files", False),
        (
            with_cause(InvalidMessage("no response"), EOFError("stream ended")),
            "closed the connection during the handshake",
            False,
        ),
        (InvalidMessage("no HTTP"), "did not answer as a WebSocket server", True),
        (InvalidUpgrade("Upgrade", "h2c"), "did not answer as a WebSocket", True),
        (SecurityError("redirected"), "did not answer as a WebSocket server", True),
        (InvalidHandshake(), "did not answer as a WebSocket server", True),
        (ValueError("strange"), "did not answer as a WebSocket server", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_way_to_fail_is_explained(
    raised: Exception, says: str, permanent: bool
) -> None:
    exc = explain(raised, URL)
    assert isinstance(exc, ConnectFailed)
    assert says in exc.message
    assert exc.permanent is permanent
    assert str(exc).isprintable()


@pytest.mark.parametrize("status", [403, 418, 429, 451, 500, 404])
def test_what_the_exchange_says_cannot_reach_a_terminal_raw(status: int) -> None:
    exc = explain(refusal(status, HOSTILE.encode() * 99), URL)
    assert str(exc).isprintable()
    assert len(str(exc)) < 600


@pytest.mark.parametrize(
    "raised",
    [
        OSError(1, HOSTILE),
        InvalidURI(HOSTILE, HOSTILE),
        InvalidProxy(HOSTILE, HOSTILE),
        not_tls(HOSTILE),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_what_an_error_says_cannot_reach_a_terminal_raw(raised: Exception) -> None:
    assert str(explain(raised, f"wss://{HOSTILE}/")).isprintable()


def test_the_firewall_is_quoted_with_its_first_line() -> None:
    exc = explain(refusal(403, b"\n<html>\n<body>blocked</body>"), URL)
    assert "(HTTP 403: <html>)" in exc.message


@pytest.mark.parametrize("status", [403, 418, 429])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("1.5", 1.5),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("soon", None),
    ],
)
def test_retry_after_is_read_in_seconds(
    status: int, header: str, seconds: float | None
) -> None:
    exc = explain(refusal(status, Retry_After=header), URL)
    assert isinstance(exc, ExchangeRefused)
    assert exc.retry_after_seconds == seconds


def test_a_refusal_without_retry_after_names_no_time() -> None:
    exc = explain(refusal(429), URL)
    assert isinstance(exc, TooManyRequests)
    assert exc.retry_after_seconds is None
    assert "Wait for a while" in exc.hint


def test_a_refusal_with_two_times_to_retry_names_none() -> None:
    headers = Headers([("Retry-After", "1"), ("Retry-After", "2")])
    exc = explain(InvalidStatus(Response(429, "No", headers, b"")), URL)
    assert isinstance(exc, TooManyRequests)
    assert exc.retry_after_seconds is None


@given(st.integers(100, 999), st.binary(max_size=200), st.text(max_size=20))
def test_any_answer_is_explained_in_one_printable_line(
    status: int, body: bytes, retry_after: str
) -> None:
    exc = explain_status(status, {"Retry-After": retry_after}, body, HOST)
    assert isinstance(exc, K2Error)
    assert str(exc).isprintable()


async def failure_to_open(url: str, **options: float | str | bool) -> K2Error:
    chosen = {"open_timeout_seconds": 5.0, "max_frame_bytes": 1000, "proxy": False}
    with pytest.raises(K2Error) as caught:
        await open_websocket(url, **{**chosen, **options})  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is not None
    return caught.value


async def test_nobody_listening_is_explained(unused_tcp_port: int) -> None:
    exc = await failure_to_open(f"ws://127.0.0.1:{unused_tcp_port}")
    assert exc.message == f"127.0.0.1:{unused_tcp_port} refused the connection"
    exc = await failure_to_open(f"ws://localhost:{unused_tcp_port}")
    assert exc.message == f"localhost:{unused_tcp_port} refused the connection"


async def test_a_server_of_another_kind_is_explained(
    start_tcp_server: StartServer,
) -> None:
    ssh = await start_tcp_server(b"SSH-2.0-OpenSSH_9.6\r\n")
    web = await start_tcp_server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    mute = await start_tcp_server(b"")
    exc = await failure_to_open(f"ws://{ssh}")
    assert exc.message == f"{ssh} did not answer as a WebSocket server"
    exc = await failure_to_open(f"ws://{web}")
    assert exc.message == f"{web} answered HTTP 200"
    exc = await failure_to_open(f"ws://{mute}")
    assert exc.message == f"{mute} closed the connection during the handshake"
    assert isinstance(exc, ConnectFailed)
    assert not exc.permanent


async def test_a_plain_server_is_not_spoken_to_in_tls(
    start_tcp_server: StartServer,
) -> None:
    host = await start_tcp_server(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    exc = await failure_to_open(f"wss://{host}")
    assert f"{host} does not speak TLS as expected" in exc.message


async def test_a_server_that_does_not_answer_is_given_up(
    exchange: SimulatedExchange,
) -> None:
    exchange.add_fault("hang@0")
    exc = await failure_to_open(exchange.url, open_timeout_seconds=0.05)
    assert exc.message.endswith("did not answer in time")


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    start_server: StartServer, self_signed: ssl.SSLContext
) -> None:

    async def wait(connection: ServerConnection) -> None:
        await connection.wait_closed()

    plain_url = await start_server(wait, ssl=self_signed)
    url = plain_url.replace("ws://127.0.0.1", "wss://localhost")
    exc = await failure_to_open(url)
    assert isinstance(exc, ConnectFailed)
    assert "certificate of localhost" in exc.message
    assert "cannot be verified" in exc.message
    assert exc.permanent


async def test_compression_is_not_asked_for(start_server: StartServer) -> None:
    asked: list[Headers] = []

    async def note(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.headers)

    url = await start_server(note)
    connection = await open_websocket(
        url,
        open_timeout_seconds=5,
        max_frame_bytes=1000,
        proxy=False,
    )
    await connection.close()
    assert "Sec-WebSocket-Extensions" not in asked[0]
    assert exchange_name(connection) == "BINANCE"


async def test_a_made_up_market_says_so_on_the_handshake(
    exchange: SimulatedExchange,
) -> None:
    connection = await open_websocket(
        exchange.url,
        open_timeout_seconds=5,
        max_frame_bytes=1000,
        proxy=False,
    )
    assert exchange_name(connection) == "SIM"
    await connection.close()


async def test_a_proxy_that_refuses_is_explained(
    start_tcp_server: StartServer,
) -> None:
    proxy = await start_tcp_server(
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    )
    exc = await failure_to_open("ws://127.0.0.1:9/stream", proxy=f"http://{proxy}")
    assert exc.message.startswith("the proxy failed: ")
    assert "HTTPS_PROXY" in exc.hint


async def test_the_proxy_of_the_environment_is_used_unless_told_otherwise(
    start_tcp_server: StartServer,
    exchange: SimulatedExchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = await start_tcp_server(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
    monkeypatch.setenv("https_proxy", f"http://{proxy}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    exc = await failure_to_open(exchange.url, proxy=True)
    assert "proxy" in exc.message
    connection = await open_websocket(
        exchange.url,
        open_timeout_seconds=5,
        max_frame_bytes=1000,
        proxy=False,
    )
    await connection.close()


def test_the_errors_of_the_system_have_the_numbers_that_are_looked_for() -> None:
    assert os.strerror(errno.ECONNREFUSED)
    assert explain(OSError(errno.EADDRNOTAVAIL, "x"), URL).message.startswith(
        "there is no route to"
    )

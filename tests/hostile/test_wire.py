"""What a hostile server can send: each attack is a row, with its bound."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.binance.test_fast_path import by_k2

from .conftest import Victim
from .raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    EVIL,
    PING,
    TEXT,
    RawServer,
    accept,
    frame,
    listing,
    stay,
    trade,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it measures as POSIX")

MOST_MB = 200.0
ONE = ("stream", "BTCUSDT", "--json", "-n", "1", "--no-backfill")
# After each attack, one good trade ends the command.
GOOD = trade(7)
# Spares the wait for a better reply.
GOODBYE = frame(b"\x03\xe8", CLOSE)


def empty_fragments(sock: socket.socket, _: int) -> None:
    sock.sendall(frame(b'{"a":1}', TEXT, fin=False))
    sock.sendall(frame(b"", CONTINUATION, fin=False) * 60_000)
    sock.sendall(frame(b"", CONTINUATION) + GOOD)
    stay(sock)


def empty_messages(sock: socket.socket, _: int) -> None:
    sock.sendall(frame(b"", BINARY) * 20_000 + GOOD)
    stay(sock)


def alternating_symbols(sock: socket.socket, _: int) -> None:
    pairs = [trade(3, "ETHUSDT") + trade(1 + 2 * i) for i in range(1_000)]
    sock.sendall(b"".join(pairs))
    stay(sock)


def pings_unread(sock: socket.socket, count: int) -> None:
    if count == 0:
        with suppress(OSError):
            sock.sendall(frame(b"p" * 120, PING) * 400_000)
            time.sleep(20)
    else:
        sock.sendall(GOOD)
        stay(sock)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "most_seconds"),
    [
        (empty_fragments, 4.0),
        (empty_messages, 4.0),
        (alternating_symbols, 4.0),
        (pings_unread, 4.0),
    ],
)
def test_a_stream_costs_what_it_may(
    victim: Victim,
    server: RawServer,
    attack: Callable[[socket.socket, int], None],
    most_seconds: float,
) -> None:
    server.streams = attack
    cost = victim(*ONE, K2_BINANCE_RECONNECT_DELAY="0.1")
    assert cost.status in (0, 6), cost.text[-500:]
    assert cost.out.count(b"\n") == 1
    assert cost.cpu_seconds < most_seconds
    assert cost.memory_mb < MOST_MB
    assert len(cost.err) < 20_000


def test_a_message_in_single_bytes_costs_what_it_may() -> None:
    whole = frame(b" " * 200_000 + b"{}") + GOOD
    begun = time.process_time()
    messages, _ = asyncio.run(by_k2([bytes([byte]) for byte in whole]))
    assert messages[0] == "other"
    assert time.process_time() - begun < 3


def body_of_lines(sock: socket.socket, request: bytes) -> bool:
    if request.startswith(b"GET /stream"):
        with suppress(OSError):
            sock.sendall(b"HTTP/1.1 500 No\r\n\r\n" + b"\n" * 2**20)
        return True
    return False


def long_header(sock: socket.socket, request: bytes) -> bool:
    if request.startswith(b"GET /stream"):
        with suppress(OSError):
            sock.sendall(b"HTTP/1.1 101 OK\r\nX: ")
            for _ in range(500):
                sock.sendall(b"a" * 100_000)
        return True
    return False


def redirect(*locations: bytes) -> Callable[[socket.socket, bytes], bool]:
    def answer(sock: socket.socket, request: bytes) -> bool:
        if not request.startswith(b"GET /stream"):
            return False
        lines = b"".join(b"Location: %s\r\n" % each for each in locations)
        sock.sendall(b"HTTP/1.1 302 Found\r\n" + lines + b"Content-Length: 0\r\n\r\n")
        return True

    return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (long_header, ""),
        (body_of_lines, ""),
        (redirect(b"ws://127.0.0.2:1/stream"), "redirects to ws://127.0.0.2:1/stream"),
        (redirect(b"/a", b"/b"), "redirects to"),
        (redirect(b"http://127.0.0.1/"), "redirects to"),
        (redirect(b"ws://[::1"), "redirects to"),
        (redirect(EVIL.encode()), ""),
    ],
)
def test_a_handshake_costs_what_it_may(
    victim: Victim,
    server: RawServer,
    raw: Callable[[socket.socket, bytes], bool],
    said: str,
) -> None:
    server.raw = raw
    cost = victim(
        *ONE, K2_BINANCE_RECONNECT_DELAY="0.1", K2_BINANCE_MAX_RECONNECT_ATTEMPTS="1"
    )
    assert cost.status == 3, cost.text
    assert said in cost.text
    assert "bug" not in cost.text
    assert cost.text.replace("\n", "").isprintable()
    assert cost.memory_mb < MOST_MB
    assert cost.cpu_seconds < 12


@pytest.mark.slow
def test_a_header_may_come_twice(victim: Victim, server: RawServer) -> None:
    def twice(sock: socket.socket, request: bytes) -> bool:
        if not request.startswith(b"GET /stream"):
            return False
        sock.sendall(
            accept(request) + b"X-K2-Exchange: A\r\nX-K2-Exchange: B\r\n\r\n" + GOOD
        )
        stay(sock)
        return True

    server.raw = twice
    cost = victim(*ONE)
    assert cost.status == 0, cost.text
    assert json.loads(cost.out)["exchange"] == "BINANCE"


@pytest.mark.slow
@pytest.mark.parametrize(
    "reply",
    [
        lambda _: frame(b'{"id":1,"status":200,"result":' + b"[" * 62 * 2**20),
        lambda _: frame(b'{"a":[' + b"[]," * 7_000_000 + b"[]]}") + GOODBYE,
        lambda _: frame(b"x" * (20 * 2**20)) + GOODBYE,
    ],
    ids=["62 MiB", "brackets", "no JSON"],
)
def test_an_api_reply_costs_what_it_may(
    victim: Victim, server: RawServer, reply: Callable[[object], bytes]
) -> None:
    huge = reply(None)
    server.api = lambda method, _: huge if method == "exchangeInfo" else None
    cost = victim("symbols", "--json")
    assert cost.status == 3, cost.text
    assert cost.cpu_seconds < 12
    assert cost.memory_mb < 250
    assert len(cost.err) < 20_000


@pytest.mark.slow
def test_a_history_of_junk_is_one_line(victim: Victim, server: RawServer) -> None:
    def junk(method: str, request: dict[str, int]) -> bytes | None:
        if not method.startswith("trades"):
            return None
        head = b'{"id":%d,"status":200,"result":[' % request["id"]
        return frame(head + b"7," * 100_000 + b"7]}")

    def gap(sock: socket.socket, _: int) -> None:
        sock.sendall(trade(1) + trade(1002) + trade(1003))
        stay(sock)

    server.api, server.streams = junk, gap
    cost = victim("stream", "BTCUSDT", "--json", "--duration", "2s")
    assert cost.cpu_seconds < 4
    assert cost.memory_mb < MOST_MB
    assert len(cost.err) < 40_000


def test_names_are_admitted_once(victim: Victim, server: RawServer) -> None:
    evil = [listing(f"{EVIL}{sign}", "USDT") for sign in "`;$|&<>\"' \n\u202e"]
    long_size = {"filterType": "PRICE_FILTER", "tickSize": "0." + "1" * 10**6}
    more = [
        listing("A" * 41, "B"),
        listing("ETH", "EUR", status=EVIL),
        listing("X", "USDT", filters=[long_size]),
    ]
    good = [listing("BTC", "USDT"), listing("币安人生", "USDT"), listing("ETH", "BTC")]
    good += [listing(f"C{i}", "EUR") for i in range(20)]
    server.catalog = [*good, *evil, *more]
    cost = victim("symbols", "--json")
    assert cost.status == 0
    names = {json.loads(line)["symbol"] for line in cost.out.splitlines()}
    assert names == {f"C{i}EUR" for i in range(20)} | {
        *("BTCUSDT", "币安人生USDT", "ETHBTC", "XUSDT")
    }
    assert cost.text.replace("\n", "").isprintable()
    assert len(cost.out) < 5000
    kept = b"".join(file.read_bytes() for file in victim.cache.iterdir())
    assert b"touch" not in kept


def test_secrets_appear_nowhere(victim: Victim, server: RawServer) -> None:
    def refuse(sock: socket.socket, request: bytes) -> bool:
        sock.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        return True

    server.raw = refuse
    host = f"user:hunter2@127.0.0.1:{server.port}"
    cost = victim(
        *("stream", "BTCUSDT", "--json", "-n", "1", "--debug", "--log-level", "debug"),
        *("--url", f"ws://{host}/stream?token=s3cret"),
        *("--api-url", f"ws://{host}/ws-api/v3?key=s3cret"),
        K2_BINANCE_RECONNECT_DELAY="0.1",
        K2_BINANCE_MAX_RECONNECT_ATTEMPTS="1",
    )
    wrong = victim("stream", "--url", f"http://{host}/?token=s3cret")
    proxy = victim(
        *ONE,
        HTTP_PROXY="http://user:hunter2@127.0.0.1:1",
        ALL_PROXY="foo://user:hunter2@h",
    )
    for each in (cost, wrong, proxy):
        assert "hunter2" not in each.text
        assert "s3cret" not in each.text
    assert cost.status == 3
    assert wrong.status == 2


@pytest.mark.slow
def test_rest_that_drips_is_not_waited_for(victim: Victim, server: RawServer) -> None:
    dripping = threading.Event()

    def drip(sock: socket.socket, request: bytes) -> bool:
        if b"/api/v3/exchangeInfo" in request:
            dripping.set()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            with suppress(OSError):
                while True:
                    sock.sendall(b" ")
                    time.sleep(0.2)
        sock.sendall(b"HTTP/1.1 451 No\r\nContent-Length: 0\r\n\r\n")
        return True

    server.raw = drip
    rest = f"http://127.0.0.1:{server.port}"
    cost = victim(
        "record",
        "-o",
        "x.jsonl",
        "BTCUSDT",
        signal_after=dripping,
        K2_BINANCE_REST_URL=rest,
    )
    assert cost.seconds < 2.5

"""A server and a forge of files that share no code with k2 or its simulator."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import uuid
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

Handler = Callable[[socket.socket, int], None]

TEXT, BINARY, CLOSE, PING, CONTINUATION = 1, 2, 8, 9, 0
# Control characters, an escape sequence, a bidirectional override, C1, shell syntax.
EVIL = "\x1b[2J\x07\u202e\x9b31m`touch pwned`$(touch pwned);'\""


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 2**16:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


def trade(trade_id: int, symbol: str = "BTCUSDT", **changes: Any) -> bytes:
    event = {
        "e": "trade",
        "E": 1_723_161_601_438_123,
        "s": symbol,
        "t": trade_id,
        "p": "61685.99000000",
        "q": "0.00017000",
        "T": 1_723_161_601_437_111,
        "m": True,
        "M": True,
    }
    stream = f"{symbol.lower()}@trade"
    message = {"stream": stream, "data": event | changes}
    return frame(json.dumps(message, separators=(",", ":")).encode())


def listing(base: str, quote: str, **changes: Any) -> dict[str, Any]:
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "filters": [],
    } | changes


def accept(request: bytes) -> bytes:
    """Return the answer to a handshake, without the last empty line."""
    key = next(
        line.split(b":", 1)[1].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(digest)
        + b"\r\n"
    )


def read_request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    return data


def read_message(sock: socket.socket) -> bytes | None:
    """Read one masked frame of a client; ``None`` at the end."""

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = sock.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    try:
        head = exactly(2)
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", exactly(2))
        mask = exactly(4)
        payload = exactly(size)
    except (EOFError, OSError):
        return None
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def stay(sock: socket.socket) -> None:
    """Read until the client is gone."""
    with suppress(OSError):
        while sock.recv(65536):
            pass


class RawServer:
    """Listens on loopback, and hands each connection to a handler by its path.

    Attributes:
        streams: Called with the socket after the handshake of a stream, and how many
            there were before it.
        catalog: The symbols that the API tells.
        api: Answers the API instead, with the bytes of frames, by method and id.
        raw: Takes over before the handshake; returns whether it did.
    """

    def __init__(self) -> None:
        self.streams: Handler = lambda sock, _: stay(sock)
        self.catalog: list[dict[str, Any]] = [listing("BTC", "USDT")]
        self.api: Callable[[str, Any], bytes | None] = lambda *_: None
        self.raw: Callable[[socket.socket, bytes], bool] = lambda *_: False
        self.paths: list[str] = []
        self._count = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stream"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, StopIteration), sock:
            request = read_request(sock)
            path = request.split(b" ", 2)[1].decode()
            self.paths.append(path)
            if self.raw(sock, request):
                return
            sock.sendall(accept(request) + b"\r\n")
            if path.startswith("/ws-api"):
                self._serve_api(sock)
            else:
                self._count += 1
                self.streams(sock, self._count - 1)

    def _serve_api(self, sock: socket.socket) -> None:
        while message := read_message(sock):
            try:
                request = json.loads(message)
            except ValueError:
                continue
            answer = self.api(request["method"], request)
            if answer is None:
                result: Any = []
                if request["method"] == "exchangeInfo":
                    result = {"symbols": self.catalog}
                reply = {"id": request["id"], "status": 200, "result": result}
                answer = frame(json.dumps(reply).encode())
            sock.sendall(answer)


# Files


def record(
    number: int, trade_id: int, symbol: str = "BTCUSDT", **changes: Any
) -> bytes:
    """Return a line of a capture."""
    made = {
        "message_id": str(uuid.UUID(int=number, version=4)),
        "trade_id": f"{changes.get('exchange', 'BINANCE')}-{trade_id}",
        "symbol": symbol,
        "exchange": "BINANCE",
        "asset_class": "crypto",
        "timestamp": 1_723_161_601_437_111 + trade_id,
        "price": "61685.99000000",
        "quantity": "0.00017000",
        "currency": "USDT",
        "side": "SELL",
        "trade_conditions": [],
        "source_sequence": trade_id,
        "ingestion_timestamp": 1_723_161_601_500_000 + trade_id,
        "platform_sequence": number,
        "vendor_data": {
            "is_buyer_maker": "true",
            "is_best_match": "true",
            "event_type": "trade",
            "event_time": str(1_723_161_601_438_123 + trade_id),
            "trade_time": str(1_723_161_601_437_111 + trade_id),
            "base_asset": "BTC",
            "quote_asset": "USDT",
        },
    }
    return json.dumps(made | changes, separators=(",", ":")).encode() + b"\n"


def gzip_block(text: bytes) -> bytes:
    """Return a gzip member that tells its size, as k2's captures have them."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(text) + deflate.flush()
    head = b"\x1f\x8b\x08\x04" + bytes(4) + b"\0\xff" + b"\x08\0" + b"K2\x04\0"
    size = len(head) + 4 + len(body) + 8
    trailer = struct.pack("<II", zlib.crc32(text), len(text) & 0xFFFFFFFF)
    return head + struct.pack("<I", size) + body + trailer

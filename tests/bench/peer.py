"""One client of the server: handshake, what it says, what it is sent."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections import deque
from collections.abc import Sequence
from urllib.parse import parse_qs, unquote, urlsplit

from .market import api_answer, text_frame

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE, _PING = 0x8, 0x9


class Peer:
    """A connection, never waited for.

    Args:
        sock: Just accepted.
        names: The symbols there are.

    Attributes:
        streams: Names of the streams it listens to.
        gone: Whether it has ended; the socket is left to the server.
    """

    def __init__(self, sock: socket.socket, names: Sequence[str]) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.streams: list[str] = []
        self.gone = False
        self._names = names
        self._is_api = False
        self._shaken = False
        self._inbox = bytearray()
        self._outbox: deque[memoryview] = deque()

    @property
    def is_behind(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outbox)

    def send(self, data: bytes) -> None:
        """Send whole frames as soon as there is room."""
        self._outbox.append(memoryview(data))
        self.flush()

    def queue(self, data: bytes) -> None:
        """Have whole frames sent when ``flush`` is called."""
        self._outbox.append(memoryview(data))

    def flush(self) -> None:
        """Send as much as there is room for."""
        outbox = self._outbox
        try:
            while outbox:
                sent = self.socket.send(outbox[0])
                if sent < len(outbox[0]):
                    outbox[0] = outbox[0][sent:]
                    return
                outbox.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._end()

    def receive(self) -> None:
        """Take what has come, and answer it."""
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._inbox += data
        if not self._shaken:
            self._shake()
        while self._shaken and not self.gone:
            frame = self._next_frame()
            if frame is None:
                return
            self._heard(*frame)

    def _end(self) -> None:
        self.gone = True
        self._outbox.clear()

    def _shake(self) -> None:
        head, end, rest = bytes(self._inbox).partition(b"\r\n\r\n")
        if not end:
            return
        self._inbox = bytearray(rest)
        request, *lines = head.decode("latin-1").split("\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        address = urlsplit(request.split(" ")[1])
        key = fields.get("sec-websocket-key", "").encode()
        digest = hashlib.sha1(key + _GUID).digest()  # noqa: S324 - RFC 6455 says so
        self._is_api = address.path.startswith("/ws-api")
        wanted = parse_qs(address.query).get("streams", [""])[0]
        self.streams = [unquote(name) for name in wanted.split("/") if name]
        self._shaken = True
        self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
            + base64.b64encode(digest)
            + b"\r\n\r\n"
        )

    def _next_frame(self) -> tuple[int, bytes] | None:
        """Cut the next frame out of what has come; those of clients are masked."""
        inbox = self._inbox
        if len(inbox) < 2:
            return None
        size, start = inbox[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(inbox[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(inbox[2:10], "big"), 10
        end = start + 4 + size
        if len(inbox) < end:
            return None
        mask, masked = inbox[start : start + 4], inbox[start + 4 : end]
        text = bytes(byte ^ mask[i & 3] for i, byte in enumerate(masked))
        opcode = inbox[0] & 0x0F
        del inbox[:end]
        return opcode, text

    def _heard(self, opcode: int, text: bytes) -> None:
        if opcode == _CLOSE:
            self.send(bytes((0x88, len(text))) + text)
            self._end()
        elif opcode == _PING:
            self.send(bytes((0x8A, len(text))) + text)
        elif opcode == 1 and self._is_api:
            self.send(text_frame(api_answer(text, self._names)))
        elif opcode == 1:
            asked = json.loads(text)
            if asked.get("method") == "SUBSCRIBE":
                self.streams += asked["params"]
            self.send(
                text_frame(json.dumps({"result": None, "id": asked["id"]}).encode())
            )

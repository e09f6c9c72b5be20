"""How a stream connection holds back and goes on, whatever its transport does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from k2cli.binance.frames import StreamConnection
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from .test_burst import Wire, frame, response_to


class Reader(Wire):
    """A transport that says whether it reads."""

    reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Receiver:
    """Takes messages, and holds the connection back after some."""

    def __init__(self, connection: StreamConnection, hold_after: set[int]) -> None:
        self.messages: list[bytes] = []
        self.is_over = False
        self._connection = connection
        self._hold_after = hold_after

    def burst(self, text: str, position: int, received_us: int) -> int:
        return position

    def message(self, message: bytes, received_us: int) -> None:
        self.messages.append(message)
        if len(self.messages) in self._hold_after:
            self._connection.hold()

    def over(self) -> None:
        self.is_over = True


async def connected(*hold_after: int) -> tuple[StreamConnection, Reader, Receiver]:
    protocol = ClientProtocol(parse_uri("ws://h/"))
    connection = StreamConnection(protocol, ping_interval=None, close_timeout=0.01)
    transport = Reader()
    connection.connection_made(transport)
    request = protocol.connect()
    protocol.send_request(request)
    connection.data_received(response_to(request.headers["Sec-WebSocket-Key"]))
    assert not transport.reads  # nobody takes anything yet
    receiver = Receiver(connection, set(hold_after))
    connection.begin(receiver)
    await asyncio.sleep(0)
    assert transport.reads
    return connection, transport, receiver


def frames_of(*texts: str) -> bytes:
    return b"".join(frame(text.encode()) for text in texts)


async def test_nothing_is_read_before_what_was_read_is_handed_on() -> None:
    connection, transport, receiver = await connected(1, 2)
    connection.data_received(frames_of("a", "b", "c"))
    assert receiver.messages == [b"a"]
    connection.let_go()
    assert not transport.reads
    await asyncio.sleep(0)
    assert receiver.messages == [b"a", b"b"]
    assert not transport.reads
    connection.let_go()
    await asyncio.sleep(0)
    assert receiver.messages == [b"a", b"b", b"c"]
    assert transport.reads


@pytest.mark.parametrize("close", [b"", frame(b"\x03\xe8", 0x88)])
async def test_what_arrived_before_the_end_is_handed_on_after_it(close: bytes) -> None:
    connection, _, receiver = await connected(1)
    connection.data_received(frames_of("a", "b"))
    # TLS hands over what it has decrypted, held back or not.
    connection.data_received(frames_of("c") + close + frames_of("void"))
    connection.eof_received()
    connection.connection_lost(None)
    assert (receiver.messages, receiver.is_over) == ([b"a"], False)
    connection.let_go()
    await asyncio.sleep(0)
    expected = [b"a", b"b", b"c"] if close else [b"a", b"b", b"c", b"void"]
    assert (receiver.messages, receiver.is_over) == (expected, True)


async def test_a_frame_that_is_too_long_ends_the_connection_at_its_header() -> None:
    connection, _, receiver = await connected()
    header = b"\x81\x7f" + (2**21).to_bytes(8, "big")
    connection.data_received(frames_of("a") + header)
    assert receiver.messages == [b"a"]
    sent: Any = connection.protocol.close_sent
    assert sent is None or sent.code == 1009
    connection.data_received(frames_of("b"))
    assert receiver.messages == [b"a"]

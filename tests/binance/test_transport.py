"""How a stream connection pauses, resumes and ends, whatever its transport does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from k2cli.binance.transport import (
    MAX_UNREAD_BYTES,
    MAX_UNSENT_BYTES,
    StreamConnection,
)

from .test_fast_path import Wire, frame, response_to


class Recorder(Wire):
    """A transport that says whether it reads, and keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.written: list[bytes] = []
        self.aborted = asyncio.Event()
        self.unsent = 0

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))
        self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted.set()

    def opcodes(self) -> list[int]:
        """Return the opcodes of the frames written after the request."""
        return [data[0] & 0x0F for data in self.written[1:]]


class Receiver:
    """Takes messages, and pauses the connection after some."""

    def __init__(self, connection: StreamConnection, pause_after: set[int]) -> None:
        self.messages: list[bytes] = []
        self.ends = 0
        self._connection = connection
        self._pause_after = pause_after

    def frames_received(self, text: str, position: int, received_us: int) -> int:
        return position

    def message_received(self, message: bytes, received_us: int) -> None:
        self.messages.append(message)
        if len(self.messages) in self._pause_after:
            self._connection.pause()

    def connection_ended(self) -> None:
        self.ends += 1


def unopened() -> tuple[StreamConnection, Recorder, asyncio.Task[None]]:
    protocol = ClientProtocol(parse_uri("ws://h/"), max_size=2**20)
    connection = StreamConnection(protocol, close_timeout=0.01, ping_interval=None)
    transport = Recorder()
    connection.connection_made(transport)
    return connection, transport, asyncio.create_task(connection.handshake())


async def opened(after: bytes = b"") -> tuple[StreamConnection, Recorder]:
    connection, transport, opening = unopened()
    await asyncio.sleep(0)
    connection.data_received(response_to(connection.protocol.key) + after)
    await opening
    assert not transport.reads  # nobody takes anything yet
    return connection, transport


async def connected(*pause_after: int) -> tuple[StreamConnection, Recorder, Receiver]:
    connection, transport = await opened()
    receiver = Receiver(connection, set(pause_after))
    connection.begin(receiver)
    await asyncio.sleep(0)
    assert transport.reads
    return connection, transport, receiver


def frames_of(*texts: str) -> bytes:
    return b"".join(frame(text.encode()) for text in texts)


async def resumed(connection: StreamConnection) -> None:
    connection.resume()
    await asyncio.sleep(0)


async def test_nothing_is_read_before_what_was_read_is_handed_on() -> None:
    connection, transport, receiver = await connected(1, 2)
    connection.data_received(frames_of("a", "b", "c"))
    assert receiver.messages == [b"a"]
    connection.resume()
    assert not transport.reads
    await asyncio.sleep(0)
    assert receiver.messages == [b"a", b"b"]
    assert not transport.reads
    await resumed(connection)
    assert receiver.messages == [b"a", b"b", b"c"]
    assert transport.reads


async def test_what_comes_with_the_handshake_is_handed_on_once_there_is_a_taker() -> (
    None
):
    connection, _ = await opened(frames_of("a", "b"))
    receiver = Receiver(connection, set())
    connection.begin(receiver)
    await asyncio.sleep(0)
    assert receiver.messages == [b"a", b"b"]


async def test_a_response_may_come_byte_by_byte() -> None:
    connection, _, opening = unopened()
    await asyncio.sleep(0)
    for byte in response_to(connection.protocol.key) + frames_of("a"):
        connection.data_received(bytes([byte]))
    await opening
    assert connection.response is not None
    receiver = Receiver(connection, set())
    connection.begin(receiver)
    await asyncio.sleep(0)
    assert receiver.messages == [b"a"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", InvalidStatus),
        (b"SSH-2.0-OpenSSH_9.6\r\n" + b"x" * 100, InvalidMessage),
        (b"HTTP/1.1 101 Switching Protocols\r\n", InvalidMessage),
        (b"", InvalidMessage),
    ],
)
async def test_a_handshake_that_fails_says_why(
    answer: bytes, error: type[Exception]
) -> None:
    connection, _, opening = unopened()
    await asyncio.sleep(0)
    connection.data_received(answer)
    connection.connection_lost(None)
    with pytest.raises(error):
        await opening


@pytest.mark.parametrize("close", [b"", frame(b"\x03\xe8", 0x88)])
async def test_what_arrived_before_the_end_is_handed_on_after_it(close: bytes) -> None:
    connection, _, receiver = await connected(1)
    connection.data_received(frames_of("a", "b"))
    # TLS hands over what it has decrypted, paused or not.
    connection.data_received(frames_of("c") + close + frames_of("void"))
    connection.eof_received()
    connection.connection_lost(None)
    assert (receiver.messages, receiver.ends) == ([b"a"], 0)
    await resumed(connection)
    expected = [b"a", b"b", b"c"] if close else [b"a", b"b", b"c", b"void"]
    assert (receiver.messages, receiver.ends) == (expected, 1)
    await resumed(connection)
    assert receiver.ends == 1
    assert connection.protocol.state is State.CLOSED


async def test_a_message_in_fragments_is_handed_on_after_the_end_too() -> None:
    connection, _, receiver = await connected(1)
    parts = frame(b"b", 0x01) + frame(b"now", 0x89) + frame(b"c", 0x80)
    connection.data_received(frames_of("a") + parts)
    connection.connection_lost(None)
    await resumed(connection)
    assert (receiver.messages, receiver.ends) == ([b"a", b"bc"], 1)


async def test_a_frame_that_is_too_long_ends_the_connection_at_its_header() -> None:
    connection, transport, receiver = await connected()
    header = b"\x81\x7f" + (2**21).to_bytes(8, "big")
    connection.data_received(frames_of("a") + header)
    assert receiver.messages == [b"a"]
    assert connection.protocol.close_sent is not None
    assert connection.protocol.close_sent.code == 1009
    assert transport.opcodes() == [Opcode.CLOSE]
    connection.data_received(frames_of("b"))
    assert receiver.messages == [b"a"]
    # A server that does not end it is not waited for.
    await transport.aborted.wait()


@pytest.mark.parametrize("header", [b"\xc1", b"\x83", b"\x81\x85"])
async def test_a_header_against_the_protocol_ends_the_connection_at_once(
    header: bytes,
) -> None:
    connection, transport, receiver = await connected()
    connection.data_received(frames_of("a") + header)
    connection.data_received(frames_of("b"))
    assert receiver.messages == [b"a"]
    assert transport.opcodes() == [Opcode.CLOSE]


async def test_pings_are_answered_and_pongs_are_signs_of_life() -> None:
    connection, transport, _ = await connected()
    connection.data_received(frame(b"now", 0x89))
    assert transport.opcodes() == [Opcode.PONG]
    connection.ping()
    assert transport.opcodes() == [Opcode.PONG, Opcode.PING]
    before = connection.activity
    connection.data_received(frame(b"", 0x8A))
    assert connection.activity > before


async def test_a_server_that_pings_and_does_not_read_loses_the_connection() -> None:
    connection, transport, _ = await connected()
    ping = frame(b"x" * 125, 0x89)
    sent = 0
    while not transport.aborted.is_set():
        connection.data_received(ping)
        sent += len(ping)
        assert sent < 2 * MAX_UNSENT_BYTES
    assert transport.unsent > MAX_UNSENT_BYTES


async def test_closing_reads_on_while_paused_and_keeps_what_comes() -> None:
    connection, transport, receiver = await connected(1, 2)
    connection.data_received(frames_of("a", "b"))
    assert not transport.reads
    closing = asyncio.create_task(connection.close())
    await asyncio.sleep(0)
    assert transport.opcodes() == [Opcode.CLOSE]
    assert transport.reads
    connection.data_received(frames_of("c"))
    await resumed(connection)
    assert receiver.messages == [b"a", b"b"]
    assert transport.reads  # paused again
    connection.data_received(frames_of("d") + frame(b"\x03\xe8", 0x88))
    connection.connection_lost(None)
    await closing
    assert (receiver.messages, receiver.ends) == ([b"a", b"b"], 0)
    await resumed(connection)
    assert (receiver.messages, receiver.ends) == ([b"a", b"b", b"c", b"d"], 1)
    assert not transport.aborted.is_set()


async def test_what_is_kept_while_closing_is_bounded() -> None:
    connection, transport, receiver = await connected(1)
    connection.data_received(frames_of("a"))
    closing = asyncio.create_task(connection.close())
    await asyncio.sleep(0)
    block = frame(b"x" * 2**19, size_bytes=8)
    kept = 0
    while transport.reads:
        connection.data_received(block)
        kept += 1
        assert kept * len(block) < 2 * MAX_UNREAD_BYTES
    connection.connection_lost(None)
    await closing
    await resumed(connection)
    assert len(receiver.messages) == 1 + kept


async def test_a_server_that_does_not_end_a_connection_is_not_waited_for() -> None:
    connection, transport, _ = await connected()
    closing = asyncio.create_task(connection.close())
    await transport.aborted.wait()
    connection.connection_lost(None)
    await closing
    await connection.close()
    assert transport.opcodes() == [Opcode.CLOSE]

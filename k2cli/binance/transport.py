"""Stream connections that hand on each read at once, many frames at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import State

if TYPE_CHECKING:
    from websockets.client import ClientProtocol
    from websockets.http11 import Response

_FIN_TEXT = 0x81
_RESERVED = 0x70
_MASKED = 0x80
_OPCODES = frozenset(Opcode)
_DATA_OPCODES = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
# Trade events have under 200 bytes.
MAX_FRAME_BYTES = 2**20
# A server that sends pings and does not read the answers must not fill the memory.
MAX_UNSENT_BYTES = 2**20
# What has arrived is read although nobody takes it yet, once the connection is closed.
MAX_UNREAD_BYTES = 2**24
# Longest headers of a handshake response; what follows it in the same read does not
# count.
MAX_HANDSHAKE_BYTES = 2**16
# Frames that need a closer look, handled in one turn of the event loop. All others are
# handled many at a time.
_MOST_UNUSUAL_FRAMES = 256


class Receiver(Protocol):
    """Takes what a stream connection receives, in its order."""

    def frames_received(self, text: str, position: int, received_us: int) -> int:
        """Take as many of the whole frames from a position on as it can.

        Args:
            text: Bytes as received, one character each (latin-1).
            position: Where a frame begins.
            received_us: When they were received, Unix microseconds UTC.

        Returns:
            The position after what was taken.
        """

    def message_received(self, message: bytes, received_us: int) -> None:
        """Take one message, of any kind."""

    def connection_ended(self) -> None:
        """Note that nothing more will come."""


def now_us() -> int:
    """Return the time now, Unix microseconds UTC."""
    return time.time_ns() // 1000


class StreamConnection(asyncio.Protocol):
    """A WebSocket client connection for ``websockets.connect(create_connection=…)``.

    Whole text frames are cut out of each read here and handed to a receiver in the same
    turn of the event loop. Everything else (handshake, pings, closing, fragments) is
    left to the Sans-I/O protocol of ``websockets``, which gets it in whole frames.
    While paused it does not read, so that nothing is queued but one read.

    Args:
        protocol: The Sans-I/O protocol.
        close_timeout: Seconds to wait for the server to end a connection being closed.
        max_frame_bytes: Largest frame; the protocol has the largest message.
        options: Other options of ``connect``, which have no meaning here.

    Attributes:
        transport: Of the TCP or TLS connection.
        response: The server's handshake response.
        activity: Counts reads, and times that reading was resumed.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        protocol: ClientProtocol,
        *,
        close_timeout: float | None = 10,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        **options: Any,
    ) -> None:
        self.protocol = protocol
        self.response: Response | None = None
        self.activity = 0
        self._close_timeout = close_timeout
        self._max_frame_bytes = max_frame_bytes
        self._loop = asyncio.get_running_loop()
        self._handshake_done: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._aborting: asyncio.TimerHandle | None = None
        self._receiver: Receiver | None = None
        self._is_paused = True
        self._is_closing = False
        self._is_lost = False
        self._has_ended = False
        # Frames after an error or a close do not count: the protocol discards them.
        self._is_void = False
        # What is being handed on, the same as text, and how far that is.
        self._data = b""
        self._text = ""
        self._position = 0
        # What was read since; and how much, with the rest of what is being handed on,
        # makes the next frame whole.
        self._arrived: bytes | bytearray = b""
        self._needed_bytes = 1
        self._handshake_bytes = 0
        self._received_us = 0
        # A message that comes in fragments, so far; None between messages.
        self._fragments: bytearray | None = None

    # What websockets.connect() calls.

    async def handshake(
        self,
        additional_headers: Any = None,
        user_agent_header: str | None = None,
    ) -> None:
        """Perform the opening handshake.

        Raises:
            InvalidHandshake: If the response is not that of a WebSocket server.
        """
        request = self.protocol.connect()
        if additional_headers is not None:
            request.headers.update(additional_headers)
        if user_agent_header is not None:
            request.headers.setdefault("User-Agent", user_agent_header)
        self.protocol.send_request(request)
        self._send()
        await self._handshake_done
        if self.protocol.handshake_exc is not None:
            raise self.protocol.handshake_exc

    def start_keepalive(self) -> None:
        """Do nothing: whoever uses the connection decides when to ping."""

    # What its user calls.

    def begin(self, receiver: Receiver) -> None:
        """Hand on what comes, and what has come since the handshake."""
        self._receiver = receiver
        self.resume()

    def pause(self) -> None:
        """Pause delivery and reading."""
        self._is_paused = True
        if not self._is_closing:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Resume after ``begin`` or ``pause``, from the event loop.

        More is read only when all that was read is handed on: TLS has some ready.
        """
        self._is_paused = False
        self.activity += 1
        self._loop.call_soon(self._deliver)

    def send_text(self, text: bytes) -> bool:
        """Send a message; return whether the connection was still open."""
        if self.protocol.state is not State.OPEN:
            return False
        self.protocol.send_text(text)
        self._send()
        return True

    def ping(self) -> None:
        """Send a ping, if the connection is still open."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_ping(b"")
            self._send()

    async def close(self) -> None:
        """Close the connection, and wait for its end.

        What arrives until then is kept, paused or not, and handed on in its turn.
        """
        self._is_closing = True
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(1000)
            self._send()
        self.transport.resume_reading()
        self._abort_later()
        await asyncio.shield(self._lost)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport of the new connection."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        self._received_us = now_us()
        self.activity += 1
        if self.response is None:
            data = self._receive_response(data)
        if not self._arrived:
            self._arrived = data
        else:
            if isinstance(self._arrived, bytes):
                self._arrived = bytearray(self._arrived)
            self._arrived += data
        if not self._is_paused:
            self._deliver()
        elif len(self._arrived) > MAX_UNREAD_BYTES:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""
        if self._aborting is not None:
            self._aborting.cancel()
        self._is_lost = True
        if not self._lost.done():
            self._lost.set_result(None)
        if not self._handshake_done.done():
            self.protocol.receive_eof()
            self._handshake_done.set_result(None)
        if not self._is_paused:
            self._deliver()

    def _receive_response(self, data: bytes) -> bytes:
        """Leave the response to the protocol; return what comes after it."""
        protocol, position = self.protocol, 0
        while position < len(data) and not self._handshake_done.done():
            # The end of the headers is the end of a line.
            end = data.find(b"\n", position) + 1 or len(data)
            protocol.receive_data(data[position:end])
            self._handshake_bytes += end - position
            position = end
            if protocol.state is State.OPEN:
                (response,) = protocol.events_received()
                self.response = cast("Response", response)
                # Nobody takes anything yet.
                self.transport.pause_reading()
                self._handshake_done.set_result(None)
            elif protocol.handshake_exc is not None:
                self._handshake_done.set_result(None)
            elif self._handshake_bytes > MAX_HANDSHAKE_BYTES:
                self.transport.abort()
                break
        # What follows a handshake that failed is nothing to keep.
        return data[position:] if self.response is not None else b""

    def _deliver(self) -> None:
        """Hand on the whole frames that were read, as many as one turn allows."""
        receiver = self._receiver
        if receiver is None or self._has_ended:
            return
        unusual_frames = 0
        while not self._is_paused and self._has_more():
            if self._fragments is None and not self._is_void:
                begun = self._position
                self._position = receiver.frames_received(
                    self._text, begun, self._received_us
                )
                if self._position > begun or self._is_paused:
                    continue
            if unusual_frames == _MOST_UNUSUAL_FRAMES:
                if not self._is_closing:
                    self.transport.pause_reading()
                self.activity += 1
                self._loop.call_soon(self._deliver)
                return
            unusual_frames += 1
            self._take_frame(receiver)
        if self._is_paused:
            return
        if self._is_lost:
            self._has_ended = True
            self.protocol.receive_eof()
            receiver.connection_ended()
        else:
            self.transport.resume_reading()

    def _has_more(self) -> bool:
        """Return whether there is what was not looked at yet."""
        rest_bytes = len(self._data) - self._position
        if rest_bytes >= self._needed_bytes:
            return True
        if not self._arrived or rest_bytes + len(self._arrived) < self._needed_bytes:
            return False
        rest = self._data[self._position :]
        self._data = rest + self._arrived if rest else bytes(self._arrived)
        self._text = self._data.decode("latin-1")
        self._arrived, self._position, self._needed_bytes = b"", 0, 1
        return True

    def _take_frame(self, receiver: Receiver) -> None:
        """Take one frame of any kind, or note how much of it is not there yet."""
        data, position = self._data, self._position
        if self._is_void:
            self._position = len(data)
            self._receive_frame(data[position:], receiver)
            return
        start, end = _payload(data, position)
        header = data[position : position + 2]
        if end - start > self._max_frame_bytes or _is_refused(header):
            # The protocol ends the connection at this frame, or at its header.
            self._is_void = True
            end = len(data)
        if end > len(data):
            self._needed_bytes = end - position
            return
        self._position = end
        self._needed_bytes = 1
        if (
            not self._is_void
            and self._fragments is None
            and header[0] == _FIN_TEXT
            and header[1] < _MASKED
        ):
            receiver.message_received(data[start:end], self._received_us)
        else:
            self._receive_frame(data[position:end], receiver)

    def _receive_frame(self, data: bytes, receiver: Receiver) -> None:
        """Leave a frame to the protocol, and take what it makes of it."""
        protocol = self.protocol
        protocol.receive_data(data)
        for frame in protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode in _DATA_OPCODES:
                if self._fragments is None:
                    self._fragments = bytearray()
                self._fragments += frame.data
                if frame.fin:
                    message, self._fragments = bytes(self._fragments), None
                    receiver.message_received(message, self._received_us)
        if protocol.parser_exc or protocol.close_rcvd:
            self._is_void = True
        self._send()
        if protocol.close_expected():
            self._abort_later()

    def _send(self) -> None:
        """Write what the protocol has to send."""
        if self._is_lost:
            return
        for data in self.protocol.data_to_send():
            # A failed handshake half-closes the connection: connect() aborts it.
            if data and not self.transport.is_closing():
                self.transport.write(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()

    def _abort_later(self) -> None:
        """End the connection ourselves if the server does not do so in time."""
        if (
            self._aborting is None
            and self._close_timeout is not None
            and not self._is_lost
        ):
            self._aborting = self._loop.call_later(
                self._close_timeout, self.transport.abort
            )


def _is_refused(header: bytes) -> bool:
    """Return whether a header, as far as it is there, is against the protocol."""
    return (
        header[0] & _RESERVED > 0
        or header[0] & 0x0F not in _OPCODES
        or (len(header) > 1 and header[1] & _MASKED > 0)
    )


def _payload(data: bytes, position: int) -> tuple[int, int]:
    """Find a frame's payload (RFC 6455, 5.2); behind the data if unknown as yet."""
    header = data[position : position + 10]
    beyond = len(data) + 1
    if len(header) < 2:
        return beyond, beyond
    size, extended = header[1] & 0x7F, 0
    if size == 126:
        extended = 2
    elif size == 127:
        extended = 8
    if len(header) < 2 + extended:
        return beyond, beyond
    if extended:
        size = int.from_bytes(header[2 : 2 + extended], "big")
    start = position + 2 + extended + (4 if header[1] & _MASKED else 0)
    return start, start + size

"""One TCP connection of a client: handshake, frames, pings, closing, and half-death."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from k2cli.simulator.dead_line import DeadLine
from k2cli.simulator.heartbeat import Heartbeat
from k2cli.simulator.timers import Timers
from k2cli.simulator.wire import server_wire

if TYPE_CHECKING:
    from k2cli.simulator.connection_roles import Gate, Session
    from k2cli.simulator.rules import Rules

CLOSE_TIMEOUT_SECONDS = 5.0
"""How long the other side may take to close."""
_WRITE_HIGH_WATER_BYTES = 262_144
_URI_TOO_LONG = (
    b"HTTP/1.1 414 URI Too Long\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """A client's connection, on the sans-I/O protocol of ``websockets``.

    Outgoing bytes wait in the transport's buffer, in order; how much may wait, and
    what happens beyond, is ``Rules.outgoing_bytes``.

    Args:
        gate: Decides about handshakes and is told of the end.
        rules: Limits and timing.
        response_headers: Added to each handshake response.
        patient: Whether a reader may be as slow as it likes, because the source waits
            for it.

    Attributes:
        session: What it speaks, once it is open.
        readable: Set while the client keeps up, and when it is not to be waited for.
        ended: Set when the connection is gone.
    """

    def __init__(
        self,
        gate: Gate,
        rules: Rules,
        response_headers: dict[str, str],
        *,
        patient: bool,
    ) -> None:
        self._gate = gate
        self._rules = rules
        self._response_headers = response_headers
        self._patient = patient
        self._transport: asyncio.Transport
        self._wire = server_wire()
        self._request_line = b""
        self._handshake_begun = False
        self._fragments: list[bytes] = []
        self._received_at: deque[float] = deque(
            maxlen=rules.client_frames_per_second or 1
        )
        self._timers = Timers()
        self._heartbeat = Heartbeat(
            rules,
            self._send_ping,
            # The ping waits behind what a slow reader has yet to read.
            lambda: self._patient and not self.readable.is_set(),
            lambda: self._fail("Pong timeout"),
        )
        self._dead_line: DeadLine | None = None
        self.session: Session | None = None
        self.readable = asyncio.Event()
        self.readable.set()
        self.ended = asyncio.Event()

    # What the exchange does with it

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._wire.state is State.OPEN

    @property
    def compresses(self) -> bool:
        """Whether permessage-deflate was negotiated."""
        return bool(self._wire.extensions)

    @property
    def is_stalled(self) -> bool:
        """Whether it plays dead."""
        return self._dead_line is not None

    @property
    def is_dead(self) -> bool:
        """Whether it plays dead for ever."""
        return self._dead_line is not None and self._dead_line.is_for_ever

    def send(self, text: bytes) -> None:
        """Send a text message, unless the connection is closing."""
        if self.is_open:
            self._wire.send_text(text)
            self._flush()

    def send_binary(self, data: bytes) -> None:
        """Send a binary message, unless the connection is closing."""
        if self.is_open:
            self._wire.send_binary(data)
            self._flush()

    def send_many(self, messages: list[bytes]) -> None:
        """Send messages in one write: whole frames, or texts if it compresses.

        A frame for an uncompressed connection is the same bytes for every client, so
        it is made once and comes here as it is: going through the protocol object
        for each message and client costs several times the encoding itself.
        """
        if not self.is_open:
            return
        if self.compresses:
            for message in messages:
                self._wire.send_text(message)
            self._flush()
        else:
            self._write(b"".join(messages))

    def send_cut_frame(self) -> None:
        """Send the beginning of a frame, and end TCP in the middle of it."""
        if self.is_open:
            self._write(b'\x81\x7e\x00\xa8{"stream":"btcusdt@tr')
            self._transport.close()

    def close(self, code: int, reason: str = "", *, patiently: bool = False) -> None:
        """Begin the closing handshake.

        Args:
            code: E.g. 1000.
            reason: Shown to the client.
            patiently: Wait for ever until the client has read everything.
        """
        if self.is_open:
            self._wire.send_close(code, reason)
            self._flush(patiently=patiently)

    def reset(self) -> None:
        """End TCP at once with RST: what is under way is lost, as in an outage."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            linger = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    def stall(self, seconds: float | None) -> None:
        """Fall silent with TCP up, as if the line were dead.

        What is sent meanwhile is delivered afterwards, up to
        ``Rules.outgoing_bytes``; beyond that the connection is reset instead.

        Args:
            seconds: For how long; ``None``: for ever.
        """
        self._dead_line = DeadLine(self._rules.outgoing_bytes, for_ever=seconds is None)
        self._heartbeat.stop()
        self._timers.cancel_all()
        self.readable.set()
        if seconds is not None:
            self._timers.start("recovery", seconds, self._recover)

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER_BYTES)
        if not self._gate.connected(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._wire.receive_eof()
        self._heartbeat.stop()
        self._timers.cancel_all()
        self.readable.set()
        self.ended.set()
        if self.session is not None:
            self.session.closed()
        self._gate.disconnected(self)

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        if not self.is_stalled:
            self.readable.clear()

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.readable.set()

    def eof_received(self) -> None:
        """See ``asyncio.Protocol``."""
        if not self.is_stalled:
            self._wire.receive_eof()
            self._flush()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._dead_line is not None:
            self._dead_line.hold_input(data)
            return
        if not self._request_line_fits(data):
            self._transport.write(_URI_TOO_LONG)
            self._transport.close()
            return
        self._wire.receive_data(data)
        events = self._wire.events_received()
        self._flush()
        for event in events:
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame(event)

    # Handshake

    def _request_line_fits(self, data: bytes) -> bool:
        if self._handshake_begun or b"\n" in self._request_line:
            return True
        self._request_line += data
        line, _, _ = self._request_line.partition(b"\n")
        return len(line.rstrip(b"\r")) <= self._rules.request_line_bytes

    def _handshake(self, request: Request) -> None:
        self._handshake_begun = True
        self._request_line = b""
        outcome = self._gate.answer(request)
        if outcome is None:
            return
        if isinstance(outcome, Response):
            response, session = outcome, None
        else:
            response, session = self._wire.accept(request), outcome
        for name, value in self._response_headers.items():
            response.headers[name] = value
        self._wire.send_response(response)
        self._flush()
        if session is None or not self.is_open:
            return
        self.session = session
        self._gate.accepted(self)
        session.opened(self)
        self._heartbeat.start()
        if self._rules.lifetime_seconds is not None:
            self._timers.start("lifetime", self._rules.lifetime_seconds, self._expire)

    # Frames

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE or self.session is None:
            return
        if self.session.limits_frames and self._too_many_frames():
            self._fail("Too many requests")
        elif frame.opcode is Opcode.PONG:
            self._heartbeat.pong(bytes(frame.data))
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                text = b"".join(self._fragments)
                self._fragments.clear()
                self.session.received(text)

    def _too_many_frames(self) -> bool:
        limit = self._rules.client_frames_per_second
        if limit is None:
            return False
        now = asyncio.get_running_loop().time()
        times = self._received_at
        exceeded = len(times) == limit and now - times[0] < 1.0
        times.append(now)
        return exceeded

    def _send_ping(self, payload: bytes) -> None:
        if self.is_open:
            self._wire.send_ping(payload)
            self._flush()

    def _fail(self, reason: str) -> None:
        if self.is_open:
            self._wire.fail(1008, reason)
            self._flush()

    def _expire(self) -> None:
        code = self._rules.lifetime_close_code
        if code is None:
            self._transport.close()
        else:
            self.close(code)

    # Writing

    def _flush(self, *, patiently: bool = False) -> None:
        for data in self._wire.data_to_send():
            if data:
                self._write(data)
            elif not self.is_stalled and self._transport.can_write_eof():
                self._transport.write_eof()
        if self._wire.close_expected() and not patiently:
            self._await_end()

    def _await_end(self) -> None:
        if "end" not in self._timers and not self.is_stalled:
            self._timers.start("end", CLOSE_TIMEOUT_SECONDS, self._transport.abort)

    def _write(self, data: bytes) -> None:
        if self._dead_line is not None:
            self._dead_line.hold_output(data)
        elif not self._transport.is_closing():
            self._transport.write(data)
            waiting = self._transport.get_write_buffer_size()
            if waiting > self._rules.outgoing_bytes and not self._patient:
                self._transport.abort()

    def _recover(self) -> None:
        line, self._dead_line = self._dead_line, None
        if line is None:
            return
        if line.has_overrun:
            self.reset()
            return
        self._write(bytes(line.output))
        if line.input and not self._transport.is_closing():
            self.data_received(bytes(line.input))
        if self.is_open:
            self._heartbeat.start()
        else:
            self._await_end()
        self._gate.recovered()

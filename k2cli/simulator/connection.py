"""One TCP connection of a client: handshake, frames, pings, closing, and stalls."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from k2cli.simulator.api import ApiSession
    from k2cli.simulator.limits import Rules
    from k2cli.simulator.router import Router
    from k2cli.simulator.streams import StreamSession

CLOSE_TIMEOUT_SECONDS = 5.0
"""How long the other side may take to close."""
HANDSHAKE_TIMEOUT_SECONDS = 10.0
"""How long a client may take to say what it wants."""
_WRITE_HIGH_WATER_BYTES = 262_144
_MAX_MESSAGE_BYTES = 1_048_576
_MAX_STALLED_INPUT_BYTES = 65_536
_URI_TOO_LONG = (
    b"HTTP/1.1 414 URI Too Long\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)

# The embedded exchange runs inside a command whose stderr is for its own user.
_quiet = logging.getLogger("k2cli.simulator.websockets")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
_quiet.setLevel(logging.CRITICAL + 1)


class Connection(asyncio.Protocol):
    """A client's connection, on the sans-I/O protocol of ``websockets``.

    A ``patient`` one lets its reader be as slow as it likes, because the source waits
    for it; else ``Rules.outgoing_bytes`` is the most that may wait for it.

    Attributes:
        session: What it speaks, once it is open.
        readable: Set while the client keeps up, and when it is not to be waited for.
        ended: Set when the connection is gone.
    """

    def __init__(
        self,
        router: Router,
        rules: Rules,
        response_headers: dict[str, str],
        *,
        patient: bool,
    ) -> None:
        self._router = router
        self._rules = rules
        self._response_headers = response_headers
        self._patient = patient
        self._transport: asyncio.Transport
        self._protocol = ServerProtocol(
            # Compression only if asked for, as Binance offers it.
            extensions=[
                ServerPerMessageDeflateFactory(server_no_context_takeover=True)
            ],
            max_size=_MAX_MESSAGE_BYTES,
            logger=_quiet,
        )
        self._request_line = b""
        self._handshake_begun = False
        self._fragments = bytearray()
        self._received_at: deque[float] = deque(
            maxlen=rules.client_frames_per_second or 1
        )
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._pings_sent_at: dict[bytes, float] = {}
        self._ping_count = 0
        self._stalled: _StalledLink | None = None
        self.session: StreamSession | ApiSession | None = None
        self.readable = asyncio.Event()
        self.readable.set()
        self.ended = asyncio.Event()

    # For the exchange

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._protocol.state is State.OPEN

    @property
    def compresses(self) -> bool:
        """Whether permessage-deflate was negotiated."""
        return bool(self._protocol.extensions)

    @property
    def is_stalled(self) -> bool:
        """Whether TCP is up and nothing moves."""
        return self._stalled is not None

    def send(self, message: bytes, *, binary: bool = False) -> None:
        """Send a message, unless the connection is closing."""
        if self.is_open:
            send = self._protocol.send_binary if binary else self._protocol.send_text
            send(message)
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
                self._protocol.send_text(message)
            self._flush()
        else:
            self._write(b"".join(messages))

    def send_cut_frame(self) -> None:
        """Send the beginning of a frame, and end TCP in the middle of it."""
        if self.is_open:
            self._write(b'\x81\x7e\x00\xa8{"stream":"btcusdt@tr')
            self._transport.close()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""
        if self.is_open:
            self._protocol.send_close(code, reason)
            self._flush()

    def reset(self) -> None:
        """End TCP at once with RST: what is under way is lost, as in an outage."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            linger = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    def stall(self, seconds: float | None) -> None:
        """Keep TCP up and let nothing through, for some time or for ever (``None``).

        What is sent meanwhile is delivered afterwards, up to
        ``Rules.outgoing_bytes``; beyond that the connection is reset instead.
        """
        self._stalled = _StalledLink(self._rules.outgoing_bytes, seconds is None)
        self._cancel_timers()
        self.readable.set()
        if seconds is not None:
            self._start_timer("recovery", seconds, self._recover)

    # For asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER_BYTES)
        if not self._router.connected(self):
            self._transport.abort()
        self._start_timer("handshake", HANDSHAKE_TIMEOUT_SECONDS, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._protocol.receive_eof()
        self._cancel_timers()
        self.readable.set()
        self.ended.set()
        if self.session is not None:
            self.session.closed()
        self._router.disconnected(self)

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
            self._protocol.receive_eof()
            self._flush()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._stalled is not None:
            self._stalled.keep_input(data)
            return
        if not self._request_line_fits(data):
            self._transport.write(_URI_TOO_LONG)
            self._transport.close()
            return
        self._protocol.receive_data(data)
        events = self._protocol.events_received()
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
        self._cancel_timers("handshake")
        self._request_line = b""
        answer = self._router.answer(request)
        if answer is None:
            return
        if isinstance(answer, Response):
            response, session = answer, None
        else:
            response, session = self._protocol.accept(request), answer
        for name, value in self._response_headers.items():
            response.headers[name] = value
        self._protocol.send_response(response)
        self._flush()
        if session is None or not self.is_open:
            return
        self.session = session
        session.opened(self)
        self._start_pings()
        if self._rules.lifetime_seconds is not None:
            self._start_timer("lifetime", self._rules.lifetime_seconds, self._expire)

    def _expire(self) -> None:
        if self._rules.lifetime_close_code is None:
            self._transport.close()
        else:
            self.close(self._rules.lifetime_close_code)

    # Frames

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE or self.session is None:
            return
        if self.session.is_stream and self._too_many_frames():
            self._fail("Too many requests")
        elif frame.opcode is Opcode.PONG:
            self._pong(bytes(frame.data))
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments += frame.data
            if frame.fin:
                text = bytes(self._fragments)
                self._fragments.clear()
                self.session.received(text)

    def _too_many_frames(self) -> bool:
        limit = self._rules.client_frames_per_second
        if limit is None:
            return False
        now, times = self._loop.time(), self._received_at
        exceeded = len(times) == limit and now - times[0] < 1.0
        times.append(now)
        return exceeded

    # Pings, each with a payload of its own, which the client must echo

    def _start_pings(self) -> None:
        self._pings_sent_at.clear()
        if self._rules.ping_interval_seconds is not None:
            self._start_timer("ping", self._rules.ping_interval_seconds, self._ping)

    def _ping(self) -> None:
        now = self._loop.time()
        self._ping_count += 1
        payload = b"%d" % (int(now * 1_000) + self._ping_count)
        self._pings_sent_at[payload] = now
        if self.is_open:
            self._protocol.send_ping(payload)
            self._flush()
        if self._rules.ping_interval_seconds is not None:
            self._start_timer("ping", self._rules.ping_interval_seconds, self._ping)
        if "pong" not in self._timers:
            self._start_timer("pong", self._rules.pong_timeout_seconds, self._miss_pong)

    def _pong(self, payload: bytes) -> None:
        if payload not in self._pings_sent_at:
            return
        # A client may answer only the latest of several pings: RFC 6455, 5.5.3.
        for earlier in list(self._pings_sent_at):
            del self._pings_sent_at[earlier]
            if earlier == payload:
                break
        self._cancel_timers("pong")
        if self._pings_sent_at:
            waited = self._loop.time() - next(iter(self._pings_sent_at.values()))
            self._start_timer(
                "pong", self._rules.pong_timeout_seconds - waited, self._miss_pong
            )

    def _miss_pong(self) -> None:
        # The ping waits behind what a slow reader has yet to read.
        if self._patient and not self.readable.is_set():
            self._start_timer("pong", self._rules.pong_timeout_seconds, self._miss_pong)
        else:
            self._fail("Pong timeout")

    def _fail(self, reason: str) -> None:
        if self.is_open:
            self._protocol.fail(1008, reason)
            self._flush()

    # Writing

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._write(data)
            elif not self.is_stalled and self._transport.can_write_eof():
                self._transport.write_eof()
        if self._protocol.close_expected():
            self._await_end()

    def _write(self, data: bytes) -> None:
        if self._stalled is not None:
            self._stalled.keep_output(data)
        elif not self._transport.is_closing():
            self._transport.write(data)
            waiting = self._transport.get_write_buffer_size()
            # The source waits for who reads its streams, and for nobody else.
            session = self.session
            awaited = self._patient and session is not None and session.is_stream
            if waiting > self._rules.outgoing_bytes and not awaited:
                self._transport.abort()

    def _await_end(self) -> None:
        if "end" not in self._timers and not self.is_stalled:
            self._start_timer("end", CLOSE_TIMEOUT_SECONDS, self._transport.abort)

    def _recover(self) -> None:
        link, self._stalled = self._stalled, None
        if link is None:
            return
        if link.has_overrun:
            self.reset()
            return
        self._write(bytes(link.output))
        if link.input and not self._transport.is_closing():
            self.data_received(bytes(link.input))
        if self.is_open:
            self._start_pings()
        else:
            self._await_end()
        self._router.recovered()

    # Timers, one per name

    def _start_timer(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        def run() -> None:
            del self._timers[name]
            call()

        self._cancel_timers(name)
        self._timers[name] = self._loop.call_later(max(0.0, seconds), run)

    def _cancel_timers(self, *names: str) -> None:
        for name in names or list(self._timers):
            if name in self._timers:
                self._timers.pop(name).cancel()


class _StalledLink:
    """Keeps what both sides send until the link works again, as TCP would.

    Once there is more than the limit, the connection has to be reset.
    """

    def __init__(self, output_limit_bytes: int, for_ever: bool) -> None:
        self._output_limit_bytes = output_limit_bytes
        self.for_ever = for_ever
        self.has_overrun = False
        self.output = bytearray()
        self.input = bytearray()

    def keep_output(self, data: bytes) -> None:
        if self.for_ever or self.has_overrun:
            return
        if len(self.output) + len(data) > self._output_limit_bytes:
            self.has_overrun = True
            self.output.clear()
        else:
            self.output += data

    def keep_input(self, data: bytes) -> None:
        if not self.for_ever:
            self.input += data[: _MAX_STALLED_INPUT_BYTES - len(self.input)]

"""Stream connections whose frames are handed on as they are read, many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from k2cli.binance.convert import now_us

if TYPE_CHECKING:
    from websockets.protocol import Event

_END_OF_HEADERS = b"\r\n\r\n"
_FIN_TEXT = 0x81
_RESERVED = 0x70
_MASKED = 0x80
_OPCODES = frozenset(Opcode)
# Trade events have under 200 bytes.
MAX_FRAME_BYTES = 2**20


class Receiver(Protocol):
    """Takes what a stream connection receives, in its order."""

    def burst(self, text: str, position: int, received_us: int) -> int:
        """Take what it can of the frames that begin here.

        Args:
            text: Bytes as received, one character each (latin-1).
            position: Where a frame begins.
            received_us: When they were received, Unix microseconds UTC.

        Returns:
            The position after what was taken.
        """

    def message(self, message: bytes, received_us: int) -> None:
        """Take one message, of any kind."""

    def over(self) -> None:
        """Learn that nothing more will come."""


class StreamConnection(ClientConnection):
    """A connection of ``websockets`` that does not queue messages for ``recv()``.

    Whole text frames are cut out of each read here, and are handed to a receiver at
    once, in the same turn of the event loop. Everything else (handshake, TLS, pings,
    closing, fragments) is left to the package, which gets it in whole frames. Reading
    stops while the receiver holds it back, so that nothing is queued but one read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._receiver: Receiver | None = None
        self._held = True
        # Frames behind an error or a close do not count.
        self._is_void = False
        self._has_ended = False
        self._is_lost = False
        self._head = b""
        self._unread = b""
        self._received_us = 0
        # The parts of a message that comes in fragments; None between messages.
        self._fragments: list[bytes] | None = None

    def begin(self, receiver: Receiver) -> None:
        """Hand on what comes, and what has come since the handshake."""
        self._receiver = receiver
        self.let_go()

    def hold(self) -> None:
        """Stop to hand on, and to read."""
        self._held = True
        self.transport.pause_reading()

    def let_go(self) -> None:
        """Go on after ``begin`` or ``hold``, from the event loop.

        Only when what was read is handed on, more is read: TLS has some ready at once.
        """
        self._held = False
        self.loop.call_soon(self._hand_on)

    def data_received(self, data: bytes) -> None:
        """Take what was read: called by the event loop."""
        self._received_us = now_us()
        if self.response is None:
            data = self._shake_hands(data)
        self._unread = self._unread + data if self._unread else data
        if not self._held:
            self._hand_on()

    def eof_received(self) -> None:
        """Note that nothing more will be read: called by the event loop."""
        self._has_ended = True
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end: called by the event loop."""
        self._has_ended = True
        super().connection_lost(exc)
        self._is_lost = True
        if not self._held:
            self._hand_on()

    def process_event(self, event: Event) -> None:
        """Take what the package has made of a frame: called by it."""
        if not isinstance(event, Frame) or event.opcode not in (
            Opcode.TEXT,
            Opcode.BINARY,
            Opcode.CONT,
        ):
            super().process_event(event)
            return
        self._fragments = [*(self._fragments or ()), bytes(event.data)]
        if event.fin:
            message, self._fragments = b"".join(self._fragments), None
            if self._receiver is not None:
                self._receiver.message(message, self._received_us)

    def _shake_hands(self, data: bytes) -> bytes:
        """Leave the response to the package; give what comes after it."""
        seen = len(self._head)
        self._head += data
        end = self._head.find(_END_OF_HEADERS)
        end = len(self._head) if end < 0 else end + len(_END_OF_HEADERS)
        super().data_received(data[: end - seen])
        rest = data[end - seen :]
        if self.protocol.state is State.OPEN:
            self._head = b""
            self.hold()
            return rest
        if rest:
            super().data_received(rest)
        return b""

    def _hand_on(self) -> None:
        """Hand on the whole frames that were read."""
        receiver, data = self._receiver, self._unread
        if receiver is None:
            return
        text = data.decode("latin-1")
        position = 0
        while position < len(data) and not self._held:
            if self._is_void:
                self._leave(data[position:])
                position = len(data)
                break
            if self._fragments is None:
                begun = position
                position = receiver.burst(text, begun, self._received_us)
                if position > begun or self._held:
                    continue
            start, end = _payload(data, position)
            header = data[position : position + 2]
            refused = end - start > MAX_FRAME_BYTES or _is_refused(header)
            if refused:
                # The package ends the connection as soon as it sees the header.
                end = len(data)
            if end > len(data):
                break
            if (
                not refused
                and self._fragments is None
                and header[0] == _FIN_TEXT
                and header[1] < _MASKED
            ):
                receiver.message(data[start:end], self._received_us)
            else:
                self._leave(data[position:end])
            position = end
        self._unread = data[position:]
        if self._held:
            return
        if self._is_lost:
            receiver.over()
        else:
            self.transport.resume_reading()

    def _leave(self, data: bytes) -> None:
        """Leave data to the package, which takes none behind the end."""
        if self._has_ended:
            self._is_void = self._is_void or data[0] & 0x0F == Opcode.CLOSE
        else:
            super().data_received(data)
            protocol = self.protocol
            self._is_void = bool(protocol.parser_exc or protocol.close_rcvd)


def _is_refused(header: bytes) -> bool:
    """Tell whether a frame's header is against the protocol, so far as it is there."""
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

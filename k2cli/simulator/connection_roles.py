"""What a connection needs of others: a gate to ask, and a session to speak for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from websockets.http11 import Request, Response

    from k2cli.simulator.connection import Connection


class Session(Protocol):
    """What a connection speaks once it is open: streams or the API."""

    @property
    def limits_frames(self) -> bool:
        """Whether the limit of frames per second counts here."""

    def opened(self, connection: Connection) -> None:
        """The handshake is done."""

    def received(self, text: bytes) -> None:
        """The client has sent a text message."""

    def closed(self) -> None:
        """The connection is gone, however it went; called once."""


class Gate(Protocol):
    """Who decides about connections."""

    def connected(self, connection: Connection) -> bool:
        """Whether a TCP connection may stay."""

    def answer(self, request: Request) -> Response | Session | None:
        """Answer a handshake: an HTTP response, a session, or nothing, ever."""

    def recovered(self) -> None:
        """A stalled connection works again."""

    def accepted(self, connection: Connection) -> None:
        """A WebSocket handshake was completed."""

    def disconnected(self, connection: Connection) -> None:
        """A TCP connection is gone."""

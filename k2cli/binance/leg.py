"""One connection to a stream address, from its handshake to its end."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed

from k2cli.binance.convert import now_us
from k2cli.binance.handshake import is_simulated
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websockets.asyncio.client import ClientConnection

# Between pings, and for an answer. That is far below the five frames a second that
# Binance allows a client, answers to its own pings included.
PING_SECONDS = 10.0


class FrameKind(Enum):
    """What a frame turned out to be."""

    DATA = "data"
    SHUTDOWN = "the exchange announces that it will close the connection"
    OTHER = "other"


class Leg:
    """A connection that hands its frames on.

    Args:
        connection: Open.
        on_frame: Called with each frame, when it was received (Unix microseconds), and
            the leg; says what it was. Awaited if it gives an awaitable, which holds the
            connection back.
        ping_seconds: Time between pings, and to wait for an answer. A connection on
            which nothing at all has come by then is in doubt.
        waits: Whether to stop reading after the first frame until ``let_go``: another
            leg is still delivering.

    Attributes:
        simulated: Whether the server says that its market is made up.
        delivered: Set when the first frame has come.
        proved: Whether data has come.
        doubt: Gives a reason to replace the connection, once there is one.
        silent: Whether it has stopped to answer.
        ended: Gives why the connection ended; raises what ``on_frame`` raised.
        skip_to: Last ids handed on by the leg before, by symbol: not to be repeated.
    """

    def __init__(
        self,
        connection: ClientConnection,
        on_frame: Callable[[bytes, int, Leg], FrameKind | Awaitable[FrameKind]],
        *,
        ping_seconds: float,
        waits: bool,
    ) -> None:
        self._connection = connection
        self._on_frame = on_frame
        self._ping_seconds = ping_seconds
        self._gate = asyncio.Event()
        if not waits:
            self._gate.set()
        self._frames = 0
        self._held_back = False
        self.simulated = is_simulated(connection)
        self.delivered = asyncio.Event()
        self.proved = False
        self.doubt: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.silent = False
        self.skip_to: dict[str, int] = {}
        self.ended = asyncio.create_task(self._carry())

    def let_go(self, skip_to: dict[str, int]) -> None:
        """Hand on what comes, from the first frame on.

        Args:
            skip_to: Last ids that the leg before has handed on, by symbol.
        """
        self.skip_to = skip_to
        self._gate.set()

    def replace_because(self, reason: str) -> None:
        """Ask for another connection in place of this one."""
        if not self.doubt.done():
            self.doubt.set_result(reason)

    def trust_again(self) -> None:
        """Go on with it in spite of a doubt."""
        self.doubt = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """End it gracefully: what has arrived is still handed on before it has ended.

        May be called from within ``on_frame``, so it does not wait for that. A leg that
        waits hands on once it is let go.
        """
        await self._connection.close()

    async def abandon(self) -> None:
        """End it at once."""
        self.ended.cancel()
        await asyncio.gather(self.ended, return_exceptions=True)

    async def _carry(self) -> str:
        keeping_alive = asyncio.create_task(self._keep_alive())
        try:
            frame = await self._connection.recv(decode=False)
            received_us = now_us()
            self.delivered.set()
            await self._gate.wait()
            while True:
                self._frames += 1
                kind = self._on_frame(frame, received_us, self)
                if not isinstance(kind, FrameKind):
                    self._held_back = True
                    kind = await kind
                    self._held_back = False
                if kind is FrameKind.DATA:
                    self.proved = True
                elif kind is FrameKind.SHUTDOWN:
                    self.replace_because(kind.value)
                frame = await self._connection.recv(decode=False)
                received_us = now_us()
        except ConnectionClosed as exc:
            return _reason(exc)
        finally:
            keeping_alive.cancel()
            await self._connection.close()

    async def _keep_alive(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._ping_seconds)
                frames = self._frames
                answer = await self._connection.ping()
                try:
                    async with asyncio.timeout(self._ping_seconds):
                        await answer
                except TimeoutError:
                    # While our own reader is slow, answers wait behind what is unread.
                    reading = not self._held_back and self._gate.is_set()
                    if reading and self._frames == frames:
                        self.silent = True
                        self.replace_because("nothing comes, not even answers to pings")
        except ConnectionClosed:
            pass  # the receiving side says why


def _reason(exc: ConnectionClosed) -> str:
    received = exc.rcvd
    if received is None:
        return "the connection was lost"
    because = f" ({printable(received.reason, 80)})" if received.reason else ""
    return f"the exchange closed the connection with code {received.code}{because}"

"""One connection to a stream address, from its handshake to its end."""

from __future__ import annotations

import asyncio
import inspect
from enum import Enum
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed

from k2cli.binance.handshake import is_simulated
from k2cli.errors import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k2cli.binance.frames import StreamConnection

    OnText = Callable[[str, int, int, "Leg"], tuple[int, Awaitable[None] | None]]
    OnFrame = Callable[[bytes, int, "Leg"], "FrameKind | Awaitable[FrameKind]"]

# Between pings, and for an answer. That is far below the five frames a second that
# Binance allows a client, answers to its own pings included.
PING_SECONDS = 10.0


class FrameKind(Enum):
    """What a frame turned out to be."""

    DATA = "data"
    SHUTDOWN = "the exchange announces that it will close the connection"
    OTHER = "other"


# How long after a handover trades may still come that the old connection has brought.
REPEATS_SECONDS = 60.0
_DATA_OPCODES = (1, 2)


class Leg:
    """A connection that hands on what it receives.

    Args:
        connection: Open.
        on_text: Called with what was read, as characters (latin-1), a position in it
            where a frame begins, when it was received (Unix microseconds), and the leg.
            Gives the position after the frames that it took. What it gives beside that
            is awaited, and holds the connection back meanwhile.
        on_frame: Called with each other message, when it was received, and the leg;
            says what it was. Awaited if it gives an awaitable.
        ping_seconds: Time between pings, and to wait for an answer. A connection on
            which nothing at all has come by then is in doubt.
        waits: Whether to hand on nothing until ``let_go``: another leg is still
            delivering.

    Attributes:
        simulated: Whether the server says that its market is made up.
        delivered: Set when the first data has come.
        proved: Whether data has come and was good.
        doubt: Gives a reason to replace the connection, once there is one.
        silent: Whether it has stopped to answer.
        ended: Gives why the connection ended; raises what ``on_frame`` raised.
        has_successor: Whether another leg is about to take over.
        skip_to: Last ids handed on by the leg before, by symbol: not to be repeated.
    """

    def __init__(
        self,
        connection: StreamConnection,
        on_text: OnText,
        on_frame: OnFrame,
        *,
        ping_seconds: float,
        waits: bool,
    ) -> None:
        self._connection = connection
        self._on_text = on_text
        self._on_frame = on_frame
        self._ping_seconds = ping_seconds
        self._waits = waits
        self._reads = 0
        self._held_back: asyncio.Future[FrameKind] | None = None
        loop = asyncio.get_running_loop()
        self.simulated = is_simulated(connection)
        self.delivered = asyncio.Event()
        self.proved = False
        self.doubt: asyncio.Future[str] = loop.create_future()
        self.silent = False
        self.has_successor = False
        self.skip_to: dict[str, int] = {}
        self._over: asyncio.Future[str] = loop.create_future()
        self.ended = asyncio.create_task(self._carry())
        connection.begin(self)

    def burst(self, text: str, position: int, received_us: int) -> int:
        """Take what was read: see ``frames.Receiver``."""
        if self._over.done():
            return len(text)
        if self._waits:
            if ord(text[position]) & 0x0F in _DATA_OPCODES:
                self.delivered.set()
                self._connection.hold()
            return position
        try:
            end, held_back = self._on_text(text, position, received_us, self)
        except Exception as exc:
            self._fail(exc)
            return len(text)
        if end > position:
            self._reads += 1
            self.delivered.set()
            self.proved = True
        if held_back is not None:
            self._hold_for(_then_data(held_back))
        return end

    def message(self, message: bytes, received_us: int) -> None:
        """Take a message: see ``frames.Receiver``."""
        if self._over.done():
            return
        self._reads += 1
        self.delivered.set()
        try:
            kind = self._on_frame(message, received_us, self)
        except Exception as exc:
            self._fail(exc)
            return
        if inspect.isawaitable(kind):
            self._hold_for(kind)
        else:
            self._note(kind)

    def over(self) -> None:
        """Learn that nothing more will come: see ``frames.Receiver``."""
        if not self._over.done():
            self._over.set_result(_reason(self._connection))

    def let_go(self, skip_to: dict[str, int]) -> None:
        """Hand on what comes, from the first frame on.

        Args:
            skip_to: Last ids that the leg before has handed on, by symbol.
        """
        self.skip_to = skip_to
        asyncio.get_running_loop().call_later(REPEATS_SECONDS, skip_to.clear)
        self._waits = False
        self._connection.let_go()

    def replace_because(self, reason: str) -> None:
        """Ask for another connection in place of this one."""
        if not self.doubt.done():
            self.doubt.set_result(reason)

    def trust_again(self) -> None:
        """Go on with it in spite of a doubt."""
        self.has_successor = False
        self.doubt = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """End it gracefully: what has arrived is still handed on before it has ended.

        A leg that waits hands on once it is let go.
        """
        await self._connection.close()

    async def abandon(self) -> None:
        """End it at once."""
        if self._held_back is not None:
            self._held_back.cancel()
        self.ended.cancel()
        await asyncio.gather(self.ended, return_exceptions=True)

    def _note(self, kind: FrameKind) -> None:
        if kind is FrameKind.DATA:
            self.proved = True
        elif kind is FrameKind.SHUTDOWN:
            self.replace_because(kind.value)

    def _hold_for(self, awaitable: Awaitable[FrameKind]) -> None:
        self._connection.hold()
        self._held_back = held_back = asyncio.ensure_future(awaitable)
        held_back.add_done_callback(self._release)

    def _release(self, held_back: asyncio.Future[FrameKind]) -> None:
        self._held_back = None
        if held_back.cancelled():
            return
        exc = held_back.exception()
        if isinstance(exc, Exception):
            self._fail(exc)
        else:
            self._note(held_back.result())
        self._connection.let_go()

    def _fail(self, exc: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(exc)

    async def _carry(self) -> str:
        keeping_alive = asyncio.create_task(self._keep_alive())
        try:
            return await self._over
        finally:
            keeping_alive.cancel()
            await self._connection.close()

    async def _keep_alive(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._ping_seconds)
                reads = self._reads
                answer = await self._connection.ping()
                try:
                    async with asyncio.timeout(self._ping_seconds):
                        await answer
                except TimeoutError:
                    # While our own reader is slow, answers wait behind what is unread.
                    reading = self._held_back is None and not self._waits
                    if reading and self._reads == reads:
                        self.silent = True
                        self.replace_because("nothing comes, not even answers to pings")
        except ConnectionClosed:
            pass  # the receiving side says why


async def _then_data(awaitable: Awaitable[None]) -> FrameKind:
    await awaitable
    return FrameKind.DATA


def _reason(connection: StreamConnection) -> str:
    received = connection.protocol.close_rcvd
    if received is None:
        return "the connection was lost"
    because = f" ({printable(received.reason, 80)})" if received.reason else ""
    return f"the exchange closed the connection with code {received.code}{because}"

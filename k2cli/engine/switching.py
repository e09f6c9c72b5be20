"""From one stream of trades to another, without losing one in between."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k2cli.engine.protocols import StreamHealth, TradeStream
    from k2cli.trade import TradeBatch

    Receive = Callable[[TradeBatch], Awaitable[None] | None]

_LOOK_EVERY_SECONDS = 0.05
# Both streams are live for so long: what the old one still brings, the new one may
# have missed.
OVERLAP_SECONDS = 2.0
# Within this, what both have brought is left out of what the new one has.
_REPEATED_SECONDS = 5.0


class Gate:
    """Holds a stream back until the one before it has handed on all it had.

    So nothing of the new one overtakes the old one, and no gap is seen where none is.

    Args:
        receive: Takes the trades.
        is_known: Returns whether a trade of a symbol has been received already.
    """

    def __init__(self, receive: Receive, is_known: Callable[[str, int], bool]) -> None:
        self._receive = receive
        self._is_known = is_known
        self._open = asyncio.Event()
        self._repeats_until_seconds: float | None = None

    def open(self) -> None:
        """Let through what has come, and all that comes."""
        self._repeats_until_seconds = time.monotonic() + _REPEATED_SECONDS
        self._open.set()

    def receive(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Take trades; held back, a connection reads no more."""
        if not self._open.is_set():
            return self._later(batch)
        until_seconds = self._repeats_until_seconds
        if until_seconds is not None:
            if time.monotonic() < until_seconds:
                batch = self._without_repeats(batch)
            else:
                self._repeats_until_seconds = None
        return self._receive(batch) if len(batch) else None

    async def _later(self, batch: TradeBatch) -> None:
        await self._open.wait()
        held_back = self.receive(batch)
        if held_back is not None:
            await held_back

    def _without_repeats(self, batch: TradeBatch) -> TradeBatch:
        # A long run of duplicates would look as if the exchange counted anew.
        return batch.select(
            [
                index
                for index, symbol in enumerate(batch.symbols)
                if not self._is_known(symbol, int(batch.trade_ids[index]))
            ]
        )


class SwitchingStream:
    """A stream whose place another one can take while it runs.

    Args:
        stream: The first one, not connected yet.

    Attributes:
        first_with: As for any stream; all of them count together.
    """

    def __init__(self, stream: TradeStream) -> None:
        self.first_with = stream.first_with
        self._stream = stream
        self._receiving: asyncio.Task[None] | None = None
        self._former_reconnects = 0
        self._is_ending = False

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first ones."""
        return self._former_reconnects + self._stream.reconnects

    async def connect(self) -> None:
        """Receive until disconnected, from whichever stream it is."""
        self._receiving = asyncio.create_task(self._stream.connect())
        try:
            while True:
                receiving = self._receiving
                await asyncio.wait({receiving})
                receiving.result()
                if receiving is self._receiving:
                    return
        finally:
            self._receiving.cancel()

    async def disconnect(self) -> None:
        """End gracefully."""
        self._is_ending = True
        await self._stream.disconnect()

    def health(self) -> StreamHealth:
        """Return how the connections are."""
        return self._stream.health()

    def replace_connection(self, symbol: str, reason: str) -> None:
        """Have a symbol's connection replaced by a new one."""
        self._stream.replace_connection(symbol, reason)

    async def switch_to(self, stream: TradeStream, gate: Gate) -> None:
        """Let another stream take over once it delivers all symbols.

        If it fails before that, or this is cancelled, the present one goes on.

        Args:
            stream: Not connected yet.
            gate: What its trades go through, closed.

        Raises:
            K2Error: As ``TradeStream.connect`` does.
        """
        stream.first_with = self.first_with
        receiving = asyncio.create_task(stream.connect())
        try:
            while not stream.health().delivers:
                await _unless_ended(receiving, _LOOK_EVERY_SECONDS)
            await _unless_ended(receiving, OVERLAP_SECONDS)
            if self._is_ending:
                raise asyncio.CancelledError
        except BaseException:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            raise
        former, self._stream = self._stream, stream
        self._receiving = receiving
        self._former_reconnects += former.reconnects
        try:
            await former.disconnect()
        finally:
            gate.open()


async def _unless_ended(receiving: asyncio.Task[None], seconds: float) -> None:
    """Wait; raise what ended a stream meanwhile."""
    await asyncio.wait({receiving}, timeout=seconds)
    if receiving.done():
        receiving.result()

"""One connection to a stream address, from its handshake to its end."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Protocol

from k2cli.binance.decoder import Skipped
from k2cli.binance.fast_path import SYMBOLS, TRADE_IDS, rows_of, skim_plain_trades
from k2cli.binance.handshake import exchange_name
from k2cli.errors import printable
from k2cli.trade import TradeBatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from k2cli.binance.decoder import MessageDecoder
    from k2cli.binance.pacing import ReadPacer
    from k2cli.binance.transport import StreamConnection

    OnBatch = Callable[[TradeBatch], Awaitable[None] | None]

# Between pings, and for an answer. That is far below the five frames a second that
# Binance allows a client, answers to its own pings included.
PING_SECONDS = 10.0
# How long after a handover trades may still come that the old connection has brought.
REPEATS_SECONDS = 60.0
_DATA_OPCODES = (1, 2)


class Arbitration(Protocol):
    """Takes the trades of one connection of two, before they are made into batches."""

    @property
    def trails(self) -> bool:
        """Whether the other connection has been first with what has come of late."""

    def count_known(self, symbols: Sequence[str], trade_ids: Sequence[str]) -> int:
        """Take the trades in front that the other one has brought; return how many."""

    def receive(
        self,
        symbols: Sequence[str],
        trade_ids: Sequence[str],
        select: Callable[[Sequence[int]], TradeBatch],
    ) -> Awaitable[None] | None:
        """Take trades; ``select`` makes a batch of those at some indexes."""


class Connection:
    """A connection that hands on the trades that it receives.

    Args:
        transport: Open.
        decoder: Makes trades of what is received.
        on_batch: Called with trades. An awaitable that it returns is awaited before
            more is read; what it raises ends the connection.
        pacer: Says when to read.
        ping_seconds: Time between pings, and to wait for an answer. A connection on
            which nothing at all has come by then should be replaced.
        waits: Whether to hand on nothing until ``take_over``: another connection still
            delivers.
        arbitration: Takes plain trades instead of ``on_batch``, unless the connection
            has just taken over or is about to be replaced.

    Attributes:
        exchange: What records name as their exchange.
        delivered: Set when the first data has come.
        proved: Whether trades have come.
        replacing: Why to replace the connection, once there is a reason.
        silent: Whether it has stopped to answer.
        ended: Why the connection ended; raises what ``on_batch`` raised.
        handed_on: While another connection is about to take over, the last ids that
            were handed on, by symbol: that one will repeat them.
    """

    def __init__(
        self,
        transport: StreamConnection,
        decoder: MessageDecoder,
        on_batch: OnBatch,
        *,
        pacer: ReadPacer,
        ping_seconds: float,
        waits: bool,
        arbitration: Arbitration | None = None,
    ) -> None:
        self._transport = transport
        self._decoder = decoder
        self._on_batch = on_batch
        self._pacer = pacer
        self._ping_seconds = ping_seconds
        self._waits = waits
        self._arbitration = arbitration
        self._held_back: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        self.exchange = exchange_name(transport)
        self.delivered = asyncio.Event()
        self.proved = False
        self.replacing: asyncio.Future[str] = loop.create_future()
        self.silent = False
        self.handed_on: dict[str, int] | None = None
        # The same of the connection before.
        self._skip_to: dict[str, int] = {}
        self._end: asyncio.Future[str] = loop.create_future()
        self.ended = asyncio.create_task(self._run())
        transport.begin(self)

    # What the transport calls.

    def frames_received(self, text: str, position: int, received_us: int) -> int:
        """Take what was read: see ``transport.Receiver``."""
        if self._end.done():
            return len(text)
        if self._waits:
            if ord(text[position]) & 0x0F in _DATA_OPCODES:
                self.delivered.set()
                self._transport.pause()
            return position
        try:
            if self._arbitration and not self._skip_to and self.handed_on is None:
                return self._arbitrate(self._arbitration, text, position, received_us)
            batch, end = self._decoder.decode_frames(
                text, position, received_us, self.exchange
            )
            if batch is not None:
                self._hand_on(batch)
        except Exception as exc:
            self._fail(exc)
            return len(text)
        return end

    def _arbitrate(
        self, arbitration: Arbitration, text: str, position: int, received_us: int
    ) -> int:
        if arbitration.trails:
            symbols, trade_ids, lengths = skim_plain_trades(text, position)
            known = arbitration.count_known(symbols, trade_ids)
            if known:
                self._received(known)
                return position + sum(lengths[:known])
        columns, end = self._decoder.cut_frames(text, position, self.exchange)
        if columns is not None:

            def select(indexes: Sequence[int]) -> TradeBatch:
                rows = rows_of(columns, indexes)
                return self._decoder.batch_of(rows, received_us, self.exchange)

            self._received(len(columns[SYMBOLS]))
            symbols, trade_ids = columns[SYMBOLS], columns[TRADE_IDS]
            self._wait_for(arbitration.receive(symbols, trade_ids, select))
        return end

    def message_received(self, message: bytes, received_us: int) -> None:
        """Take a message: see ``transport.Receiver``."""
        if self._end.done():
            return
        self.delivered.set()
        try:
            decoded = self._decoder.decode_message(message, received_us, self.exchange)
            if isinstance(decoded, TradeBatch):
                self._hand_on(decoded)
            elif decoded is Skipped.SHUTDOWN:
                self.replace_because(decoded.value)
        except Exception as exc:
            self._fail(exc)

    def connection_ended(self) -> None:
        """Note that nothing more will come: see ``transport.Receiver``."""
        if not self._end.done():
            self._end.set_result(_reason(self._transport))

    # What its user calls.

    def take_over(self, skip_to: dict[str, int]) -> None:
        """Hand on what comes, from the first frame on.

        Args:
            skip_to: Last ids that the connection before has handed on, by symbol: not
                to be repeated.
        """
        self._skip_to = skip_to
        asyncio.get_running_loop().call_later(REPEATS_SECONDS, skip_to.clear)
        self._waits = False
        self._transport.resume()

    def replace_because(self, reason: str) -> None:
        """Ask for another connection in place of this one."""
        if not self.replacing.done():
            self.replacing.set_result(reason)

    def expect_successor(self) -> None:
        """Note from here on what is handed on."""
        self.handed_on = {}

    def keep(self) -> None:
        """Go on with it although it was to be replaced."""
        self.handed_on = None
        self.replacing = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Close it: what has arrived is still handed on before it has ended.

        A connection that waits hands on once it takes over.
        """
        await self._transport.close()

    async def abandon(self) -> None:
        """End it at once."""
        if self._held_back is not None:
            self._held_back.cancel()
        self.ended.cancel()
        await asyncio.gather(self.ended, return_exceptions=True)

    def _hand_on(self, batch: TradeBatch) -> None:
        self._received(len(batch.symbols))
        if self._skip_to:
            batch = self._without_repeated(batch)
        if self.handed_on is not None:
            self.handed_on.update(
                zip(batch.symbols, map(int, batch.trade_ids), strict=True)
            )
        if batch.symbols:
            self._wait_for(self._on_batch(batch))

    def _without_repeated(self, batch: TradeBatch) -> TradeBatch:
        """Leave out what the connection before has handed on."""
        new = []
        for index, trade_id in enumerate(map(int, batch.trade_ids)):
            symbol = batch.symbols[index]
            if trade_id > self._skip_to.get(symbol, -1):
                self._skip_to.pop(symbol, None)
                new.append(index)
        return batch.select(new)

    def _received(self, trades: int) -> None:
        self.delivered.set()
        self.proved = True
        self._pacer.received(trades)

    def _wait_for(self, held_back: Awaitable[None] | None) -> None:
        if held_back is not None and inspect.isawaitable(held_back):
            self._transport.pause()
            self._held_back = asyncio.ensure_future(held_back)
            self._held_back.add_done_callback(self._release)

    def _release(self, held_back: asyncio.Future[None]) -> None:
        self._held_back = None
        if held_back.cancelled():
            return
        exc = held_back.exception()
        if isinstance(exc, Exception):
            self._fail(exc)
        self._transport.resume()

    def _fail(self, exc: Exception) -> None:
        if not self._end.done():
            self._end.set_exception(exc)

    async def _run(self) -> str:
        keeping_alive = asyncio.create_task(self._keep_alive())
        try:
            return await self._end
        finally:
            keeping_alive.cancel()
            await self._transport.close()

    async def _keep_alive(self) -> None:
        """Ping, and note when nothing has come since the ping before."""
        at_last_ping = None
        while True:
            await asyncio.sleep(self._ping_seconds)
            # While our own reader is slow, answers wait behind what is unread.
            reads = self._held_back is None and not self._waits
            if reads and self._transport.activity == at_last_ping:
                self.silent = True
                self.replace_because("nothing comes, not even answers to pings")
            at_last_ping = self._transport.activity
            self._transport.ping()


def _reason(transport: StreamConnection) -> str:
    received = transport.protocol.close_rcvd
    if received is None:
        return "the connection was lost"
    because = f" ({printable(received.reason, 80)})" if received.reason else ""
    return f"the exchange closed the connection with code {received.code}{because}"

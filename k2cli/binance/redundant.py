"""Two connections with the same symbols: one may be lost, and no trade with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from k2cli.binance.status import ConnectionState, ConnectionStatus
from k2cli.completeness.arbitration import Arbiter, Feed
from k2cli.errors import ExchangeRefused, ExchangeUnreachable

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from structlog.typing import FilteringBoundLogger

    from k2cli.binance.connection import Arbitration, OnBatch
    from k2cli.binance.reconnecting import ReconnectingConnection
    from k2cli.trade import TradeBatch

    HandOn = Callable[[Sequence[TradeBatch]], Awaitable[None] | None]
    OnStatus = Callable[[ConnectionStatus], None]

APART_SECONDS = 1.0
"""How much later than the first connection the second one is opened, at least."""

LOOK_SECONDS = 30.0
"""How often it is looked whether one connection lacks a symbol that the other has."""

# A connection that has been given up is tried again as long as the other one is not.
_TRIED_AGAIN_SECONDS = 60.0

log: FilteringBoundLogger = structlog.get_logger()


class Connect(Protocol):
    """Makes a connection that is not open yet."""

    def __call__(
        self, *, on_batch: OnBatch, on_status: OnStatus, arbitration: Arbitration
    ) -> ReconnectingConnection:
        """Make it.

        Args:
            on_batch: As for ``ReconnectingConnection``.
            on_status: Likewise.
            arbitration: Likewise.
        """


class _FeedReceiver:
    """Takes the trades of one of two connections; see ``connection.Arbitration``."""

    def __init__(self, arbiter: Arbiter, feed: Feed, hand_on: HandOn) -> None:
        self._arbiter = arbiter
        self._feed = feed
        self._hand_on = hand_on

    @property
    def trails(self) -> bool:
        return self._feed.trails

    def count_known(self, symbols: Sequence[str], trade_ids: Sequence[str]) -> int:
        return self._arbiter.count_known(self._feed, symbols, trade_ids)

    def receive(
        self,
        symbols: Sequence[str],
        trade_ids: Sequence[str],
        select: Callable[[Sequence[int]], TradeBatch],
    ) -> Awaitable[None] | None:
        return self._hand_on(
            self._arbiter.receive(self._feed, symbols, trade_ids, select)
        )

    def take(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Take a batch that is made already."""
        return self.receive(batch.symbols, batch.trade_ids, batch.select)


class RedundantConnections:
    """Keeps two connections open and hands on each trade once.

    It fails when both are given up; until then, what has failed is tried again.

    Args:
        symbols: What they carry.
        connects: Make the two, on different hosts if possible.
        on_batch: Called with trades as they come, in turn; an awaitable that it returns
            is awaited before more is handed on.
        on_statuses: Called with changes of the state of each.
        first_with: As for ``Arbiter``.
        clock: Returns monotonic seconds.

    Attributes:
        symbols: What they carry.
    """

    def __init__(
        self,
        symbols: tuple[str, ...],
        connects: Sequence[Connect],
        *,
        on_batch: OnBatch,
        on_statuses: Sequence[OnStatus],
        first_with: Counter[tuple[str, str]],
        clock: Callable[[], float],
    ) -> None:
        self.symbols = symbols
        self._on_batch = on_batch
        self._clock = clock
        self._arbiter = Arbiter(first_with, clock=clock)
        self._feeds = self._arbiter.feeds
        receivers = [
            _FeedReceiver(self._arbiter, feed, self._hand_on) for feed in self._feeds
        ]
        self._connections = {
            feed: connect(
                on_batch=receiver.take,
                on_status=partial(self._note_status, feed, on_status),
                arbitration=receiver,
            )
            for feed, receiver, connect, on_status in zip(
                self._feeds, receivers, connects, on_statuses, strict=True
            )
        }
        self._given_up: set[Feed] = set()
        # Trades on their way to a slow receiver: others come behind them.
        self._under_way: asyncio.Future[None] | None = None
        # Whether what waits first will be looked at in time, and what makes it so.
        self._is_timed = False
        self._changed = asyncio.Event()
        self._begun = asyncio.Event()
        self._closing = asyncio.Event()
        self._has_ended = False

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first two."""
        return sum(each.reconnects for each in self._connections.values())

    async def run(self) -> None:
        """Stay connected until closed.

        Raises:
            AttemptsExhausted: If neither connection could be made again.
            ConnectFailed: If the first attempts show that others will fail too.
            ExchangeRefused: Likewise.
        """
        try:
            await run_together(
                self._keep_both(), self._release_in_time(), self._watch_symbols()
            )
        finally:
            if self._under_way is not None:
                self._under_way.cancel()

    async def close(self) -> None:
        """Disconnect: what has arrived is still handed on, then ``run`` returns."""
        self._closing.set()
        self._begun.set()
        await asyncio.gather(*(each.close() for each in self._connections.values()))

    def replace(self, reason: str) -> None:
        """Open other connections in place of the present ones."""
        for connection in self._connections.values():
            connection.replace(reason)

    def _hand_on(self, batches: Sequence[TradeBatch]) -> Awaitable[None] | None:
        """Hand on trades, behind those of the other connection that are under way."""
        if self._arbiter.waiting and not self._is_timed:
            self._changed.set()
        under_way = self._under_way
        if under_way is None or under_way.done():
            for number, batch in enumerate(batches, 1):
                held_back = self._on_batch(batch)
                if held_back is not None:
                    return self._hand_on_later(held_back, batches[number:])
            return None
        return self._hand_on_later(asyncio.shield(under_way), batches)

    async def _keep_both(self) -> None:
        first, second = self._feeds
        await run_together(self._keep(first), self._keep_second(second))
        self._has_ended = True
        self._changed.set()

    async def _keep_second(self, feed: Feed) -> None:
        await self._begun.wait()
        await self._pause(APART_SECONDS)
        await self._keep(feed)

    async def _keep(self, feed: Feed) -> None:
        """Keep a connection open as long as it or the other one can be had."""
        while True:
            try:
                await self._connections[feed].run()
            except (ExchangeUnreachable, ExchangeRefused) as exc:
                self._given_up.add(feed)
                self._begun.set()
                if feed.other in self._given_up:
                    raise
                if feed.other.is_live:
                    log.warning(
                        "One of two connections cannot be had",
                        reason=exc.message,
                        retry_in_seconds=_TRIED_AGAIN_SECONDS,
                    )
                await self._pause(_TRIED_AGAIN_SECONDS)
            if self._closing.is_set():
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _note_status(
        self, feed: Feed, on_status: OnStatus, status: ConnectionStatus
    ) -> None:
        feed.is_live = status.state is ConnectionState.LIVE
        if feed.is_live:
            feed.since_seconds = self._clock()
            feed.host = self._connections[feed].host
            self._given_up.discard(feed)
        if status.state is not ConnectionState.CONNECTING:
            self._begun.set()
        self._changed.set()
        on_status(status)

    def _hand_on_later(
        self, held_back: Awaitable[None], batches: Sequence[TradeBatch]
    ) -> Awaitable[None]:
        async def hand_on() -> None:
            await held_back
            for batch in batches:
                held_back_again = self._on_batch(batch)
                if held_back_again is not None:
                    await held_back_again

        self._under_way = asyncio.ensure_future(hand_on())
        return asyncio.shield(self._under_way)

    async def _release_in_time(self) -> None:
        """Hand on what waits when it has waited long enough, and all in the end."""
        while not self._has_ended:
            due_in_seconds = self._arbiter.due_in_seconds()
            self._is_timed = due_in_seconds is not None
            with suppress(TimeoutError):
                async with asyncio.timeout(due_in_seconds):
                    await self._changed.wait()
            self._changed.clear()
            await _end_of(self._hand_on(self._arbiter.due()))
        await _end_of(self._hand_on(self._arbiter.rest()))

    async def _watch_symbols(self) -> None:
        """Replace a connection that lacks a symbol: the other one would not tell."""
        while not self._closing.is_set():
            await self._pause(LOOK_SECONDS)
            for feed, symbol in self._arbiter.look():
                self._connections[feed].replace(
                    f"{symbol} comes over the other connection only"
                )


async def _end_of(held_back: Awaitable[None] | None) -> None:
    if held_back is not None:
        await held_back


async def run_together(*work: Coroutine[Any, Any, None]) -> None:
    """Run several things until all have ended, or one has failed: raise its error."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except* Exception as errors:
        error = errors.exceptions[0]
        raise error from error.__cause__

"""Trades as an async iterator, with the promise of a session."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from k2cli.engine.session import MAX_BACKFILL_TRADES, Session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from decimal import Decimal

    from k2cli.completeness.id_ranges import IdRange
    from k2cli.completeness.ledger import Ledger
    from k2cli.config import BinanceConfig
    from k2cli.engine.protocols import SymbolSet, Venue
    from k2cli.trade import TradeBatch, TradeV2

# Batches held for a slow caller; when there are more, the stream waits.
_MOST_BATCHES = 64


async def tail(
    *symbols: str,
    config: BinanceConfig | None = None,
    venue: Venue | None = None,
    side: str | None = None,
    min_notional: Decimal | float | None = None,
    max_backfill: int = MAX_BACKFILL_TRADES,
    since_seconds: float | None = None,
) -> AsyncGenerator[TradeV2, None]:
    """Follow symbols: each trade once, at once, and what the stream lost as well.

    A trade that the stream lost comes late, from the history, with
    ``vendor_data["source"] == "backfill"``. Ids that cannot be had are logged; a
    ``Session`` gives the ledger that names them.

    Args:
        *symbols: E.g. ``"BTCUSDT"``; those of the configuration if there are none.
        config: As for ``Session``.
        venue: As for ``Session``.
        side: As for ``Session``.
        min_notional: As for ``Session``.
        max_backfill: As for ``Session``.
        since_seconds: As for ``Session``: begin so long ago, with the history.

    Raises:
        UnknownSymbol: If the exchange does not have one of the symbols.
        ExchangeUnreachable: If the exchange cannot be reached any more.
        ExchangeRefused: If it does not serve this address.
    """
    sink = _QueueSink()
    async with Session(
        symbols,
        sinks=[sink],
        config=config,
        venue=venue,
        side=side,
        min_notional=min_notional,
        max_backfill=max_backfill,
        since_seconds=since_seconds,
    ) as session:
        running = asyncio.create_task(session.run())
        running.add_done_callback(lambda _: sink.end())
        try:
            while (batch := await sink.take()) is not None:
                for trade in batch.trades():
                    yield trade
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class _QueueSink:
    """Holds batches until the caller takes them."""

    in_order = False
    journal = None
    on_failure: Callable[[Exception], None]

    def __init__(self) -> None:
        self._batches: deque[TradeBatch] = deque()
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_ended = False

    async def open(self, symbols: SymbolSet, ledger: Ledger) -> None:
        """There is nothing to resume."""

    async def extend(self, ledger: Ledger) -> None:
        """Nothing is kept by symbol."""

    def write(self, batch: TradeBatch) -> Awaitable[None] | None:
        self._batches.append(batch)
        self._changed.set()
        if len(self._batches) < _MOST_BATCHES:
            return None
        self._has_room.clear()
        return self._wait_for_room()

    async def take(self) -> TradeBatch | None:
        """Return the next batch; ``None`` after the last one."""
        while not self._batches and not self._has_ended:
            self._changed.clear()
            await self._changed.wait()
        if not self._batches:
            return None
        batch = self._batches.popleft()
        self._has_room.set()
        return batch

    def lost(self, symbol: str, ids: IdRange) -> None:
        """The engine logs it."""

    def end(self) -> None:
        """Let the caller know that nothing more comes."""
        self._has_ended = True
        self._changed.set()

    async def flush(self) -> None:
        """The caller takes what is there."""

    async def close(self) -> None:
        """Nothing is open."""

    async def _wait_for_room(self) -> None:
        while len(self._batches) >= _MOST_BATCHES:
            self._has_room.clear()
            await self._has_room.wait()

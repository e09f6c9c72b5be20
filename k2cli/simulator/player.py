"""Plays a source: each trade when it is due, at the readers' pace if need be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k2cli.simulator.broadcast import Broadcast
    from k2cli.simulator.source import TradeSource
    from k2cli.simulator.trades import Trade

_BATCH_TRADES = 500
"""Between two batches everything else gets its turn."""
_SHORTEST_SLEEP_SECONDS = 0.001


class Player:
    """Publishes a source's trades in time.

    Args:
        source: Where they come from.
        broadcast: Who listens, and whether they keep up.
        publish: Takes a batch.
        wall_clock_us: Unix microseconds UTC.
        start_when_subscribed: Whether to wait for the first listener.
    """

    def __init__(
        self,
        source: TradeSource,
        broadcast: Broadcast,
        publish: Callable[[Sequence[Trade]], None],
        wall_clock_us: Callable[[], int],
        *,
        start_when_subscribed: bool,
    ) -> None:
        self._source = source
        self._broadcast = broadcast
        self._publish = publish
        self._wall_clock_us = wall_clock_us
        self._start_when_subscribed = start_when_subscribed

    async def play(self) -> None:
        """Play to the end, which an endless source does not have."""
        if self._start_when_subscribed:
            await self._subscribed()
        clock = asyncio.get_running_loop().time
        start = clock()
        elapsed_us = 0.0
        batch: list[Trade] = []
        for due_us, trade in self._source.timeline(self._wall_clock_us()):
            if due_us > elapsed_us or len(batch) >= _BATCH_TRADES:
                elapsed_us = (clock() - start) * 1e6
            while due_us > elapsed_us:
                if batch:
                    self._publish(batch)
                    batch = []
                wait_seconds = (due_us - elapsed_us) / 1e6
                await asyncio.sleep(max(_SHORTEST_SLEEP_SECONDS, wait_seconds))
                elapsed_us = (clock() - start) * 1e6
            batch.append(trade)
            if len(batch) >= _BATCH_TRADES:
                self._publish(batch)
                batch = []
                await self._breathe()
        if batch:
            self._publish(batch)
        self._broadcast.finish()

    async def _breathe(self) -> None:
        await asyncio.sleep(0)
        if self._source.waits_for_readers:
            await self._broadcast.readable()
        if self._source.pauses_when_alone:
            await self._subscribed()

    async def _subscribed(self) -> None:
        while not self._broadcast.has_listener(self._source.symbols):
            await self._broadcast.changed()

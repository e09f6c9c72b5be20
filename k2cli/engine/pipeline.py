"""The way of the trades of a run: through completeness and filters to the sinks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from k2cli.completeness.sequencer import both

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from k2cli.completeness.sequencer import Deliver
    from k2cli.completeness.trade_filter import TradeFilter
    from k2cli.engine.protocols import Sink
    from k2cli.trade import TradeBatch


class Pipeline:
    """Hands the trades of a run on.

    Trades come from the stream, go through the sequence rules (``receive`` hands them
    there), and come back from there by ``at_once`` and ``in_order``.

    Args:
        sinks: Where they go.
        trade_filter: Which of them.

    Attributes:
        passed: Trades that passed the filter and went out.
        last: The batch received last.
        at_once: Takes trades as they come, if a sink wants them so.
        in_order: Takes those of a symbol in the order of their ids, likewise.
    """

    def __init__(self, sinks: Sequence[Sink], trade_filter: TradeFilter) -> None:
        self.passed = 0
        self.last: TradeBatch | None = None
        self._filter = trade_filter
        self._count: int | None = None
        self._on_full: Callable[[], None] = _ignore
        self._ordered = [sink for sink in sinks if sink.in_order]
        self._immediate = [sink for sink in sinks if not sink.in_order]
        # What comes at once is what is counted, if anything does.
        self._counts_ordered = bool(self._ordered) and not self._immediate
        self.at_once: Deliver | None = None if self._counts_ordered else self._emit
        self.in_order: Deliver | None = None
        if self._ordered:
            self.in_order = self._emit if self._counts_ordered else self._emit_ordered

    def begin(
        self, sequence: Deliver, count: int | None, on_full: Callable[[], None]
    ) -> None:
        """Take trades from now on.

        Args:
            sequence: Takes each batch first.
            count: Trades to let out; ``None`` for no limit.
            on_full: Called when so many have gone out.
        """
        self._sequence = sequence
        self._count = None if count is None else self.passed + count
        self._on_full = on_full

    @property
    def is_full(self) -> bool:
        """Whether as many trades have gone out as were asked for."""
        return self._count is not None and self.passed >= self._count

    def room(self) -> int:
        """Return how many more trades are wanted in order."""
        if self._count is None or not self._counts_ordered:
            return sys.maxsize
        return max(self._count - self.passed, 0)

    def receive(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Take trades from the stream."""
        if self._count is None:
            self.last = batch
            return self._sequence(batch)
        return self._receive_counted(batch, 0, self._take_last)

    def receive_past(
        self, batch: TradeBatch, sequence: Deliver
    ) -> Awaitable[None] | None:
        """Take trades from before the start.

        Args:
            batch: The trades.
            sequence: Takes them first, instead of what takes live ones.
        """
        return self._receive_counted(batch, 0, sequence)

    def _take_last(self, batch: TradeBatch) -> Awaitable[None] | None:
        self.last = batch
        return self._sequence(batch)

    def _receive_counted(
        self, batch: TradeBatch, start: int, sequence: Deliver
    ) -> Awaitable[None] | None:
        """Take no more trades than are needed: those behind are no part of the run."""
        while start < len(batch) and not self.is_full:
            stop = self._needed(batch, start)
            held_back = sequence(batch.part(start, stop))
            if held_back is not None:
                return self._receive_rest(batch, stop, held_back, sequence)
            start = stop
        return None

    async def _receive_rest(
        self,
        batch: TradeBatch,
        start: int,
        held_back: Awaitable[None],
        sequence: Deliver,
    ) -> None:
        await held_back
        more = self._receive_counted(batch, start, sequence)
        if more is not None:
            await more

    def _needed(self, batch: TradeBatch, start: int) -> int:
        """Return the index after the last trade that the count has room for."""
        if self._count is None:
            return len(batch)
        left = self._count - self.passed
        if self._filter.takes_all:
            return min(start + left, len(batch))
        passing = [i for i in self._filter.indexes(batch) if i >= start]
        return passing[left - 1] + 1 if len(passing) >= left else len(batch)

    def _emit(self, batch: TradeBatch) -> Awaitable[None] | None:
        """Hand trades to the sinks that count, and count them."""
        if not self._filter.takes_all:
            batch = batch.select(self._filter.indexes(batch))
        if self._count is not None:
            batch = batch.part(0, self._count - self.passed)
        trades = len(batch.symbols)
        if not trades:
            return None
        self.passed += trades
        if self.is_full:
            self._on_full()
        return _write(self._ordered if self._counts_ordered else self._immediate, batch)

    def _emit_ordered(self, batch: TradeBatch) -> Awaitable[None] | None:
        if not self._filter.takes_all:
            batch = batch.select(self._filter.indexes(batch))
        return _write(self._ordered, batch) if len(batch) else None


def _write(sinks: Sequence[Sink], batch: TradeBatch) -> Awaitable[None] | None:
    held_back = None
    for sink in sinks:
        held_back = both(held_back, sink.write(batch))
    return held_back


def _ignore() -> None:
    pass

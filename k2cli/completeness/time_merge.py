"""Trades of several symbols in the order of their times."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from k2cli.trade import TradeBatch


class TimeMerge:
    """Takes each symbol's trades by ascending id, and gives all by ascending time.

    A trade is given when no earlier one can come any more, of any symbol: of each, no
    more is held than what it is ahead of the others.

    Args:
        symbols: Whose trades come.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self._queues = {symbol: _Queue() for symbol in symbols}

    def add(self, symbol: str, batch: TradeBatch) -> None:
        """Take trades of one symbol, which follow those taken before."""
        self._queues[symbol].add(batch)

    def end(self, symbol: str) -> None:
        """Note that no more trades of a symbol come."""
        self._queues[symbol].has_ended = True

    def reached_us(self, symbol: str) -> int:
        """Return when the latest trade taken of a symbol was made; 0 for none."""
        return self._queues[symbol].reached_us

    def take(self) -> Iterator[TradeBatch]:
        """Give what can be given by now: trades of one symbol that follow each other.

        All have to be taken before more is added.
        """
        queues = list(self._queues.values())
        until_us = min(
            (queue.reached_us for queue in queues if not queue.has_ended), default=None
        )
        heads = [
            (head_us, number)
            for number, queue in enumerate(queues)
            if (head_us := queue.head_us) is not None
        ]
        heapify(heads)
        while heads and (until_us is None or heads[0][0] <= until_us):
            number = heappop(heads)[1]
            limits = [until_us, heads[0][0] if heads else None]
            known = [limit_us for limit_us in limits if limit_us is not None]
            yield queues[number].take(min(known, default=None))
            if (head_us := queues[number].head_us) is not None:
                heappush(heads, (head_us, number))


class _Queue:
    """One symbol's trades that wait for earlier ones of others."""

    def __init__(self) -> None:
        self.has_ended = False
        self.reached_us = 0
        self._batches: deque[tuple[TradeBatch, list[int]]] = deque()
        self._next = 0

    @property
    def head_us(self) -> int | None:
        return self._batches[0][1][self._next] if self._batches else None

    def add(self, batch: TradeBatch) -> None:
        times = map(batch.timestamp_us, range(len(batch)))
        # Ids count: should a time go back, its trade follows all the same.
        rising = list(accumulate(times, max, initial=self.reached_us))[1:]
        self._batches.append((batch, rising))
        self.reached_us = rising[-1]

    def take(self, until_us: int | None) -> TradeBatch:
        """Take the next trades out, of one batch, up to a time."""
        batch, times = self._batches[0]
        start = self._next
        stop = len(batch) if until_us is None else bisect_right(times, until_us, start)
        self._next = stop
        if stop == len(batch):
            self._batches.popleft()
            self._next = 0
        return batch.part(start, stop)

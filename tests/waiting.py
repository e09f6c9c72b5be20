"""Where trades wait, for tests: in memory, or in a journal; both survive a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from k2cli.capture.pending import PendingJournal, journal_path
from k2cli.trade import TradeBatch


class MemoryBuffer:
    """A reorder buffer as the journal is one, but quick.

    Args:
        left: What an earlier run has left.
        persists: Whether there is a next run.
        most: Trades that may wait.

    Attributes:
        kept: What would be found after a kill, in the order in which it came.
    """

    def __init__(
        self,
        left: list[TradeBatch] | None = None,
        *,
        persists: bool = True,
        most: int | None = None,
    ) -> None:
        self.persists = persists
        self.kept = left or []
        self._unflushed: list[TradeBatch] = []
        self._most = most
        self._waiting: dict[str, dict[tuple[int, int], TradeBatch]] = {}

    @property
    def trades(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def is_full(self) -> bool:
        return self._most is not None and self.trades >= self._most

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._waiting

    def first(self, symbol: str) -> tuple[int, int] | None:
        return min(self._waiting.get(symbol, ()), default=None)

    def recover(self) -> Iterator[TradeBatch]:
        yield from list(self.kept)

    def push(self, batch: TradeBatch, resets: int) -> None:
        for index in range(len(batch)):
            trade = batch.part(index, index + 1)
            self._unflushed.append(trade)
            self.push_again(trade, resets)

    def push_again(self, trade: TradeBatch, resets: int) -> None:
        waiting = self._waiting.setdefault(trade.symbols[0], {})
        assert (resets, int(trade.trade_ids[0])) not in waiting
        waiting[resets, int(trade.trade_ids[0])] = trade

    def pop(
        self, symbol: str, before_id: int | None, resets: int, most: int
    ) -> list[TradeBatch]:
        waiting = self._waiting.get(symbol, {})
        orders = [
            order
            for order in sorted(waiting)
            if before_id is None or order < (resets, before_id)
        ][:most]
        trades = [waiting.pop(order) for order in orders]
        if not waiting:
            self._waiting.pop(symbol, None)
        self.flush()
        return trades

    def flush(self) -> None:
        self.kept += self._unflushed
        self._unflushed.clear()

    def trim(self) -> None:
        """Forget what has left, if nothing waits; all of it is in the capture."""
        if not self.trades:
            self.kept.clear()


class MemoryDisk:
    """A capture's journal in memory."""

    def __init__(self) -> None:
        self.buffer = MemoryBuffer()

    def flush(self) -> None:
        """Flush what was pushed."""
        self.buffer.flush()

    def trim(self) -> None:
        """Take space back: all that has left is safe."""
        self.buffer.trim()

    def restart(self, *, killed: bool) -> None:
        """End the run, and begin the next one."""
        if not killed:
            self.buffer.flush()
            self.buffer.trim()
        self.buffer = MemoryBuffer(self.buffer.kept)

    def close(self) -> None:
        """End."""


class JournalDisk:
    """A capture's journal in a folder."""

    def __init__(self, folder: Path) -> None:
        self._capture = folder / "trades.jsonl"
        self.buffer = PendingJournal(self._capture)

    def flush(self) -> None:
        """Flush what was pushed."""
        self.buffer.flush()

    def trim(self) -> None:
        """Take space back: all that has left is safe."""
        self.buffer.trim(self.buffer.left)

    def restart(self, *, killed: bool) -> None:
        """End the run, and begin the next one."""
        path = journal_path(self._capture)
        there = path.read_bytes() if path.exists() else None
        self.buffer.close()
        if killed and there is not None:
            # As if it had not been closed.
            path.write_bytes(there)
        self.buffer = PendingJournal(self._capture)

    def close(self) -> None:
        """End."""
        self.buffer.close()

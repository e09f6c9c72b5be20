"""The pending journal: trades that have come, behind a gap that is still open.

Beside ``trades.jsonl`` it is ``.trades.jsonl.pending``: whole records, a line each, in
the order in which they came, ``platform_sequence`` null. What is in it is on disk, and
goes into the capture, in order, when the gap before it closes.

Memory holds a number per symbol. Where each trade stands is kept in a temporary SQLite
database, which is made anew from the journal.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from k2cli.capture.disk import DiskFile
from k2cli.capture.schema import violations
from k2cli.errors import OutputError, printable
from k2cli.text import is_name
from k2cli.trade import BACKFILL, Instrument, TradeBatch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

MAX_PENDING_BYTES = 10 * 10**9
"""Size of a journal at which the oldest gap is given up."""

# Lines are handed to the system when they amount to this, and whenever flush() is
# called.
_BUFFER_BYTES = 64 * 1024
# A line is a record of some 550 bytes; what is much longer is none.
_MOST_LINE_BYTES = 2**16

_TABLE = """
CREATE TABLE waiting (
    symbol TEXT, resets INTEGER, trade_id INTEGER, offset INTEGER, length INTEGER,
    PRIMARY KEY (symbol, resets, trade_id)
) WITHOUT ROWID
"""
_INSERT = "INSERT INTO waiting VALUES (?, ?, ?, ?, ?)"
_FIRST = """
SELECT resets, trade_id, offset, length FROM waiting
WHERE symbol = ? ORDER BY resets, trade_id LIMIT ?
"""
_DELETE = "DELETE FROM waiting WHERE symbol = ? AND (resets, trade_id) <= (?, ?)"
# Above every id, which SQLite holds in 64 bits with a sign.
_NO_ID = 2**63 - 1


class PendingJournal:
    """Trades that wait for a gap before them, on disk.

    Args:
        path: The capture; the journal is a hidden file beside it. ``None`` for a
            journal that ends with the process, where there is no next run.
        exchange: The capture's; trades of another one are refused. Empty for any.
        max_bytes: How much may wait.
        on_push: Called when there is something to flush.

    Attributes:
        trades: How many wait, of all symbols.
        persists: Whether a later run can continue with it.
        pushes: Counts every ``push``; see ``trim``.
        name: The journal's name, fit for printing.

    Raises:
        OutputError: If it is no regular file.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        exchange: str = "",
        max_bytes: int = MAX_PENDING_BYTES,
        on_push: Callable[[], None] = lambda: None,
    ) -> None:
        self.trades = 0
        self.pushes = 0
        self.persists = path is not None
        self.name = "the pending trades"
        self._exchange = exchange
        self._max_bytes = max_bytes
        self._on_push = on_push
        self._waiting_bytes = 0
        self._first: dict[str, tuple[int, int]] = {}
        self._buffer = bytearray()
        self._recovered = (0, 0)
        self._disk: DiskFile | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._path = None if path is None else journal_path(path)
        self._sqlite: sqlite3.Connection | None = None
        if self._path is not None:
            self.name = printable(str(self._path))
            there = self._path.is_symlink() or self._path.exists()
            if there and (self._path.is_symlink() or not self._path.is_file()):
                raise OutputError(
                    f"{self.name} is no regular file", "Move it away and start again"
                )

    @property
    def size_bytes(self) -> int:
        """Its size, with what is still to be flushed and what has left it already."""
        flushed_bytes = self._disk.size_bytes if self._disk is not None else 0
        return flushed_bytes + len(self._buffer)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._first

    @property
    def is_full(self) -> bool:
        """Whether no more should wait: a gap is to be given up."""
        return self._waiting_bytes >= self._max_bytes

    def first(self, symbol: str) -> tuple[int, int] | None:
        """Return resets and id of the symbol's first trade; ``None`` if none waits."""
        return self._first.get(symbol)

    def recover(self) -> Iterator[TradeBatch]:
        """Read what an earlier run left, in its order; a torn last line is cut away.

        A trade that still waits is to be handed to ``push_again`` before the next one
        is taken.

        Raises:
            OutputError: If the journal cannot be read, or a line is no record.
        """
        if self._path is None or not self._path.exists():
            return
        disk = self._open()
        whole_bytes = 0
        with disk.reader() as file:
            while True:
                line = file.readline(_MOST_LINE_BYTES)
                if not line.endswith(b"\n"):
                    break
                try:
                    trade = _checked_batch_of_line(line)
                except (ValueError, KeyError, TypeError) as exc:
                    raise OutputError(
                        f"{self.name} is damaged behind its first {whole_bytes:,} "
                        "bytes",
                        "Move it away and start again: what it held is fetched anew",
                    ) from exc
                if self._exchange and trade.exchange != self._exchange:
                    raise OutputError(
                        f"{self.name} holds trades of {printable(trade.exchange)}, the "
                        f"capture those of {self._exchange}",
                        "Move one of them away",
                    )
                self._recovered = (whole_bytes, len(line))
                yield trade
                whole_bytes += len(line)
        disk.cut(whole_bytes)

    def push_again(self, trade: TradeBatch, resets: int = 0) -> None:
        """Let a trade that ``recover`` has just returned wait on."""
        self._add(trade, *self._recovered, resets)

    def push(self, trade: TradeBatch, resets: int = 0) -> None:
        """Let a trade wait.

        Args:
            trade: A batch of one.
            resets: How often the exchange had begun to count the symbol's trades anew.

        Raises:
            OutputError: If it cannot be written.
        """
        self._open()
        line = trade.json_lines()[0].encode()
        self._add(trade, self.size_bytes, len(line), resets)
        self._buffer += line
        self.pushes += 1
        self._on_push()
        if len(self._buffer) >= _BUFFER_BYTES:
            self.flush()

    def pop(
        self, symbol: str, before_id: int | None, resets: int = 0, most: int = 256
    ) -> list[TradeBatch]:
        """Take out the symbol's trades with the lowest ids.

        Args:
            symbol: The symbol.
            before_id: Only lower ids, so that nothing is missing before them; any if
                ``None``.
            resets: Which count that id is of; trades of an earlier one go before it.
            most: How many at most.

        Returns:
            Batches of one, by ascending id.
        """
        bound = (resets, before_id) if before_id is not None else (_NO_ID, 0)
        # One more than is taken: the next one is the first then.
        found = self._index.execute(_FIRST, (symbol, most + 1)).fetchall()
        taken = [entry for entry in found[:most] if entry[:2] < bound]
        if not taken:
            return []
        self.flush()
        with self._open().reader() as file:
            trades = []
            for _, _, offset, length in taken:
                file.seek(offset)
                trades.append(batch_of_line(file.read(length)))
                self._waiting_bytes -= length
        self._index.execute(_DELETE, (symbol, *taken[-1][:2]))
        self.trades -= len(taken)
        if len(taken) < len(found):
            self._first[symbol] = found[len(taken)][:2]
        else:
            del self._first[symbol]
        return trades

    def flush(self) -> None:
        """Hand what was written to the system.

        Raises:
            OutputError: If it does not take it.
        """
        if self._buffer:
            text = bytes(self._buffer)
            self._buffer.clear()
            self._open().append(text, line_wise=True)

    def sync(self) -> None:
        """Wait until what was flushed would outlast a power cut; in any thread.

        Raises:
            OutputError: If the disk failed.
        """
        if self._disk is not None:
            self._disk.sync()

    def trim(self, pushes: int) -> None:
        """Take the space back, if nothing waits any more.

        Args:
            pushes: ``pushes`` at a moment when all that had left the journal was safe
                in the capture. If it has changed since, nothing is done.
        """
        if not self.trades and pushes == self.pushes and self._disk is not None:
            self._buffer.clear()
            self._disk.cut(0)

    def discard(self) -> None:
        """Throw away what is in it: the capture is overwritten."""
        if self._path is not None and self._path.exists():
            self._open().cut(0)

    def close(self, *, keep: bool = False) -> None:
        """Flush and close; a journal in which nothing waits is removed.

        Args:
            keep: Whether to keep all that is in it, as what has left it may not be
                safe in the capture.

        Raises:
            OutputError: If the last lines could not be written.
        """
        if self._sqlite is not None:
            self._sqlite.close()
        disk, self._disk = self._disk, None
        if disk is None:
            return
        try:
            if self.persists and (self.trades or keep):
                disk.append(bytes(self._buffer), line_wise=True)
            else:
                disk.cut(0)
        finally:
            self._buffer.clear()
            disk.close(remove_if_empty=True)
            if self._scratch is not None:
                self._scratch.cleanup()

    @property
    def _index(self) -> sqlite3.Connection:
        if self._sqlite is None:
            # Most runs have no gap, and need none.
            import sqlite3

            # An empty name is a database on disk that ends with its connection.
            self._sqlite = sqlite3.connect("", isolation_level=None)
            self._sqlite.execute("PRAGMA journal_mode = OFF")
            self._sqlite.execute("PRAGMA synchronous = OFF")
            self._sqlite.execute(_TABLE)
        return self._sqlite

    def _open(self) -> DiskFile:
        if self._disk is None:
            path = self._path
            if path is None:
                self._scratch = tempfile.TemporaryDirectory(prefix="k2-")
                path = Path(self._scratch.name) / "pending"
            self._disk = DiskFile(path, self.name, own=True)
        return self._disk

    def _add(self, trade: TradeBatch, offset: int, length: int, resets: int) -> None:
        symbol, trade_id = trade.symbols[0], int(trade.trade_ids[0])
        self._index.execute(_INSERT, (symbol, resets, trade_id, offset, length))
        first = self._first.get(symbol)
        if first is None or (resets, trade_id) < first:
            self._first[symbol] = (resets, trade_id)
        self._waiting_bytes += length
        self.trades += 1


def journal_path(capture: Path) -> Path:
    """Return where the journal of a capture is."""
    return capture.with_name(f".{capture.name}.pending")


def pending_ids(capture: Path) -> dict[str, list[int]]:
    """Return what the journal of a capture holds, by symbol, whoever writes it now.

    Some of it may be in the capture by now. A line that is no record is left out.
    """
    found: dict[str, list[int]] = {}
    path = journal_path(capture)
    if path.is_symlink() or not path.is_file():
        return found
    with path.open("rb") as file:
        while line := file.readline(_MOST_LINE_BYTES):
            with suppress(ValueError, KeyError, TypeError):
                trade = _checked_batch_of_line(line)
                ids = found.setdefault(trade.symbols[0], [])
                ids.append(int(trade.trade_ids[0]))
    return found


def _checked_batch_of_line(line: bytes) -> TradeBatch:
    """Read a record of an earlier run: anybody may have written it."""
    record = orjson.loads(line)
    # Numbers are given when the trade goes into the capture.
    found = violations({**record, "platform_sequence": 1})
    names = record["symbol"], record["currency"], record["vendor_data"]["base_asset"]
    if found or not all(map(is_name, names)):
        raise ValueError("no record of a trade")
    return batch_of_line(line)


def batch_of_line(line: bytes) -> TradeBatch:
    """Read a record as a batch of one, with the values that it had when it came.

    Raises:
        ValueError: If it is no JSON.
        KeyError: If a key is missing.
        TypeError: If a value is of another type.
    """
    record = orjson.loads(line)
    vendor_data = record["vendor_data"]
    symbol, exchange = record["symbol"], record["exchange"]
    instrument = Instrument(
        symbol, exchange, vendor_data["base_asset"], vendor_data["quote_asset"]
    )
    is_backfill = vendor_data.get("source") == BACKFILL
    best_match, event_time = (
        vendor_data.get("is_best_match"),
        vendor_data.get("event_time"),
    )
    trade_time = vendor_data["trade_time"]
    return TradeBatch(
        instruments={symbol: instrument},
        received_us=int(record["ingestion_timestamp"]),
        symbols=(symbol,),
        trade_ids=(str(int(record["source_sequence"])),),
        prices=(record["price"],),
        quantities=(record["quantity"],),
        trade_times=(trade_time,),
        event_times=(event_time,),
        buyer_is_maker=(vendor_data["is_buyer_maker"],),
        best_match=(best_match,),
        message_ids=(record["message_id"],),
        is_backfill=is_backfill,
        is_plain=instrument.is_plain
        and not is_backfill
        and best_match is not None
        and event_time is not None
        and len(event_time) == len(trade_time) == 16,
    )
